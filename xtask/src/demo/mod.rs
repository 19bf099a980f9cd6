//! `make demo`: two workspaces, each its own Backstage, from nothing to URLs that work.
//!
//! Everything is in `.demo/`: `orbitd.toml`, `source/` and `policies/` (copies, to be played with), `keys/`, `data/`, and
//! `demo.json` for scripts. One demo at a time holds `.demo/lock`. The daemon is our child in a process group of its own: Ctrl-C
//! reaches us alone, and we stop it (and it its instances) before we end. A daemon that a killed demo left behind is stopped by
//! the next one.

mod announce;
mod daemon;
mod files;
mod http;
mod ports;

use std::{fs, path::PathBuf, process::ExitStatus, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::{distribution, guests, paths, services, stages::Stages};
use daemon::Daemon;
use files::Files;

/// Workspaces of the demo.
pub const WORKSPACES: [&str; 2] = ["acme", "globex"];
/// Two real Backstages, the first start with their migrations, on a slow machine.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// Runs the demo until a signal, or until the daemon ends.
pub fn run() -> Result<()> {
    let addresses = ports::Addresses::from_environment()?;
    let files = Files::open(&paths::root().join(".demo"))?;
    // Taken before anything else: whoever starts a second demo learns it in a second.
    let _lock = files.lock()?;
    files.publish(&serde_json::json!({"ready": false}))?;
    daemon::stop_leftover(&files)?;
    addresses.check_free()?;

    let mut stages = Stages::default();
    let distribution = set_up(&mut stages)?;
    files.write(&distribution, &addresses)?;
    announce::make_key(&files)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(&files, &addresses, &stages));
    let unpublished = files.publish(&serde_json::json!({"ready": false}));
    outcome.and(unpublished)
}

/// Forgets the demo.
pub fn clean() -> Result<()> {
    let path = paths::root().join(".demo");
    if path.exists() {
        let files = Files::open(&path)?;
        let _lock = files.lock()?;
        daemon::stop_leftover(&files)?;
        fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    println!("{} is gone", path.display());
    Ok(())
}

fn set_up(stages: &mut Stages) -> Result<PathBuf> {
    stages.run("services", || services::install(services::Need::Demo))?;
    let distribution = distribution::install_beside();
    let built =
        stages.run("guest policies", || guests::run(&guests::Args { force: false, shipped: true })).and_then(|()| {
            stages.run("building orbitd", || {
                paths::run(paths::cargo().args(["build", "--release", "--locked", "--package", "orbitd"]))
            })
        });
    let (path, took) = distribution::join(distribution)?;
    stages.took("distribution (beside the builds)", took);
    built?;
    Ok(path)
}

async fn serve(files: &Files, addresses: &ports::Addresses, stages: &Stages) -> Result<()> {
    // Registered before the start: a Ctrl-C in between must not leave the daemon behind.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    println!("==> starting orbitd");
    let mut daemon = Daemon::start(files)?;
    let announced = async {
        let limit = tokio::time::timeout(READY_LIMIT, daemon::until_ready(files, addresses));
        let took = limit.await.context("the workspaces did not come up in 5 minutes; see .demo/serve.log")??;
        let facts = announce::gather(files, addresses)?;
        files.publish(&facts)?;
        stages.summary();
        announce::print(files, &facts, took);
        // Nothing more to do but to be there.
        std::future::pending::<Result<()>>().await
    };
    // Cancel-safe, all of them: what is not ready yet is given up.
    let asked = tokio::select! {
        ended = daemon.ended() => return Err(daemon_ended(files, ended?)),
        failed = announced => Some(failed),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        _ = hangup.recv() => None,
    };
    println!("\n==> stopping orbitd and its instances");
    tokio::select! {
        stopped = daemon.stop() => stopped?,
        // Cut off by a second Ctrl-C.
        _ = interrupt.recv() => daemon.kill().await?,
    }
    println!("stopped; `make demo` starts it again with the same data, `make clean-demo` forgets it");
    match asked {
        Some(Err(error)) => Err(error),
        _ => Ok(()),
    }
}

fn daemon_ended(files: &Files, status: ExitStatus) -> anyhow::Error {
    anyhow::anyhow!("orbitd ended by itself ({status}). Its last lines:\n{}", files.log_tail(15))
}

/// A text in a JSON object.
fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    match value[key].as_str() {
        Some(text) => Ok(text),
        None => bail!("no {key:?} in {value}"),
    }
}
