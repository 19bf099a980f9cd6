//! Everything that a decision about one workspace depends on: plain data, and what follows from it without a clock. Made by
//! [`super::observe`], read by [`super::step`], [`super::offer`] and [`super::status`].

use time::{Duration, OffsetDateTime};

use super::step::Why;
use crate::{
    ids::{Digest, InstanceId},
    model::{DesiredState, RolloutStrategy, Rung},
    provisioner::Writers,
};

/// Everything a decision depends on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Facts {
    pub deleting: bool,
    pub desired: DesiredState,
    /// Its database is there, wholly or in part.
    pub has_database: bool,
    pub config: Config,
    /// `spec.pinned`: a rollback's revision, which goes before the newest config.
    pub pinned: Option<Digest>,
    /// The revision that serves, or served last.
    pub active: Option<Digest>,
    /// The last one that outlived its bake: what a failed one returns to.
    pub good: Option<Digest>,
    /// The last one that did not come up or died in its bake, while there is another to return to.
    pub failed: Option<Digest>,
    pub crashes: u32,
    pub retry_at: Option<OffsetDateTime>,
    /// `spec.restarts`.
    pub restarts: i64,
    /// `spec.restarts` has grown since it was last acted on.
    pub restart_asked: bool,
    /// A new database password is asked for.
    pub rotation_asked: bool,
    /// Instances with a smaller id may have the database login that is to be closed.
    pub retiring: Option<InstanceId>,
    /// The server failed at that: not again before this time.
    pub login_after: Option<OffsetDateTime>,
    pub restore: Restoring,
    /// `rollout.strategy` of the tier.
    pub strategy: RolloutStrategy,
    /// Instances that the database takes.
    pub writers: Writers,
    /// How long a new revision must serve before it counts as good.
    pub bake: Duration,
    /// Its place among those that are rolled out.
    pub turn: Turn,
    /// Few enough others are starting, and memory is left.
    pub may_start: bool,
    /// The memory cap that is reached, by the name of its key.
    pub memory_cap: Option<&'static str>,
    /// Where on the sleep ladder it shall be; `None`: awake.
    pub rung: Option<Rung>,
    /// What came up on a copy of the database.
    pub proven: Option<Digest>,
    /// Oldest first.
    pub instances: Vec<InstanceFacts>,
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

/// A backup that is to replace the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restoring {
    No,
    /// It is to be fetched; not before this time.
    Wanted(Option<OffsetDateTime>),
    /// It lies here, whole.
    Fetched,
}

/// A workspace's place among those that are rolled out; a limited number are at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    NotAsked,
    /// So many are before it.
    Waiting(usize),
    Granted,
}

/// What an instance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It serves, served, or is to serve. Of two the older is *blue*, the newer *green*.
    Main,
    /// It runs a revision on a copy of the database, to prove that it comes up. It never serves.
    Trial,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct InstanceFacts {
    pub id: InstanceId,
    pub role: Role,
    pub revision: Digest,
    /// `spec.restarts` that it was started for.
    pub restarts: i64,
    /// A newer instance was tried on its database and failed: what that one changed there (config-declared catalogue locations)
    /// is only set right by a start.
    pub stale: bool,
    /// It answers with errors since a newer one runs beside it (see [`super::harm`]).
    pub harmed: bool,
    /// It is stopped where it is.
    pub suspended: bool,
    pub process: ProcessFacts,
    pub drain: Option<DrainFacts>,
    pub ending: Option<EndingFacts>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ProcessFacts {
    /// Nothing of it lives.
    Gone,
    /// It lives and is not proven yet. `refused`: it came up, but worse than what serves.
    Starting { deadline: OffsetDateTime, probes: u32, next_probe: OffsetDateTime, refused: bool },
    /// Proven: boot secret, readiness, a plugin's answer, its plugins' own results.
    Serving { since: OffsetDateTime, failed_checks: u32, next_check: OffsetDateTime },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct DrainFacts {
    pub leave: Leave,
    pub deadline: OffsetDateTime,
    /// Nothing is on it, read after something else was published.
    pub idle: bool,
    /// When its WebSockets and event streams were told to end.
    pub cut_at: Option<OffsetDateTime>,
}

/// How an instance gives up its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// New ones wait for its successor.
    Held,
    /// New ones go to its successor. It stands by, in case that fails.
    Retired,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct EndingFacts {
    pub kill_at: OffsetDateTime,
    pub killed: bool,
}

// === impl Facts ===

impl Facts {
    /// The revision that should run now.
    pub fn wanted(&self) -> Option<Digest> {
        if self.deleting || self.desired == DesiredState::Stopped {
            return None;
        }
        let newest = match (self.pinned, self.config) {
            (Some(pinned), _) => pinned,
            (None, Config::Rendered(digest)) => digest,
            (None, Config::Rejected | Config::Unrendered) => return self.active,
        };
        if self.failed == Some(newest) { self.active.or(Some(newest)) } else { Some(newest) }
    }

    /// Why this instance can't stay, if the config says so.
    pub fn misfit(&self, instance: &InstanceFacts) -> Option<Why> {
        let wanted = self.wanted()?;
        if wanted != instance.revision {
            Some(Why::NewConfiguration)
        } else if instance.restarts != self.restarts {
            Some(Why::Restart)
        } else if self.retiring.is_some_and(|before| instance.id < before) {
            Some(Why::Password)
        } else if instance.stale {
            Some(Why::Renewal)
        } else {
            None
        }
    }

    /// Those that serve or are to serve, and are not told to end. Oldest first.
    pub fn mains(&self) -> impl DoubleEndedIterator<Item = &InstanceFacts> {
        self.instances.iter().filter(|i| i.role == Role::Main && i.ending.is_none())
    }

    /// The one that proves a revision on a copy.
    pub fn trial(&self) -> Option<&InstanceFacts> {
        self.instances.iter().find(|i| i.role == Role::Trial)
    }

    /// The instance that has the traffic: the newest proven one; one that stands by where that failed.
    pub fn serving(&self) -> Option<&InstanceFacts> {
        if self.deleting || self.desired != DesiredState::Running || self.rung.is_some() {
            return None;
        }
        let with = |leave: Option<Leave>| {
            self.mains().rev().find(|i| i.is_proven() && !i.suspended && i.drain.map(|drain| drain.leave) == leave)
        };
        with(None).or_else(|| with(Some(Leave::Retired)))
    }

    /// Two instances may run on the database at the same time, and should.
    pub fn side_by_side(&self) -> bool {
        self.strategy == RolloutStrategy::BlueGreen && self.writers == Writers::Many
    }

    /// A revision must be proven on a copy before what serves is touched. A restart of the same revision needs no proof.
    pub fn needs_proof(&self, wanted: Digest, blue: &InstanceFacts) -> bool {
        self.strategy == RolloutStrategy::BlueGreen
            && self.writers == Writers::One
            && wanted != blue.revision
            && self.proven != Some(wanted)
    }

    /// Blue fails since green runs beside it. Another instance of the same revision is what mends a blue, and nothing new to its
    /// database.
    pub fn breaks(&self, green: &InstanceFacts, blue: &InstanceFacts) -> bool {
        blue.is_proven() && blue.harmed && blue.revision != green.revision
    }

    /// The same, and green is well.
    pub fn no_way_back(&self, blue: &InstanceFacts, green: &InstanceFacts) -> bool {
        let well = matches!(green.process, ProcessFacts::Serving { failed_checks: 0, .. });
        well && self.breaks(green, blue)
    }

    /// The active revision serves, but has not outlived its bake.
    pub fn is_baking(&self) -> bool {
        self.active.is_some() && self.active != self.good
    }

    /// It would start an instance now if it might.
    pub fn waits_to_start(&self, now: OffsetDateTime) -> bool {
        let wanted = self.wanted().is_some() && self.rung.is_none() && self.instances.is_empty();
        // One that waits for memory keeps nobody behind it waiting.
        wanted && !self.may_start && self.memory_cap.is_none() && self.retry_at.is_none_or(|at| at <= now)
    }

    /// Nothing of a rollout is under way, or it waits for something that must not keep others waiting.
    pub fn gives_up_its_turn(&self, now: OffsetDateTime) -> bool {
        let mut mains = self.instances.iter();
        let settled = match (mains.next(), mains.next()) {
            (Some(only), None) => only.is_proven() && only.ending.is_none() && self.misfit(only).is_none(),
            _ => false,
        };
        settled || self.rung.is_some() || self.wanted().is_none() || self.retry_at.is_some_and(|at| now < at)
    }
}

// === impl InstanceFacts ===

impl InstanceFacts {
    /// It has shown that it works.
    pub fn is_proven(&self) -> bool {
        matches!(self.process, ProcessFacts::Serving { .. })
    }
}
