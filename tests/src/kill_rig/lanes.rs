//! Several walks at the same time.

use std::sync::Arc;

use tokio::{sync::Mutex, task::JoinSet};

/// Daemons under test at the same time.
pub const LANES: usize = 3;

/// Does all of it, [`LANES`] at a time; what came of it, in no order.
///
/// # Panics
/// Where a walk does: one that was not walked to its end is no good one.
pub async fn in_lanes<T, R, F>(work: Vec<T>, walk: impl Fn(T) -> F + Clone + Send + 'static) -> Vec<R>
where
    T: Send + 'static,
    R: Send + 'static,
    F: Future<Output = R> + Send + 'static,
{
    let queue = Arc::new(Mutex::new(work));
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let (queue, walk) = (queue.clone(), walk.clone());
        lanes.spawn(async move {
            let mut done = Vec::new();
            loop {
                let Some(next) = queue.lock().await.pop() else { return done };
                done.push(walk(next).await);
            }
        });
    }
    let mut all = Vec::new();
    while let Some(lane) = lanes.join_next().await {
        all.extend(lane.expect("a lane"));
    }
    all
}
