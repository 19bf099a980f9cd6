//! How often something went well and badly in the last so many seconds, counted without a lock.
//!
//! Ten buckets, each of a tenth of the span. Whoever first counts in a new tenth empties its bucket; a count that runs at that very
//! moment may be lost. That is fine: what is decided from these numbers looks at dozens.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

const BUCKETS: usize = 10;

/// Counts of one span of time.
#[derive(Debug)]
pub(super) struct Window {
    origin: Instant,
    /// Of one bucket, nanoseconds.
    width: u64,
    buckets: [Bucket; BUCKETS],
}

#[derive(Debug, Default)]
struct Bucket {
    /// Which tenth it counts, from 1.
    turn: AtomicU64,
    good: AtomicU32,
    bad: AtomicU32,
    /// Whom it saw, and whom with a bad end: one bit of 64 each.
    seen: AtomicU64,
    hit: AtomicU64,
}

/// What a window holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub all: u64,
    pub bad: u64,
    /// About how many different ones were seen, and had a bad end; at most 64.
    pub seen: u32,
    pub hit: u32,
}

impl Window {
    /// Over the last `span`.
    pub fn new(span: Duration) -> Self {
        let width = u64::try_from(span.as_nanos() / BUCKETS as u128).unwrap_or(u64::MAX).max(1);
        Self { origin: Instant::now(), width, buckets: Default::default() }
    }

    /// One more, for the one whose bit this is (of 64).
    pub fn count(&self, now: Instant, bit: u32, bad: bool) {
        let turn = self.turn(now);
        let bucket = &self.buckets[(turn % BUCKETS as u64) as usize];
        let counted = bucket.turn.load(Relaxed);
        if counted != turn && bucket.turn.compare_exchange(counted, turn, Relaxed, Relaxed).is_ok() {
            bucket.clear();
        }
        if bad {
            bucket.bad.fetch_add(1, Relaxed);
            bucket.hit.fetch_or(1 << (bit % 64), Relaxed);
        } else {
            bucket.good.fetch_add(1, Relaxed);
        }
        bucket.seen.fetch_or(1 << (bit % 64), Relaxed);
    }

    /// All of the span.
    pub fn sum(&self, now: Instant) -> Sum {
        let turn = self.turn(now);
        let (mut sum, mut seen, mut hit) = (Sum::default(), 0, 0);
        for bucket in &self.buckets {
            let counted = bucket.turn.load(Relaxed);
            if counted > 0 && turn.saturating_sub(counted) < BUCKETS as u64 {
                let (good, bad) = (u64::from(bucket.good.load(Relaxed)), u64::from(bucket.bad.load(Relaxed)));
                sum.all += good + bad;
                sum.bad += bad;
                seen |= bucket.seen.load(Relaxed);
                hit |= bucket.hit.load(Relaxed);
            }
        }
        (sum.seen, sum.hit) = (seen.count_ones(), hit.count_ones());
        sum
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.buckets.iter().for_each(Bucket::clear);
    }

    fn turn(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.origin).as_nanos() / u128::from(self.width);
        u64::try_from(passed).unwrap_or(u64::MAX - 1) + 1
    }
}

impl Bucket {
    fn clear(&self) {
        self.good.store(0, Relaxed);
        self.bad.store(0, Relaxed);
        self.seen.store(0, Relaxed);
        self.hit.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_span_is_forgotten() {
        let window = Window::new(Duration::from_secs(10));
        let at = |seconds| window.origin + Duration::from_secs(seconds);
        window.count(at(0), 1, true);
        window.count(at(5), 1, false);
        window.count(at(5), 2, false);
        assert_eq!(window.sum(at(9)), Sum { all: 3, bad: 1, seen: 2, hit: 1 });
        assert_eq!(window.sum(at(11)), Sum { all: 2, bad: 0, seen: 2, hit: 0 });
        window.count(at(15), 3, true);
        assert_eq!(window.sum(at(15)), Sum { all: 1, bad: 1, seen: 1, hit: 1 }, "the bucket of second 5 counts anew");
        assert_eq!(window.sum(at(100)), Sum::default());
        window.clear();
        assert_eq!(window.sum(at(15)), Sum::default());
    }
}
