//! A tier's share of the sandboxes, so that one tier can't take them all (row W-19 of the zoo).
//!
//! A call holds a slot while it runs. Where all are taken it waits for one, [`MAX_WAIT`] at most and behind no more others than
//! there are slots; then it is [`crate::CallErrorKind::Unavailable`].

use std::{
    fmt,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// Calls of one tier at the same time where nobody says otherwise. Quick calls never get near it: there are fewer threads.
const USUAL: u32 = 16;
/// Longest wait for a slot.
const MAX_WAIT: Duration = Duration::from_millis(10);

/// Runs work that blocks its thread for long, and lets whatever else that thread was to do go on elsewhere: tokio's
/// `block_in_place`, where there is a tokio.
pub type StandAside = fn(&mut dyn FnMut());

/// A tier's share.
pub struct Slots {
    most: u32,
    taken: AtomicU32,
    waiting: AtomicU32,
    gate: Mutex<()>,
    freed: Condvar,
    stand_aside: StandAside,
}

/// A place to run; given back when dropped.
pub(crate) struct Slot<'a>(&'a Slots);

impl Slots {
    /// A share of 16 calls at a time. `stand_aside` is used for calls that have to wait, and for policies known to be slow.
    pub fn new(stand_aside: StandAside) -> Self {
        Self::of(USUAL, stand_aside)
    }

    /// A share of `most` calls at a time.
    pub fn of(most: u32, stand_aside: StandAside) -> Self {
        Self {
            most: most.max(1),
            taken: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            gate: Mutex::default(),
            freed: Condvar::new(),
            stand_aside,
        }
    }

    /// For tools and tests, which have nothing else to do on the calling thread.
    pub fn unshared() -> Self {
        Self::new(|work| work())
    }

    pub(crate) fn take(&self) -> Option<Slot<'_>> {
        if let Some(slot) = self.try_take() {
            return Some(slot);
        }
        // Counted before anything waits: a crowd must not become a crowd of threads.
        let slot = if self.waiting.fetch_add(1, SeqCst) < self.most {
            let mut slot = None;
            (self.stand_aside)(&mut || slot = self.wait());
            slot
        } else {
            None
        };
        self.waiting.fetch_sub(1, SeqCst);
        slot
    }

    /// See [`StandAside`].
    pub(crate) fn stand_aside(&self, work: &mut dyn FnMut()) {
        (self.stand_aside)(work);
    }

    fn try_take(&self) -> Option<Slot<'_>> {
        if self.taken.fetch_add(1, SeqCst) < self.most {
            return Some(Slot(self));
        }
        // Not `Slot`'s drop: nobody waits for what was never ours.
        self.taken.fetch_sub(1, SeqCst);
        None
    }

    fn wait(&self) -> Option<Slot<'_>> {
        let deadline = Instant::now() + MAX_WAIT;
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(slot) = self.try_take() {
                return Some(slot);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            gate = self.freed.wait_timeout(gate, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        // Free first, then look; a waiter says that it waits first, then looks: one of the two sees the other.
        self.0.taken.fetch_sub(1, SeqCst);
        if self.0.waiting.load(SeqCst) > 0 {
            let _gate = self.0.gate.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.freed.notify_one();
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("most", &self.most).field("taken", &self.taken).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_share_makes_wait_a_little_and_then_refuses() {
        let slots = Slots::of(2, |work| work());
        let (one, _two) = (slots.take().expect("free"), slots.take().expect("free"));
        let began = Instant::now();
        assert!(slots.take().is_none());
        assert!(began.elapsed() >= MAX_WAIT);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| slots.take().is_some());
            while slots.waiting.load(SeqCst) == 0 && !waiter.is_finished() {
                std::thread::yield_now();
            }
            drop(one);
            // It came either while it waited or, on a very slow machine, after it gave up.
            assert!(waiter.join().expect("no panic") || slots.take().is_some());
        });
        assert_eq!(slots.taken.load(SeqCst), 1);
    }

    #[test]
    fn a_crowd_does_not_wait() {
        let slots = Slots::of(1, |work| work());
        let _one = slots.take().expect("free");
        slots.waiting.fetch_add(1, SeqCst);
        let began = Instant::now();
        assert!(slots.take().is_none());
        assert!(began.elapsed() < MAX_WAIT);
    }
}
