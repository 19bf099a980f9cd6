//! Drives [`next_step`] through random worlds: specs that change, processes that come up, hang, crash, daemons that die between
//! any two steps. A step that would break an invariant fails where it is taken.

use proptest::prelude::*;
use time::{Duration, OffsetDateTime};

use super::{
    backoff::FORGIVEN_AFTER,
    offer::{Offer, offer},
    step::*,
};
use crate::{
    ids::{Digest, InstanceId},
    model::DesiredState,
};

const T0: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn digest(n: u8) -> Digest {
    Digest::of(&[n])
}

fn facts() -> Facts {
    Facts {
        deleting: false,
        desired: DesiredState::Running,
        has_database: true,
        config: Config::Rendered(digest(1)),
        active: None,
        failed: None,
        crashes: 0,
        retry_at: None,
        restarts: 0,
        restart_asked: false,
        instances: Vec::new(),
        may_start: true,
    }
}

fn serving(revision: u8) -> InstanceFacts {
    InstanceFacts {
        id: InstanceId::generate(),
        revision: digest(revision),
        restarts: 0,
        process: ProcessFacts::Serving { since: T0, failed_checks: 0, next_check: T0 + Duration::seconds(10) },
        drain: None,
        ending: None,
    }
}

fn starting(revision: u8) -> InstanceFacts {
    let process = ProcessFacts::Starting { deadline: T0 + Duration::seconds(120), probes: 0, next_probe: T0 };
    InstanceFacts { process, ..serving(revision) }
}

#[test]
fn a_new_workspace_is_rendered_provisioned_and_started() {
    let mut facts = Facts { has_database: false, config: Config::Unrendered, ..facts() };
    assert_eq!(next_step(&facts, T0), Step::Render);
    facts.config = Config::Rendered(digest(1));
    assert_eq!(next_step(&facts, T0), Step::Provision);
    facts.has_database = true;
    assert_eq!(next_step(&facts, T0), Step::Start(digest(1)));
    facts.may_start = false;
    assert!(matches!(next_step(&facts, T0), Step::Rest(Some(_))), "it waits for its turn");
}

#[test]
fn a_new_revision_holds_drains_and_ends_the_old_instance_first() {
    let old = serving(1);
    let mut facts = Facts { config: Config::Rendered(digest(2)), active: Some(digest(1)), ..facts() };
    facts.instances = vec![old.clone()];
    assert_eq!(next_step(&facts, T0), Step::Hold(old.id, Why::NewConfiguration));
    let deadline = T0 + Duration::seconds(30);
    facts.instances[0].drain = Some(DrainFacts { deadline, idle: false });
    assert_eq!(next_step(&facts, T0), Step::Rest(Some(deadline)));
    assert_eq!(next_step(&facts, deadline), Step::Terminate(old.id, Why::NewConfiguration));
    facts.instances[0].drain = Some(DrainFacts { deadline, idle: true });
    assert_eq!(next_step(&facts, T0), Step::Terminate(old.id, Why::NewConfiguration));
    facts.config = Config::Rendered(digest(1));
    assert_eq!(next_step(&facts, T0), Step::Resume(old.id), "the change was taken back");
    facts.config = Config::Rendered(digest(2));
    facts.instances[0].ending = Some(EndingFacts { kill_at: deadline, killed: false });
    assert_eq!(next_step(&facts, T0), Step::Rest(Some(deadline)));
    assert_eq!(next_step(&facts, deadline), Step::Kill(old.id));
    facts.instances[0].process = ProcessFacts::Gone;
    assert_eq!(next_step(&facts, T0), Step::Bury(old.id));
    facts.instances.clear();
    assert_eq!(next_step(&facts, T0), Step::Start(digest(2)));
}

#[test]
fn a_revision_that_did_not_come_up_gives_way_to_the_last_good_one() {
    let mut facts =
        Facts { config: Config::Rendered(digest(2)), active: Some(digest(1)), failed: Some(digest(2)), ..facts() };
    assert_eq!(next_step(&facts, T0), Step::Start(digest(1)));
    facts.instances = vec![serving(1)];
    assert!(matches!(next_step(&facts, T0), Step::Rest(Some(_))), "and is left alone then");
    facts.restart_asked = true;
    assert_eq!(next_step(&facts, T0), Step::AcknowledgeRestart, "a restart gives it another chance");
    let rejected = Facts { config: Config::Rejected, restart_asked: false, failed: None, ..facts };
    assert!(matches!(next_step(&rejected, T0), Step::Rest(Some(_))), "a rejected config changes nothing");
    let nothing = Facts { config: Config::Rejected, active: None, instances: vec![], ..rejected };
    assert_eq!(next_step(&nothing, T0), Step::Rest(None));
    assert!(matches!(offer(&nothing, T0, None), Offer::Unavailable(_)));
}

#[test]
fn slow_and_silent_instances_are_given_up_in_time() {
    let mut facts = Facts { instances: vec![starting(1)], ..facts() };
    let id = facts.instances[0].id;
    assert_eq!(next_step(&facts, T0), Step::Probe(id));
    let late = T0 + Duration::seconds(121);
    assert_eq!(next_step(&facts, late), Step::Probe(id), "a daemon that slept past the deadline looks first");
    facts.instances[0].process =
        ProcessFacts::Starting { deadline: T0 + Duration::seconds(120), probes: 3, next_probe: T0 };
    assert_eq!(next_step(&facts, late), Step::Terminate(id, Why::StartTimeout));
    facts.instances[0].process = ProcessFacts::Serving { since: T0, failed_checks: 3, next_check: late };
    assert_eq!(next_step(&facts, T0), Step::Terminate(id, Why::Unhealthy));
}

#[test]
fn crashes_wait_and_are_forgiven() {
    let retry_at = Some(T0 + Duration::seconds(60));
    let mut facts = Facts { crashes: 5, retry_at, active: Some(digest(1)), ..facts() };
    assert_eq!(next_step(&facts, T0), Step::Rest(retry_at));
    assert_eq!(offer(&facts, T0, None), Offer::Unavailable(60));
    facts.retry_at = Some(T0 + Duration::seconds(1));
    assert_eq!(offer(&facts, T0, None), Offer::Held("starting again"), "a second is waited for");
    facts.retry_at = None;
    facts.instances = vec![serving(1)];
    assert_eq!(next_step(&facts, T0 + FORGIVEN_AFTER), Step::ForgiveCrashes);
}

#[test]
fn a_deletion_ends_drops_and_forgets_whatever_else_is_wanted() {
    let mut facts = Facts { deleting: true, restart_asked: true, config: Config::Unrendered, ..facts() };
    facts.instances = vec![serving(1)];
    let id = facts.instances[0].id;
    assert_eq!(offer(&facts, T0, None), Offer::Stopped);
    assert_eq!(next_step(&facts, T0), Step::Terminate(id, Why::Deleted));
    facts.instances.clear();
    assert_eq!(next_step(&facts, T0), Step::DropDatabase);
    facts.has_database = false;
    assert_eq!(next_step(&facts, T0), Step::Forget);
}

/// A workspace and its processes, as the controller would move them.
#[derive(Debug, Clone)]
struct World {
    now: OffsetDateTime,
    spec: u8,
    facts: Facts,
    gone: bool,
    /// Revisions that never come up.
    bad: u8,
    held_before_end: bool,
}

#[derive(Debug, Clone)]
enum Happening {
    Change(u8),
    RejectedConfig,
    Restart,
    Stop,
    Run,
    Delete,
    Crash,
    Hang,
    ComesUp,
    BecomesIdle,
    DaemonDies,
    Wait(i64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        2 => (1..5u8).prop_map(Happening::Change),
        2 => Just(Happening::RejectedConfig),
        2 => Just(Happening::Restart),
        2 => Just(Happening::Stop),
        2 => Just(Happening::Run),
        1 => Just(Happening::Delete),
        4 => Just(Happening::Crash),
        2 => Just(Happening::Hang),
        6 => Just(Happening::ComesUp),
        4 => Just(Happening::BecomesIdle),
        3 => Just(Happening::DaemonDies),
        6 => (1..200i64).prop_map(Happening::Wait),
    ]
}

impl World {
    fn new(bad: u8) -> Self {
        let facts = Facts { config: Config::Unrendered, has_database: false, ..facts() };
        Self { now: T0, spec: 1, facts, gone: false, bad, held_before_end: true }
    }

    fn happen(&mut self, what: &Happening) {
        let bad = digest(self.bad);
        match what {
            Happening::Change(n) => {
                self.spec = *n;
                self.facts.config = Config::Unrendered;
            }
            Happening::RejectedConfig => self.facts.config = Config::Rejected,
            Happening::Restart => {
                self.facts.restarts += 1;
                self.facts.restart_asked = true;
            }
            Happening::Stop => self.facts.desired = DesiredState::Stopped,
            Happening::Run => self.facts.desired = DesiredState::Running,
            Happening::Delete => self.facts.deleting = true,
            Happening::Crash => self.facts.instances.iter_mut().for_each(|i| i.process = ProcessFacts::Gone),
            Happening::Hang => {
                for instance in &mut self.facts.instances {
                    if let ProcessFacts::Serving { failed_checks, .. } = &mut instance.process {
                        *failed_checks += 1;
                    }
                }
            }
            Happening::ComesUp => {
                let now = self.now;
                for instance in self.facts.instances.iter_mut().filter(|i| i.revision != bad && i.ending.is_none()) {
                    if matches!(instance.process, ProcessFacts::Starting { .. }) {
                        instance.process = ProcessFacts::Serving {
                            since: now,
                            failed_checks: 0,
                            next_check: now + Duration::seconds(10),
                        };
                        self.facts.active = Some(instance.revision);
                        self.facts.retry_at = None;
                    }
                }
            }
            Happening::BecomesIdle => {
                self.facts.instances.iter_mut().filter_map(|i| i.drain.as_mut()).for_each(|d| d.idle = true);
            }
            // What only the daemon's memory holds is lost; what was serving is proven again.
            Happening::DaemonDies => {
                let now = self.now;
                for instance in &mut self.facts.instances {
                    instance.drain = None;
                    instance.ending = None;
                    if instance.process != ProcessFacts::Gone {
                        let deadline = now + Duration::seconds(120);
                        instance.process = ProcessFacts::Starting { deadline, probes: 0, next_probe: now };
                    }
                }
                if !self.facts.deleting && self.facts.config != Config::Rejected {
                    self.facts.config = Config::Unrendered;
                }
            }
            Happening::Wait(seconds) => self.now += Duration::seconds(*seconds),
        }
    }

    /// Does one step, and checks that it was allowed. Returns whether there is more to do now.
    fn step(&mut self) -> Result<bool, TestCaseError> {
        let step = next_step(&self.facts, self.now);
        let now = self.now;
        let facts = &mut self.facts;
        let by_id = |facts: &Facts, id| facts.instances.iter().position(|i| i.id == id).expect("it is there");
        match step {
            Step::AcknowledgeRestart => {
                prop_assert!(facts.restart_asked && !facts.deleting);
                (facts.restart_asked, facts.crashes, facts.retry_at, facts.failed) = (false, 0, None, None);
            }
            Step::Render => {
                prop_assert!(!facts.deleting && facts.desired == DesiredState::Running);
                let digest = digest(self.spec);
                if facts.failed != Some(digest) {
                    (facts.failed, facts.crashes, facts.retry_at) = (None, 0, None);
                }
                facts.config = Config::Rendered(digest);
            }
            Step::Provision => {
                prop_assert!(!facts.deleting);
                facts.has_database = true;
            }
            Step::Start(revision) => {
                prop_assert!(facts.instances.is_empty(), "never two instances");
                prop_assert!(!facts.deleting && facts.desired == DesiredState::Running);
                prop_assert!(facts.has_database);
                prop_assert!(facts.retry_at.is_none_or(|at| at <= now), "not before the backoff is over");
                prop_assert!(facts.failed != Some(revision) || facts.active.is_none_or(|a| a == revision));
                let process =
                    ProcessFacts::Starting { deadline: now + Duration::seconds(120), probes: 0, next_probe: now };
                facts.instances.push(InstanceFacts {
                    id: InstanceId::generate(),
                    revision,
                    restarts: facts.restarts,
                    process,
                    drain: None,
                    ending: None,
                });
            }
            Step::Probe(id) => {
                let i = by_id(facts, id);
                prop_assert!(facts.instances[i].ending.is_none());
                match &mut facts.instances[i].process {
                    ProcessFacts::Starting { probes, next_probe: at, .. } => {
                        *probes += 1;
                        *at = now + Duration::milliseconds(150);
                    }
                    ProcessFacts::Serving { next_check, .. } => *next_check = now + Duration::seconds(10),
                    ProcessFacts::Gone => prop_assert!(false, "nobody asks the dead"),
                }
            }
            Step::Hold(id, _) => {
                let i = by_id(facts, id);
                facts.instances[i].drain = Some(DrainFacts { deadline: now + Duration::seconds(30), idle: false });
            }
            Step::Resume(id) => {
                let i = by_id(facts, id);
                facts.instances[i].drain = None;
            }
            Step::Terminate(id, why) => {
                let i = by_id(facts, id);
                let instance = &mut facts.instances[i];
                prop_assert!(instance.ending.is_none(), "told once");
                let drained = instance.drain.is_some_and(|d| d.idle || now >= d.deadline);
                let was_serving = matches!(instance.process, ProcessFacts::Serving { .. });
                let rude = matches!(why, Why::Deleted | Why::Unhealthy | Why::Surplus);
                prop_assert!(!was_serving || drained || rude, "drained before it is ended");
                instance.ending = Some(EndingFacts { kill_at: now + Duration::seconds(20), killed: false });
                self.held_before_end = true;
            }
            Step::Kill(id) => {
                let i = by_id(facts, id);
                prop_assert!(facts.instances[i].ending.is_some_and(|e| now >= e.kill_at && !e.killed));
                facts.instances[i].ending = Some(EndingFacts { kill_at: now, killed: true });
                facts.instances[i].process = ProcessFacts::Gone;
            }
            Step::Bury(id) => {
                let i = by_id(facts, id);
                let buried = facts.instances.remove(i);
                prop_assert!(buried.process == ProcessFacts::Gone, "only the dead");
                if buried.ending.is_none() && !facts.deleting {
                    match facts.active {
                        Some(active) if active != buried.revision => facts.failed = Some(buried.revision),
                        _ => {
                            facts.crashes += 1;
                            facts.retry_at = Some(now + Duration::seconds(i64::from(facts.crashes)));
                        }
                    }
                }
            }
            Step::ForgiveCrashes => facts.crashes = 0,
            Step::DropDatabase => {
                prop_assert!(facts.deleting && facts.instances.is_empty(), "nothing is dropped under a process");
                facts.has_database = false;
            }
            Step::Forget => {
                prop_assert!(facts.deleting && facts.instances.is_empty() && !facts.has_database);
                self.gone = true;
                return Ok(false);
            }
            Step::Rest(until) => {
                prop_assert!(until.is_none_or(|at| at > now), "a rest ends in the future");
                return Ok(false);
            }
        }
        let offered = offer(&self.facts, now, None);
        if let Offer::Serving(id) = offered {
            let i = by_id(&self.facts, id);
            let serves = matches!(self.facts.instances[i].process, ProcessFacts::Serving { .. });
            prop_assert!(serves, "traffic only for the proven");
            prop_assert!(!self.facts.deleting && self.facts.desired == DesiredState::Running);
        }
        Ok(true)
    }

    /// Steps until there is nothing to do for now.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..100 {
            if self.gone || !self.step()? {
                return Ok(());
            }
        }
        Err(TestCaseError::fail("it never rests"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_invariant_breaks_and_it_converges(
        bad in 0..5u8,
        history in prop::collection::vec((happening(), 0..4usize), 0..60),
    ) {
        let mut world = World::new(bad);
        for (what, steps) in &history {
            if world.gone {
                return Ok(());
            }
            world.happen(what);
            // Not always to the end: the next thing happens in the middle.
            for _ in 0..*steps {
                if world.gone || !world.step()? {
                    break;
                }
            }
        }
        // From here on the world is kind: good revisions come up, time passes.
        for _ in 0..400 {
            world.settle()?;
            if world.gone {
                return Ok(());
            }
            world.happen(&Happening::BecomesIdle);
            world.happen(&Happening::ComesUp);
            let bad = digest(world.bad);
            world.facts.instances.iter_mut().filter(|i| i.revision == bad || i.ending.is_some()).for_each(|i| {
                i.process = ProcessFacts::Gone;
            });
            world.happen(&Happening::Wait(30));
        }
        world.settle()?;
        let facts = &world.facts;
        prop_assert!(!facts.deleting, "a deleted workspace is gone by now");
        match facts.wanted() {
            None => prop_assert!(facts.instances.is_empty() || facts.config == Config::Rejected),
            Some(wanted) if wanted == digest(world.bad) => {}
            Some(wanted) => prop_assert_eq!(facts.serving().map(|i| i.revision), Some(wanted)),
        }
    }
}
