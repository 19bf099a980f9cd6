//! The daemon is killed at every named point once (`orbitd_tests::kill_rig`); the nightly run does more.

use orbitd_tests::{kill_rig, swap::Swap};

#[tokio::test]
async fn a_daemon_killed_anywhere_comes_back_whole() {
    // Held for all walks: each of them needs it, and it takes a moment to come and go.
    let _swap = Swap::of(2048);
    let points = kill_rig::points();
    assert!(points.len() > 15, "{points:?}");
    let walked = kill_rig::in_lanes(points.clone(), |point| async move { kill_rig::walk(&[point]).await.outcome });
    let wrong: Vec<String> = walked.await.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{} of {} points:\n{}", wrong.len(), points.len(), wrong.join("\n"));
    println!("{} crash points: after each the daemon came back whole", points.len());
}
