//! Falling asleep and waking, as the controller does it: gathers the circumstances, asks the [`ladder`], remembers the verdict
//! before anything is done about it, suspends and resumes.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

use super::{
    facts::{Config, Facts, InstanceFacts},
    ladder::{self, Asked, Circumstances},
    reconcile::Work,
};
use crate::{
    crashpoint,
    directory::{Endpoint, Upstream},
    driver::{self, DriverError, Process},
    ids::InstanceId,
    model::{DesiredState, Rung, Sleep, SleepCause, SleepRules},
};

/// First health check after an instance was resumed: its pages must come back first.
const RESUMED_CHECK: time::Duration = time::Duration::seconds(2);
/// How long the answer of a rehearsed wake may take.
const REHEARSAL_DEADLINE: Duration = Duration::from_secs(2);

impl Work<'_> {
    /// Decides whether the workspace sleeps. Sets [`Facts::rung`]; returns when that must be looked at again.
    pub(super) fn settle_sleep(&mut self, facts: &mut Facts, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let wish = self.shared.wishes.take(self.id());
        let pressed = self.shared.wishes.take_pressed(self.id());
        let asked = wish.as_ref().map(|wish| wish.asked);
        self.live.heard.extend(wish.map(|wish| wish.heard));
        if facts.deleting || facts.desired == DesiredState::Stopped {
            self.progress.sleep = None;
            return None;
        }
        let entry = self.live.entries.first().cloned()?;
        // Written by the clock of an earlier life, which may have been ahead.
        let before = self.progress.sleep.map(|sleep| Sleep { since: sleep.since.min(now), ..sleep });
        self.progress.sleep = before;
        let in_use = self.live.instances.values().any(|live| !live.is_idle());
        if in_use || asked == Some(Asked::Wake) {
            entry.activity.touch(Instant::now());
        }
        // A request that came between the decision and its publication takes a decision back that nobody asked for.
        let overtaken = in_use && before.is_some_and(|sleep| sleep.cause != SleepCause::Asked);
        if facts.config != Config::Unrendered && facts.is_settled(now) {
            // As `describe` would say at the end of this look: who asks for sleep in between must not be taken for who changed the spec.
            self.status().observed_generation = self.workspace.generation;
        }
        let rules = self.sleep_rules();
        let at = Circumstances {
            rules: &rules,
            idle_for: entry.activity.idle_for(Instant::now()),
            wanted: entry.activity.is_wanted() || overtaken,
            changed: self.workspace.generation > self.workspace.status.observed_generation || facts.restart_asked,
            asked,
            in_use,
            pressed,
            can_suspend: self.shared.can_suspend().is_ok(),
            serves: facts.is_settled_and_serves(),
            baking: facts.is_baking(),
            wall_ahead: OffsetDateTime::now_utc() - now,
        };
        let (verdict, look_at) = ladder::decide(before, &at, now);
        if verdict != before {
            self.turn_over(before, verdict, &at, now);
        }
        facts.rung = verdict.map(|sleep| sleep.rung);
        look_at
    }

    fn turn_over(
        &mut self,
        before: Option<Sleep>,
        verdict: Option<Sleep>,
        at: &Circumstances<'_>,
        now: OffsetDateTime,
    ) {
        let Some(entry) = self.live.entries.first().cloned() else { return };
        match (before, verdict) {
            (None, Some(sleep)) => {
                // Before it is published: from then on a request may wish.
                entry.activity.forget_wish();
                let how = match sleep.rung {
                    Rung::Suspended => "it is being suspended",
                    Rung::Stopped => "its instance is being stopped",
                };
                self.event("FallingAsleep", format!("{how}: {}", sleep.cause.as_str()));
            }
            (Some(_), Some(_)) => {
                self.event("FallingAsleep", "its instance is being stopped: it was suspended for long")
            }
            (Some(sleep), None) => {
                let why = match at.asked {
                    Some(Asked::Wake) => "it was asked for",
                    _ if at.wanted => "a request came",
                    _ if at.changed => "its spec changed",
                    _ => "scheduled work may be due",
                };
                entry.activity.forget_wish();
                let seconds = (now - sleep.since).whole_seconds().max(0);
                self.event("Waking", format!("it slept for {seconds} s: {why}"));
                // Else it would fall asleep again before it was of use.
                entry.activity.touch(Instant::now());
            }
            (None, None) => {}
        }
        self.progress.sleep = verdict;
        crashpoint!("sleep.decided");
    }

    /// `[sleep]` of its tier; a tier that is not known sends nobody to sleep.
    pub(super) fn sleep_rules(&self) -> SleepRules {
        let set = self.shared.policies.snapshot();
        set.tier(&self.workspace.spec.tier).map(|tier| tier.rules().sleep.clone()).unwrap_or_default()
    }

    /// Stops the instance where it is. Nothing is on it.
    pub(super) async fn suspend(&mut self, id: InstanceId) {
        crashpoint!("suspend.before");
        let Some(process) = self.live.instances.get(&id).and_then(|live| live.process.clone()) else { return };
        let began = Instant::now();
        let was = process.resident_bytes();
        let suspended = match process.suspend().await {
            Ok(()) => self.rehearse_waking(id, &*process).await,
            refused => refused.map(|()| None),
        };
        match suspended {
            Ok(needs) => {
                self.shared.metrics.suspended();
                let (is, took) = (process.resident_bytes(), began.elapsed().as_millis());
                let mib = |bytes: u64| bytes >> 20;
                let needs = needs.map(|bytes| format!("; an answer needs {} MiB", mib(bytes))).unwrap_or_default();
                let (was, is) = (mib(was), mib(is));
                let text = format!("instance {id} is suspended: {was} MiB became {is} MiB in {took} ms{needs}");
                self.event("Suspended", text);
            }
            Err(error) => {
                self.shared.suspension_refused(driver::NoSuspension::Refused(error.to_string()));
                self.event("SuspendFailed", format!("instance {id} runs on: {error}"));
                self.progress.sleep = None;
            }
        }
        crashpoint!("suspend.after");
    }

    /// Wakes it for one answer that nobody waits for, and suspends it again: what it touched for that is fetched first when somebody
    /// does wait. Not while memory is short, and not when a request came meanwhile, which wakes it in earnest.
    async fn rehearse_waking(&mut self, id: InstanceId, process: &dyn Process) -> Result<Option<u64>, DriverError> {
        let pressed = self.progress.sleep.is_some_and(|sleep| sleep.cause == SleepCause::Memory);
        let wanted = |work: &Self| work.live.entries.first().is_some_and(|entry| entry.activity.is_wanted());
        let Some(row) = self.instances.iter().find(|row| row.instance.id == id) else { return Ok(None) };
        if pressed || wanted(self) {
            return Ok(None);
        }
        process.resume();
        crashpoint!("suspend.rehearsal");
        let answered = tokio::time::timeout(REHEARSAL_DEADLINE, self.prove_ready(&process.door(), row)).await;
        let needs = match answered {
            Ok(Ok(())) => Some(process.learn_needs().await),
            _ => None,
        };
        process.suspend().await.map(|()| needs)
    }

    /// Lets a suspended instance run again. Requests get on it at once: the first of them brings its pages back.
    pub(super) fn resume(&mut self, id: InstanceId, now: OffsetDateTime) {
        crashpoint!("resume.before");
        let Some(live) = self.live.instances.get_mut(&id) else { return };
        if let Some(process) = &live.process {
            process.resume();
        }
        live.drain = None;
        live.failed_checks = 0;
        live.next_probe = now + if live.serving_since.is_some() { RESUMED_CHECK } else { time::Duration::ZERO };
        if let Some(upstream) = live.upstream.take() {
            let Endpoint { resumed, .. } = upstream.endpoint;
            live.upstream = Some(Upstream::new(Endpoint { resumed: resumed + 1, ..upstream.endpoint.clone() }));
        }
        self.shared.metrics.resumed();
        crashpoint!("resume.after");
    }
}

impl Facts {
    /// One instance, proven, of the wanted revision, with nothing under way: what may fall asleep.
    pub(super) fn is_settled_and_serves(&self) -> bool {
        let settled = |instance: &InstanceFacts| {
            instance.drain.is_none() && !instance.suspended && self.misfit(instance).is_none()
        };
        self.instances.len() == 1 && self.serving().is_some_and(settled)
    }
}
