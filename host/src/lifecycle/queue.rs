//! The controller's work queue: keyed (a workspace is in it once), delaying (each has a time), and exclusive (a workspace that is
//! being worked on is not handed out again before it is done). As Kubernetes' work queue; bounded by the number of workspaces.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use crate::ids::WorkspaceId;

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Earliest first; each id once.
    waiting: BTreeSet<(Instant, WorkspaceId)>,
    due: HashMap<WorkspaceId, Instant>,
    /// Being worked on → when it is wanted again, if it was asked for meanwhile.
    working: HashMap<WorkspaceId, Option<Instant>>,
}

impl Queue {
    /// Asks for a look at a workspace no later than `at`. The earliest time wins.
    pub(super) fn add(&self, id: WorkspaceId, at: Instant) {
        let mut state = self.lock();
        match state.working.get_mut(&id) {
            Some(again) => *again = Some(again.map_or(at, |other| other.min(at))),
            None => {
                state.put(id, at);
                drop(state);
                self.changed.notify_one();
            }
        }
    }

    /// The next workspace whose time has come; its worker must call [`Queue::done`]. Cancel-safe.
    pub(super) async fn next(&self) -> WorkspaceId {
        loop {
            let changed = self.changed.notified();
            let next = match self.take(Instant::now()) {
                Ok(id) => {
                    // Another may be due as well, and one notification wakes one worker.
                    self.changed.notify_one();
                    return id;
                }
                Err(next) => next,
            };
            match next {
                Some(at) => tokio::select! {
                    // Both arms only wait: nothing is lost when one is dropped.
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => changed.await,
            }
        }
    }

    /// Work on it is over; `again`: wanted at this time.
    pub(super) fn done(&self, id: WorkspaceId, again: Option<Instant>) {
        let mut state = self.lock();
        let asked = state.working.remove(&id).flatten();
        if let Some(at) = [asked, again].into_iter().flatten().min() {
            state.put(id, at);
        }
        drop(state);
        self.changed.notify_one();
    }

    fn take(&self, now: Instant) -> Result<WorkspaceId, Option<Instant>> {
        let mut state = self.lock();
        match state.waiting.first().copied() {
            Some((at, id)) if at <= now => {
                state.waiting.pop_first();
                state.due.remove(&id);
                state.working.insert(id, None);
                Ok(id)
            }
            first => Err(first.map(|(at, _)| at)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, id: WorkspaceId, at: Instant) {
        match self.due.get(&id).copied() {
            Some(earlier) if earlier <= at => {}
            other => {
                if let Some(later) = other {
                    self.waiting.remove(&(later, id));
                }
                self.waiting.insert((at, id));
                self.due.insert(id, at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_is_handed_out_once_at_its_earliest_time_and_not_while_worked_on() {
        let queue = Queue::default();
        let (a, b) = (WorkspaceId::generate(), WorkspaceId::generate());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        queue.add(a, at(9));
        queue.add(b, at(5));
        queue.add(a, at(1));
        queue.add(a, at(3));
        assert_eq!(queue.take(start), Err(Some(at(1))));
        assert_eq!(queue.take(at(1)), Ok(a));
        queue.add(a, start); // asked for while it is worked on
        assert_eq!(queue.take(at(1)), Err(Some(at(5))));
        assert_eq!(queue.take(at(5)), Ok(b));
        queue.done(a, None);
        assert_eq!(queue.take(at(5)), Ok(a));
        queue.done(a, Some(at(60)));
        queue.done(b, None);
        assert_eq!(queue.take(at(5)), Err(Some(at(60))));
        assert_eq!(queue.take(at(60)), Ok(a));
        queue.done(a, None);
        assert_eq!(queue.take(at(99)), Err(None));
    }

    #[tokio::test]
    async fn a_waiting_worker_is_woken_by_an_addition() {
        let queue = std::sync::Arc::new(Queue::default());
        let id = WorkspaceId::generate();
        let worker = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        });
        tokio::task::yield_now().await;
        queue.add(id, Instant::now());
        assert_eq!(worker.await.expect("it ran"), id);
    }
}
