//! Describes a workspace at rest: phase and the conditions that follow from the facts. Conditions that carry a cause are set where
//! the cause is known (`perform`, `render`).

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    backup::Known,
    facts::{Config, Facts, ProcessFacts, Restoring, Turn},
    observe::SOURCE_REJECTED,
    reconcile::Work,
};
use crate::model::{ConditionKind, DesiredState, Phase, PluginOutcome, PluginReport, Rung, Truth};

impl Facts {
    /// Nothing is left to do until the spec changes: the periodic scan may pass it by.
    pub(super) fn is_at_rest(&self) -> bool {
        let down = self.desired == DesiredState::Stopped || self.rung == Some(Rung::Stopped);
        !self.deleting && down && self.instances.is_empty()
    }

    /// One word for it.
    pub(super) fn phase(&self, now: OffsetDateTime) -> Phase {
        let lives = self.instances.iter().any(|i| i.process != ProcessFacts::Gone);
        if self.deleting {
            Phase::Deleting
        } else if self.serving().is_some() {
            Phase::Running
        } else if self.desired == DesiredState::Stopped && !lives {
            Phase::Stopped
        } else if let (DesiredState::Running, Some(rung)) = (self.desired, self.rung) {
            match (rung, lives, self.instances.iter().any(|i| i.suspended)) {
                (Rung::Suspended, true, true) => Phase::Suspended,
                (_, false, _) => Phase::Asleep,
                // Falling asleep: what is under way ends first.
                (_, true, _) => Phase::Running,
            }
        } else if self.crashes > 0 && (self.crashes > 1 || self.retry_at.is_some_and(|at| now < at)) {
            Phase::CrashLoop
        } else if self.wanted().is_none() && !lives {
            Phase::Pending
        } else if !self.has_database {
            Phase::Provisioning
        } else {
            Phase::Starting
        }
    }

    /// The work for the newest generation is over, well or badly.
    pub(super) fn is_settled(&self, now: OffsetDateTime) -> bool {
        if self.restore != Restoring::No || self.rotation_asked || self.retiring.is_some() {
            return false;
        }
        match self.phase(now) {
            // A restart that keeps failing beside the instance that serves: the condition says so, nothing more will come soon.
            Phase::Running if self.crashes > 0 && self.retry_at.is_some_and(|at| now < at) => true,
            Phase::Running => {
                self.wanted().is_some() && self.serving().is_some_and(|serving| self.misfit(serving).is_none())
            }
            Phase::Stopped => true,
            // Only what was settled falls asleep, and a changed spec wakes.
            Phase::Suspended | Phase::Asleep => self.config != Config::Unrendered,
            Phase::Pending => self.config == Config::Rejected,
            Phase::CrashLoop => self.instances.is_empty(),
            Phase::Provisioning | Phase::Starting | Phase::Deleting => false,
        }
    }
}

impl Work<'_> {
    /// Brings the status in line with the facts.
    pub(super) fn describe(&mut self, facts: &Facts, until: Option<OffsetDateTime>, now: OffsetDateTime) {
        let (id, generation) = (self.id(), self.workspace.generation);
        let rejection = self.shared.rejection(id);
        let mut newly_rejected = None;
        let known = self.shared.backups.known(id);
        if facts.wanted().is_none() {
            self.live.waits_for = None;
        }
        let waits_for = self.live.waits_for.clone();
        let status = self.status();
        let was = status.phase;
        status.phase = facts.phase(now);
        match rejection {
            Some(reason) => {
                let message = format!("{reason} (the last good one stays)");
                let kind = ConditionKind::ConfigAccepted;
                if status.set_condition(kind, Truth::False, SOURCE_REJECTED, message.clone(), now) {
                    newly_rejected = Some(message);
                }
            }
            None => {
                let stale = |c: &crate::model::Condition| c.reason == SOURCE_REJECTED;
                if status.condition(ConditionKind::ConfigAccepted).is_some_and(stale) {
                    status.set_condition(
                        ConditionKind::ConfigAccepted,
                        Truth::Unknown,
                        "SourceMended",
                        "the source's entry can be used again",
                        now,
                    );
                }
            }
        }
        describe_ready(facts, status, until, now);
        describe_rollout(facts, status, now);
        describe_backup(&known, status, now);
        if let Some(message) = waits_for {
            // What serves goes on serving: then it is the rollout that waits.
            let kind = if facts.serving().is_some() { ConditionKind::RolledOut } else { ConditionKind::Ready };
            status.set_condition(kind, Truth::False, "WaitingForConnections", message, now);
        }
        if facts.is_settled(now) {
            status.observed_generation = generation;
        }
        let stopped = was != Phase::Stopped && status.phase == Phase::Stopped;
        let asleep = was != Phase::Asleep && status.phase == Phase::Asleep && facts.instances.is_empty();
        if stopped {
            self.event("Stopped", "no instance runs, as wanted; its data is kept");
        }
        if asleep {
            self.event("Asleep", "no instance runs until the next request");
        }
        if let Some(message) = newly_rejected {
            self.event("ConfigRejected", message);
        }
    }

    /// What the launcher said about plugins.
    pub(super) fn plugins_reported(&mut self, plugins: Vec<PluginReport>, now: OffsetDateTime) {
        let bad: Vec<String> = plugins
            .iter()
            .filter(|plugin| plugin.outcome != PluginOutcome::Ready)
            .map(|plugin| {
                let what = match plugin.outcome {
                    PluginOutcome::LeftOut => "was left out",
                    PluginOutcome::Failed | PluginOutcome::Ready => "failed",
                };
                format!("plugin {} {what}: {}", plugin.id, plugin.reason.as_deref().unwrap_or("no reason was given"))
            })
            .collect();
        let status = self.status();
        let (truth, reason) = if plugins.iter().any(|p| p.outcome == PluginOutcome::Failed) {
            (Truth::False, "PluginsFailed")
        } else if bad.is_empty() {
            (Truth::True, "AllReady")
        } else {
            (Truth::False, "PluginsLeftOut")
        };
        let message = if bad.is_empty() { format!("{} plugins run", plugins.len()) } else { bad.join("; ") };
        status.plugins = plugins;
        if status.set_condition(ConditionKind::PluginsHealthy, truth, reason, message.clone(), now) && !bad.is_empty() {
            self.event(reason, message);
        }
    }
}

fn describe_ready(
    facts: &Facts,
    status: &mut crate::model::Status,
    until: Option<OffsetDateTime>,
    now: OffsetDateTime,
) {
    let kind = ConditionKind::Ready;
    let mut ready = |truth, reason: &str, message: String| {
        status.set_condition(kind, truth, reason, message, now);
    };
    match facts.phase(now) {
        Phase::Running => {
            if let Some(serving) = facts.serving() {
                ready(Truth::True, "Serving", format!("instance {} serves", serving.id));
            }
        }
        Phase::Suspended => {
            ready(Truth::True, "Suspended", "its instance is suspended; the next request wakes it".to_owned());
        }
        Phase::Asleep => ready(Truth::True, "Asleep", "no instance runs; the next request starts one".to_owned()),
        Phase::Stopped => ready(Truth::False, "Stopped", "stopped, as wanted".to_owned()),
        Phase::Deleting => ready(Truth::False, "Deleting", "it is being deleted".to_owned()),
        // Its message was set with the cause.
        Phase::CrashLoop => {}
        Phase::Pending => {
            ready(Truth::False, "NoConfig", "there is no configuration that can be used: see ConfigAccepted".to_owned())
        }
        Phase::Provisioning => ready(Truth::False, "Provisioning", "its database is being made".to_owned()),
        Phase::Starting if facts.instances.is_empty() && facts.memory_cap.is_some() && until.is_some() => {
            let cap = facts.memory_cap.unwrap_or_default();
            let message = format!("it waits until another instance has gone to sleep: `{cap}` is reached");
            ready(Truth::False, "WaitingForMemory", message);
        }
        Phase::Starting if facts.instances.is_empty() && !facts.may_start && until.is_some() => {
            let message = "it waits for its turn to start (`instances.max_starting`)";
            ready(Truth::False, "WaitingForTurn", message.to_owned());
        }
        Phase::Starting => ready(Truth::False, "Starting", "its instance is starting".to_owned()),
    }
}

/// Unsaid as long as none was tried by this daemon.
fn describe_backup(known: &Known, status: &mut crate::model::Status, now: OffsetDateTime) {
    let kind = ConditionKind::BackedUp;
    if let Some(failure) = &known.failure {
        status.set_condition(kind, Truth::False, "BackupFailed", failure.reason.clone(), now);
    } else if let Some(last) = known.last {
        let at = last.format(&Rfc3339).unwrap_or_default();
        status.set_condition(kind, Truth::True, "BackedUp", format!("the newest backup is of {at}"), now);
    }
}

fn describe_rollout(facts: &Facts, status: &mut crate::model::Status, now: OffsetDateTime) {
    if facts.deleting || facts.desired != DesiredState::Running || facts.rung.is_some() {
        return;
    }
    let mut rolled_out = |truth, reason: &str, message: String| {
        status.set_condition(ConditionKind::RolledOut, truth, reason, message, now);
    };
    let newest = match (facts.pinned, facts.config) {
        (Some(pinned), _) => pinned,
        (None, Config::Rendered(digest)) => digest,
        (None, Config::Rejected) => {
            let message = "the newest configuration was not accepted: see ConfigAccepted".to_owned();
            return rolled_out(Truth::False, "ConfigNotAccepted", message);
        }
        (None, Config::Unrendered) => return,
    };
    let name = newest.short();
    let serving = facts.serving().filter(|serving| serving.revision == newest);
    match (serving, facts.turn) {
        (Some(_), _) if facts.pinned.is_some() => {
            let then = "a changed spec or `orbitd workspace rollout` ends that";
            rolled_out(Truth::True, "Pinned", format!("revision {name} serves, pinned by a rollback; {then}"));
        }
        // A restart of it that fails is told where its cause is known.
        (Some(serving), _) if facts.crashes > 0 && facts.misfit(serving).is_some() => {}
        (Some(_), _) => rolled_out(Truth::True, "Serving", format!("revision {name} serves")),
        // Set with its cause.
        (None, _) if facts.failed == Some(newest) => {}
        (None, Turn::Waiting(before)) => {
            let limits = "`instances.max_rollouts`, or `rollout.max_concurrent` of its tier";
            let message = format!("revision {name} waits for its turn: {before} rollouts are before it ({limits})");
            rolled_out(Truth::False, "WaitingForTurn", message);
        }
        (None, _) => rolled_out(Truth::False, "RollingOut", format!("revision {name} is being rolled out")),
    }
}
