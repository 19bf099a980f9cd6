//! The controller's time. Deadlines, backoffs, bakes and sleep are durations that are written down as times; when the machine's clock is
//! set, by a person, by NTP, or because the machine was asleep, they must neither all be over at once nor be held up for years.
//!
//! So this clock never jumps. It starts with the machine's and runs with the kernel's monotonic one; where the machine's is
//! elsewhere it follows by running a tenth faster or slower, so that the times that people read come right again by themselves. What is meant
//! by the calendar (windows of `keep_awake`, a backup's hour, an event's time) asks the machine's clock itself.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use time::{Duration, OffsetDateTime};

/// Of the time that has passed, the part by which this clock may run ahead or behind.
const SLEW: u32 = 10;
/// A difference that is told in the log.
const NOTABLE: Duration = Duration::seconds(30);

/// One per controller.
pub(super) struct Clock(Mutex<State>);

struct State {
    asked: Instant,
    told: OffsetDateTime,
    /// The difference is notable, and that was said.
    apart: bool,
}

impl Clock {
    /// Starts with the machine's time.
    pub(super) fn start() -> Self {
        Self(Mutex::new(State { asked: Instant::now(), told: OffsetDateTime::now_utc(), apart: false }))
    }

    /// Never less than an earlier answer; between two of them as much time has passed as really did, within a tenth.
    pub(super) fn now(&self) -> OffsetDateTime {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wall = OffsetDateTime::now_utc();
        let now = state.advance(Instant::now(), wall);
        let difference = wall - now;
        let apart = difference.abs() >= NOTABLE;
        if apart != std::mem::replace(&mut state.apart, apart) {
            match apart {
                true => tracing::warn!(
                    seconds = difference.whole_seconds(),
                    "the machine's clock was set: deadlines and sleep go on by the time that has really passed"
                ),
                false => tracing::info!("the machine's clock and the controller's agree again"),
            }
        }
        now
    }
}

impl State {
    fn advance(&mut self, now: Instant, wall: OffsetDateTime) -> OffsetDateTime {
        let passed = now.saturating_duration_since(self.asked);
        self.asked = self.asked.max(now);
        let even = self.told.checked_add(Duration::try_from(passed).unwrap_or_default()).unwrap_or(self.told);
        let room = Duration::try_from(passed / SLEW).unwrap_or_default();
        let correction = (wall - even).clamp(-room, room);
        self.told = even.checked_add(correction).unwrap_or(even);
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const DECADE: Duration = Duration::days(3652);

    #[test]
    fn a_clock_that_is_set_moves_no_deadline_and_is_followed_in_time() {
        let origin = Instant::now();
        let after = |seconds: u64| origin + std::time::Duration::from_secs(seconds);
        for jump in [DECADE, -DECADE, Duration::HOUR, -Duration::HOUR] {
            let mut state = State { asked: origin, told: T0, apart: false };
            // Asked often, as the controller does: many small steps are no more than a large one.
            let mut before = T0;
            for second in 1..=1000 {
                let wall = T0 + Duration::seconds(i64::try_from(second).expect("small")) + jump;
                let now = state.advance(after(second), wall);
                assert!(now >= before, "it never goes back");
                before = now;
            }
            let passed = (before - T0).whole_seconds();
            assert!((900..=1100).contains(&passed), "{jump}: {passed} s passed of 1000");
        }
        // A correction of a minute is over in ten.
        let mut state = State { asked: origin, told: T0, apart: false };
        let now = state.advance(after(600), T0 + Duration::minutes(11));
        assert_eq!(now, T0 + Duration::minutes(11));
        let now = state.advance(after(601), T0 + Duration::seconds(661));
        assert_eq!(now, T0 + Duration::seconds(661), "and then it is the machine's");
        assert_eq!(state.advance(after(601), T0), now, "no time has passed");
    }
}
