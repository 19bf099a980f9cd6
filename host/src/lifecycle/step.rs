//! What to do next for one workspace: pure, from facts alone. The controller does exactly one step, looks again, and asks again; so
//! a daemon that was killed anywhere goes on from what it finds.
//!
//! ```text
//!  Render ─▶ Provision ─▶ Start ─▶ Probe… ─▶ serving ─▶ Confirm, after its bake
//!                           ▲        └ did not come up ─▶ Bury; the last good revision, or the same one after a backoff
//!
//!  A rollout (new revision, restart, renewal), after AskTurn:
//!   database takes two    Start green ─▶ Probe… ─▶ switch, Retire blue ─▶ bake ─▶ Confirm ─▶ (Cut) ─▶ Terminate blue ─▶ Bury
//!                                          │                               └ green died: Readmit blue, then renew it
//!                                          └ green did not come up: Bury; blue never stopped serving; renew it
//!   database takes one    Start trial, on a copy ─▶ Probe… ─▶ Terminate it ─▶ Bury ─▶ as restart, with a revision that is proven
//!   restart               Hold ─▶ Cut ─▶ Terminate ─▶ (Kill) ─▶ Bury ─▶ Start ─▶ Probe… ─▶ serving, requests go on
//!
//!  password   RotateLogin ─▶ as a restart, with the new one ─▶ CloseLogin once no instance has the old one
//!  restore    FetchRestore ─▶ Hold ─▶ Terminate ─▶ Bury ─▶ LoadRestore ─▶ Start
//!  asleep:   Hold ─▶ Cut ─▶ Suspend … Resume          or as stopped, until it is wanted awake
//!
//!  stopped:  Hold ─▶ Cut ─▶ Terminate ─▶ Bury          deleting: Terminate ─▶ Bury ─▶ DropDatabase ─▶ Forget
//! ```
//!
//! Invariants (the tests drive random worlds through them): never two instances on a database that takes one, never three on
//! any; a trial never serves; a blue that serves is not touched before its green has come up (or a trial has), unless it is
//! unhealthy, stopped or deleted; no start before the backoff is over; a serving instance is drained before it is ended;
//! nothing is dropped while a process lives; the newest wish wins, whatever is under way.

mod leaving;
mod side_by_side;
mod why;

use time::{Duration, OffsetDateTime};

use super::{
    backoff::FORGIVEN_AFTER,
    facts::{Config, EndingFacts, Facts, InstanceFacts, Leave, ProcessFacts, Restoring, Role, Turn},
};
use crate::{
    ids::{Digest, InstanceId},
    model::{DesiredState, Rung},
    provisioner::Writers,
};

pub(super) use why::Why;

/// Failed health checks in a row before a serving instance is restarted.
pub(super) const MAX_FAILED_CHECKS: u32 = 3;
/// Probes that an instance gets even if its deadline has passed meanwhile (a daemon or a machine that was asleep).
pub(super) const MIN_PROBES: u32 = 3;
/// Before it is looked again whether an instance may start.
const START_PAUSE: Duration = Duration::milliseconds(500);
/// The same for a rollout; whoever gives up a turn tells the next one.
const TURN_PAUSE: Duration = Duration::seconds(5);
const KILLED_PAUSE: Duration = Duration::seconds(1);
/// What streams get to end after they were told.
const CUT_PAUSE: Duration = Duration::seconds(2);

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// Clear the backoff, give a failed revision another chance.
    AcknowledgeRestart,
    /// Make the login with the new database password.
    RotateLogin,
    /// Close the old one.
    CloseLogin,
    /// Fetch and check the backup that is to be restored.
    FetchRestore,
    /// Replace the database by it.
    LoadRestore,
    Render,
    Provision,
    /// Stand in the queue of rollouts.
    AskTurn,
    Start(Digest, Role),
    /// Ask the instance for proof and health.
    Probe(InstanceId),
    /// Let requests wait for its successor.
    Hold(InstanceId, Why),
    /// Its successor serves: it stands by.
    Retire(InstanceId),
    /// Let requests on it again: what it was held or retired for is not wanted any more, or has failed.
    Readmit(InstanceId),
    /// End WebSockets and event streams on it.
    Cut(InstanceId),
    /// Stop it where it is, its memory to swap.
    Suspend(InstanceId),
    /// Let it run again.
    Resume(InstanceId),
    /// The active revision has outlived its bake.
    Confirm,
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

/// What to do next.
pub(super) fn next_step(facts: &Facts, now: OffsetDateTime) -> Step {
    let mut look = Look { facts, now, wake: None };
    look.endings()
        .or_else(|| look.teardown())
        .or_else(|| look.restore())
        .or_else(|| look.login())
        .or_else(|| look.spec())
        .or_else(|| look.mains())
        .unwrap_or(Step::Rest(look.wake))
}

/// One look: the rules in order. The first that has something to do wins; one that only waits says until when.
struct Look<'a> {
    facts: &'a Facts,
    now: OffsetDateTime,
    wake: Option<OffsetDateTime>,
}

impl Look<'_> {
    fn wait(&mut self, until: OffsetDateTime) {
        self.wake = Some(self.wake.map_or(until, |wake| wake.min(until)));
    }

    /// What is gone, and what was told to end.
    fn endings(&mut self) -> Option<Step> {
        if let Some(gone) = self.facts.instances.iter().find(|i| i.process == ProcessFacts::Gone) {
            return Some(Step::Bury(gone.id));
        }
        for instance in &self.facts.instances {
            // Its end comes as a hint; the times are for the case that the hint is lost.
            match instance.ending {
                Some(EndingFacts { kill_at, killed: false }) if self.now >= kill_at => {
                    return Some(Step::Kill(instance.id));
                }
                Some(EndingFacts { killed: true, .. }) => self.wait(self.now + KILLED_PAUSE),
                Some(EndingFacts { kill_at, .. }) => self.wait(kill_at),
                None => {}
            }
        }
        None
    }

    fn teardown(&mut self) -> Option<Step> {
        if !self.facts.deleting {
            return None;
        }
        let living = self.facts.instances.iter().find(|i| i.ending.is_none());
        Some(match living {
            Some(instance) => Step::Terminate(instance.id, Why::Deleted),
            None if !self.facts.instances.is_empty() => Step::Rest(self.wake),
            None if self.facts.has_database => Step::DropDatabase,
            None => Step::Forget,
        })
    }

    /// A backup goes in when no instance is on the database; until it is here, what serves goes on.
    fn restore(&mut self) -> Option<Step> {
        match self.facts.restore {
            Restoring::No => None,
            Restoring::Wanted(Some(at)) if self.now < at => {
                self.wait(at);
                // What was made of a backup does not come up without it.
                self.facts.active.is_none().then_some(Step::Rest(self.wake))
            }
            Restoring::Wanted(_) => Some(Step::FetchRestore),
            Restoring::Fetched if !self.facts.has_database => Some(Step::Provision),
            Restoring::Fetched if self.facts.instances.is_empty() => Some(Step::LoadRestore),
            Restoring::Fetched => {
                let facts = self.facts;
                let trial = self.end_trial(Why::Restore);
                let step = trial.or_else(|| facts.mains().find_map(|main| self.leave(main, Why::Restore)));
                Some(step.unwrap_or(Step::Rest(self.wake)))
            }
        }
    }

    /// The old login is closed before another is made: there are two.
    fn login(&mut self) -> Option<Step> {
        let facts = self.facts;
        let step = match facts.retiring {
            Some(before) if facts.instances.iter().all(|instance| instance.id >= before) => Step::CloseLogin,
            None if facts.rotation_asked => Step::RotateLogin,
            _ => return None,
        };
        match facts.login_after {
            Some(at) if self.now < at => {
                self.wait(at);
                None
            }
            _ => Some(step),
        }
    }

    fn spec(&mut self) -> Option<Step> {
        if self.facts.restart_asked {
            return Some(Step::AcknowledgeRestart);
        }
        let running = self.facts.desired == DesiredState::Running;
        (running && self.facts.config == Config::Unrendered).then_some(Step::Render)
    }

    fn mains(&mut self) -> Option<Step> {
        let mains: Vec<&InstanceFacts> = self.facts.mains().collect();
        let down = match (self.facts.desired, self.facts.rung) {
            (DesiredState::Stopped, _) => Some(Why::Stopped),
            (DesiredState::Running, Some(Rung::Stopped)) => Some(Why::Asleep),
            (DesiredState::Running, _) => None,
        };
        if let Some(why) = down {
            let trial = self.end_trial(why);
            return trial.or_else(|| mains.iter().find_map(|main| self.leave(main, why)));
        }
        if self.facts.rung == Some(Rung::Suspended) {
            return self.suspend(&mains);
        }
        if let Some(stopped) = mains.iter().find(|main| main.suspended) {
            return Some(Step::Resume(stopped.id));
        }
        match mains[..] {
            [] => self.none(),
            [one] => self.one(one),
            [blue, green] if self.facts.writers == Writers::Many => self.two(blue, green),
            [oldest, ..] => Some(Step::Terminate(oldest.id, Why::Surplus)),
        }
    }

    /// Nothing serves or is to serve.
    fn none(&mut self) -> Option<Step> {
        if let Some(step) = self.end_trial(Why::Superseded) {
            return Some(step);
        }
        let revision = self.facts.wanted()?;
        match self.facts.retry_at {
            // What ended may still write.
            _ if !self.facts.instances.is_empty() => return None,
            _ if !self.facts.has_database => return Some(Step::Provision),
            Some(at) if self.now < at => self.wait(at),
            _ if !self.facts.may_start => self.wait(self.now + START_PAUSE),
            _ => return Some(Step::Start(revision, Role::Main)),
        }
        None
    }

    fn one(&mut self, main: &InstanceFacts) -> Option<Step> {
        if main.drain.is_some_and(|drain| drain.leave == Leave::Retired) {
            // What it was retired for has failed.
            return Some(Step::Readmit(main.id));
        }
        let Some((why, wanted)) = self.facts.misfit(main).zip(self.facts.wanted()) else {
            return self.stays(main);
        };
        match main.process {
            ProcessFacts::Serving { .. } => self.replace(main, wanted, why),
            ProcessFacts::Starting { .. } | ProcessFacts::Gone => Some(Step::Terminate(main.id, why)),
        }
    }

    fn stays(&mut self, main: &InstanceFacts) -> Option<Step> {
        if main.drain.is_some() {
            return Some(Step::Readmit(main.id));
        }
        if let Some(step) = self.end_trial(Why::Superseded).or_else(|| self.checks(main)) {
            return Some(step);
        }
        let ProcessFacts::Serving { since, .. } = main.process else { return None };
        if self.facts.is_baking() {
            if self.now >= since + self.facts.bake {
                return Some(Step::Confirm);
            }
            self.wait(since + self.facts.bake);
        }
        if self.facts.crashes > 0 {
            if self.now >= since + FORGIVEN_AFTER {
                return Some(Step::ForgiveCrashes);
            }
            self.wait(since + FORGIVEN_AFTER);
        }
        None
    }

    /// Moves from the one that serves to a new one.
    fn replace(&mut self, blue: &InstanceFacts, wanted: Digest, why: Why) -> Option<Step> {
        let proves = self.facts.needs_proof(wanted, blue);
        if blue.drain.is_some() && (self.facts.side_by_side() || proves) {
            return Some(Step::Readmit(blue.id));
        }
        if blue.drain.is_none() {
            if let Some(step) = self.checks(blue) {
                return Some(step);
            }
            match (self.facts.retry_at, self.facts.turn) {
                (Some(at), _) if self.now < at => {
                    self.wait(at);
                    return None;
                }
                (_, Turn::NotAsked) => return Some(Step::AskTurn),
                (_, Turn::Waiting(_)) => {
                    self.wait(self.now + TURN_PAUSE);
                    return None;
                }
                (_, Turn::Granted) => {}
            }
            if self.facts.side_by_side() {
                return self.start_beside(wanted, Role::Main);
            }
            if proves {
                return self.prove(wanted);
            }
        }
        if self.facts.trial().is_some() {
            // Gone first: its memory and its processor time would only lengthen the pause.
            return self.end_trial(Why::Proven);
        }
        self.leave(blue, why)
    }

    /// Another process beside the one that serves; never a third.
    fn start_beside(&mut self, revision: Digest, role: Role) -> Option<Step> {
        if self.facts.instances.len() > 1 {
            return None;
        }
        if self.facts.may_start {
            return Some(Step::Start(revision, role));
        }
        self.wait(self.now + START_PAUSE);
        None
    }

    fn prove(&mut self, wanted: Digest) -> Option<Step> {
        match self.facts.trial() {
            None => self.start_beside(wanted, Role::Trial),
            Some(trial) if trial.ending.is_some() => None,
            Some(trial) if trial.revision == wanted && !trial.is_proven() => self.checks(trial),
            Some(_) => self.end_trial(Why::Superseded),
        }
    }

    fn end_trial(&mut self, why: Why) -> Option<Step> {
        let trial = self.facts.trial().filter(|trial| trial.ending.is_none())?;
        Some(Step::Terminate(trial.id, why))
    }

    /// Does it come up, does it still answer?
    fn checks(&mut self, instance: &InstanceFacts) -> Option<Step> {
        let at = match instance.process {
            ProcessFacts::Gone => return Some(Step::Bury(instance.id)),
            ProcessFacts::Starting { refused: true, .. } => return Some(Step::Terminate(instance.id, Why::Refused)),
            ProcessFacts::Starting { deadline, probes, .. } if self.now >= deadline && probes >= MIN_PROBES => {
                return Some(Step::Terminate(instance.id, Why::StartTimeout));
            }
            ProcessFacts::Serving { failed_checks, .. } if failed_checks >= MAX_FAILED_CHECKS => {
                return Some(Step::Terminate(instance.id, Why::Unhealthy));
            }
            ProcessFacts::Starting { next_probe: at, .. } | ProcessFacts::Serving { next_check: at, .. } => at,
        };
        if self.now >= at {
            return Some(Step::Probe(instance.id));
        }
        self.wait(at);
        None
    }
}
