//! The daemon is killed: how soon the next one serves, and whether anything is lost.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use orbitd_tests::{Setup, http, kill_rig::random, wait};

use crate::report::Report;

/// Live instances over a restart.
const INSTANCES: usize = 20;
const RESTARTS: usize = 3;
/// Kills at random under operations; `make nightly` does 500.
const ROUNDS: u32 = 15;

/// Both rows.
pub async fn run(report: &mut Report) -> Result<()> {
    restart(report).await?;
    let rounds = std::env::var("ORBITD_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let tally = random::run(rounds, 0x0b17, |_| {}).await;
    println!("kills at random: {} rounds, {} operations confirmed", tally.rounds, tally.confirmed);
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    report.row("lifecycle.kill_lost", tally.violations() as f64, "count", "", None)
}

/// From the start of the new daemon's process to the last workspace's answer, after a SIGKILL of the old one.
async fn restart(report: &mut Report) -> Result<()> {
    let slugs: Vec<String> = (0..INSTANCES).map(|n| format!("w{n}")).collect();
    let setup = slugs
        .iter()
        .fold(Setup::echo().toml("max_starting = 4\n"), |setup, slug| setup.workspace(slug, "tier = \"pro\"\n", &[]));
    let mut daemon = setup.start().await;
    let pids = |daemon: &orbitd_tests::Daemon| -> BTreeMap<std::path::PathBuf, u32> {
        daemon.instances().into_iter().map(|found| (found.cwd, found.pid)).collect()
    };
    let before = pids(&daemon);
    ensure!(before.len() == INSTANCES, "{} instances live", before.len());
    let mut times = Vec::new();
    for _ in 0..RESTARTS {
        daemon.kill();
        let began = Instant::now();
        daemon.spawn();
        for slug in &slugs {
            let (address, host, token) = (daemon.proxy, daemon.host(slug), daemon.token(&[slug]));
            wait::until("an answer", wait::seconds(60), || async {
                let request = http::request("GET", &host, "/who", Some(&token), &[], "");
                match http::send(address, request).await {
                    Ok(reply) if reply.status == 200 => Ok(()),
                    Ok(reply) => Err(reply.text()),
                    Err(error) => Err(format!("{error:#}")),
                }
            })
            .await;
        }
        times.push(began.elapsed());
        // What would be restarted is restarted within the first looks.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let after = pids(&daemon);
    let restarted = before.iter().filter(|(cwd, pid)| after.get(*cwd) != Some(pid)).count();
    let mut seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    let median = crate::report::median(&mut seconds);
    println!(
        "{RESTARTS} restarts with {INSTANCES} live instances: {restarted} restarted, {seconds:.2?} s to serve all"
    );
    report.row("lifecycle.restart_adopted_s", median, "s", "", None)?;
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    report.row("lifecycle.restart_restarted", restarted as f64, "count", "", None).context("a row")
}
