//! `orbitd-bench RESULTS.jsonl`: what a request costs in orbitd (ES256 token, router and authorizer policies) beside nginx as a
//! plain proxy: CPU microseconds per request, in one run, on one machine, over the same upstream, under the same load.
//!
//! CPU time rather than requests per second, because load generator and upstream share the machine. Peers take turns; each
//! number is the median of three runs. `ORBITD_BENCH_SECONDS` sets the length of a run (5).
//!
//! Then what policies cost (section `policy`): a decision beside regorus, cedar-policy and a closure, and swaps.

mod lifecycle;
mod load;
mod peers;
mod policy;
mod report;
mod sleep;
mod survival;
mod trees;
mod warm;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use orbitd_tests::{Daemon, Setup, processes};

use load::{Load, Tokens};
use peers::Nginx;
use report::Report;

const SECTIONS: [&str; 5] = ["lifecycle", "proxy", "policy", "survival", "sleep"];
const RUNS: usize = 3;
/// The path that is asked for: the router calls it plugin `catalog`.
const TARGET: &str = "/api/catalog/bench";
/// More than two seconds of requests can use up: then every token is new to orbitd.
const FRESH_TOKENS: usize = 60_000;

#[tokio::main]
async fn main() -> Result<()> {
    let usage = "usage: orbitd-bench RESULTS.jsonl [lifecycle] [sleep] [proxy] [policy] [survival]";
    let mut arguments = std::env::args_os().skip(1);
    let results = PathBuf::from(arguments.next().context(usage)?);
    let sections: Vec<_> = arguments.collect();
    anyhow::ensure!(sections.iter().all(|section| SECTIONS.iter().any(|known| section == known)), usage);
    let wanted = |name: &str| sections.is_empty() || sections.iter().any(|section| section == name);
    let mut report = Report::new(&results)?;
    if wanted("policy") {
        policy::decisions(&mut report)?;
    }
    if wanted("lifecycle") {
        lifecycle::run(&mut report).await?;
    }
    if wanted("sleep") {
        sleep::run(&mut report).await?;
    }
    if wanted("survival") {
        survival::run(&mut report).await?;
    }
    if wanted("proxy") || wanted("policy") {
        on_one_daemon(&mut report, &wanted).await?;
    }
    report.print();
    Ok(())
}

/// The sections that ask an idle daemon with one workspace.
async fn on_one_daemon(report: &mut Report, wanted: &impl Fn(&str) -> bool) -> Result<()> {
    let distribution = peers::fast_distribution()?;
    let daemon = Setup::echo()
        .env("ORBITD__DISTRIBUTION", &distribution.path().display().to_string())
        .env("ORBITD__INSTANCES__NODE", &orbitd_tests::paths::helper("orbitd-fast-instance").display().to_string())
        .env("ORBITD__LOG__FILTER", "warn")
        .workspace("acme", "tier = \"pro\"\n", &[])
        .start()
        .await;
    if wanted("proxy") {
        proxy(report, &daemon).await?;
    }
    if wanted("policy") {
        policy::swaps(report, &daemon).await?;
    }
    Ok(())
}

/// CPU microseconds per request, beside nginx.
async fn proxy(report: &mut Report, daemon: &Daemon) -> Result<()> {
    let seconds = std::env::var("ORBITD_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let token = daemon.token(&["acme"]);
    let first = daemon.get("acme", TARGET, Some(&token)).await.expect(200);
    let upstream = daemon.instances().first().context("an instance")?.pid;
    let nginx = Nginx::start(upstream, &daemon.dir)?;
    println!(
        "upstream: {} bytes of JSON from process {upstream}, through its socket; load: wrk, 32 kept connections, {seconds} s a run\n",
        first.body.len()
    );

    let length = Duration::from_secs(seconds);
    let orbitd_load = Load::new(daemon.proxy, &daemon.host("acme"), TARGET, Some(&token));
    let nginx_load = Load::new(nginx.address, "acme.localhost", TARGET, None);
    orbitd_load.run(Duration::from_secs(1), &[daemon.pid()])?;
    nginx_load.run(Duration::from_secs(1), &nginx.workers())?;
    let (mut ours, mut theirs, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let run = orbitd_load.run(length, &[daemon.pid()])?;
        ours.push(run.cpu_micros_per_request());
        rates.push(run.per_second());
        theirs.push(nginx_load.run(length, &nginx.workers())?.cpu_micros_per_request());
    }
    let (ours, theirs, rate) = (report::median(&mut ours), report::median(&mut theirs), report::median(&mut rates));
    report.row("proxy.orbitd_cpu_us_per_request", ours, "us", "", None)?;
    report.row("proxy.nginx_cpu_us_per_request", theirs, "us", "nginx", None)?;
    report.row("proxy.cpu_over_nginx", ours / theirs, "ratio", "nginx", Some(ours / theirs))?;
    report.row("proxy.requests_per_second", rate, "1/s", "", None)?;

    let mut fresh = Vec::new();
    let paths = orbitd_load.with_fresh_paths(&daemon.dir)?;
    for _ in 0..RUNS {
        fresh.push(paths.run(length, &[daemon.pid()])?.cpu_micros_per_request());
    }
    let fresh = report::median(&mut fresh);
    report.row("proxy.fresh_decisions_cpu_us_per_request", fresh, "us", "nginx", Some(fresh / theirs))?;

    let mut unseen = Vec::new();
    for round in 0..RUNS {
        let tokens = Tokens::mint(&daemon.issuer, round, FRESH_TOKENS);
        let load = orbitd_load.with_fresh_tokens(&daemon.dir, &tokens)?;
        let run = load.run(Duration::from_secs(2), &[daemon.pid()])?;
        anyhow::ensure!(run.requests < FRESH_TOKENS as u64, "tokens were used twice: raise FRESH_TOKENS");
        unseen.push(run.cpu_micros_per_request());
    }
    let unseen = report::median(&mut unseen);
    report.row("proxy.unseen_tokens_cpu_us_per_request", unseen, "us", "nginx", Some(unseen / theirs))?;
    let memory = processes::resident_kib(daemon.pid());
    report.row("daemon.resident_memory", memory as f64 / 1024.0, "MiB", "", None)?;
    Ok(())
}
