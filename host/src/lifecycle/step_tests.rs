//! [`next_step`] on cases that are worth a look; `step_worlds` drives it through random ones.

use time::{Duration, OffsetDateTime};

use super::{
    backoff::FORGIVEN_AFTER,
    facts::*,
    offer::{Offer, offer},
    step::*,
};
use crate::{
    ids::{Digest, InstanceId},
    model::{DesiredState, Phase, RolloutStrategy, Rung},
    provisioner::Writers,
};

pub(super) const T0: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

pub(super) fn digest(n: u8) -> Digest {
    Digest::of(&[n])
}

/// A workspace whose database takes one instance, as SQLite does.
pub(super) fn facts() -> Facts {
    Facts {
        deleting: false,
        desired: DesiredState::Running,
        has_database: true,
        config: Config::Rendered(digest(1)),
        pinned: None,
        active: None,
        good: None,
        failed: None,
        crashes: 0,
        retry_at: None,
        restarts: 0,
        restart_asked: false,
        rotation_asked: false,
        retiring: None,
        login_after: None,
        restore: Restoring::No,
        strategy: RolloutStrategy::BlueGreen,
        writers: Writers::One,
        bake: Duration::seconds(30),
        turn: Turn::Granted,
        may_start: true,
        memory_cap: None,
        rung: None,
        proven: None,
        instances: Vec::new(),
    }
}

pub(super) fn serving(revision: u8) -> InstanceFacts {
    InstanceFacts {
        id: InstanceId::generate(),
        role: Role::Main,
        revision: digest(revision),
        restarts: 0,
        stale: false,
        harmed: false,
        suspended: false,
        process: ProcessFacts::Serving { since: T0, failed_checks: 0, next_check: T0 + Duration::seconds(10) },
        drain: None,
        ending: None,
    }
}

fn starting(revision: u8) -> InstanceFacts {
    let process =
        ProcessFacts::Starting { deadline: T0 + Duration::seconds(120), probes: 0, next_probe: T0, refused: false };
    InstanceFacts { process, ..serving(revision) }
}

#[test]
fn a_new_workspace_is_rendered_provisioned_and_started() {
    let mut facts = Facts { has_database: false, config: Config::Unrendered, ..facts() };
    assert_eq!(next_step(&facts, T0), Step::Render);
    facts.config = Config::Rendered(digest(1));
    assert_eq!(next_step(&facts, T0), Step::Provision);
    facts.has_database = true;
    assert_eq!(next_step(&facts, T0), Step::Start(digest(1), Role::Main));
    facts.may_start = false;
    assert!(matches!(next_step(&facts, T0), Step::Rest(Some(_))), "it waits for its turn");
}

/// Revision 1 serves and is good, revision 2 is wanted.
fn changed(writers: Writers, strategy: RolloutStrategy) -> (Facts, InstanceId) {
    let blue = serving(1);
    let id = blue.id;
    let config = Config::Rendered(digest(2));
    let (active, good) = (Some(digest(1)), Some(digest(1)));
    (Facts { config, active, good, writers, strategy, instances: vec![blue], ..facts() }, id)
}

fn drain(leave: Leave) -> Option<DrainFacts> {
    Some(DrainFacts { leave, deadline: T0 + Duration::seconds(30), idle: false, cut_at: None })
}

#[test]
fn a_restart_holds_cuts_drains_and_ends_the_old_instance_first() {
    let (mut facts, old) = changed(Writers::One, RolloutStrategy::Restart);
    facts.turn = Turn::NotAsked;
    assert_eq!(next_step(&facts, T0), Step::AskTurn);
    facts.turn = Turn::Waiting(1);
    assert!(matches!(next_step(&facts, T0), Step::Rest(Some(_))), "others are before it");
    facts.turn = Turn::Granted;
    assert_eq!(next_step(&facts, T0), Step::Hold(old, Why::NewConfiguration));
    facts.instances[0].drain = drain(Leave::Held);
    assert_eq!(next_step(&facts, T0), Step::Cut(old), "requests wait: streams must not make them wait longer");
    facts.instances[0].drain.as_mut().expect("it drains").cut_at = Some(T0);
    assert_eq!(next_step(&facts, T0), Step::Rest(Some(T0 + Duration::seconds(2))));
    assert_eq!(next_step(&facts, T0 + Duration::seconds(3)), Step::Cut(old), "and again");
    let deadline = T0 + Duration::seconds(30);
    assert_eq!(next_step(&facts, deadline), Step::Terminate(old, Why::NewConfiguration));
    facts.instances[0].drain.as_mut().expect("it drains").idle = true;
    assert_eq!(next_step(&facts, T0), Step::Terminate(old, Why::NewConfiguration));
    facts.config = Config::Rendered(digest(1));
    assert_eq!(next_step(&facts, T0), Step::Readmit(old), "the change was taken back");
    facts.config = Config::Rendered(digest(2));
    facts.instances[0].ending = Some(EndingFacts { kill_at: deadline, killed: false });
    assert_eq!(next_step(&facts, T0), Step::Rest(Some(deadline)));
    assert_eq!(next_step(&facts, deadline), Step::Kill(old));
    facts.instances[0].process = ProcessFacts::Gone;
    assert_eq!(next_step(&facts, T0), Step::Bury(old));
    facts.instances.clear();
    assert_eq!(next_step(&facts, T0), Step::Start(digest(2), Role::Main));
}

#[test]
fn on_a_database_for_one_a_revision_is_proven_on_a_copy_before_blue_is_held() {
    let (mut facts, blue) = changed(Writers::One, RolloutStrategy::BlueGreen);
    assert_eq!(next_step(&facts, T0), Step::Start(digest(2), Role::Trial));
    facts.instances.push(InstanceFacts { role: Role::Trial, ..starting(2) });
    let trial = facts.instances[1].id;
    assert_eq!(offer(&facts, T0, None), Offer::Serving(blue));
    assert_eq!(next_step(&facts, T0), Step::Probe(trial));
    facts.instances[1].process = serving(2).process;
    assert_eq!(offer(&facts, T0, None), Offer::Serving(blue), "a trial never serves");
    facts.proven = Some(digest(2));
    assert_eq!(next_step(&facts, T0), Step::Terminate(trial, Why::Proven));
    facts.instances[1].ending = Some(EndingFacts { kill_at: T0 + Duration::seconds(2), killed: false });
    assert!(matches!(next_step(&facts, T0), Step::Rest(Some(_))), "it is gone before the pause begins");
    facts.instances.truncate(1);
    assert_eq!(next_step(&facts, T0), Step::Hold(blue, Why::NewConfiguration));
    (facts.proven, facts.config, facts.restarts) = (None, Config::Rendered(digest(1)), 1);
    assert_eq!(next_step(&facts, T0), Step::Hold(blue, Why::Restart), "what serves needs no proof");
}

#[test]
fn blue_serves_until_green_does_and_stands_by_for_its_bake() {
    let (mut facts, blue) = changed(Writers::Many, RolloutStrategy::BlueGreen);
    assert_eq!(next_step(&facts, T0), Step::Start(digest(2), Role::Main));
    facts.instances.push(starting(2));
    let green = facts.instances[1].id;
    assert_eq!((next_step(&facts, T0), offer(&facts, T0, None)), (Step::Probe(green), Offer::Serving(blue)));
    facts.instances[1].process = serving(2).process;
    facts.active = Some(digest(2));
    assert_eq!((next_step(&facts, T0), offer(&facts, T0, None)), (Step::Retire(blue), Offer::Serving(green)));
    facts.instances[0].drain = drain(Leave::Retired);
    assert!(matches!(next_step(&facts, T0), Step::Rest(Some(_))));
    let mut idle = facts.clone();
    idle.instances[0].drain.as_mut().expect("it drains").idle = true;
    assert!(matches!(next_step(&idle, T0), Step::Rest(Some(_))), "idle, but it stands by");
    // Its bake is over: green is good, blue goes.
    for instance in facts.instances.iter_mut().chain(&mut idle.instances) {
        if let ProcessFacts::Serving { next_check, .. } = &mut instance.process {
            *next_check = T0 + Duration::hours(1);
        }
    }
    let late = T0 + Duration::seconds(30);
    assert_eq!(next_step(&idle, late), Step::Confirm);
    idle.good = Some(digest(2));
    assert_eq!(next_step(&idle, late), Step::Terminate(blue, Why::Replaced));
    facts.good = Some(digest(2));
    assert_eq!(next_step(&facts, late), Step::Cut(blue), "streams had to the drain deadline");
    // Green dies in its bake.
    facts.instances[1].process = ProcessFacts::Gone;
    assert_eq!((next_step(&facts, T0), offer(&facts, T0, None)), (Step::Bury(green), Offer::Serving(blue)));
    facts.instances.truncate(1);
    (facts.failed, facts.active, facts.instances[0].stale) = (Some(digest(2)), Some(digest(1)), true);
    assert_eq!(next_step(&facts, T0), Step::Readmit(blue));
    facts.instances[0].drain = None;
    assert_eq!(next_step(&facts, T0), Step::Start(digest(1), Role::Main), "green's traces are set right by a start");
}

#[test]
fn a_green_that_breaks_blue_is_given_up_until_it_serves_and_then_blue_is() {
    let (mut facts, blue) = changed(Writers::Many, RolloutStrategy::BlueGreen);
    facts.instances.push(starting(2));
    let green = facts.instances[1].id;
    facts.instances[0].harmed = true;
    assert_eq!(next_step(&facts, T0), Step::Terminate(green, Why::Harmful));
    let renewal = Facts {
        config: Config::Rendered(digest(1)),
        instances: vec![facts.instances[0].clone(), starting(1)],
        ..facts.clone()
    };
    assert!(matches!(next_step(&renewal, T0), Step::Probe(_)), "the same revision anew is what may mend it");
    facts.instances[1].process = serving(2).process;
    facts.active = Some(digest(2));
    assert_eq!(next_step(&facts, T0), Step::Retire(blue), "green has shown that it works");
    facts.instances[0].drain = drain(Leave::Retired);
    assert_eq!(next_step(&facts, T0), Step::Confirm, "there is nothing to return to");
    facts.good = Some(digest(2));
    assert!(matches!(next_step(&facts, T0), Step::Rest(_)), "requests are on it");
    facts.instances[0].drain.as_mut().expect("it drains").idle = true;
    assert_eq!(next_step(&facts, T0), Step::Terminate(blue, Why::Replaced));
    facts.good = Some(digest(1));
    if let ProcessFacts::Serving { failed_checks, .. } = &mut facts.instances[1].process {
        *failed_checks = 1;
    }
    assert!(matches!(next_step(&facts, T0), Step::Rest(_)), "green is not well either: nothing is decided");
}

#[test]
fn a_newer_wish_wins_whatever_is_under_way() {
    let (mut facts, blue) = changed(Writers::Many, RolloutStrategy::BlueGreen);
    facts.instances.push(starting(2));
    let green = facts.instances[1].id;
    facts.config = Config::Rendered(digest(3));
    assert_eq!(next_step(&facts, T0), Step::Terminate(green, Why::NewConfiguration));
    facts.instances[1].process = serving(2).process;
    facts.instances[0].drain = drain(Leave::Retired);
    facts.instances[0].drain.as_mut().expect("it drains").idle = true;
    assert_eq!(next_step(&facts, T0), Step::Terminate(blue, Why::Superseded), "no bake, and no third instance");
    facts.pinned = Some(digest(2));
    assert!(matches!(next_step(&facts, T0), Step::Rest(_)), "a rollback to what serves");
    facts.desired = DesiredState::Stopped;
    assert_eq!(next_step(&facts, T0), Step::Hold(blue, Why::Stopped));
}

#[test]
fn a_green_that_comes_up_worse_is_refused() {
    let (mut facts, _) = changed(Writers::Many, RolloutStrategy::BlueGreen);
    facts.instances.push(starting(2));
    if let ProcessFacts::Starting { refused, .. } = &mut facts.instances[1].process {
        *refused = true;
    }
    assert_eq!(next_step(&facts, T0), Step::Terminate(facts.instances[1].id, Why::Refused));
}

#[test]
fn a_revision_that_did_not_come_up_gives_way_to_the_last_good_one() {
    let mut facts =
        Facts { config: Config::Rendered(digest(2)), active: Some(digest(1)), failed: Some(digest(2)), ..facts() };
    assert_eq!(next_step(&facts, T0), Step::Start(digest(1), Role::Main));
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
        ProcessFacts::Starting { deadline: T0 + Duration::seconds(120), probes: 3, next_probe: T0, refused: false };
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
    let mut healthy = serving(1);
    if let ProcessFacts::Serving { next_check, .. } = &mut healthy.process {
        *next_check = T0 + Duration::hours(1);
    }
    (facts.good, facts.instances) = (Some(digest(1)), vec![healthy]);
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

#[test]
fn falling_asleep_lets_nothing_new_on_and_is_taken_back_until_it_is_done() {
    for rung in [Rung::Suspended, Rung::Stopped] {
        let mut facts = Facts { active: Some(digest(1)), good: Some(digest(1)), rung: Some(rung), ..facts() };
        facts.instances = vec![serving(1)];
        let id = facts.instances[0].id;
        assert_eq!(offer(&facts, T0, None), Offer::Asleep, "before anything is done");
        assert_eq!(next_step(&facts, T0), Step::Hold(id, Why::Asleep));
        let drain = DrainFacts { leave: Leave::Held, deadline: T0 + Duration::seconds(30), idle: false, cut_at: None };
        facts.instances[0].drain = Some(drain);
        assert_eq!(next_step(&facts, T0), Step::Cut(id), "a request is on it");
        let awake = Facts { rung: None, ..facts.clone() };
        assert_eq!(next_step(&awake, T0), Step::Readmit(id), "and another came");
        facts.instances[0].drain = Some(DrainFacts { idle: true, ..drain });
        let expected = if rung == Rung::Suspended { Step::Suspend(id) } else { Step::Terminate(id, Why::Asleep) };
        assert_eq!(next_step(&facts, T0), expected);
    }
}

#[test]
fn a_suspended_instance_is_left_alone_resumed_or_ended() {
    let mut facts = Facts { active: Some(digest(1)), good: Some(digest(1)), rung: Some(Rung::Suspended), ..facts() };
    facts.instances = vec![InstanceFacts { suspended: true, ..serving(1) }];
    let id = facts.instances[0].id;
    let late = T0 + Duration::hours(9);
    assert_eq!(next_step(&facts, late), Step::Rest(None), "no health checks");
    assert_eq!(offer(&facts, late, None), Offer::Asleep);
    let with = |rung, config, desired| Facts { rung, config, desired, ..facts.clone() };
    let (same, running) = (facts.config, DesiredState::Running);
    assert_eq!(next_step(&with(None, same, running), late), Step::Resume(id));
    let other = Config::Rendered(digest(2));
    assert_eq!(next_step(&with(None, other, running), late), Step::Resume(id), "what is new is rolled out from there");
    assert_eq!(next_step(&with(facts.rung, other, running), late), Step::Rest(None), "and not in its sleep");
    assert_eq!(next_step(&with(Some(Rung::Stopped), same, running), late), Step::Terminate(id, Why::Asleep));
    assert_eq!(next_step(&with(None, same, DesiredState::Stopped), late), Step::Terminate(id, Why::Stopped));
    facts.instances[0].process = ProcessFacts::Gone;
    assert_eq!(next_step(&facts, late), Step::Bury(id));
    facts.instances.clear();
    assert_eq!(next_step(&facts, late), Step::Rest(None), "it ended in its sleep: nothing until it is wanted");
    assert_eq!(facts.phase(late), Phase::Asleep);
}
