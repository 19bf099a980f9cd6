//! `orbitd-bench RESULTS.jsonl sleep`: what sleeping costs and how long waking takes, with the real Backstage. Suspending needs swap: as
//! root the bench makes a swap file and removes it after.
//!
//! Cold means: the pinned distribution without its compile cache, no warm pool, in the same run. Every instance runs as it does in
//! production: confined, with a user of its own where the daemon is root. Memory is VmRSS, as `ps` shows it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use orbitd_tests::{
    Daemon, Setup, http, paths, processes,
    swap::Swap,
    wait::{self, seconds},
};
use tokio::task::JoinSet;

use crate::report::{Report, median};

/// Workspaces of the memory row, and how many of them sleep in it.
const WORKSPACES: usize = 40;
const SUSPENDED: usize = 38;
/// Wakes from stopped, cold and warm each.
const STARTS: usize = 5;
const HERD: usize = 1000;
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

/// The distribution where instances' own users can reach it, with and without its compile cache.
struct Trees {
    _dir: tempfile::TempDir,
    warm: PathBuf,
    cold: PathBuf,
}

impl Trees {
    fn make() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("orbitd-bench-").tempdir_in("/var/tmp")?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let (warm, cold) = (dir.path().join("warm"), dir.path().join("cold"));
        for tree in [&warm, &cold] {
            link_tree(paths::backstage(), tree)?;
        }
        // The cache is keyed by absolute file names: it is made anew where the tree is now.
        for tree in [&warm, &cold] {
            let _ = fs::remove_dir_all(tree.join(".compile-cache"));
        }
        let about: serde_json::Value = serde_json::from_slice(&fs::read(warm.join("distribution.json"))?)?;
        let node = warm.join(about["node"].as_str().context("the distribution names its node")?);
        let made = std::process::Command::new(node)
            .arg("install/try-start.js")
            .arg(warm.join(".compile-cache"))
            .current_dir(&warm)
            .output()?;
        ensure!(made.status.success(), "no compile cache: {}", String::from_utf8_lossy(&made.stderr));
        let readable =
            std::process::Command::new("chmod").args(["-R", "a+rX"]).arg(warm.join(".compile-cache")).status()?;
        ensure!(readable.success(), "the compile cache can't be made readable");
        Ok(Self { _dir: dir, warm, cold })
    }
}

/// Hard links: 540 MB are not copied.
fn link_tree(from: &Path, to: &Path) -> Result<()> {
    let done = std::process::Command::new("cp").arg("-al").arg(from).arg(to).output()?;
    if done.status.success() {
        return Ok(());
    }
    let _ = fs::remove_dir_all(to);
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).output()?;
    ensure!(done.status.success(), "cp: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

fn setup(distribution: &Path, warm: usize) -> Setup {
    Setup::backstage()
        .env("ORBITD__DISTRIBUTION", &distribution.display().to_string())
        .env("ORBITD__INSTANCES__WARM_MIN", &warm.to_string())
        .env("ORBITD__INSTANCES__WARM_MAX", &warm.to_string())
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
                loaded(&daemon).await;
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

/// Waits until a warm process has loaded everything.
async fn loaded(daemon: &Daemon) {
    wait::until("a warm process that has loaded everything", seconds(120), || async {
        let slots = fs::read_dir(daemon.dir.join("data/pool")).into_iter().flatten().flatten();
        let mut reports = slots.map(|slot| fs::read_to_string(slot.path().join("report.jsonl")).unwrap_or_default());
        if reports.any(|report| report.contains("\"loaded\"")) { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
}

/// A thousand at once to a sleeper.
async fn herd(report: &mut Report, daemon: &Daemon) -> Result<()> {
    ask(daemon, "acme", "sleep", "asleep").await;
    loaded(daemon).await;
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
    for (n, slug) in slugs.iter().enumerate() {
        daemon.write_workspace(slug, TOML, &[]);
        daemon.admin().running(slug).await;
        if n < SUSPENDED {
            ask(&daemon, slug, "suspend", "suspended").await;
        }
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
    let mut took = Vec::new();
    for slug in &slugs[..SUSPENDED] {
        took.push(wake(&daemon, slug).await);
    }
    took.sort_by(f64::total_cmp);
    let p95 = took[(took.len() * 95).div_ceil(100) - 1];
    println!("wakes from suspended: median {:.3} s, slowest {:.3} s", took[took.len() / 2], took[took.len() - 1]);
    report.row("lifecycle.wake_suspended_p95_s", p95, "s", "", None)
}
