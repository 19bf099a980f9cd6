//! Whether anybody uses a workspace. What counts: requests that the policies let through, while they last, and connections that
//! live long (WebSockets, event streams). What does not: health checks, and whatever was refused.
//!
//! On the hot path it costs one relaxed load, and one relaxed store per millisecond at most.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The clock of one workspace's life. Shared by all its entries: a change of tier is no activity.
#[derive(Debug)]
pub struct Activity {
    born: Instant,
    /// Milliseconds after `born`.
    last: AtomicU64,
    wanted: AtomicBool,
}

impl Activity {
    /// Used just now.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { born: Instant::now(), last: AtomicU64::new(0), wanted: AtomicBool::new(false) })
    }

    /// Somebody uses it at `now`, which the caller knows already.
    pub fn touch(&self, now: Instant) {
        let ms = self.since_birth(now);
        if self.last.load(Ordering::Relaxed) < ms {
            self.last.store(ms, Ordering::Relaxed);
        }
    }

    /// Nobody has used it for this long. What lasts (a request under way, an open connection) is touched again by the
    /// controller at each of its looks.
    pub fn idle_for(&self, now: Instant) -> Duration {
        Duration::from_millis(self.since_birth(now).saturating_sub(self.last.load(Ordering::Relaxed)))
    }

    /// A request met it asleep. Remembered until [`Activity::forget_wish`], whatever becomes of the request.
    pub fn want_awake(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// Whether a request met it asleep.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// It falls asleep: call it before that is published, or a wish would be lost.
    pub fn forget_wish(&self) {
        self.wanted.store(false, Ordering::SeqCst);
    }

    fn since_birth(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_counts_from_the_last_use_and_a_wish_is_remembered() {
        let activity = Activity::new();
        let at = |seconds| activity.born + Duration::from_secs(seconds);
        assert_eq!(activity.idle_for(at(60)), Duration::from_secs(60));
        activity.touch(at(50));
        activity.touch(at(40));
        assert_eq!(activity.idle_for(at(60)), Duration::from_secs(10), "a late store of an early time changes nothing");
        activity.want_awake();
        assert!(activity.is_wanted());
        activity.forget_wish();
        assert!(!activity.is_wanted());
    }
}
