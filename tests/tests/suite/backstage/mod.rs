//! The flows against the real Backstage: one daemon with `acme` and `globex` as the demo has them, shared by all tests here,
//! which take turns.

mod browser;
mod changes;
mod flows;
mod side_by_side;
mod sleep;

use std::time::Duration;

use orbitd_tests::{Daemon, Setup, paths, wait, wait::seconds, world};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// How long Backstage may take to process its catalogue files.
const CATALOG_LIMIT: Duration = seconds_const(120);

const fn seconds_const(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The shared daemon, for one test at a time.
async fn backstage() -> MutexGuard<'static, Daemon> {
    static DAEMON: OnceCell<Mutex<Daemon>> = OnceCell::const_new();
    let shared = DAEMON
        .get_or_init(|| async {
            let mut daemon = Setup::backstage().prepare();
            let demo = paths::repository().join("demo/workspaces");
            world::copy_tree(&demo, &daemon.dir.join("source/workspaces")).expect("the demo's workspaces");
            daemon.start().await;
            for slug in ["acme", "globex"] {
                daemon.admin().running(slug).await;
            }
            Mutex::new(daemon)
        })
        .await;
    let daemon = shared.lock().await;
    for slug in ["acme", "globex"] {
        daemon.admin().running(slug).await;
    }
    daemon
}

/// Names of all entities of a kind that a caller sees; the sorted list, or what came instead.
async fn entities(daemon: &Daemon, slug: &str, kind: &str) -> Result<Vec<String>, String> {
    let target = format!("/api/catalog/entities?filter=kind={kind}");
    let reply = daemon.get(slug, &target, Some(&daemon.token(&[slug]))).await;
    let json = reply.json();
    let Some(list) = json.as_array().filter(|_| reply.status == 200) else {
        return Err(format!("{} {}", reply.status, reply.text()));
    };
    let mut names: Vec<_> =
        list.iter().filter_map(|entity| Some(entity["metadata"]["name"].as_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// Waits until a component is in the catalogue; all components then.
async fn component(daemon: &Daemon, slug: &str, name: &str) -> Vec<String> {
    wait::until(&format!("component {name} in {slug}"), CATALOG_LIMIT, || async {
        let names = entities(daemon, slug, "component").await?;
        if names.iter().any(|known| known == name) { Ok(names) } else { Err(format!("{names:?}")) }
    })
    .await
}

/// Pids with start times: the same process, not a successor under its number.
fn identities(daemon: &Daemon) -> Vec<(u32, String)> {
    let start = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19)).unwrap_or_default().to_owned()
    };
    let launchers = daemon.instances().into_iter().filter(|process| process.command.contains("launcher.js"));
    launchers.map(|process| (process.pid, start(process.pid))).collect()
}

/// A limit for what is quick.
fn soon() -> Duration {
    seconds(30)
}
