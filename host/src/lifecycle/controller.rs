//! The controller's tasks: workers that take ids from the queue, the periodic scan, and the proxy's hints.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::TaskTracker;

use super::{memory, reconcile::reconcile, shared::Shared, warm};
use crate::ids::WorkspaceId;

/// Reconciles under way at the same time. They mostly wait: for the disk, for a process, for an answer.
const WORKERS: usize = 16;
/// Between two scans of the registry.
const SCAN_PAUSE: Duration = Duration::from_secs(30);
/// Before a reconcile that could not be finished is tried again.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);

/// Starts all tasks on `tracker`.
pub(super) fn run(shared: &Arc<Shared>, hints: mpsc::Receiver<WorkspaceId>, tracker: &TaskTracker) {
    for _ in 0..WORKERS {
        tracker.spawn(work(shared.clone()));
    }
    tracker.spawn(scan(shared.clone()));
    tracker.spawn(memory::guard(shared.clone()));
    tracker.spawn(warm::keep(shared.clone()));
    tracker.spawn(super::backup::run_schedule(shared.clone()));
    tracker.spawn(super::kept::run(shared.clone()));
    tracker.spawn(follow(shared.clone(), hints));
}

async fn work(shared: Arc<Shared>) {
    loop {
        let id = tokio::select! {
            biased;
            // An id that was handed out is always worked on: `next` is dropped only while it waits.
            () = shared.stopping.cancelled() => return,
            id = shared.queue.next() => id,
        };
        let began = Instant::now();
        // A task of its own: a panic is that workspace's trouble, not this worker's.
        let result = tokio::spawn(Box::pin(reconcile(shared.clone(), id))).await;
        shared.metrics.reconciled(began.elapsed());
        let again = match result {
            Ok(Ok(again)) => again,
            Ok(Err(trouble)) => {
                shared.metrics.failed(trouble.kind());
                tracing::warn!(%id, error = %trouble, "a reconcile could not be finished; it is tried again");
                Some(Instant::now() + TROUBLE_PAUSE)
            }
            Err(panic) => {
                shared.metrics.failed("panic");
                tracing::error!(%id, %panic, "a reconcile panicked");
                Some(Instant::now() + SCAN_PAUSE)
            }
        };
        shared.queue.done(id, again);
    }
}

async fn scan(shared: Arc<Shared>) {
    loop {
        match shared.registry.workspaces_to_look_at().await {
            Ok(ids) => ids.into_iter().for_each(|id| shared.look_at(id)),
            Err(error) => {
                shared.metrics.failed(error.kind().as_str());
                tracing::warn!(%error, "the registry could not be scanned");
            }
        }
        tokio::select! {
            // Both arms only wait.
            () = shared.stopping.cancelled() => return,
            () = tokio::time::sleep(SCAN_PAUSE) => {}
        }
    }
}

async fn follow(shared: Arc<Shared>, mut hints: mpsc::Receiver<WorkspaceId>) {
    loop {
        tokio::select! {
            // `recv` is cancel-safe.
            () = shared.stopping.cancelled() => return,
            hint = hints.recv() => match hint {
                Some(id) => shared.look_at(id),
                None => return,
            },
        }
    }
}
