//! The warm pool, as the bench needs it: of a fixed size, and full before something is measured.

use std::fs;

use orbitd_tests::{
    Daemon, Setup,
    wait::{self, seconds},
};

/// A pool of exactly this many processes.
pub fn with_pool(setup: Setup, size: usize) -> Setup {
    let size = size.to_string();
    setup.env("ORBITD__INSTANCES__WARM_MIN", &size).env("ORBITD__INSTANCES__WARM_MAX", &size)
}

/// Waits until this many of them have loaded everything.
pub async fn loaded(daemon: &Daemon, count: usize) {
    wait::until("warm processes that have loaded everything", seconds(120), || async {
        let slots = fs::read_dir(daemon.dir.join("data/pool")).into_iter().flatten().flatten();
        let reports = slots.map(|slot| fs::read_to_string(slot.path().join("report.jsonl")).unwrap_or_default());
        let loaded = reports.filter(|report| report.contains("\"loaded\"")).count();
        if loaded >= count { Ok(()) } else { Err(format!("{loaded} of {count}")) }
    })
    .await;
}
