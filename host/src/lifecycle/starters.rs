//! Who may start an instance now: a limited number at the same time, first come, first served, so that in a storm of wakes nobody
//! starves. In memory alone; whoever waits asks again twice a second, and one that stops asking loses its place.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::ids::WorkspaceId;

/// A place in the queue is kept for so long without being asked for.
const KEPT_FOR: Duration = Duration::from_secs(3);

/// Bounded by the number of workspaces: each stands in it once.
pub(super) struct Starters {
    max: usize,
    /// One per instance that is starting.
    permits: Arc<Semaphore>,
    waiting: Mutex<VecDeque<(WorkspaceId, Instant)>>,
}

impl Starters {
    /// At most `max` (1 at least) at the same time.
    pub(super) fn new(max: usize) -> Self {
        let max = max.max(1);
        Self { max, permits: Arc::new(Semaphore::new(max)), waiting: Mutex::default() }
    }

    /// Whether it is this one's turn.
    pub(super) fn may(&self, id: WorkspaceId, now: Instant) -> bool {
        let waiting = self.waiting(now);
        let before = waiting.iter().take_while(|(other, _)| *other != id).count();
        self.permits.available_permits() > before
    }

    /// Stands in the queue, or keeps its place there.
    pub(super) fn wait(&self, id: WorkspaceId, now: Instant) {
        let mut waiting = self.waiting(now);
        match waiting.iter_mut().find(|(other, _)| *other == id) {
            Some((_, asked)) => *asked = now,
            None => waiting.push_back((id, now)),
        }
    }

    /// A place among those that start, for as long as it is held; `None`: it is not its turn.
    pub(super) fn take(&self, id: WorkspaceId, now: Instant) -> Option<OwnedSemaphorePermit> {
        if !self.may(id, now) {
            return None;
        }
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        self.waiting(now).retain(|(other, _)| *other != id);
        Some(permit)
    }

    /// Nobody starts.
    pub(super) fn is_quiet(&self) -> bool {
        self.permits.available_permits() >= self.max
    }

    fn waiting(&self, now: Instant) -> MutexGuard<'_, VecDeque<(WorkspaceId, Instant)>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|(_, asked)| now.saturating_duration_since(*asked) < KEPT_FOR);
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_waits_is_the_first_that_starts() {
        let (starters, ids, now) = (Starters::new(1), [(); 4].map(|()| WorkspaceId::generate()), Instant::now());
        let first = starters.take(ids[0], now).expect("nobody else");
        assert!(!starters.may(ids[1], now) && !starters.is_quiet());
        starters.wait(ids[1], now);
        starters.wait(ids[2], now);
        drop(first);
        assert!(starters.is_quiet());
        assert!(starters.take(ids[3], now).is_none(), "a newcomer does not pass those that wait");
        assert!(starters.take(ids[2], now).is_none());
        let second = starters.take(ids[1], now).expect("it was first");
        drop(second);
        assert!(starters.may(ids[2], now) && !starters.may(ids[3], now));
        let later = now + KEPT_FOR;
        assert!(starters.take(ids[3], later).is_some(), "one that stopped asking keeps nobody waiting");
    }
}
