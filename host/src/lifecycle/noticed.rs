//! What instances show without being asked: that they ended, that their report grew. Hints only: the times in the facts alone
//! reach the same end, later.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::reconcile::Work;
use crate::{driver::Process, ids::InstanceId};

/// Between two looks at the size of a report, of an instance that starts: three system calls each.
const REPORT_PAUSE: Duration = Duration::from_millis(10);

/// Whether an instance's report has grown since it was read. Who drops it is not told any more.
#[derive(Default)]
pub(super) struct Told(AtomicBool);

impl Told {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// To be called before the report is read: what comes meanwhile is told again.
    pub(super) fn clear(&self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Work<'_> {
    /// An exit is noticed at once.
    pub(super) fn look_when_ended(&self, process: Arc<dyn Process>) {
        let (shared, id) = (self.shared.clone(), self.id());
        tokio::spawn(async move {
            tokio::select! {
                // Neither arm holds anything that a drop could lose.
                () = process.ended() => shared.look_at(id),
                () = shared.stopping.cancelled() => {}
            }
        });
    }

    /// A new line in the report of an instance that starts is noticed at once.
    pub(super) fn look_when_reported(&self, instance: InstanceId) -> Arc<Told> {
        let told = Arc::new(Told::default());
        let (shared, id, listener) = (self.shared.clone(), self.id(), Arc::downgrade(&told));
        let home = shared.home(&self.workspace.slug, id);
        tokio::spawn(async move {
            let mut known = 0;
            while !shared.stopping.is_cancelled() {
                tokio::time::sleep(REPORT_PAUSE).await;
                let Some(told) = listener.upgrade() else { return };
                let size = shared.driver.report_size(&home, instance);
                if size != known {
                    known = size;
                    told.0.store(true, Ordering::Release);
                    shared.look_at(id);
                }
            }
        });
        told
    }
}
