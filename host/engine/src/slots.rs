//! A tier's share of the sandboxes, so that one tier can't take them all (row W-19 of the zoo).
//!
//! A call holds a [`Turn`] while it runs. Where all are taken, callers wait in the order in which they came: a burst of requests to a
//! quick policy is over in milliseconds and none of it fails; behind a policy that hogs its share a wait ends after its patience.
//! Waiting costs no thread.
//!
//! Calls of policies known to be slow have places of their own, one per core: they are busy, not waiting, so more at once would only
//! take more from everybody else (measured: with sixteen, a neighbour that is never idle loses half of its decisions). Past [`MAX_WAITING`], or without patience left, the call is
//! [`crate::CallErrorKind::Unavailable`].

use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

use crate::{CallError, CallErrorKind, conduct::Place};

/// Calls of one tier at the same time where nobody says otherwise. Quick calls never get near it: there are fewer threads.
const USUAL: u32 = 16;
/// Callers of one tier that may wait. Each is a request that is held anyway; the bound is on their memory, some KiB each.
const MAX_WAITING: u32 = 4_096;
/// The shortest patience: what a burst of thousands of quick decisions takes at the most.
const MIN_PATIENCE: Duration = Duration::from_secs(1);
/// How often a caller without a runtime looks again.
const LOOK: Duration = Duration::from_millis(1);

/// Runs work that blocks its thread for long, and lets whatever else that thread was to do go on elsewhere: tokio's
/// `block_in_place`, where there is a tokio.
pub type StandAside = fn(&mut dyn FnMut());

/// A tier's share.
pub struct Slots {
    /// For calls on their callers' threads.
    here: Semaphore,
    /// For calls in the lane of the slow.
    aside: Semaphore,
    waiting: AtomicU32,
    stand_aside: StandAside,
}

/// A place to run; given back when dropped, to the one who has waited longest.
#[derive(Debug)]
pub struct Turn<'a> {
    _place: SemaphorePermit<'a>,
}

/// Counted among those who wait, until dropped.
struct Waiter<'a>(&'a AtomicU32);

impl Slots {
    /// A share of 16 calls at a time. `stand_aside` is used for policies known to be slow.
    pub fn new(stand_aside: StandAside) -> Self {
        Self::of(USUAL, stand_aside)
    }

    /// A share of `most` calls at a time, and of slow ones as many as there are cores, at most `most`.
    pub fn of(most: u32, stand_aside: StandAside) -> Self {
        let most = most.max(1) as usize;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let (here, aside) = (Semaphore::new(most), Semaphore::new(most.min(cores)));
        Self { here, aside, waiting: AtomicU32::new(0), stand_aside }
    }

    /// For tools and tests, which have nothing else to do on the calling thread.
    pub fn unshared() -> Self {
        Self::new(|work| work())
    }

    /// A place for a call with this budget: at once, or after a wait.
    pub(crate) async fn turn(&self, place: Place, budget: Duration) -> Result<Turn<'_>, CallError> {
        let free = self.places(place);
        if let Some(turn) = try_turn(free) {
            return Ok(turn);
        }
        let patience = patience(budget);
        let _waiter = self.wait()?;
        match tokio::time::timeout(patience, free.acquire()).await {
            Ok(Ok(place)) => Ok(Turn { _place: place }),
            // Nobody closes it; and if: there is no place.
            Ok(Err(_)) | Err(_) => Err(taken(patience)),
        }
    }

    /// The same for callers that may block and can wait behind all requests: a renderer's, a tool's.
    pub(crate) fn turn_blocking(&self, place: Place, budget: Duration) -> Result<Turn<'_>, CallError> {
        let free = self.places(place);
        let patience = patience(budget);
        let (began, mut waiter) = (Instant::now(), None);
        loop {
            if let Some(turn) = try_turn(free) {
                return Ok(turn);
            }
            if began.elapsed() >= patience {
                return Err(taken(patience));
            }
            if waiter.is_none() {
                waiter = Some(self.wait()?);
            }
            thread::park_timeout(LOOK);
        }
    }

    /// See [`StandAside`].
    pub(crate) fn stand_aside(&self, work: &mut dyn FnMut()) {
        (self.stand_aside)(work);
    }

    fn places(&self, place: Place) -> &Semaphore {
        match place {
            Place::Here | Place::Watched => &self.here,
            Place::Aside => &self.aside,
        }
    }

    fn wait(&self) -> Result<Waiter<'_>, CallError> {
        let waiter = Waiter(&self.waiting);
        if self.waiting.fetch_add(1, Relaxed) < MAX_WAITING {
            return Ok(waiter);
        }
        let reason = format!("its tier has taken all of its sandboxes, and {MAX_WAITING} calls wait for one");
        Err(CallError::new(CallErrorKind::Unavailable, reason))
    }
}

/// Fails also where a place is free that somebody waits for already.
fn try_turn(free: &Semaphore) -> Option<Turn<'_>> {
    match free.try_acquire() {
        Ok(place) => Some(Turn { _place: place }),
        Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => None,
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("here", &self.here.available_permits())
            .field("aside", &self.aside.available_permits())
            .finish_non_exhaustive()
    }
}

/// How long a call waits for its turn: a second, or its own budget where that is longer. A caller can't be told sooner that a policy
/// hogs its share than a burst of good ones takes.
fn patience(budget: Duration) -> Duration {
    budget.max(MIN_PATIENCE)
}

fn taken(patience: Duration) -> CallError {
    let reason = format!("its tier has taken all of its sandboxes for {} ms", patience.as_millis());
    CallError::new(CallErrorKind::Unavailable, reason)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const BUDGET: Duration = Duration::from_millis(20);

    fn share(most: u32) -> Arc<Slots> {
        Arc::new(Slots::of(most, |work| work()))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_burst_of_quick_calls_is_served_whole() {
        let slots = share(16);
        let hogs = [(); 16].map(|()| try_turn(&slots.here).expect("free"));
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let slots = slots.clone();
            calls.spawn(async move {
                let turn = slots.turn(Place::Here, Duration::from_secs(60)).await;
                tokio::task::yield_now().await;
                turn.is_ok()
            });
        }
        while slots.waiting.load(Relaxed) < 1_000 {
            tokio::task::yield_now().await;
        }
        drop(hogs);
        let served = calls.join_all().await.into_iter().filter(|served| *served).count();
        assert_eq!((served, slots.waiting.load(Relaxed), slots.here.available_permits()), (1_000, 0, 16));
    }

    #[tokio::test]
    async fn a_hogged_share_answers_in_time_and_a_crowd_at_once() {
        let slots = share(2);
        let hogs = (
            slots.turn(Place::Here, BUDGET).await.expect("free"),
            slots.turn(Place::Here, BUDGET).await.expect("free"),
        );
        let began = Instant::now();
        let refused = slots.turn(Place::Here, BUDGET).await.expect_err("hogged");
        assert!(refused.kind == CallErrorKind::Unavailable && began.elapsed() >= MIN_PATIENCE, "{refused}");
        assert!(refused.message.contains("for 1000 ms"), "{refused}");
        assert!(slots.turn_blocking(Place::Here, BUDGET).is_err(), "a tool's wait ends, too");

        slots.waiting.store(MAX_WAITING, Relaxed);
        let refused = slots.turn(Place::Here, BUDGET).await.expect_err("a crowd waits");
        assert!(refused.message.contains("4096 calls wait"), "{refused}");
        assert_eq!(slots.waiting.swap(0, Relaxed), MAX_WAITING);
        assert!(slots.turn(Place::Aside, BUDGET).await.is_ok(), "who is slow has places of its own");
        drop(hogs);
        assert!(slots.turn(Place::Here, BUDGET).await.is_ok() && slots.waiting.load(Relaxed) == 0);
    }

    #[tokio::test]
    async fn who_leaves_while_waiting_leaves_nothing_behind() {
        let slots = share(1);
        let hog = slots.turn(Place::Here, BUDGET).await.expect("free");
        let gone = tokio::time::timeout(Duration::from_millis(1), slots.turn(Place::Here, BUDGET)).await;
        assert!(gone.is_err(), "it still waited");
        drop(hog);
        assert!(slots.turn_blocking(Place::Here, BUDGET).is_ok() && slots.waiting.load(Relaxed) == 0);
    }

    #[test]
    fn patience_is_a_second_or_the_budget() {
        assert_eq!(patience(BUDGET), Duration::from_secs(1));
        assert_eq!(patience(Duration::from_secs(3)), Duration::from_secs(3));
    }
}
