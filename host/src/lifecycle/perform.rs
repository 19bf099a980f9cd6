//! Does one step.

use std::time::Duration;

use time::OffsetDateTime;

use super::{
    backoff, cause,
    live::{Drain, Ending},
    reconcile::{Trouble, Work},
    step::{Facts, Step, Why},
};
use crate::{
    crashpoint,
    db::{DataDir, InstanceRow, InstanceState},
    door::Door,
    driver::{Exit, FailurePhase, probe},
    ids::{Digest, InstanceId},
    model::{ConditionKind, Truth},
};

/// Between two looks at an instance that starts: at its report, and at its answers.
const START_PAUSE: time::Duration = time::Duration::milliseconds(150);
/// Between two health checks of a serving instance.
const CHECK_PAUSE: time::Duration = time::Duration::seconds(10);
/// Starts in a row that may find their port taken before that counts as a crash.
const MAX_PORT_RETRIES: u32 = 5;
/// An instance that hangs while it starts does not listen to SIGTERM for long.
const START_KILL_AFTER: Duration = Duration::from_secs(2);

impl Work<'_> {
    pub(super) async fn perform(&mut self, step: Step, facts: &Facts, now: OffsetDateTime) -> Result<(), Trouble> {
        match step {
            Step::AcknowledgeRestart => self.acknowledge_restart(),
            Step::Render => self.render(now).await?,
            Step::Provision => self.provision(now).await?,
            Step::Start(revision) => self.start(revision, now).await?,
            Step::Probe(id) => self.probe(id, now).await?,
            Step::Hold(id, why) => self.hold(id, why, now),
            Step::Resume(id) => {
                if let Some(live) = self.live.instances.get_mut(&id) {
                    live.drain = None;
                }
            }
            Step::Terminate(id, why) => self.terminate(id, why, now).await?,
            Step::Kill(id) => self.kill(id).await,
            Step::Bury(id) => self.bury(id, facts, now).await?,
            Step::ForgiveCrashes => self.status().crashes = 0,
            Step::DropDatabase => self.drop_database(now).await?,
            Step::Forget => self.forget().await?,
            Step::Rest(_) => {}
        }
        Ok(())
    }

    fn acknowledge_restart(&mut self) {
        self.progress.restarts_seen = self.workspace.spec.restarts;
        let status = self.status();
        status.crashes = 0;
        status.retry_at = None;
        status.failed_revision = None;
        self.live.port_retries = 0;
        self.event("RestartAsked", "a restart was asked for");
    }

    async fn provision(&mut self, now: OffsetDateTime) -> Result<(), Trouble> {
        let database = DataDir::database_name(&self.workspace.slug, self.id());
        let home = self.shared.home(&self.workspace.slug, self.id());
        // Before the database: a killed daemon must find that there may be one.
        self.progress.has_database = true;
        self.save(None).await?;
        crashpoint!("provision.before");
        let made = self.shared.provisioner.ensure(&database, &home).await;
        crashpoint!("provision.after");
        match made {
            Ok(()) => {
                self.status().set_condition(ConditionKind::Provisioned, Truth::True, "Provisioned", database, now);
                Ok(())
            }
            Err(error) => {
                let text = error.to_string();
                let kind = ConditionKind::Provisioned;
                if self.status().set_condition(kind, Truth::False, "ProvisioningFailed", text.clone(), now) {
                    self.event("ProvisioningFailed", text.clone());
                }
                Err(Trouble::Step(text))
            }
        }
    }

    async fn probe(&mut self, id: InstanceId, now: OffsetDateTime) -> Result<(), Trouble> {
        let home = self.shared.home(&self.workspace.slug, self.id());
        let Some(row) = self.instances.iter().find(|row| row.instance.id == id).cloned() else { return Ok(()) };
        let Some(live) = self.live.instances.get_mut(&id) else { return Ok(()) };
        if live.serving_since.is_some() {
            let healthy = match &live.process {
                Some(process) => health(&process.door(), &row).await,
                None => Ok(()), // gone: the next step buries it
            };
            self.shared.driver.limit_log(&home).await;
            match healthy {
                Ok(()) => live.failed_checks = 0,
                Err(error) => {
                    tracing::warn!(workspace = %self.workspace.slug, %error, "a health check failed");
                    live.failed_checks += 1;
                    live.last_failure = Some(error.to_string());
                }
            }
            live.next_probe = OffsetDateTime::now_utc() + CHECK_PAUSE;
            return Ok(());
        }
        let report = self.shared.driver.report(&home, id).await;
        live.probes = live.probes.saturating_add(1);
        let ready = match &report.started {
            // Before Backstage has started it only spends the processor's time on our questions.
            None => Err("Backstage has not finished starting".to_owned()),
            Some(_) => match live.process.as_ref().map(|process| process.door()) {
                Some(door) => self.prove_ready(&door, &row).await,
                None => Err("it is gone".to_owned()),
            },
        };
        match ready {
            Ok(()) => self.ready(&row, report, now).await,
            Err(reason) => {
                if let Some(live) = self.live.instances.get_mut(&id) {
                    live.last_failure = Some(reason);
                    live.next_probe = OffsetDateTime::now_utc() + START_PAUSE;
                }
                Ok(())
            }
        }
    }

    /// Is it the one, is it ready, does a plugin answer?
    async fn prove_ready(&self, door: &Door, row: &InstanceRow) -> Result<(), String> {
        health(door, row).await.map_err(|error| error.to_string())?;
        let revision = self.shared.registry.revision(self.id(), row.instance.revision).await;
        let has_catalog = revision
            .ok()
            .flatten()
            .is_none_or(|revision| revision.plugins.iter().any(|plugin| plugin.as_str() == "catalog"));
        if has_catalog {
            let token = probe::derived(&row.instance.boot_secret, "probe");
            probe::catalog(door, &token).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn ready(
        &mut self,
        row: &InstanceRow,
        report: crate::driver::Report,
        now: OffsetDateTime,
    ) -> Result<(), Trouble> {
        let (id, revision) = (row.instance.id, row.instance.revision);
        crashpoint!("ready.before-mark");
        self.shared.registry.set_instance_state(id, InstanceState::Running, now).await?;
        let status = self.status();
        status.active_revision = Some(revision);
        status.retry_at = None;
        if status.failed_revision == Some(revision) {
            status.failed_revision = None;
        }
        let took = report.started.as_ref().map_or(0, |started| started.ms);
        self.plugins_reported(report.plugins, now);
        self.live.port_retries = 0;
        let adopted = match self.live.instances.get_mut(&id) {
            Some(live) => {
                live.serving_since = Some(now);
                live.next_probe = now + CHECK_PAUSE;
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
        self.save(None).await?;
        crashpoint!("ready.after-mark");
        let in_use: Vec<Digest> = [Some(revision), self.progress.rendered, self.workspace.status.failed_revision]
            .into_iter()
            .flatten()
            .collect();
        Ok(self.shared.registry.prune_revisions(self.id(), &in_use).await?)
    }

    fn hold(&mut self, id: InstanceId, why: Why, now: OffsetDateTime) {
        crashpoint!("hold.before");
        let limit = Duration::from_secs(self.shared.settings.instances.drain_timeout_s);
        if let Some(live) = self.live.instances.get_mut(&id) {
            live.drain = Some(Drain { why, deadline: now + limit });
        }
        self.event("Draining", format!("instance {id} gets no new requests: {}", why.as_str()));
        let (shared, workspace, entries) = (self.shared.clone(), self.id(), self.live.entries.clone());
        tokio::spawn(async move {
            let idle = async {
                for entry in &entries {
                    entry.idle().await;
                }
            };
            // A hint: whether it really is idle is read again, and the deadline is the controller's own.
            let _ = tokio::time::timeout(limit, idle).await;
            shared.look_at(workspace);
        });
    }

    async fn terminate(&mut self, id: InstanceId, why: Why, now: OffsetDateTime) -> Result<(), Trouble> {
        crashpoint!("terminate.before");
        self.shared.registry.set_instance_state(id, InstanceState::Stopping, now).await?;
        let patience = if why == Why::StartTimeout { START_KILL_AFTER } else { self.shared.stop_timeout() };
        if let Some(live) = self.live.instances.get_mut(&id) {
            if let Some(process) = &live.process {
                process.terminate();
            }
            live.ending = Some(Ending { why, kill_at: now + patience, killed: false });
        }
        crashpoint!("terminate.after");
        Ok(())
    }

    async fn kill(&mut self, id: InstanceId) {
        let Some(live) = self.live.instances.get_mut(&id) else { return };
        if let Some(ending) = &mut live.ending {
            ending.killed = true;
        }
        if let Some(process) = live.process.clone() {
            process.kill().await;
        }
    }

    async fn bury(&mut self, id: InstanceId, facts: &Facts, now: OffsetDateTime) -> Result<(), Trouble> {
        let home = self.shared.home(&self.workspace.slug, self.id());
        let Some(row) = self.instances.iter().find(|row| row.instance.id == id).cloned() else { return Ok(()) };
        let live = self.live.instances.remove(&id);
        let report = self.shared.driver.report(&home, id).await;
        let exit = live.as_ref().and_then(|live| live.exit());
        let why = live.as_ref().and_then(|live| live.ending.as_ref()).map(|ending| ending.why);
        // Gone when this daemon looked first: the machine was restarted, or it ended unseen. Only its own words count.
        let unseen = live.as_ref().is_none_or(|live| live.process.is_none());
        // The daemon that started it was killed before it had handed over the start message.
        let adopted = live.as_ref().is_some_and(|live| live.adopted);
        let cut_off = adopted && report.failed.as_ref().is_some_and(|failure| failure.phase == FailurePhase::Message);
        let wanted = why.is_some_and(Why::is_wish) || row.state == InstanceState::Stopping && why.is_none();
        let was_serving =
            row.state == InstanceState::Running || live.as_ref().is_some_and(|live| live.serving_since.is_some());
        if facts.deleting || wanted || why == Some(Why::Surplus) {
            self.event("Ended", format!("instance {id} was ended"));
        } else if cut_off || unseen && report.failed.is_none() {
            self.event("Lost", format!("instance {id} ended while no orbitd watched it"));
        } else {
            let log = self.shared.driver.log_tail(&home, cause::QUOTED_LINES).await.unwrap_or_default();
            let log = cause::lines_of(id, log);
            let last = live.as_ref().and_then(|live| live.last_failure.as_deref());
            let cause = self.cause(why, was_serving, exit, &report, &log, last);
            let cause = self.redacted(cause, &row).await;
            let port_taken = exit == Some(Exit::Code(75))
                || report.failed.as_ref().is_some_and(|failure| failure.phase == FailurePhase::Listen);
            self.failed(row.instance.revision, was_serving, port_taken && !was_serving, cause, now);
        }
        // The accounting first: counted twice is better than not at all, and the row is what makes us come back here.
        self.save(None).await?;
        if let Some(live) = &live {
            self.shared.internal_paths.remove(&live.internal_secret);
        }
        self.shared.driver.discard(&home, id).await;
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
        report: &crate::driver::Report,
        log: &[String],
        last: Option<&str>,
    ) -> String {
        let mut text = match why {
            Some(Why::StartTimeout) => format!(
                "the instance was not ready within {} s (`instances.start_timeout_s`): {}",
                self.shared.settings.instances.start_timeout_s,
                last.unwrap_or("it did not answer"),
            ),
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

    /// A start that did not even get as far as a process.
    pub(super) async fn failed_start(
        &mut self,
        revision: Digest,
        cause: String,
        now: OffsetDateTime,
    ) -> Result<(), Trouble> {
        self.failed(revision, false, false, format!("the instance can't be started: {cause}"), now);
        self.save(None).await
    }

    pub(super) fn revision_is_gone(&mut self, digest: Digest, now: OffsetDateTime) -> Result<(), Trouble> {
        tracing::warn!(workspace = %self.workspace.slug, revision = %digest.short(), "a stored revision is gone");
        let status = self.status();
        if status.active_revision == Some(digest) {
            status.active_revision = None;
        }
        status.retry_at = Some(now + backoff::delay(1, 0.0));
        self.live.rendered = None;
        Ok(())
    }

    /// Accounts for an instance that did not come up, or ended unasked.
    fn failed(&mut self, revision: Digest, was_serving: bool, port_taken: bool, cause: String, now: OffsetDateTime) {
        self.shared.metrics.crashed();
        if port_taken && self.live.port_retries < MAX_PORT_RETRIES {
            self.live.port_retries += 1;
            self.event("PortTaken", "its port was taken before it could be opened; another one is tried");
            return;
        }
        let active = self.workspace.status.active_revision;
        if let (false, Some(active)) = (was_serving, active.filter(|active| *active != revision)) {
            self.status().failed_revision = Some(revision);
            let message =
                format!("revision {} did not come up; {} runs again. {cause}", revision.short(), active.short());
            self.status().set_condition(ConditionKind::RolledOut, Truth::False, "DidNotComeUp", message.clone(), now);
            self.event("RolloutFailed", message);
            return;
        }
        let crashes = self.workspace.status.crashes.saturating_add(1);
        let wait = backoff::delay(crashes, rand::random_range(-0.2..=0.2));
        let status = self.status();
        status.crashes = crashes;
        status.retry_at = Some(now + wait);
        let reason = if crashes > 1 { "CrashLoop" } else { "Crashed" };
        let again = wait.as_secs_f64();
        let message = format!("{cause}\n(crash {crashes} in a row; the next start is {again:.0} s after it)");
        status.set_condition(ConditionKind::Ready, Truth::False, reason, message.clone(), now);
        self.event(reason, message);
    }

    async fn drop_database(&mut self, now: OffsetDateTime) -> Result<(), Trouble> {
        let database = DataDir::database_name(&self.workspace.slug, self.id());
        let home = self.shared.home(&self.workspace.slug, self.id());
        crashpoint!("drop.before");
        let dropped = self.shared.provisioner.remove(&database, &home).await;
        crashpoint!("drop.after");
        if let Err(error) = dropped {
            let text = error.to_string();
            self.status().set_condition(ConditionKind::Provisioned, Truth::Unknown, "DropFailed", text.clone(), now);
            return Err(Trouble::Step(text));
        }
        self.progress.has_database = false;
        self.status().set_condition(ConditionKind::Provisioned, Truth::False, "Dropped", database, now);
        Ok(())
    }

    async fn forget(&mut self) -> Result<(), Trouble> {
        let id = self.id();
        let home = self.shared.home(&self.workspace.slug, id);
        crashpoint!("forget.before-home");
        self.shared.driver.remove_home(&home).await.map_err(|error| Trouble::Step(error.to_string()))?;
        crashpoint!("forget.after-home");
        self.shared.registry.delete_workspace(id).await?;
        crashpoint!("forget.after-row");
        self.shared.set_rejection(id, None);
        tracing::info!(workspace = %self.workspace.slug, %id, "deleted");
        Ok(())
    }
}

async fn health(door: &Door, row: &InstanceRow) -> Result<(), probe::ProbeError> {
    probe::prove(door, row.instance.id, &row.instance.boot_secret).await?;
    probe::ready(door).await
}
