//! Instances that come up: the questions, and what follows from good answers.

use time::OffsetDateTime;

use crate::{
    crashpoint,
    db::{InstanceRow, InstanceState},
    directory::{Endpoint, Upstream},
    door::Door,
    driver::{Report, probe},
    ids::{Digest, InstanceId},
    lifecycle::{
        facts::Role,
        reconcile::{Trouble, Work},
    },
    model::{PluginOutcome, PluginReport},
};

/// Between two looks at an instance that starts, should nobody tell that its report grew.
const START_PAUSE: time::Duration = time::Duration::milliseconds(500);
/// Between two questions to one that has started and is not ready yet.
const READY_PAUSE: time::Duration = time::Duration::milliseconds(50);
/// Between two health checks of a serving instance.
const CHECK_PAUSE: time::Duration = time::Duration::seconds(10);
/// The same while its revision has not outlived its bake.
const BAKE_CHECK_PAUSE: time::Duration = time::Duration::seconds(1);

impl Work<'_> {
    pub(super) async fn probe(&mut self, id: InstanceId, now: OffsetDateTime) -> Result<(), Trouble> {
        let home = self.shared.home(&self.workspace.slug, self.id());
        let Some(row) = self.instances.iter().find(|row| row.instance.id == id).cloned() else { return Ok(()) };
        let baking = self.progress.good.last() != self.workspace.status.active_revision.as_ref();
        let beside = self.beside(id);
        let Some(live) = self.live.instances.get_mut(&id) else { return Ok(()) };
        if live.serving_since.is_some() {
            live.sample(beside, now);
            let healthy = match &live.process {
                Some(process) => health(&process.door(), &row).await,
                None => Ok(()), // gone: the next step buries it
            };
            match healthy {
                Ok(()) => live.failed_checks = 0,
                Err(error) => {
                    tracing::warn!(workspace = %self.workspace.slug, %error, "a health check failed");
                    live.failed_checks += 1;
                    live.last_failure = Some(error.to_string());
                }
            }
            let process = live.process.clone().filter(|_| beside && live.failed_checks == 0);
            let pause = if baking || beside { BAKE_CHECK_PAUSE } else { CHECK_PAUSE };
            if let Some(process) = process {
                self.ask_beside(&row, process.as_ref()).await;
            }
            if let Some(live) = self.live.instances.get_mut(&id) {
                live.next_probe = self.shared.clock.now() + pause;
            }
            return Ok(());
        }
        if let Some(told) = &live.told {
            told.clear();
        }
        let report = self.shared.driver.report(&home, id).await;
        live.probes = live.probes.saturating_add(1);
        if report.started.is_some()
            && let Some(worse) = self.worse_than_what_serves(&row, &report.plugins)
        {
            if let Some(live) = self.live.instances.get_mut(&id) {
                live.refused = Some(worse);
            }
            return Ok(());
        }
        let ready = match &report.started {
            // Before Backstage has started it only spends the processor's time on our questions.
            None => Err("Backstage has not finished starting".to_owned()),
            Some(_) => match self.door_of(id) {
                Some(door) => self.prove_ready(&door, &row).await,
                None => Err("it is gone".to_owned()),
            },
        };
        match (ready, self.role_of(&row)) {
            (Ok(()), Role::Main) => self.ready(&row, report, now).await,
            (Ok(()), Role::Trial) => {
                self.trial_is_proven(&row, &report, now);
                Ok(())
            }
            (Err(reason), _) => {
                if let Some(live) = self.live.instances.get_mut(&id) {
                    live.last_failure = Some(reason);
                    let pause = if report.started.is_some() { READY_PAUSE } else { START_PAUSE };
                    live.next_probe = self.shared.clock.now() + pause;
                }
                Ok(())
            }
        }
    }

    /// Where an instance is reached; `None` once it is gone.
    pub(super) fn door_of(&self, id: InstanceId) -> Option<Door> {
        Some(self.live.instances.get(&id)?.process.as_ref()?.door())
    }

    /// Is it the one, is it ready, does a plugin answer?
    pub(in crate::lifecycle) async fn prove_ready(&self, door: &Door, row: &InstanceRow) -> Result<(), String> {
        health(door, row).await.map_err(|error| error.to_string())?;
        if self.has_catalog(row).await {
            let token = probe::derived(&row.instance.boot_secret, "probe");
            probe::catalog(door, &token).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    pub(super) async fn has_catalog(&self, row: &InstanceRow) -> bool {
        let revision = self.shared.registry.revision(self.id(), row.instance.revision).await.ok().flatten();
        revision.is_none_or(|revision| revision.plugins.iter().any(|plugin| plugin.as_str() == "catalog"))
    }

    /// A plugin that was ready and now failed, by name: such an instance does not take over while there is a better one, running or
    /// to be returned to. One that has served before is not judged again.
    fn worse_than_what_serves(&self, row: &InstanceRow, plugins: &[PluginReport]) -> Option<String> {
        let status = &self.workspace.status;
        let other_revision = status.active_revision.is_some_and(|active| active != row.instance.revision);
        let blue_serves =
            self.live.instances.iter().any(|(id, live)| *id != row.instance.id && live.upstream.is_some());
        if row.state == InstanceState::Running || !other_revision && !blue_serves {
            return None;
        }
        let was_ready =
            |id| status.plugins.iter().any(|before| before.id == id && before.outcome == PluginOutcome::Ready);
        let worse: Vec<String> = plugins
            .iter()
            .filter(|now| now.outcome == PluginOutcome::Failed && was_ready(now.id.clone()))
            .map(|now| {
                let reason = now.reason.as_deref().unwrap_or("no reason was given");
                format!("plugin {} was ready before and failed now: {reason}", now.id)
            })
            .collect();
        (!worse.is_empty()).then(|| worse.join("; "))
    }

    /// It came up on a copy: its revision may take over, it has done its work.
    fn trial_is_proven(&mut self, row: &InstanceRow, report: &Report, now: OffsetDateTime) {
        crashpoint!("trial.proven");
        let revision = row.instance.revision;
        self.live.proven = Some(revision);
        if let Some(live) = self.live.instances.get_mut(&row.instance.id) {
            live.serving_since = Some(now);
            live.told = None;
            live.permit = None;
        }
        let took = report.started.as_ref().map_or(0, |started| started.ms);
        self.event(
            "Proven",
            format!("revision {} came up on a copy of the database (started in {took} ms)", revision.short()),
        );
    }

    async fn ready(&mut self, row: &InstanceRow, report: Report, now: OffsetDateTime) -> Result<(), Trouble> {
        let (id, revision) = (row.instance.id, row.instance.revision);
        crashpoint!("ready.before-mark");
        self.shared.registry.set_instance_state(id, InstanceState::Running, now).await?;
        // Found by a new daemon beside a newer one that has served already: it only stands by.
        let stands_by = self.instances.iter().any(|other| {
            other.instance.id > id && other.state == InstanceState::Running && self.role_of(other) == Role::Main
        });
        let took = report.started.as_ref().map_or(0, |started| started.ms);
        if !stands_by {
            if let Some(before) = self.workspace.status.active_revision.filter(|before| *before != revision) {
                self.progress.fallback = Some(before);
            }
            let status = self.status();
            status.active_revision = Some(revision);
            status.retry_at = None;
            if status.failed_revision == Some(revision) {
                status.failed_revision = None;
            }
            self.plugins_reported(report.plugins, now);
            self.live.port_retries = 0;
            self.live.proven = None;
        }
        let adopted = match self.live.instances.get_mut(&id) {
            Some(live) => {
                let door = live.process.as_ref().map(|process| process.door());
                live.upstream = door.map(|door| Upstream::new(Endpoint { door, boot: id, revision, resumed: 0 }));
                live.serving_since = Some(now);
                live.told = None;
                live.next_probe = now + BAKE_CHECK_PAUSE;
                live.permit = None;
                live.adopted
            }
            None => false,
        };
        if adopted && row.state == InstanceState::Running {
            self.event("Adopted", format!("instance {id} runs on from before orbitd was started"));
        } else {
            self.event("Ready", format!("instance {id} serves revision {} (started in {took} ms)", revision.short()));
        }
        if !stands_by {
            self.read_catalog_again(row);
        }
        if let Some(since) = self.live.held_since.take() {
            let pause = std::time::Duration::try_from(self.shared.clock.now() - since).unwrap_or_default();
            self.shared.metrics.paused(pause);
            self.event("Released", format!("requests were held for {} ms", pause.as_millis()));
        }
        self.save(None).await?;
        crashpoint!("ready.after-mark");
        self.prune_revisions(revision).await
    }

    /// Forgets old revisions, but none that something may return to.
    async fn prune_revisions(&self, serving: Digest) -> Result<(), Trouble> {
        let status = &self.workspace.status;
        let others =
            [self.progress.rendered, self.progress.fallback, status.failed_revision, self.workspace.spec.pinned];
        let mut in_use: Vec<Digest> = others.into_iter().flatten().chain([serving]).collect();
        in_use.extend(&self.progress.good);
        Ok(self.shared.registry.prune_revisions(self.id(), &in_use).await?)
    }
}

async fn health(door: &Door, row: &InstanceRow) -> Result<(), probe::ProbeError> {
    probe::prove(door, row.instance.id, &row.instance.boot_secret).await?;
    probe::ready(door).await
}
