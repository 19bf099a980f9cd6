//! A policy that fails most of the time is not asked any more for a while: it costs its budget with each call and answers nothing.
//!
//! closed → (most of the last 10 s' decisions failed, for most workspaces that asked) → open: every decision fails at once → after
//! [`PAUSE`] one decision is let through → it answered: closed; it failed: open for another pause.
//!
//! "For most workspaces" keeps one workspace from closing a tier for the others with requests that make its policy trap.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::window::Window;

/// What it looks at.
const SPAN: Duration = Duration::from_secs(10);
/// Decisions in that span before it may open.
const LEAST: u64 = 20;
/// Between two tries while it is open.
pub(in crate::policy) const PAUSE: Duration = Duration::from_secs(3);

/// One policy's, in one tier.
#[derive(Debug)]
pub(in crate::policy) struct Breaker {
    origin: Instant,
    window: Window,
    /// Milliseconds since `origin` of the next try; 0 while closed.
    retry: AtomicU64,
    /// Milliseconds since `origin` of the first try after it opened: who was let through earlier does not close it.
    first_try: AtomicU64,
    /// Something failed in the span. While nothing did, nothing is counted: this is read with each decision.
    troubled: AtomicBool,
    openings: AtomicU64,
}

impl Breaker {
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
            window: Window::new(SPAN),
            retry: AtomicU64::new(0),
            first_try: AtomicU64::new(0),
            troubled: AtomicBool::new(false),
            openings: AtomicU64::new(0),
        }
    }

    /// Whether the policy may be asked.
    pub fn admits(&self, now: Instant) -> bool {
        let retry = self.retry.load(Relaxed);
        // The one who moves the next try on is the one who tries.
        retry == 0
            || self.millis(now) >= retry
                && self.retry.compare_exchange(retry, self.millis(now + PAUSE), Relaxed, Relaxed).is_ok()
    }

    /// Whether failures were seen lately, so that good ends must be counted, too.
    pub fn is_troubled(&self) -> bool {
        self.troubled.load(Relaxed)
    }

    /// It answered; `now` is when it was asked.
    pub fn answered(&self, now: Instant, bit: u32) {
        if self.is_open() {
            if self.millis(now) >= self.first_try.load(Relaxed) {
                self.window.clear();
                self.troubled.store(false, Relaxed);
                self.retry.store(0, Relaxed);
            }
            return;
        }
        self.window.count(now, bit, false);
        if self.window.sum(now).bad == 0 {
            self.troubled.store(false, Relaxed);
        }
    }

    /// An answer from memory: it says nothing of the policy, but of how many workspaces are well off.
    pub fn remembered(&self, now: Instant, bit: u32) {
        self.window.count(now, bit, false);
    }

    /// It failed. Whether that opened the breaker.
    pub fn failed(&self, now: Instant, bit: u32) -> bool {
        self.troubled.store(true, Relaxed);
        self.window.count(now, bit, true);
        let sum = self.window.sum(now);
        let most = sum.all >= LEAST && sum.bad * 2 >= sum.all && (sum.hit * 2 > sum.seen || sum.seen == 1);
        let first_try = self.millis(now + PAUSE);
        let opened = most && self.retry.compare_exchange(0, first_try, Relaxed, Relaxed).is_ok();
        if opened {
            self.first_try.store(first_try, Relaxed);
            self.openings.fetch_add(1, Relaxed);
        }
        opened
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.retry.load(Relaxed) > 0
    }

    /// How often it opened.
    pub fn openings(&self) -> u64 {
        self.openings.load(Relaxed)
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_calls_failing_opens_it_and_a_good_try_closes_it() {
        let breaker = Breaker::new();
        let at = |millis| breaker.origin + Duration::from_millis(millis);
        let mut opened = false;
        for n in 0..40 {
            assert!(breaker.admits(at(n)) != opened);
            if n % 2 == 0 {
                opened |= breaker.failed(at(n), n as u32 % 8);
            } else if !opened {
                breaker.answered(at(n), (n as u32 + 1) % 8);
            }
        }
        assert!(opened && breaker.is_open() && breaker.openings() == 1);
        breaker.answered(at(10), 0);
        assert!(!breaker.admits(at(1_000)), "open: nobody is let through, and who was under way does not close it");
        assert!(breaker.admits(at(5_000)) && !breaker.admits(at(5_001)), "one tries");
        assert!(!breaker.failed(at(5_001), 0) && !breaker.admits(at(6_000)), "it failed: another pause");
        assert!(breaker.admits(at(9_000)));
        breaker.answered(at(9_000), 0);
        assert!(!breaker.is_open() && breaker.admits(at(9_001)) && !breaker.is_troubled());
    }

    #[test]
    fn one_workspace_can_not_open_it_for_the_others() {
        let breaker = Breaker::new();
        let now = breaker.origin + Duration::from_secs(1);
        for n in 0..1_000 {
            assert!(!breaker.failed(now, 1));
            if n % 50 == 0 {
                breaker.remembered(now, 2);
            }
            if n == 0 {
                breaker.remembered(now, 2);
            }
        }
        assert!(!breaker.is_open());
        let alone = Breaker::new();
        let now = alone.origin + Duration::from_secs(1);
        assert!((0..LEAST).any(|_| alone.failed(now, 1)), "alone in its tier it harms only itself");
    }

    #[test]
    fn a_few_failures_among_many_answers_leave_it_closed() {
        let breaker = Breaker::new();
        let now = breaker.origin + Duration::from_secs(1);
        for n in 0..1_000 {
            if n % 10 == 0 {
                assert!(!breaker.failed(now, n));
            } else {
                breaker.answered(now, n);
            }
        }
        assert!(!breaker.is_open());
        let later = now + SPAN * 2;
        breaker.answered(later, 0);
        assert!(!breaker.is_troubled(), "and it is forgotten");
    }
}
