//! The kill rig: the daemon dies by SIGKILL at each named point between two of its steps, starts again, and everything must
//! agree: registry, processes, answers. The points are read from the daemon's own source, so a new one is tested by itself.
//!
//! Rollouts that restart (`rollout.strategy = "restart"`) have a walk of their own ([`walk_restart`]): the daemon dies in the middle
//! of one, not before.
//!
//! The suite walks all points once; `cargo xtask nightly` walks all ordered pairs (it dies again while it recovers) and then
//! kills at random under mixed operations ([`random`]).

mod lanes;
pub mod random;

pub use lanes::{LANES, in_lanes};

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use orbitd_test_postgres::shared;
use serde_json::{Value, json};

use crate::{
    Admin, Daemon, Setup, http, paths,
    postgres::{Access, Login},
    swap::Swap,
    wait::{self, seconds},
};

/// An event stream that lives longer than any test.
const STREAM: &str = "/events?mode=events&n=100000&ms=50";
/// Longest wait for a daemon to be whole again.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// All named points, read from the daemon's own source.
///
/// # Panics
/// Where the source is not there.
pub fn points() -> Vec<String> {
    let path = paths::repository().join("host/src/lifecycle/crashpoint.rs");
    let text = std::fs::read_to_string(path).expect("the daemon's crash points");
    let list =
        text.split("pub const NAMES").nth(1).and_then(|rest| rest.split("];").next()).expect("the list of names");
    let all = list.split('"').skip(1).step_by(2);
    // Without swap nothing is suspended.
    let cannot = Swap::of(600).is_err();
    let suspends = |name: &str| name.starts_with("suspend.") || name.starts_with("resume.");
    all.filter(|name| !(cannot && suspends(name))).map(str::to_owned).collect()
}

/// Where a point is come by: most of them on SQLite already.
fn world_of(point: &str) -> Setup {
    match point {
        // Side by side alone.
        "retire.before" => Setup::stateless(),
        _ if point.starts_with("postgres.") => Setup::echo().toml(&Access::new(shared()).provisioner("")),
        _ => Setup::echo(),
    }
}

fn titled(title: &str) -> String {
    format!("tier = \"pro\"\n[app_config.app]\ntitle = \"{title}\"\n")
}

/// The admin client, once there is a token.
fn admin(daemon: &Daemon) -> Option<Admin> {
    let token = std::fs::read_to_string(daemon.dir.join("data/admin.token")).ok()?;
    Some(Admin::new(daemon.admin_address, token.trim()))
}

/// What the daemon says of a workspace (null: there is none); nothing if it says nothing.
async fn resource(daemon: &Daemon, slug: &str) -> Option<Value> {
    let reply = admin(daemon)?.try_call("GET", &format!("/v1/workspaces/{slug}"), None).await.ok()?;
    match reply.status.as_u16() {
        200 => Some(reply.json()),
        404 => Some(Value::Null),
        _ => None,
    }
}

/// Waits until the daemon is dead or `done` holds; whether it lives. Neither in time is an error that shows its log.
async fn alive_until(daemon: &mut Daemon, slug: &str, done: impl Fn(&Value) -> bool) -> Result<bool, String> {
    let deadline = Instant::now() + seconds(60);
    while daemon.lives() {
        // A process that was just killed still counts as alive for a moment: only its own word says how far it is.
        let now = resource(daemon, slug).await;
        if now.as_ref().is_some_and(&done) {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Err(format!("{slug} stands still at {now:?}\n{}", daemon.log_tail(15)));
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Ok(false)
}

fn runs(workspace: &Value) -> bool {
    let status = &workspace["status"];
    status["phase"] == "running" && status["observed_generation"] == workspace["generation"]
}

/// Any call; it may die under it: that is what this is about.
async fn call(daemon: &Daemon, method: &str, path: &str, body: Option<Value>) -> Value {
    match admin(daemon) {
        Some(admin) => admin.try_call(method, path, body).await.map_or(Value::Null, |reply| reply.json()),
        None => Value::Null,
    }
}

/// A backup of acme and its restore, until the daemon dies; whether it died.
async fn back_up_and_restore(daemon: &mut Daemon) -> Result<bool, String> {
    call(daemon, "POST", "/v1/workspaces/acme/backup", None).await;
    let deadline = Instant::now() + seconds(60);
    let id = loop {
        let list = call(daemon, "GET", "/v1/backups?slug=acme", None).await;
        match list["items"][0]["id"].as_str() {
            // Listed a moment before the daemon is done with it.
            Some(id) if list["running"].is_null() => break id.to_owned(),
            _ if !daemon.lives() => return Ok(true),
            _ if Instant::now() > deadline => return Err(format!("no backup: {list}\n{}", daemon.log_tail(15))),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    call(daemon, "POST", "/v1/workspaces/acme/restore", Some(json!({"backup": id}))).await;
    Ok(!alive_until(daemon, "acme", |one| runs(one) && one["generation"] == 2).await?)
}

/// Drives the daemon through a whole life until it dies; whether it died.
async fn drive(daemon: &mut Daemon, point: &str) -> Result<bool, String> {
    daemon.spawn();
    if !alive_until(daemon, "acme", runs).await? {
        return Ok(true);
    }
    if point.starts_with("backup.") || point.starts_with("restore.") {
        return back_up_and_restore(daemon).await;
    }
    if point.starts_with("postgres.") {
        call(daemon, "POST", "/v1/workspaces/acme/rotate-password", None).await;
        return Ok(!alive_until(daemon, "acme", |one| runs(one) && one["generation"] == 2).await?);
    }
    call(daemon, "POST", "/v1/workspaces", Some(json!({"slug": "beta", "tier": "free"}))).await;
    if !alive_until(daemon, "beta", runs).await? {
        return Ok(true);
    }
    // A stream without an end: the rollout has to cut it.
    let request = http::request("GET", &daemon.host("acme"), STREAM, Some(&daemon.token(&["acme"])), &[], "");
    let stream = tokio::spawn(http::send(daemon.proxy, request));
    daemon.write_workspace("acme", &titled("two"), &[]);
    let rolled_out = alive_until(daemon, "acme", |one| runs(one) && one["generation"] == 2).await;
    stream.abort();
    if !rolled_out? {
        return Ok(true);
    }
    let ladder: &[(&str, &str)] = match Swap::of(600) {
        Ok(_) => &[("suspend", "suspended"), ("sleep", "asleep")],
        Err(_) => &[("sleep", "asleep")],
    };
    for (action, phase) in ladder {
        call(daemon, "POST", &format!("/v1/workspaces/acme/{action}"), None).await;
        if !alive_until(daemon, "acme", |one| one["status"]["phase"] == *phase).await? {
            return Ok(true);
        }
        call(daemon, "POST", "/v1/workspaces/acme/wake", None).await;
        if !alive_until(daemon, "acme", runs).await? {
            return Ok(true);
        }
    }
    call(daemon, "DELETE", "/v1/workspaces/beta", None).await;
    Ok(!alive_until(daemon, "beta", Value::is_null).await?)
}

/// After the restart: what the registry says, what runs and what answers are the same. The last disagreement otherwise.
pub async fn settled(daemon: &Daemon, title: &str) -> Result<(), String> {
    let listed = admin(daemon).ok_or("no admin token")?.try_call("GET", "/v1/workspaces", None).await;
    let listed = listed.map_err(|error| error.to_string())?.json();
    let items = listed["items"].as_array().cloned().unwrap_or_default();
    let mut pids = BTreeMap::new();
    for item in &items {
        let slug = item["slug"].as_str().unwrap_or_default().to_owned();
        // A sleeper is woken by the question below.
        let sleeps = ["asleep", "suspended"].iter().any(|phase| item["status"]["phase"] == *phase);
        if item["deleting"] == true || !runs(item) && !sleeps {
            return Err(format!("{slug}: {}", item["status"]));
        }
        let reply = daemon.get(&slug, "/who", Some(&daemon.token(&[&slug]))).await;
        let account = reply.json();
        if reply.status != 200 || account["workspace"] != slug.as_str() {
            return Err(format!("{slug}: {} {}", reply.status, reply.text()));
        }
        if slug == "acme" && account["title"] != title {
            return Err(format!("acme still serves {}", account["title"]));
        }
        pids.insert(account["pid"].as_u64().unwrap_or_default(), slug);
    }
    if !pids.values().any(|slug| slug == "acme") {
        return Err(format!("acme is not there: {listed}"));
    }
    let living: Vec<u64> = daemon.instances().iter().map(|found| u64::from(found.pid)).collect();
    if living != pids.keys().copied().collect::<Vec<_>>() {
        return Err(format!("instances {living:?}, but {pids:?} answer: {:?}", daemon.instances()));
    }
    Ok(())
}

/// What came of a walk.
pub struct Walk {
    /// Points at which a daemon died, in order.
    pub hit: Vec<String>,
    /// What is wrong, if anything.
    pub outcome: Result<(), String>,
}

/// One life that ends at the first point; then each further point is armed while the next daemon recovers; then one that lives.
pub async fn walk(points: &[String]) -> Walk {
    let mut hit = Vec::new();
    let outcome = try_points(points, &mut hit).await.map_err(|reason| format!("{}: {reason}", points.join(" → ")));
    Walk { hit, outcome }
}

async fn try_points(points: &[String], hit: &mut Vec<String>) -> Result<(), String> {
    let Some((first, further)) = points.split_first() else { return Ok(()) };
    let setup = world_of(first).rollout("bake_s = 1").workspace("acme", &titled("one"), &[]);
    let mut daemon = setup.env("ORBITD_CRASHPOINT", first).prepare();
    if !drive(&mut daemon, first).await? {
        return Err(format!("a whole life went by without coming to {first}\n{}", daemon.log_tail(40)));
    }
    hit.push(first.clone());
    let path = daemon.dir.join("source/workspaces/acme/workspace.toml");
    let title = if std::fs::read_to_string(path).expect("readable").contains("two") { "two" } else { "one" };
    for point in further {
        daemon.environment = vec![("ORBITD_CRASHPOINT".to_owned(), point.clone())];
        daemon.spawn();
        // It dies there, or comes back without passing by.
        let deadline = Instant::now() + SETTLE_LIMIT;
        while daemon.lives() && settled_quietly(&daemon, title).await.is_err() {
            if Instant::now() > deadline {
                return Err(format!("it neither died nor came back\n{}", daemon.log_tail(15)));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        match daemon.lives() {
            true => daemon.kill(),
            false => hit.push(point.clone()),
        }
    }
    daemon.environment.clear();
    daemon.start().await;
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        match settled(&daemon, title).await {
            Ok(()) => break,
            Err(reason) if Instant::now() > deadline => return Err(format!("{reason}\n{}", daemon.log_tail(15))),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    // And it stays so: nobody is about to start a second one.
    wait::until("a second look", seconds(5), || settled(&daemon, title)).await;
    if first.starts_with("postgres.") {
        one_login(&daemon)?;
    }
    let torn = std::fs::read_dir(daemon.dir.join("data/backups.partial")).into_iter().flatten().count();
    if torn > 0 { Err(format!("{torn} unfinished backups are left")) } else { Ok(()) }
}

/// What a rollout that restarts comes by, in order.
pub const RESTART_POINTS: [&str; 14] = [
    "render.before-revision",
    "render.after-revision",
    "hold.before",
    "cut.before",
    "terminate.before",
    "terminate.after",
    "bury.before-files",
    "bury.before-row",
    "bury.after-row",
    "start.after-row",
    "start.after-spawn",
    "start.after-release",
    "confirm.before",
    "status.after-write",
];

/// A daemon that serves is killed and comes back with the point armed, so that it dies in the rollout that follows: a restart, of a
/// revision that comes up (`good`), or of one that does not and gives way to the last good one.
pub async fn walk_restart(point: &str, good: bool) -> Walk {
    let mut hit = Vec::new();
    let name = if good { "a good revision" } else { "a broken one" };
    let outcome = try_restart(point, good, &mut hit).await;
    Walk { hit, outcome: outcome.map_err(|reason| format!("restart with {name}, {point}: {reason}")) }
}

async fn try_restart(point: &str, good: bool, hit: &mut Vec<String>) -> Result<(), String> {
    let rules = "strategy = \"restart\"\nbake_s = 1\ndrain_s = 2";
    let setup = Setup::stateless().toml("start_timeout_s = 3\n").rollout(rules);
    let mut daemon = setup.workspace("acme", &titled("one"), &[]).start().await;
    until(|| async { has_event(&daemon, "Confirmed").await }, &daemon, "the first revision to be good").await?;
    daemon.kill();
    daemon.environment = vec![("ORBITD_CRASHPOINT".to_owned(), point.to_owned())];
    daemon.spawn();
    if alive_until(&mut daemon, "acme", runs).await? {
        // A stream without an end: it has to be cut.
        let request = http::request("GET", &daemon.host("acme"), STREAM, Some(&daemon.token(&["acme"])), &[], "");
        let stream = tokio::spawn(http::send(daemon.proxy, request));
        let title = if good { "two" } else { "echo:crash" };
        daemon.write_workspace("acme", &titled(title), &[]);
        let over =
            |one: &Value| runs(one) && one["generation"] == 2 && (good || !one["status"]["failed_revision"].is_null());
        let lives = alive_until(&mut daemon, "acme", over).await;
        stream.abort();
        if lives? {
            // After its bake.
            let dies = wait::until_blocking(SETTLE_LIMIT, || (!daemon.lives()).then_some(()));
            dies.ok_or_else(|| format!("a rollout went by without coming there\n{}", daemon.log_tail(30)))?;
        }
    } else {
        let title = if good { "two" } else { "echo:crash" };
        daemon.write_workspace("acme", &titled(title), &[]);
    }
    hit.push(point.to_owned());
    daemon.environment.clear();
    daemon.start().await;
    let serves = if good { "two" } else { "one" };
    until(|| async { settled_on(&daemon, serves).await }, &daemon, "everything to agree").await?;
    settled_on(&daemon, serves).await
}

/// [`settled`] once the newest spec was looked at, whatever came of it.
async fn settled_on(daemon: &Daemon, serves: &str) -> Result<(), String> {
    let one = resource(daemon, "acme").await.ok_or("no answer")?;
    if one["generation"] != 2 || one["status"]["observed_generation"] != 2 {
        return Err(one["status"].to_string());
    }
    settled(daemon, serves).await
}

async fn has_event(daemon: &Daemon, reason: &str) -> Result<(), String> {
    let events = call(daemon, "GET", "/v1/workspaces/acme/events?limit=100", None).await.to_string();
    if events.contains(&format!("\"{reason}\"")) { Ok(()) } else { Err(events) }
}

/// Waits for it; the last reason and the daemon's last words otherwise.
async fn until<F: Future<Output = Result<(), String>>>(
    look: impl Fn() -> F,
    daemon: &Daemon,
    what: &str,
) -> Result<(), String> {
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        match look().await {
            Ok(()) => return Ok(()),
            Err(reason) if Instant::now() > deadline => {
                return Err(format!("waited for {what}: {reason}\n{}", daemon.log_tail(15)));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The instance's login works, and it is the only one of its workspace.
fn one_login(daemon: &Daemon) -> Result<(), String> {
    let login = Login::of(daemon, "acme");
    login.sql(shared(), "CREATE SCHEMA IF NOT EXISTS catalog")?;
    let open =
        format!("SELECT rolname FROM pg_roles WHERE starts_with(rolname::text, '{}') AND rolcanlogin", login.database);
    let open = shared().superuser("postgres", &open);
    if open == login.user { Ok(()) } else { Err(format!("{} may log in, the instance is {}", open, login.user)) }
}

/// [`settled`] of a daemon that may die meanwhile.
async fn settled_quietly(daemon: &Daemon, title: &str) -> Result<(), String> {
    let asked = admin(daemon).ok_or("no admin token")?.try_call("GET", "/readyz", None).await;
    asked.map_err(|error| error.to_string())?;
    let one = resource(daemon, "acme").await.ok_or("no answer")?;
    if !runs(&one) || one["spec"]["app_config"]["app"]["title"] != title {
        return Err("not yet".to_owned());
    }
    Ok(())
}
