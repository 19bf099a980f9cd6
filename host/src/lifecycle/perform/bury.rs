//! Instances that are gone: what is said about their end, what follows from it, and that nothing of them stays.

use time::OffsetDateTime;

use crate::{
    crashpoint,
    db::{InstanceRow, InstanceState},
    driver::{Exit, FailurePhase, Report, probe},
    ids::{Digest, InstanceId},
    lifecycle::{
        backoff, cause,
        facts::{Facts, Role},
        perform::EXPAND_CONTRACT,
        reconcile::{Trouble, Work},
        step::Why,
    },
    model::{ConditionKind, Truth},
    provisioner::Site,
};

/// Starts in a row that may find their port taken before that counts as a crash.
const MAX_PORT_RETRIES: u32 = 5;

/// An instance that did not come up, or ended unasked.
pub(in crate::lifecycle) struct Ended {
    pub revision: Digest,
    pub role: Role,
    /// It had the traffic.
    pub was_serving: bool,
    pub port_taken: bool,
    /// What served failed because of it.
    pub harmful: bool,
    pub cause: String,
}

impl Work<'_> {
    pub(super) async fn bury(&mut self, id: InstanceId, facts: &Facts, now: OffsetDateTime) -> Result<(), Trouble> {
        let home = self.shared.home(&self.workspace.slug, self.id());
        let Some(row) = self.instances.iter().find(|row| row.instance.id == id).cloned() else { return Ok(()) };
        let role = self.role_of(&row);
        let live = self.live.instances.remove(&id);
        let report = self.shared.driver.report(&home, id).await;
        let exit = live.as_ref().and_then(|live| live.exit());
        let why = live.as_ref().and_then(|live| live.ending.as_ref()).map(|ending| ending.why);
        // Gone when this daemon looked first: the machine was restarted, or it ended unseen. Only its own words count.
        let unseen = live.as_ref().is_none_or(|live| live.process.is_none());
        // The daemon that started it was killed before it had handed over the start message.
        let adopted = live.as_ref().is_some_and(|live| live.adopted);
        let cut_off = adopted && report.failed.as_ref().is_some_and(|failure| failure.phase == FailurePhase::Message);
        let proven = role == Role::Trial && self.live.proven == Some(row.instance.revision);
        let wanted = proven || why.is_some_and(Why::is_wish) || row.state == InstanceState::Stopping && why.is_none();
        let was_serving = role == Role::Main
            && (row.state == InstanceState::Running || live.as_ref().is_some_and(|live| live.serving_since.is_some()));
        if facts.deleting || wanted {
            self.event("Ended", format!("instance {id} was ended"));
        } else if cut_off || unseen && report.failed.is_none() {
            self.event("Lost", format!("instance {id} ended while no orbitd watched it"));
        } else {
            let log = self.shared.driver.log_tail(&home, cause::QUOTED_LINES).await.unwrap_or_default();
            let log = cause::lines_of(id, log);
            let last = match (why, &live) {
                (Some(Why::Refused | Why::Harmful), Some(live)) => live.refused.as_deref(),
                (_, Some(live)) => live.last_failure.as_deref(),
                (_, None) => None,
            };
            let cause = self.cause(why, was_serving, exit, &report, &log, last);
            let cause = self.redacted(cause, &row).await;
            let port_taken = exit == Some(Exit::Code(75))
                || report.failed.as_ref().is_some_and(|failure| failure.phase == FailurePhase::Listen);
            let port_taken = port_taken && !was_serving;
            let harmful = why == Some(Why::Harmful);
            self.failed(Ended { revision: row.instance.revision, role, was_serving, port_taken, harmful, cause }, now);
        }
        let before_database = report.failed.as_ref().is_some_and(|failure| {
            matches!(failure.phase, FailurePhase::Message | FailurePhase::Config | FailurePhase::Load)
        });
        if role == Role::Main && !before_database {
            self.progress.tried = self.progress.tried.max(Some(id));
        }
        if role == Role::Main {
            // Whatever comes beside the others next is compared anew.
            self.live.instances.values_mut().for_each(|live| live.overlap = None);
            self.put_catalog_back(id).await?;
        }
        // The accounting first: counted twice is better than not at all, and the row is what makes us come back here.
        self.save(None).await?;
        if let Some(live) = &live {
            self.shared.internal_paths.remove(&live.internal_secret);
        }
        crashpoint!("bury.before-files");
        self.leave_nothing(&row).await?;
        Ok(())
    }

    /// Removes what an instance has on disk, a trial's copy of the database with it, and its row.
    pub(in crate::lifecycle) async fn leave_nothing(&self, row: &InstanceRow) -> Result<(), Trouble> {
        let (home, id) = (self.shared.home(&self.workspace.slug, self.id()), row.instance.id);
        let copy = Site { workspace: self.id(), database: &row.database_name, home: &home };
        self.shared.driver.discard(&home, id).await;
        if self.role_of(row) == Role::Trial {
            let removed = self.shared.provisioner.remove(&copy).await;
            removed.map_err(|error| Trouble::Step(error.to_string()))?;
        }
        crashpoint!("bury.before-row");
        self.shared.registry.delete_instance(id).await?;
        crashpoint!("bury.after-row");
        Ok(())
    }

    fn cause(
        &self,
        why: Option<Why>,
        was_serving: bool,
        exit: Option<Exit>,
        report: &Report,
        log: &[String],
        last: Option<&str>,
    ) -> String {
        let mut text = match why {
            Some(Why::StartTimeout) => format!(
                "the instance was not ready within {} s (`instances.start_timeout_s`): {}",
                self.shared.settings.instances.start_timeout_s,
                last.unwrap_or("it did not answer"),
            ),
            Some(Why::Harmful) => {
                return format!("{}. {EXPAND_CONTRACT}", last.unwrap_or("what serves fails since it runs beside it"));
            }
            Some(Why::Refused) => last.unwrap_or("it came up worse than what serves").to_owned(),
            Some(Why::Unhealthy) => {
                format!("the instance stopped answering and was restarted: {}", last.unwrap_or("no answer"))
            }
            _ => return cause::of_end(was_serving, exit, report, log),
        };
        cause::append_log(&mut text, log);
        text
    }

    async fn redacted(&self, cause: String, row: &InstanceRow) -> String {
        let secrets = self.read_secrets().await.unwrap_or_default();
        let mut values = cause::texts(&secrets);
        let derived = ["internal", "probe"].map(|purpose| probe::derived(&row.instance.boot_secret, purpose));
        values.extend(derived.iter().map(String::as_str));
        values.push(&row.instance.boot_secret);
        cause::redact(cause, values)
    }

    pub(in crate::lifecycle) fn revision_is_gone(&mut self, digest: Digest, now: OffsetDateTime) {
        tracing::warn!(workspace = %self.workspace.slug, revision = %digest.short(), "a stored revision is gone");
        self.progress.good.retain(|good| *good != digest);
        self.progress.fallback = self.progress.fallback.filter(|fallback| *fallback != digest);
        let status = self.status();
        if status.active_revision == Some(digest) {
            status.active_revision = None;
        }
        status.retry_at = Some(now + backoff::delay(1, 0.0));
        self.live.rendered = None;
    }

    /// Accounts for it: a rollout that failed, or a crash.
    pub(in crate::lifecycle) fn failed(&mut self, ended: Ended, now: OffsetDateTime) {
        let Ended { revision, role, was_serving, port_taken, harmful, cause } = ended;
        self.shared.metrics.crashed();
        if port_taken && self.live.port_retries < MAX_PORT_RETRIES {
            self.live.port_retries += 1;
            self.event("PortTaken", "its port was taken before it could be opened; another one is tried");
            return;
        }
        let (active, good) = (self.workspace.status.active_revision, self.progress.good.last().copied());
        let back_to = match was_serving {
            false => active,
            true if active == Some(revision) => self.progress.fallback.take().or(good),
            true => None,
        };
        match back_to.filter(|back_to| *back_to != revision) {
            Some(back_to) => {
                let (revision_name, back_to_name) = (revision.short(), back_to.short());
                let (reason, message) = match role {
                    Role::Trial => (
                        "NotProven",
                        format!(
                            "revision {revision_name} did not come up on a copy of the database; {back_to_name} was not touched and serves. {cause}"
                        ),
                    ),
                    Role::Main if was_serving => (
                        "DiedInBake",
                        format!(
                            "revision {revision_name} took over and failed before it had served long enough to count as good (`rollout.bake_s`); {back_to_name} serves again. {cause}"
                        ),
                    ),
                    Role::Main if harmful => (
                        "BrokeBlue",
                        format!("revision {revision_name} was given up before it served; {back_to_name} runs. {cause}"),
                    ),
                    Role::Main => (
                        "DidNotComeUp",
                        format!("revision {revision_name} did not come up; {back_to_name} runs. {cause}"),
                    ),
                };
                self.rollout_failed((revision, back_to), reason, message, now);
            }
            None => self.crashed(&cause, now),
        }
    }

    fn rollout_failed(
        &mut self,
        (revision, back_to): (Digest, Digest),
        reason: &'static str,
        message: String,
        now: OffsetDateTime,
    ) {
        self.shared.metrics.rollout_failed();
        let status = self.status();
        status.failed_revision = Some(revision);
        status.active_revision = Some(back_to);
        status.set_condition(ConditionKind::RolledOut, Truth::False, reason, message.clone(), now);
        self.event("RolloutFailed", message);
    }

    fn crashed(&mut self, cause: &str, now: OffsetDateTime) {
        let crashes = self.workspace.status.crashes.saturating_add(1);
        let wait = backoff::delay(crashes, rand::random_range(-0.2..=0.2));
        let another_serves = self.live.instances.values().any(|live| live.upstream.is_some() && live.ending.is_none());
        let status = self.status();
        status.crashes = crashes;
        status.retry_at = Some(now + wait);
        let again = wait.as_secs_f64();
        let message = format!("{cause}\n(crash {crashes} in a row; the next start is {again:.0} s after it)");
        let (kind, reason) = match crashes {
            _ if another_serves => (ConditionKind::RolledOut, "RestartFailed"),
            0 | 1 => (ConditionKind::Ready, "Crashed"),
            _ => (ConditionKind::Ready, "CrashLoop"),
        };
        status.set_condition(kind, Truth::False, reason, message.clone(), now);
        self.event(reason, message);
    }
}
