//! `orbitd-bench RESULTS.jsonl lifecycle`: rollouts under load, and how long a saved config takes to serve.
//!
//! `ORBITD_BENCH_ROLLOUTS` sets how many rollouts (200).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use orbitd_tests::{
    Daemon, Setup,
    load::Ask,
    mixed::{Mix, MixedLoad},
    wait::{self, seconds},
};

use crate::{
    report::{Report, median},
    trees::Trees,
    warm,
};

/// Requests per second beside the streams.
const MIX: Mix = Mix { per_second: 100, slow_ms: 0 };
/// Answers of a new revision before the next rollout begins.
const ANSWERS: u64 = 10;
/// Saved configs whose median counts.
const SAVES: usize = 5;
/// Warm processes that a save finds.
const POOL: usize = 2;

/// All rows.
pub async fn run(report: &mut Report) -> Result<()> {
    let rollouts = std::env::var("ORBITD_BENCH_ROLLOUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    rollout_failures(report, rollouts).await?;
    config_active(report).await
}

fn titled(title: &str) -> String {
    format!("tier = \"pro\"\n[app_config.app]\ntitle = \"{title}\"\n")
}

/// Rollouts one after the other, side by side, under an open-model load with uploads, event streams and WebSockets: failures.
async fn rollout_failures(report: &mut Report, rollouts: usize) -> Result<()> {
    let setup = Setup::stateless().rollout("bake_s = 0\ndrain_s = 1").env("ORBITD__LOG__FILTER", "warn");
    let daemon = setup.workspace("acme", &titled("v0"), &[]).start().await;
    let (host, token) = (daemon.host("acme"), daemon.token(&["acme"]));
    let load = MixedLoad::start(&Ask { address: daemon.proxy, host, target: String::new(), token }, MIX);
    load.answers_of("v0", ANSWERS).await;
    let began = Instant::now();
    for round in 1..=rollouts {
        let version = format!("v{round}");
        daemon.write_workspace("acme", &titled(&version), &[]);
        load.answers_of(&version, ANSWERS).await;
    }
    let took = began.elapsed();
    let done = load.stop().await;
    println!(
        "{rollouts} rollouts in {:.0} s: {} good answers ({} uploads), {} event streams and {} WebSockets ended cleanly, \
         slowest answer {} ms, failed {}: {:?}",
        took.as_secs_f64(),
        done.good(),
        done.uploads,
        done.event_streams,
        done.websockets,
        done.slowest.as_millis(),
        done.failed,
        done.failures,
    );
    ensure!(done.versions.len() == rollouts + 1, "not every revision answered: {:?}", done.versions.keys());
    report.row("lifecycle.rollout_failed", done.failed as f64, "count", "", None)?;
    report.row("lifecycle.rollout_answers", done.good() as f64, "count", "", None)
}

/// A saved config file until the new title is on the page, over Backstage's own cold start: the real Backstage on SQLite, where
/// the revision is proven on a copy first, so that it takes two warm processes. Cold means without a compile cache, told by the launcher.
async fn config_active(report: &mut Report) -> Result<()> {
    let trees = Trees::make()?;
    let cold = {
        let setup = Setup::backstage().env("ORBITD__DISTRIBUTION", &trees.cold.display().to_string());
        let daemon = setup.workspace("acme", &titled("Cold"), &[]).start().await;
        started_in(&daemon).await?
    };
    let setup =
        warm::with_pool(Setup::backstage(), POOL).env("ORBITD__DISTRIBUTION", &trees.warm.display().to_string());
    let setup = setup.rollout("bake_s = 0");
    let daemon = setup.workspace("acme", &titled("Saved 0"), &[]).start().await;
    let mut times = Vec::new();
    for n in 1..=SAVES {
        warm::loaded(&daemon, POOL).await;
        let title = format!("Saved {n}");
        let began = Instant::now();
        daemon.write_workspace("acme", &titled(&title), &[]);
        wait::until("the new title on the page", seconds(180), || async {
            let page = daemon.get("acme", "/", Some(&daemon.token(&["acme"]))).await;
            if page.status == 200 && page.text().contains(&title) { Ok(()) } else { Err(page.status.to_string()) }
        })
        .await;
        times.push(began.elapsed().as_secs_f64());
        daemon.admin().running("acme").await;
    }
    tell_last_rollout(&daemon).await;
    let active = median(&mut times);
    let cold = cold.as_secs_f64();
    println!("config saved → serving {active:.2} s (SQLite: proven on a copy, then a pause); cold start {cold:.2} s");
    report.row("lifecycle.config_active_over_cold", active / cold, "ratio", "cold start", Some(active / cold))
}

/// Where the time of the last rollout went: its events, with what passed between them.
async fn tell_last_rollout(daemon: &Daemon) {
    let reply = daemon.admin().get("/v1/workspaces/acme/events?limit=500").await.json();
    let events: Vec<_> = reply["items"].as_array().cloned().unwrap_or_default();
    let begin = events.iter().rposition(|event| event["reason"] == "ConfigRendered").unwrap_or(0);
    for event in &events[begin..] {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        println!("  {}  {}: {:.100}", text("at"), text("reason"), text("message"));
    }
}

/// What the launcher said of the first start.
async fn started_in(daemon: &Daemon) -> Result<Duration> {
    let events = daemon.admin().get("/v1/workspaces/acme/events?limit=100").await.json();
    let messages = events["items"].as_array().into_iter().flatten().filter_map(|event| event["message"].as_str());
    let text = messages.filter_map(|message| message.split_once("(started in ")).next();
    let ms =
        text.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()).context("no event tells the start's time")?;
    Ok(Duration::from_millis(ms))
}
