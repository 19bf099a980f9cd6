//! When a workspace falls asleep, sleeps deeper, and wakes. Pure.
//!
//! ```text
//!            idle for suspend_after, memory short,            idle for stop_after, asked
//!            asked (where the machine has swap)
//!   awake ───────────────────────────────────▶ suspended ───────────────────────────────▶ stopped
//!     ▲ ▲                                          │                                         │
//!     │ └── a request, a changed spec, asked, wake_every ────────────────────────────────────┘
//!     └───────────────────────────────────────────┘
//! ```
//!
//! A window of `keep_awake` lets nothing fall asleep; it wakes nobody. Where nothing can be suspended the first rung is left out.

use std::time::Duration;

use time::OffsetDateTime;

use crate::model::{Rung, Sleep, SleepCause, SleepRules};

/// Everything that a decision depends on.
#[derive(Debug, Clone)]
pub(super) struct Circumstances<'a> {
    /// The tier's.
    pub rules: &'a SleepRules,
    /// Nobody has used it for this long.
    pub idle_for: Duration,
    /// A request met it asleep.
    pub wanted: bool,
    /// Its spec changed, or a restart was asked for: whoever did that wants to see it run.
    pub changed: bool,
    /// Someone asked.
    pub asked: Option<Asked>,
    /// Requests or streams are on it.
    pub in_use: bool,
    /// Memory is short, and it is the idlest.
    pub pressed: bool,
    /// This machine can suspend.
    pub can_suspend: bool,
    /// It serves, and nothing is under way: what is starting, rolling out or failing does not fall asleep.
    pub serves: bool,
    /// What serves has not served for long enough to count as good: left alone, unless someone asks.
    pub baking: bool,
    /// The machine's clock less `now`: windows are meant by that one.
    pub wall_ahead: time::Duration,
}

/// What someone asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// `orbitd workspace wake`.
    Wake,
    /// `orbitd workspace suspend`.
    Suspend,
    /// `orbitd workspace sleep`.
    Sleep,
}

/// What shall be, and when that must be looked at again (`None`: when something changes).
pub(super) type Verdict = (Option<Sleep>, Option<OffsetDateTime>);

/// The decision.
pub(super) fn decide(sleep: Option<Sleep>, at: &Circumstances<'_>, now: OffsetDateTime) -> Verdict {
    match at.asked {
        Some(Asked::Wake) => return (None, Some(now)),
        Some(Asked::Suspend) if at.can_suspend && at.serves => return fall(Rung::Suspended, SleepCause::Asked, now),
        Some(Asked::Sleep) => return fall(Rung::Stopped, SleepCause::Asked, now),
        Some(Asked::Suspend) | None => {}
    }
    match sleep {
        Some(_) if at.wanted || at.changed => (None, Some(now)),
        Some(sleep) => asleep(sleep, at, now),
        None => awake(at, now),
    }
}

fn awake(at: &Circumstances<'_>, now: OffsetDateTime) -> Verdict {
    if at.changed || !at.serves || at.baking || !at.rules.any() {
        return (None, None);
    }
    if let Some(end) = open_window(at, now) {
        return (None, Some(end));
    }
    let suspend_after = at.rules.suspend_after().filter(|_| at.can_suspend);
    if at.pressed && !at.in_use {
        let rung = if at.can_suspend { Rung::Suspended } else { Rung::Stopped };
        return fall(rung, SleepCause::Memory, now);
    }
    if at.rules.stop_after().is_some_and(|after| at.idle_for >= after) {
        return fall(Rung::Stopped, SleepCause::Idle, now);
    }
    if suspend_after.is_some_and(|after| at.idle_for >= after) {
        return fall(Rung::Suspended, SleepCause::Idle, now);
    }
    // The next threshold; the last use may move it.
    let next = [suspend_after, at.rules.stop_after()].into_iter().flatten().filter(|after| *after > at.idle_for).min();
    (None, next.map(|after| now + (after - at.idle_for)))
}

fn asleep(sleep: Sleep, at: &Circumstances<'_>, now: OffsetDateTime) -> Verdict {
    let wake_at = at.rules.wake_every().map(|every| sleep.since + every);
    if wake_at.is_some_and(|wake_at| now >= wake_at) {
        return (None, Some(now));
    }
    if sleep.rung == Rung::Stopped {
        return (Some(sleep), wake_at);
    }
    let stop_at = at.rules.stop_after().map(|stop| {
        // It was idle for this long when it was suspended.
        let before = if sleep.cause == SleepCause::Idle { at.rules.suspend_after() } else { None };
        sleep.since + stop.saturating_sub(before.unwrap_or_default())
    });
    match (stop_at, open_window(at, now)) {
        (Some(stop_at), None) if now >= stop_at => {
            (Some(Sleep { rung: Rung::Stopped, since: now, ..sleep }), Some(now))
        }
        (Some(stop_at), Some(end)) if now >= stop_at => (Some(sleep), earlier(wake_at, Some(end))),
        _ => (Some(sleep), earlier(wake_at, stop_at)),
    }
}

fn fall(rung: Rung, cause: SleepCause, now: OffsetDateTime) -> Verdict {
    (Some(Sleep { rung, since: now, cause }), Some(now))
}

/// When the window that is open now ends.
fn open_window(at: &Circumstances<'_>, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let wall = (now + at.wall_ahead).unix_timestamp();
    let ends = at.rules.keep_awake.iter().filter_map(|window| window.end_of(wall));
    ends.max().map(|end| now + time::Duration::seconds(end - wall))
}

/// The earlier of two times, either of which may never come.
pub(super) fn earlier(one: Option<OffsetDateTime>, other: Option<OffsetDateTime>) -> Option<OffsetDateTime> {
    [one, other].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn rules(text: &str) -> SleepRules {
        toml::from_str(text).expect("rules")
    }
    fn after(seconds: i64) -> OffsetDateTime {
        T0 + time::Duration::seconds(seconds)
    }
    fn at(rules: &SleepRules, idle: u64) -> Circumstances<'_> {
        Circumstances {
            rules,
            idle_for: Duration::from_secs(idle),
            wanted: false,
            changed: false,
            asked: None,
            in_use: false,
            pressed: false,
            can_suspend: true,
            serves: true,
            baking: false,
            wall_ahead: time::Duration::ZERO,
        }
    }
    fn slept(rung: Rung, since: i64) -> Option<Sleep> {
        Some(Sleep { rung, since: after(since), cause: SleepCause::Idle })
    }
    fn rung((sleep, _): Verdict) -> Option<Rung> {
        sleep.map(|sleep| sleep.rung)
    }

    #[test]
    fn idle_falls_rung_by_rung_and_a_request_wakes() {
        let rules = rules("suspend_after_s = 60\nstop_after_s = 600");
        assert_eq!(decide(None, &at(&rules, 10), T0), (None, Some(after(50))), "not yet, and when");
        assert_eq!(rung(decide(None, &at(&rules, 60), T0)), Some(Rung::Suspended));
        let suspended = slept(Rung::Suspended, 0);
        assert_eq!(decide(suspended, &at(&rules, 70), after(10)), (suspended, Some(after(540))));
        assert_eq!(rung(decide(suspended, &at(&rules, 600), after(540))), Some(Rung::Stopped));
        assert_eq!(
            decide(slept(Rung::Stopped, 540), &at(&rules, 9999), after(9999)).1,
            None,
            "until something changes"
        );
        for sleep in [suspended, slept(Rung::Stopped, 0)] {
            let asked = Circumstances { asked: Some(Asked::Wake), ..at(&rules, 9999) };
            let wanted = Circumstances { wanted: true, ..at(&rules, 9999) };
            let changed = Circumstances { changed: true, ..at(&rules, 9999) };
            assert!([asked, wanted, changed].iter().all(|why| decide(sleep, why, after(9)).0.is_none()));
        }
    }

    #[test]
    fn without_swap_the_first_rung_is_left_out() {
        let rules = rules("suspend_after_s = 60\nstop_after_s = 600");
        let at = |idle| Circumstances { can_suspend: false, ..at(&rules, idle) };
        assert_eq!(decide(None, &at(60), T0), (None, Some(after(540))));
        assert_eq!(rung(decide(None, &at(600), T0)), Some(Rung::Stopped));
        let asked = Circumstances { asked: Some(Asked::Suspend), ..at(0) };
        assert_eq!(decide(None, &asked, T0).0, None, "the call was refused with the reason before");
    }

    #[test]
    fn a_window_keeps_awake_and_wakes_nobody() {
        let rules = rules("suspend_after_s = 60\nstop_after_s = 600\nkeep_awake = [\"Thu 00:00-01:00 UTC\"]");
        // 1970-01-01 was a Thursday.
        assert_eq!(decide(None, &at(&rules, 999), after(60)), (None, Some(after(3600))));
        assert_eq!(rung(decide(None, &at(&rules, 999), after(3600))), Some(Rung::Stopped));
        let suspended = slept(Rung::Suspended, 0);
        assert_eq!(decide(suspended, &at(&rules, 999), after(999)), (suspended, Some(after(3600))));
        // The machine's clock was set an hour back, and ours follows slowly: the window is where people see it.
        let set_back = Circumstances { wall_ahead: -time::Duration::HOUR, ..at(&rules, 999) };
        assert_eq!(decide(None, &set_back, after(3660)), (None, Some(after(7200))));
        let pressed = Circumstances { pressed: true, ..at(&rules, 1) };
        assert_eq!(decide(None, &pressed, T0).0, None);
        let asked = Circumstances { asked: Some(Asked::Sleep), ..at(&rules, 0) };
        assert_eq!(rung(decide(None, &asked, T0)), Some(Rung::Stopped), "but who asks is obeyed");
    }

    #[test]
    fn short_memory_suspends_who_may_sleep_and_scheduled_work_wakes() {
        let none = SleepRules::default();
        let pressed = |rules| Circumstances { pressed: true, ..at(rules, 1) };
        assert_eq!(decide(None, &pressed(&none), T0), (None, None), "a tier that never sleeps");
        let rules = rules("stop_after_s = 600\nwake_every_s = 3600");
        let in_use = Circumstances { in_use: true, ..pressed(&rules) };
        assert_eq!(decide(None, &in_use, T0).0, None, "not with someone on it");
        assert_eq!(rung(decide(None, &pressed(&rules), T0)), Some(Rung::Suspended));
        assert_eq!(decide(None, &pressed(&rules), T0).0.map(|sleep| sleep.cause), Some(SleepCause::Memory));
        let stopped = slept(Rung::Stopped, 0);
        assert_eq!(decide(stopped, &at(&rules, 9999), after(3599)), (stopped, Some(after(3600))));
        assert_eq!(decide(stopped, &at(&rules, 9999), after(3600)).0, None);
    }
}
