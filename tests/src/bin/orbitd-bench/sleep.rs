//! `orbitd-bench RESULTS.jsonl sleep`: what sleeping costs and how long waking takes, with the real Backstage. Suspending needs swap: as
//! root the bench makes a swap file and removes it after.
//!
//! Cold means: the pinned distribution without its compile cache, no warm pool, in the same run. Every instance runs as it does in
//! production: confined, with a user of its own where the daemon is root. Memory is VmRSS, as `ps` shows it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use orbitd_tests::{Daemon, Setup, http, processes, swap::Swap, wait::seconds};
use tokio::task::JoinSet;

use crate::{
    report::{Report, median},
    trees::Trees,
    warm,
};

/// Workspaces of the memory row, and how many of them sleep in it.
const WORKSPACES: usize = 40;
const SUSPENDED: usize = 38;
/// Wakes from stopped, cold and warm each.
const STARTS: usize = 5;
const HERD: usize = 1000;
/// After the last start, before the first is suspended.
const SETTLED: Duration = Duration::from_secs(20);
/// Between two wakes: what was asleep has things to catch up on, and two cores to do it with.
const BETWEEN: Duration = Duration::from_secs(1);
/// MiB of swap: 38 instances of about 260 MiB, and room.
const SWAP_MIB: u64 = 14_000;
/// What every plugin-bearing tier has, and what tells that Backstage itself answered.
const TARGET: &str = "/api/catalog/entities?limit=1";
const TOML: &str = "tier = \"pro\"\n";

/// All rows.
pub async fn run(report: &mut Report) -> Result<()> {
    let trees = Trees::make()?;
    starts(report, &trees).await?;
    let swap = Swap::of(SWAP_MIB);
    match &swap {
        Ok(_) => many(report, &trees).await,
        Err(reason) => {
            for row in ["wake_suspended_p95_s", "suspended_rss_mb", "forty_workspaces_rss_mb"] {
                println!("lifecycle.{row}: not measured: {reason}");
            }
            Ok(())
        }
    }
}

fn setup(distribution: &Path, warm: usize) -> Setup {
    warm::with_pool(Setup::backstage(), warm).env("ORBITD__DISTRIBUTION", &distribution.display().to_string())
}

async fn ask(daemon: &Daemon, slug: &str, action: &str, phase: &str) {
    daemon.admin().call("POST", &format!("/v1/workspaces/{slug}/{action}"), None).await.expect(202);
    let there = |workspace: &serde_json::Value| workspace["status"]["phase"] == phase;
    daemon.admin().until(slug, phase, seconds(120), there).await;
}

/// Seconds from the request to its whole answer.
async fn wake(daemon: &Daemon, slug: &str) -> f64 {
    let token = daemon.token(&[slug]);
    let began = Instant::now();
    daemon.get(slug, TARGET, Some(&token)).await.expect(200);
    began.elapsed().as_secs_f64()
}

/// Wakes from stopped: cold, and with a warm process.
async fn starts(report: &mut Report, trees: &Trees) -> Result<()> {
    let mut medians = Vec::new();
    for (tree, warm) in [(&trees.cold, 0), (&trees.warm, 1)] {
        let daemon = setup(tree, warm).workspace("acme", TOML, &[]).start().await;
        let mut took = Vec::new();
        for _ in 0..STARTS {
            ask(&daemon, "acme", "sleep", "asleep").await;
            if warm > 0 {
                warm::loaded(&daemon, 1).await;
            }
            took.push(wake(&daemon, "acme").await);
        }
        println!("wakes from stopped, {}: {took:.2?} s", if warm > 0 { "warm" } else { "cold" });
        medians.push(median(&mut took));
        if warm > 0 {
            herd(report, &daemon).await?;
        }
    }
    let [cold, warm] = medians[..] else { unreachable!("two rounds") };
    report.row("lifecycle.wake_cold_s", cold, "s", "", None)?;
    report.row("lifecycle.wake_warm_s", warm, "s", "", None)?;
    report.row("lifecycle.wake_warm_over_cold", warm / cold, "ratio", "cold", Some(warm / cold))
}

/// A thousand at once to a sleeper.
async fn herd(report: &mut Report, daemon: &Daemon) -> Result<()> {
    ask(daemon, "acme", "sleep", "asleep").await;
    warm::loaded(daemon, 1).await;
    let events = async || {
        let reply = daemon.admin().get("/v1/workspaces/acme/events?limit=500").await.expect(200).json();
        let items = reply["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter(|event| event["reason"] == "Starting").count()
    };
    let before = events().await;
    let (address, host, token) = (daemon.proxy, daemon.host("acme"), daemon.token(&["acme"]));
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(HERD));
    let began = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..HERD {
        let (barrier, host, token) = (barrier.clone(), host.clone(), token.clone());
        all.spawn(async move {
            let mut connection = http::Connection::open(address).await?;
            connection.ready().await?;
            barrier.wait().await;
            let reply = connection.send(http::request("GET", &host, TARGET, Some(&token), &[], "")).await?;
            ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
            anyhow::Ok(())
        });
    }
    while let Some(reply) = all.join_next().await {
        reply??;
    }
    let wakes = events().await - before;
    println!("{HERD} requests to a sleeper: all 200 after {:.2} s, {wakes} start", began.elapsed().as_secs_f64());
    report.row("lifecycle.herd_wakes", wakes as f64, "starts", "", None)
}

/// Many workspaces of which few are awake: memory, and how they come back.
async fn many(report: &mut Report, trees: &Trees) -> Result<()> {
    let slugs: Vec<String> = (0..WORKSPACES).map(|n| format!("w{n:02}")).collect();
    let began = Instant::now();
    let mut daemon = setup(&trees.warm, 0).prepare();
    daemon.start().await;
    for slug in &slugs {
        daemon.write_workspace(slug, TOML, &[]);
        daemon.admin().running(slug).await;
    }
    // Nobody is sent to sleep in the first seconds of its life: what Backstage does once after a start is over.
    tokio::time::sleep(SETTLED).await;
    for slug in &slugs[..SUSPENDED] {
        ask(&daemon, slug, "suspend", "suspended").await;
    }
    println!("{WORKSPACES} workspaces, {SUSPENDED} of them suspended, after {:.0} s", began.elapsed().as_secs_f64());
    let mib = |pid: u32| processes::resident_kib(pid) as f64 / 1024.0;
    let pid_of = |slug: &str| {
        let found = daemon.instances();
        found.into_iter().find(|one| one.cwd.to_string_lossy().contains(&format!("/{slug}-"))).map(|one| one.pid)
    };
    let mut resident = Vec::new();
    for slug in &slugs[..SUSPENDED] {
        resident.push(mib(pid_of(slug).context("a suspended instance")?));
    }
    let total = mib(daemon.pid()) + daemon.instances().iter().map(|one| mib(one.pid)).sum::<f64>();
    report.row("lifecycle.suspended_rss_mb", median(&mut resident), "MiB", "", None)?;
    report.row("lifecycle.forty_workspaces_rss_mb", total, "MiB", "", None)?;
    // What was just written lies in the swap cache still; a sleeper's pages come from the disk.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let p95 = wakes(&daemon, &slugs[..SUSPENDED], BETWEEN, "one at a time").await;
    report.row("lifecycle.wake_suspended_p95_s", p95, "s", "", None)?;
    for slug in &slugs[..SUSPENDED] {
        ask(&daemon, slug, "suspend", "suspended").await;
    }
    let p95 = wakes(&daemon, &slugs[..SUSPENDED], Duration::ZERO, "one upon the other").await;
    report.row("lifecycle.wake_storm_p95_s", p95, "s", "", None)
}

/// Wakes all of them in turn; the 95th percentile, seconds.
async fn wakes(daemon: &Daemon, slugs: &[String], between: Duration, how: &str) -> f64 {
    let mut took = Vec::new();
    for slug in slugs {
        took.push(wake(daemon, slug).await);
        tokio::time::sleep(between).await;
    }
    println!("wakes from suspended, {how}: {took:.3?} s");
    took.sort_by(f64::total_cmp);
    took[(took.len() * 95).div_ceil(100) - 1]
}
