//! The daemon is killed at every named point once (`orbitd_tests::kill_rig`); the nightly run does more.

use std::sync::Arc;

use orbitd_tests::{kill_rig, swap::Swap};
use tokio::{sync::Mutex, task::JoinSet};

/// Daemons under test at the same time.
const LANES: usize = 3;

#[tokio::test]
async fn a_daemon_killed_anywhere_comes_back_whole() {
    // Held for all walks: each of them needs it, and it takes a moment to come and go.
    let _swap = Swap::of(2048);
    let points = kill_rig::points();
    assert!(points.len() > 15, "{points:?}");
    let queue = Arc::new(Mutex::new(points.clone()));
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let queue = queue.clone();
        lanes.spawn(async move {
            let mut wrong = Vec::new();
            loop {
                let Some(point) = queue.lock().await.pop() else { return wrong };
                wrong.extend(kill_rig::walk(&[point]).await.outcome.err());
            }
        });
    }
    let mut wrong = Vec::new();
    while let Some(lane) = lanes.join_next().await {
        wrong.extend(lane.expect("a lane"));
    }
    assert!(wrong.is_empty(), "{} of {} points:\n{}", wrong.len(), points.len(), wrong.join("\n"));
    println!("{} crash points: after each the daemon came back whole", points.len());
}
