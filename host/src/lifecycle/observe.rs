//! Looks at what is: the directory's entry, the processes, whether the config is fresh. Makes the facts of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use time::OffsetDateTime;

use super::{
    backoff,
    facts::{Config, DrainFacts, EndingFacts, Facts, InstanceFacts, ProcessFacts, Role},
    live::LiveInstance,
    offer::{Offer, offer},
    reconcile::{Trouble, Work},
    secrets,
};
use crate::{
    db::{DataDir, InstanceRow},
    directory::{Availability, Entry},
    driver::{Adoption, ProcessIdentity, Sought, probe},
    identity::SigningKey,
    ids::Digest,
    model::{ConditionKind, DesiredState, RolloutRules, Truth},
};

/// How old the knowledge about secrets' files may become, and a rejection by a failing policy.
const FRESH_FOR: time::Duration = time::Duration::seconds(25);

/// `ConfigAccepted`'s reason while the source's newest entry can't be used.
pub(super) const SOURCE_REJECTED: &str = "SourceRejected";

impl Work<'_> {
    /// Brings the live state up to date. Sends nothing to any instance.
    pub(super) async fn observe(&mut self) -> Result<(), Trouble> {
        self.observe_backoff();
        self.observe_entry().await?;
        self.observe_processes().await;
        self.observe_secrets().await;
        let accepted = self.workspace.status.condition(ConditionKind::ConfigAccepted);
        if self.shared.rejection(self.id()).is_none() && accepted.is_some_and(|c| c.reason == SOURCE_REJECTED) {
            // The source's entry is good again: what the renderer thinks of the spec is what counts now.
            self.live.rendered = None;
        }
        Ok(())
    }

    /// A clock of an earlier life may have been years ahead: then the wait begins anew.
    fn observe_backoff(&mut self) {
        let now = self.shared.clock.now();
        let status = self.status();
        if status.retry_at.is_some_and(|at| at > now + backoff::FURTHEST) {
            status.retry_at = Some(now + backoff::delay(status.crashes, 0.0));
        }
    }

    async fn observe_entry(&mut self) -> Result<(), Trouble> {
        let (id, slug) = (self.id(), self.workspace.slug.clone());
        if self.live.entries.is_empty()
            && let Some(entry) = self.shared.directory.get(slug.as_str()).filter(|entry| entry.id == id)
        {
            self.live.entries.push(entry);
        }
        if self.workspace.deleting {
            self.shared.directory.remove(&slug, id);
            return Ok(());
        }
        let tier = self.workspace.spec.tier.clone();
        match self.live.entries.first() {
            Some(entry) if entry.tier == tier => {}
            // Refused by the renderer (UnknownTier): what serves goes on under the policies it had.
            Some(_) if self.shared.policies.snapshot().tier(&tier).is_none() => {}
            Some(entry) => {
                let fresh = entry.in_tier(tier);
                self.shared.directory.insert([fresh.clone()]);
                self.live.entries.insert(0, fresh);
            }
            None => {
                let issuer = format!("{}/api/auth", self.shared.public_url(&slug));
                let stored = self.shared.registry.signing_key(id).await?;
                let stored = stored.ok_or_else(|| Trouble::Step("its signing key is gone from the registry".into()))?;
                let key = SigningKey::from_pkcs8(&stored, issuer).map_err(|e| Trouble::Step(e.to_string()))?;
                let entry = self.shared.directory.get_or_insert(Entry::new(id, slug, tier, Arc::new(key)));
                self.live.entries.push(entry);
            }
        }
        // An old entry is done with when nobody but us holds it.
        let mut position = 0;
        self.live.entries.retain(|entry| {
            position += 1;
            position == 1 || Arc::strong_count(entry) > 1
        });
        Ok(())
    }

    async fn observe_processes(&mut self) {
        for row in self.instances.clone() {
            if !self.live.instances.contains_key(&row.instance.id) {
                self.adopt(&row).await;
            }
        }
        let rows = &self.instances;
        self.live.instances.retain(|id, _| rows.iter().any(|row| row.instance.id == *id));
    }

    async fn adopt(&mut self, row: &InstanceRow) {
        let instance = &row.instance;
        let identity = match (instance.pid, instance.start_ticks, &row.kernel_boot) {
            (Some(pid), Some(start_ticks), Some(kernel_boot)) => {
                Some(ProcessIdentity { pid, start_ticks, kernel_boot: kernel_boot.clone() })
            }
            _ => None,
        };
        let home = self.shared.home(&self.workspace.slug, self.id());
        let sought = Sought { home, id: instance.id, identity };
        let process = match self.shared.driver.adopt(&sought).await {
            Adoption::Found(process) => {
                self.shared.metrics.adopted();
                Some(process)
            }
            Adoption::Gone => None,
        };
        let secret = probe::derived(&instance.boot_secret, "internal");
        if let (Some(process), Some(entry)) = (&process, self.live.entries.first()) {
            self.shared.internal_paths.insert(secret.clone(), entry.clone());
            self.look_when_ended(process.clone());
        }
        let now = self.shared.clock.now();
        let mut live = LiveInstance::new(process, true, secret, now);
        // Written by the clock of an earlier life, which may have been ahead.
        live.started_at = instance.started_at.min(now);
        self.live.instances.insert(instance.id, live);
    }

    /// A changed secret is a changed revision, and nobody tells when a secret's file changes.
    async fn observe_secrets(&mut self) {
        let now = self.shared.clock.now();
        let running = self.workspace.spec.desired == DesiredState::Running;
        let Some(rendered) = &self.live.rendered else { return };
        if now < rendered.checked_at + FRESH_FOR || !running {
            return;
        }
        if rendered.transient {
            self.live.rendered = None;
            return;
        }
        let digests = match self.read_secrets().await {
            Ok(values) => Some(digests(&values)),
            Err(_) => None,
        };
        match &mut self.live.rendered {
            Some(rendered) if rendered.secrets == digests => rendered.checked_at = now,
            other => *other = None,
        }
    }

    /// Values of the secrets that the spec declares.
    pub(super) async fn read_secrets(&self) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let references = self.workspace.spec.secrets.clone();
        if references.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (dir, slug) = (self.shared.settings.secrets_dir.clone(), self.workspace.slug.clone());
        let read = tokio::task::spawn_blocking(move || secrets::read_all(&dir, &slug, &references)).await;
        read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Everything that the next step depends on.
    pub(super) fn facts(&self, now: OffsetDateTime) -> Facts {
        let (workspace, status) = (&self.workspace, &self.workspace.status);
        let provisioned = status.condition(ConditionKind::Provisioned).is_some_and(|c| c.truth == Truth::True);
        let version = self.shared.policies.snapshot().version();
        let config = match &self.live.rendered {
            Some(rendered) if rendered.generation == workspace.generation && rendered.policies == version => {
                rendered.outcome
            }
            _ => Config::Unrendered,
        };
        let rollout = self.rollout_rules();
        let memory_cap = self.memory_cap_reached();
        Facts {
            deleting: workspace.deleting,
            desired: workspace.spec.desired,
            has_database: self.progress.has_database && (workspace.deleting || provisioned),
            config,
            pinned: workspace.spec.pinned,
            active: status.active_revision,
            good: self.progress.good.last().copied(),
            failed: status.failed_revision,
            crashes: status.crashes,
            retry_at: status.retry_at,
            restarts: workspace.spec.restarts,
            restart_asked: workspace.spec.restarts > self.progress.restarts_seen,
            rotation_asked: workspace.spec.password_rotations > self.progress.rotations_seen,
            retiring: self.progress.retiring.as_ref().map(|retiring| retiring.before),
            login_after: self.live.login_after,
            restore: self.restoring(),
            strategy: rollout.strategy,
            writers: self.shared.provisioner.writers(),
            bake: time::Duration::seconds(i64::try_from(rollout.bake_s).unwrap_or(i64::MAX)),
            turn: self.shared.turns.of(workspace.id),
            may_start: self.shared.starting.may(workspace.id, std::time::Instant::now()) && memory_cap.is_none(),
            memory_cap,
            rung: None,
            proven: self.live.proven,
            instances: self.instances.iter().map(|row| self.instance_facts(row, now)).collect(),
        }
    }

    /// `[rollout]` of its tier; the defaults while the tier is not known.
    pub(super) fn rollout_rules(&self) -> RolloutRules {
        let set = self.shared.policies.snapshot();
        set.tier(&self.workspace.spec.tier).map(|tier| tier.rules().rollout.clone()).unwrap_or_default()
    }

    /// A trial runs on a database of another name.
    pub(super) fn role_of(&self, row: &InstanceRow) -> Role {
        let own = DataDir::database_name(&self.workspace.slug, self.workspace.id);
        if row.database_name == own { Role::Main } else { Role::Trial }
    }

    fn instance_facts(&self, row: &InstanceRow, now: OffsetDateTime) -> InstanceFacts {
        let start_timeout = Duration::from_secs(self.shared.settings.instances.start_timeout_s);
        let live = self.live.instances.get(&row.instance.id);
        let process = match live {
            None => ProcessFacts::Gone,
            Some(live) if live.exit().is_some() => ProcessFacts::Gone,
            Some(LiveInstance { serving_since: Some(since), failed_checks, next_probe, .. }) => {
                ProcessFacts::Serving { since: *since, failed_checks: *failed_checks, next_check: *next_probe }
            }
            Some(live) => ProcessFacts::Starting {
                deadline: live.started_at + start_timeout,
                probes: live.probes,
                next_probe: match live.told.as_ref().is_some_and(|told| told.is_set()) {
                    true => now,
                    false => live.next_probe.min(now + time::Duration::seconds(1)),
                },
                refused: live.refused.is_some(),
            },
        };
        let drain = live.and_then(|live| live.drain.as_ref());
        let ending = live.and_then(|live| live.ending.as_ref());
        InstanceFacts {
            id: row.instance.id,
            role: self.role_of(row),
            revision: row.instance.revision,
            restarts: row.instance.restarts,
            stale: self.progress.tried.is_some_and(|tried| row.instance.id < tried),
            harmed: live.is_some_and(|live| live.harm().is_some()),
            suspended: live.and_then(|live| live.process.as_ref()).is_some_and(|process| process.is_suspended()),
            process,
            // Whether it is idle is read after the publication.
            drain: drain.map(|drain| DrainFacts {
                leave: drain.leave,
                deadline: drain.deadline,
                idle: false,
                cut_at: drain.cut_at,
            }),
            ending: ending.map(|ending| EndingFacts { kill_at: ending.kill_at, killed: ending.killed }),
        }
    }

    /// Tells the directory what becomes of requests now.
    pub(super) fn publish(&self, facts: &Facts, now: OffsetDateTime) {
        let held_for = self.live.instances.values().find_map(|live| {
            live.ending.as_ref().map(|e| e.why).or(live.drain.as_ref().map(|d| d.why)).map(|why| why.as_str())
        });
        let availability = match offer(facts, now, held_for) {
            Offer::Held(reason) => Availability::Held(reason),
            Offer::Asleep => Availability::Asleep,
            Offer::Stopped => Availability::Stopped,
            Offer::Unavailable(retry_after) => Availability::Unavailable { reason: self.public_reason(), retry_after },
            Offer::Serving(id) => {
                let upstream = self.live.instances.get(&id).and_then(|live| live.upstream.clone());
                upstream.map_or(Availability::Held("starting"), Availability::Serving)
            }
        };
        self.live.publish(&availability);
    }

    /// For the workspace's own users: no log lines, no paths.
    fn public_reason(&self) -> Arc<str> {
        let rejected = self
            .workspace
            .status
            .condition(ConditionKind::ConfigAccepted)
            .is_some_and(|c| c.truth == Truth::False && self.workspace.status.active_revision.is_none());
        let reason = if rejected { "its configuration can't be used" } else { "it does not come up" };
        reason.into()
    }
}

pub(super) fn digests(values: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Digest> {
    values.iter().map(|(name, value)| (name.clone(), Digest::of(value))).collect()
}
