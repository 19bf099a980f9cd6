//! Drives [`next_step`] through random worlds: databases for one and for many, both strategies, specs that change, processes that
//! come up, hang, crash, daemons that die between any two steps. A step that would break an invariant fails where it is taken.

use std::collections::HashSet;

use proptest::prelude::*;
use time::{Duration, OffsetDateTime};

use super::{
    facts::*,
    offer::{Offer, offer},
    step::*,
    step_tests::{T0, digest, facts},
};
use crate::{
    ids::{Digest, InstanceId},
    model::{DesiredState, RolloutStrategy, Rung},
    provisioner::Writers,
};

/// A workspace and its processes, as the controller would move them.
#[derive(Debug, Clone)]
struct World {
    now: OffsetDateTime,
    spec: u8,
    facts: Facts,
    gone: bool,
    /// Revisions that never come up.
    bad: u8,
    /// Rows that say: has served.
    served: HashSet<InstanceId>,
    /// Rows that say: was told to end.
    told: HashSet<InstanceId>,
    /// What served before the active revision took over.
    fallback: Option<Digest>,
}

#[derive(Debug, Clone)]
enum Happening {
    Change(u8),
    RejectedConfig,
    Pin(Option<u8>),
    Strategy(bool),
    Restart,
    Rotate,
    LoginFails,
    Restore,
    Stop,
    Run,
    Delete,
    Crash(usize),
    Hang(usize),
    Harm,
    ComesUp(usize),
    ComesUpWorse,
    BecomesIdle,
    Turn,
    FallAsleep(Rung),
    Wake,
    DaemonDies,
    Wait(i64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (1..5u8).prop_map(Happening::Change),
        2 => Just(Happening::RejectedConfig),
        2 => prop::option::of(1..5u8).prop_map(Happening::Pin),
        1 => any::<bool>().prop_map(Happening::Strategy),
        2 => Just(Happening::Restart),
        2 => Just(Happening::Rotate),
        1 => Just(Happening::LoginFails),
        2 => Just(Happening::Restore),
        2 => Just(Happening::Stop),
        3 => Just(Happening::Run),
        1 => Just(Happening::Delete),
        4 => (0..2usize).prop_map(Happening::Crash),
        2 => (0..2usize).prop_map(Happening::Hang),
        2 => Just(Happening::Harm),
        8 => (0..3usize).prop_map(Happening::ComesUp),
        1 => Just(Happening::ComesUpWorse),
        4 => Just(Happening::BecomesIdle),
        4 => Just(Happening::Turn),
        3 => prop_oneof![Just(Rung::Suspended), Just(Rung::Stopped)].prop_map(Happening::FallAsleep),
        3 => Just(Happening::Wake),
        3 => Just(Happening::DaemonDies),
        8 => (1..200i64).prop_map(Happening::Wait),
    ]
}

impl World {
    fn new(bad: u8, many: bool, strategy: RolloutStrategy) -> Self {
        let writers = if many { Writers::Many } else { Writers::One };
        let turn = Turn::NotAsked;
        let facts = Facts { config: Config::Unrendered, has_database: false, writers, strategy, turn, ..facts() };
        Self { now: T0, spec: 1, facts, gone: false, bad, served: HashSet::new(), told: HashSet::new(), fallback: None }
    }

    fn happen(&mut self, what: &Happening) {
        let now = self.now;
        match what {
            Happening::Change(n) => {
                self.spec = *n;
                (self.facts.config, self.facts.pinned) = (Config::Unrendered, None);
            }
            Happening::RejectedConfig => self.facts.config = Config::Rejected,
            Happening::Pin(revision) => self.facts.pinned = revision.map(digest),
            Happening::Strategy(restart) => {
                self.facts.strategy = if *restart { RolloutStrategy::Restart } else { RolloutStrategy::BlueGreen };
            }
            Happening::Restart => {
                self.facts.restarts += 1;
                self.facts.restart_asked = true;
            }
            Happening::Rotate => self.facts.rotation_asked = true,
            Happening::LoginFails => self.facts.login_after = Some(now + Duration::seconds(5)),
            Happening::Restore => self.facts.restore = Restoring::Wanted(None),
            Happening::Stop => self.facts.desired = DesiredState::Stopped,
            Happening::Run => self.facts.desired = DesiredState::Running,
            Happening::Delete => self.facts.deleting = true,
            Happening::Crash(n) => {
                if let Some(instance) = self.facts.instances.get_mut(*n) {
                    instance.process = ProcessFacts::Gone;
                }
            }
            Happening::Hang(n) => {
                if let Some(InstanceFacts { process: ProcessFacts::Serving { failed_checks, .. }, .. }) =
                    self.facts.instances.get_mut(*n)
                {
                    *failed_checks += 1;
                }
            }
            Happening::Harm => {
                if self.facts.mains().count() > 1 {
                    self.facts.instances[0].harmed = true;
                }
            }
            Happening::ComesUp(n) => self.comes_up(*n),
            Happening::ComesUpWorse => {
                let other = self.facts.instances.len() > 1;
                for instance in &mut self.facts.instances {
                    if let ProcessFacts::Starting { refused, .. } = &mut instance.process
                        && !self.served.contains(&instance.id)
                    {
                        *refused = other;
                    }
                }
            }
            Happening::BecomesIdle => {
                self.facts.instances.iter_mut().filter_map(|i| i.drain.as_mut()).for_each(|d| d.idle = true);
            }
            Happening::Turn => {
                if let Turn::Waiting(_) = self.facts.turn {
                    self.facts.turn = Turn::Granted;
                }
            }
            Happening::FallAsleep(rung) => {
                let deeper = self.facts.rung.is_some_and(|now| now < *rung);
                if deeper || self.facts.is_settled_and_serves() {
                    self.facts.rung = Some(*rung);
                }
            }
            Happening::Wake => self.facts.rung = None,
            // What only the daemon's memory holds is lost; what was serving is proven again.
            Happening::DaemonDies => {
                for instance in &mut self.facts.instances {
                    instance.drain = None;
                    instance.ending = None;
                    instance.harmed = false;
                    if instance.process != ProcessFacts::Gone {
                        let deadline = now + Duration::seconds(120);
                        instance.process =
                            ProcessFacts::Starting { deadline, probes: 0, next_probe: now, refused: false };
                    }
                }
                (self.facts.proven, self.facts.turn) = (None, Turn::NotAsked);
                if self.facts.restore == Restoring::Fetched {
                    self.facts.restore = Restoring::Wanted(None);
                }
                if !self.facts.deleting && self.facts.config != Config::Rejected {
                    self.facts.config = Config::Unrendered;
                }
            }
            Happening::Wait(seconds) => self.now += Duration::seconds(*seconds),
        }
    }

    fn comes_up(&mut self, n: usize) {
        let (now, bad) = (self.now, digest(self.bad));
        let newer_served = self.facts.instances.iter().skip(n + 1).any(|i| self.served.contains(&i.id));
        let Some(instance) = self.facts.instances.get_mut(n) else { return };
        let starts = matches!(instance.process, ProcessFacts::Starting { refused: false, .. });
        if !starts || instance.ending.is_some() || instance.revision == bad {
            return;
        }
        let next_check = now + Duration::seconds(10);
        instance.process = ProcessFacts::Serving { since: now, failed_checks: 0, next_check };
        if instance.role == Role::Trial {
            self.facts.proven = Some(instance.revision);
            return;
        }
        self.served.insert(instance.id);
        if !newer_served {
            let before = self.facts.active.filter(|before| *before != instance.revision);
            self.fallback = before.or(self.fallback);
            (self.facts.active, self.facts.retry_at, self.facts.proven) = (Some(instance.revision), None, None);
            if self.facts.failed == self.facts.active {
                self.facts.failed = None;
            }
        }
    }

    /// Does one step, and checks that it was allowed. Returns whether there is more to do now.
    fn step(&mut self) -> Result<bool, TestCaseError> {
        if self.facts.gives_up_its_turn(self.now) {
            self.facts.turn = Turn::NotAsked;
        }
        let step = next_step(&self.facts, self.now);
        let now = self.now;
        let served_before = matches!(offer(&self.facts, now, None), Offer::Serving(_));
        let facts = &mut self.facts;
        let by_id = |facts: &Facts, id| facts.instances.iter().position(|i| i.id == id).expect("it is there");
        let mains = facts.instances.iter().filter(|i| i.role == Role::Main).count();
        let mut rude = false;
        match step {
            Step::AcknowledgeRestart => {
                prop_assert!(facts.restart_asked && !facts.deleting);
                (facts.restart_asked, facts.crashes, facts.retry_at, facts.failed) = (false, 0, None, None);
            }
            Step::RotateLogin => {
                prop_assert!(facts.rotation_asked && facts.retiring.is_none() && !facts.deleting);
                (facts.rotation_asked, facts.retiring) = (false, Some(InstanceId::generate()));
            }
            Step::CloseLogin => {
                let before = facts.retiring.take().expect("one is to be closed");
                prop_assert!(facts.instances.iter().all(|i| i.id > before), "an instance may still log in with it");
            }
            Step::FetchRestore => {
                prop_assert!(matches!(facts.restore, Restoring::Wanted(_)) && !facts.deleting);
                facts.restore = Restoring::Fetched;
            }
            Step::LoadRestore => {
                prop_assert!(facts.instances.is_empty(), "nothing is loaded under a process");
                prop_assert!(facts.has_database && !facts.deleting);
                facts.restore = Restoring::No;
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
            Step::AskTurn => {
                prop_assert_eq!(facts.turn, Turn::NotAsked);
                facts.turn = Turn::Waiting(0);
            }
            Step::Start(revision, role) => {
                prop_assert!(facts.instances.len() < 2, "never three processes");
                match role {
                    Role::Main if facts.writers == Writers::One => prop_assert_eq!(mains, 0, "one writer"),
                    Role::Main => {}
                    Role::Trial => {
                        prop_assert!(facts.writers == Writers::One && mains == 1 && facts.serving().is_some());
                    }
                }
                prop_assert!(mains == 0 || facts.turn == Turn::Granted, "not before its turn");
                prop_assert!(!facts.deleting && facts.desired == DesiredState::Running);
                prop_assert!(facts.rung.is_none(), "nothing is started for a sleeper");
                prop_assert!(facts.has_database);
                prop_assert!(facts.retry_at.is_none_or(|at| at <= now), "not before the backoff is over");
                prop_assert!(facts.failed != Some(revision) || facts.active.is_none_or(|a| a == revision));
                let deadline = now + Duration::seconds(120);
                facts.instances.push(InstanceFacts {
                    id: InstanceId::generate(),
                    role,
                    revision,
                    restarts: facts.restarts,
                    stale: false,
                    harmed: false,
                    suspended: false,
                    process: ProcessFacts::Starting { deadline, probes: 0, next_probe: now, refused: false },
                    drain: None,
                    ending: None,
                });
            }
            Step::Probe(id) => {
                let i = by_id(facts, id);
                prop_assert!(facts.instances[i].ending.is_none());
                prop_assert!(!facts.instances[i].suspended, "a sleeper is not asked");
                match &mut facts.instances[i].process {
                    ProcessFacts::Starting { probes, next_probe: at, .. } => {
                        *probes += 1;
                        *at = now + Duration::milliseconds(150);
                    }
                    ProcessFacts::Serving { next_check, .. } => *next_check = now + Duration::seconds(10),
                    ProcessFacts::Gone => prop_assert!(false, "nobody asks the dead"),
                }
            }
            Step::Hold(id, why) => {
                let i = by_id(facts, id);
                let blue = facts.instances[i].clone();
                prop_assert!(blue.is_proven() && blue.ending.is_none());
                prop_assert!(!blue.suspended);
                if !matches!(why, Why::Stopped | Why::Asleep | Why::Restore) {
                    prop_assert!(!facts.side_by_side(), "no pause where none is needed");
                    let unproven = facts.wanted().is_some_and(|wanted| facts.needs_proof(wanted, &blue));
                    prop_assert!(!unproven, "blue is not touched before green is proven");
                }
                rude = true;
                let deadline = now + Duration::seconds(30);
                let drain = DrainFacts { leave: Leave::Held, deadline, idle: false, cut_at: None };
                facts.instances[i].drain = Some(drain);
            }
            Step::Suspend(id) => {
                let i = by_id(facts, id);
                let drained = facts.instances[i].drain.is_some_and(|d| d.idle || now >= d.deadline);
                prop_assert!(drained && !facts.instances[i].suspended && facts.instances.len() == 1);
                prop_assert_eq!(facts.rung, Some(Rung::Suspended));
                facts.instances[i].suspended = true;
            }
            Step::Resume(id) => {
                let i = by_id(facts, id);
                prop_assert!(facts.instances[i].suspended && facts.rung.is_none());
                (facts.instances[i].suspended, facts.instances[i].drain) = (false, None);
            }
            Step::Retire(id) => {
                let i = by_id(facts, id);
                prop_assert!(facts.serving().is_some_and(|serving| serving.id > id), "a newer one serves");
                let deadline = now + Duration::seconds(30);
                let drain = DrainFacts { leave: Leave::Retired, deadline, idle: false, cut_at: None };
                facts.instances[i].drain = Some(drain);
            }
            Step::Readmit(id) => {
                let i = by_id(facts, id);
                prop_assert!(facts.instances[i].drain.take().is_some());
            }
            Step::Cut(id) => {
                let i = by_id(facts, id);
                let drain = facts.instances[i].drain.as_mut().expect("it leaves");
                prop_assert!(drain.leave == Leave::Held || now >= drain.deadline, "streams have their time");
                drain.cut_at = Some(now);
            }
            Step::Confirm => {
                let alone = facts
                    .mains()
                    .next()
                    .is_some_and(|blue| blue.harmed && Some(blue.id) != facts.serving().map(|i| i.id));
                let good = facts.serving().filter(|serving| match serving.process {
                    ProcessFacts::Serving { since, .. } => now >= since + facts.bake || alone,
                    _ => false,
                });
                prop_assert_eq!(
                    good.map(|good| good.revision),
                    facts.active,
                    "it has outlived its bake, or blue fails"
                );
                prop_assert_ne!(facts.good, facts.active, "once");
                facts.good = facts.active;
                self.fallback = None;
            }
            Step::Terminate(id, why) => {
                let i = by_id(facts, id);
                let instance = facts.instances[i].clone();
                prop_assert!(instance.ending.is_none(), "told once");
                if why == Why::Harmful {
                    prop_assert!(!instance.is_proven(), "one that serves is not given up for the one before");
                    let blue = facts.serving().filter(|blue| blue.harmed && blue.id < id);
                    prop_assert!(blue.is_some_and(|blue| blue.revision != instance.revision), "a renewal mends");
                }
                let drained = instance.drain.is_some_and(|d| d.idle || now >= d.deadline);
                let serves = instance.role == Role::Main && instance.is_proven() && !instance.suspended;
                rude = matches!(why, Why::Deleted | Why::Unhealthy | Why::Surplus);
                prop_assert!(!serves || drained || rude, "drained before it is ended");
                if why == Why::Replaced {
                    prop_assert_eq!(facts.good, facts.active, "only for one that is good");
                }
                facts.instances[i].suspended = false;
                facts.instances[i].ending = Some(EndingFacts { kill_at: now + Duration::seconds(20), killed: false });
                if why.is_wish() {
                    self.told.insert(id);
                }
            }
            Step::Kill(id) => {
                let i = by_id(facts, id);
                prop_assert!(facts.instances[i].ending.is_some_and(|e| now >= e.kill_at && !e.killed));
                facts.instances[i].ending = Some(EndingFacts { kill_at: now, killed: true });
                facts.instances[i].process = ProcessFacts::Gone;
            }
            Step::Bury(id) => self.bury(id)?,
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
            let serving = &self.facts.instances[by_id(&self.facts, id)];
            prop_assert!(serving.is_proven() && serving.role == Role::Main, "traffic only for the proven");
            prop_assert!(!self.facts.deleting && self.facts.desired == DesiredState::Running);
        } else if self.facts.side_by_side() && served_before {
            prop_assert!(rude, "{step:?} interrupted a service that nothing was wrong with");
        }
        Ok(true)
    }

    fn bury(&mut self, id: InstanceId) -> Result<(), TestCaseError> {
        let facts = &mut self.facts;
        let i = facts.instances.iter().position(|i| i.id == id).expect("it is there");
        let buried = facts.instances.remove(i);
        facts.instances.iter_mut().for_each(|other| other.harmed = false);
        prop_assert!(buried.process == ProcessFacts::Gone, "only the dead");
        if buried.role == Role::Main {
            facts.instances[..i].iter_mut().for_each(|older| older.stale = true);
        }
        let proven = buried.role == Role::Trial && facts.proven == Some(buried.revision);
        if facts.deleting || proven || self.told.contains(&id) {
            return Ok(());
        }
        let back_to = match self.served.contains(&id) {
            false => facts.active,
            true if facts.active == Some(buried.revision) => self.fallback.take().or(facts.good),
            true => None,
        };
        match back_to.filter(|back_to| *back_to != buried.revision) {
            Some(back_to) => (facts.failed, facts.active) = (Some(buried.revision), Some(back_to)),
            None => {
                facts.crashes += 1;
                facts.retry_at = Some(self.now + Duration::seconds(i64::from(facts.crashes.min(300))));
            }
        }
        Ok(())
    }

    /// Steps until there is nothing to do for now.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..100 {
            if self.gone || !self.step()? {
                return Ok(());
            }
        }
        Err(TestCaseError::fail(format!("it never rests: {self:?}")))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_invariant_breaks_and_it_converges(
        bad in 0..5u8,
        many in any::<bool>(),
        restart in prop::bool::weighted(0.25),
        history in prop::collection::vec((happening(), 0..5usize), 0..60),
    ) {
        let strategy = if restart { RolloutStrategy::Restart } else { RolloutStrategy::BlueGreen };
        let mut world = World::new(bad, many, strategy);
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
        world.happen(&Happening::Wake);
        for _ in 0..400 {
            world.settle()?;
            if world.gone {
                return Ok(());
            }
            world.happen(&Happening::Turn);
            world.happen(&Happening::BecomesIdle);
            (0..3).for_each(|n| world.happen(&Happening::ComesUp(n)));
            let bad = digest(world.bad);
            world.facts.instances.iter_mut().filter(|i| i.revision == bad || i.ending.is_some()).for_each(|i| {
                i.process = ProcessFacts::Gone;
            });
            world.happen(&Happening::Wait(30));
        }
        world.settle()?;
        let facts = &world.facts;
        prop_assert!(!facts.deleting, "a deleted workspace is gone by now");
        prop_assert_eq!(facts.restore, Restoring::No, "what was wanted is restored");
        match facts.wanted() {
            None => prop_assert!(facts.instances.is_empty() || facts.config == Config::Rejected),
            Some(wanted) if wanted == digest(world.bad) => {}
            Some(wanted) => {
                prop_assert_eq!(facts.serving().map(|i| i.revision), Some(wanted));
                prop_assert_eq!(facts.serving().and_then(|serving| facts.misfit(serving)), None);
                prop_assert_eq!(facts.instances.len(), 1, "nothing of a rollout is left");
                prop_assert!(!facts.rotation_asked && facts.retiring.is_none(), "the old login is closed");
                prop_assert_eq!(facts.good, Some(wanted), "it has outlived its bake");
            }
        }
    }
}
