//! What to do next for one workspace: pure, from facts alone. The controller does exactly one step, looks again, and asks again; so
//! a daemon that was killed anywhere goes on from what it finds.
//!
//! ```text
//!  Render ─▶ Provision ─▶ Start ─▶ Probe… ─▶ serving ──new config, restart, stop──▶ Hold ─▶ Terminate ─▶ (Kill) ─▶ Bury
//!                           ▲        └ did not come up ────────────────────────────────────────▲                    │
//!                           └──────────── after the backoff, or at once for a wanted restart ────────────────────────┘
//!  deleting: Terminate ─▶ Bury ─▶ DropDatabase ─▶ Forget
//! ```
//!
//! Invariants (the tests drive random worlds through them): never a start while an instance's row is there; never a start of
//! a stopped or deleted workspace; no start before the backoff is over; a serving instance is held and drained before it
//! is ended, unless it is unhealthy or its workspace is deleted; nothing is dropped while a process lives.

use std::time::Duration;

use time::OffsetDateTime;

use super::backoff::FORGIVEN_AFTER;
use crate::{
    ids::{Digest, InstanceId},
    model::DesiredState,
};

/// Failed health checks in a row before a serving instance is restarted.
pub(super) const MAX_FAILED_CHECKS: u32 = 3;
/// Probes that an instance gets even if its deadline has passed meanwhile (a daemon or a machine that was asleep).
pub(super) const MIN_PROBES: u32 = 3;
const TURN_PAUSE: Duration = Duration::from_millis(500);
const KILLED_PAUSE: Duration = Duration::from_secs(1);

/// Everything a decision depends on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Facts {
    pub deleting: bool,
    pub desired: DesiredState,
    /// Its database is there, wholly or in part.
    pub has_database: bool,
    pub config: Config,
    /// The last revision that came up.
    pub active: Option<Digest>,
    /// The last one that did not, while there is an active one to return to.
    pub failed: Option<Digest>,
    pub crashes: u32,
    pub retry_at: Option<OffsetDateTime>,
    /// `spec.restarts`.
    pub restarts: i64,
    /// `spec.restarts` has grown since it was last acted on.
    pub restart_asked: bool,
    /// Oldest first. More than one only after a fault.
    pub instances: Vec<InstanceFacts>,
    /// Few enough others are starting.
    pub may_start: bool,
}

/// The newest config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Config {
    /// Not rendered since spec, policies or secrets changed.
    Unrendered,
    Rendered(Digest),
    /// It can't be rendered; the active revision stays.
    Rejected,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct InstanceFacts {
    pub id: InstanceId,
    pub revision: Digest,
    /// `spec.restarts` that it was started for.
    pub restarts: i64,
    pub process: ProcessFacts,
    pub drain: Option<DrainFacts>,
    pub ending: Option<EndingFacts>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ProcessFacts {
    /// Nothing of it lives.
    Gone,
    /// It lives and is not proven yet.
    Starting { deadline: OffsetDateTime, probes: u32, next_probe: OffsetDateTime },
    /// Proven: boot secret, readiness, a plugin's answer.
    Serving { since: OffsetDateTime, failed_checks: u32, next_check: OffsetDateTime },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct DrainFacts {
    pub deadline: OffsetDateTime,
    /// No request is on it, read after `Held` was published.
    pub idle: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct EndingFacts {
    pub kill_at: OffsetDateTime,
    pub killed: bool,
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// Clear the backoff, give a failed revision another chance.
    AcknowledgeRestart,
    Render,
    Provision,
    Start(Digest),
    /// Ask the instance for proof and health.
    Probe(InstanceId),
    /// Let no new request on it.
    Hold(InstanceId, Why),
    /// Let requests on it again: what it was held for is not wanted any more.
    Resume(InstanceId),
    /// SIGTERM.
    Terminate(InstanceId, Why),
    /// SIGKILL.
    Kill(InstanceId),
    /// Account for an instance that is gone, and forget its row.
    Bury(InstanceId),
    /// Healthy for long enough: crashes are back to 0.
    ForgiveCrashes,
    DropDatabase,
    /// Remove the last traces of a deleted workspace.
    Forget,
    /// Nothing before this time; `None`: nothing until something changes.
    Rest(Option<OffsetDateTime>),
}

/// Why an instance must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    NewConfiguration,
    Restart,
    Stopped,
    Deleted,
    /// A second one of its workspace.
    Surplus,
    StartTimeout,
    Unhealthy,
}

impl Why {
    /// It was wanted: the instance's end is no crash.
    pub(super) fn is_wish(self) -> bool {
        !matches!(self, Self::StartTimeout | Self::Unhealthy)
    }

    /// For people who wait.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NewConfiguration => "new configuration",
            Self::Restart => "restarting",
            Self::Stopped => "stopping",
            Self::Deleted => "being deleted",
            Self::Surplus => "starting",
            Self::StartTimeout => "starting again",
            Self::Unhealthy => "restarting: it did not answer",
        }
    }
}

impl Facts {
    /// The revision that should run now.
    pub(super) fn wanted(&self) -> Option<Digest> {
        match self.config {
            _ if self.deleting || self.desired == DesiredState::Stopped => None,
            Config::Rendered(digest) if self.failed == Some(digest) => self.active.or(Some(digest)),
            Config::Rendered(digest) => Some(digest),
            Config::Rejected | Config::Unrendered => self.active,
        }
    }

    /// The instance that may have traffic.
    pub(super) fn serving(&self) -> Option<&InstanceFacts> {
        let serves = |i: &&InstanceFacts| {
            matches!(i.process, ProcessFacts::Serving { .. }) && i.drain.is_none() && i.ending.is_none()
        };
        (!self.deleting && self.desired == DesiredState::Running).then(|| self.instances.iter().rev().find(serves))?
    }
}

/// What to do next.
pub(super) fn next_step(facts: &Facts, now: OffsetDateTime) -> Step {
    instances_that_go(facts, now)
        .or_else(|| spec(facts))
        .or_else(|| facts.instances.last().map(|instance| instance_that_stays(facts, instance, now)))
        .unwrap_or_else(|| without_instance(facts, now))
}

/// What is gone, what is ending, and what must end whatever the config says.
fn instances_that_go(facts: &Facts, now: OffsetDateTime) -> Option<Step> {
    if let Some(gone) = facts.instances.iter().find(|i| i.process == ProcessFacts::Gone) {
        return Some(Step::Bury(gone.id));
    }
    let mut ending = None;
    for (position, instance) in facts.instances.iter().enumerate() {
        let surplus = position + 1 < facts.instances.len();
        match instance.ending {
            Some(EndingFacts { kill_at, killed: false }) if now >= kill_at => return Some(Step::Kill(instance.id)),
            Some(EndingFacts { killed: true, .. }) => ending = Some(now + KILLED_PAUSE),
            Some(EndingFacts { kill_at, .. }) => ending = Some(kill_at),
            None if facts.deleting => return Some(Step::Terminate(instance.id, Why::Deleted)),
            None if surplus => return Some(Step::Terminate(instance.id, Why::Surplus)),
            None => {}
        }
    }
    // Its end comes as a hint; this is for the case that the hint is lost.
    ending.map(|at| Step::Rest(Some(at)))
}

fn spec(facts: &Facts) -> Option<Step> {
    if facts.deleting {
        return None;
    }
    if facts.restart_asked {
        return Some(Step::AcknowledgeRestart);
    }
    (facts.desired == DesiredState::Running && facts.config == Config::Unrendered).then_some(Step::Render)
}

fn instance_that_stays(facts: &Facts, instance: &InstanceFacts, now: OffsetDateTime) -> Step {
    let why = if facts.desired == DesiredState::Stopped {
        Some(Why::Stopped)
    } else if facts.wanted().is_some_and(|wanted| wanted != instance.revision) {
        Some(Why::NewConfiguration)
    } else if instance.restarts != facts.restarts {
        Some(Why::Restart)
    } else {
        None
    };
    match (why, instance.process, instance.drain) {
        (Some(why), ProcessFacts::Serving { .. }, None) => Step::Hold(instance.id, why),
        (Some(_), ProcessFacts::Serving { .. }, Some(drain)) if !drain.idle && now < drain.deadline => {
            Step::Rest(Some(drain.deadline))
        }
        (Some(why), ..) => Step::Terminate(instance.id, why),
        (None, _, Some(_)) => Step::Resume(instance.id),
        (None, ProcessFacts::Starting { deadline, probes, .. }, None) if now >= deadline && probes >= MIN_PROBES => {
            Step::Terminate(instance.id, Why::StartTimeout)
        }
        (None, ProcessFacts::Serving { failed_checks, .. }, None) if failed_checks >= MAX_FAILED_CHECKS => {
            Step::Terminate(instance.id, Why::Unhealthy)
        }
        (None, ProcessFacts::Serving { since, .. }, None) if facts.crashes > 0 && now >= since + FORGIVEN_AFTER => {
            Step::ForgiveCrashes
        }
        (None, ProcessFacts::Starting { next_probe: at, .. } | ProcessFacts::Serving { next_check: at, .. }, None) => {
            if now >= at {
                Step::Probe(instance.id)
            } else {
                Step::Rest(Some(at))
            }
        }
        (None, ProcessFacts::Gone, None) => Step::Bury(instance.id),
    }
}

fn without_instance(facts: &Facts, now: OffsetDateTime) -> Step {
    match facts.wanted() {
        _ if facts.deleting && facts.has_database => Step::DropDatabase,
        _ if facts.deleting => Step::Forget,
        None => Step::Rest(None),
        Some(_) if !facts.has_database => Step::Provision,
        Some(revision) => match facts.retry_at {
            Some(at) if now < at => Step::Rest(Some(at)),
            _ if !facts.may_start => Step::Rest(Some(now + TURN_PAUSE)),
            _ => Step::Start(revision),
        },
    }
}
