//! The kill rig: the daemon dies by SIGKILL at each named point between two of its steps, starts again, and everything must
//! agree: registry, processes, answers. The points are read from the daemon's own source, so a new one is tested by itself.

use std::{collections::BTreeMap, time::Instant};

use orbitd_tests::{
    Admin, Daemon, Setup, http, paths,
    swap::Swap,
    wait::{self, seconds},
};
use serde_json::{Value, json};

/// An event stream that lives longer than any test.
const STREAM: &str = "/events?mode=events&n=100000&ms=50";
/// Daemons under test at the same time.
const LANES: usize = 3;

fn points() -> Vec<String> {
    let path = paths::repository().join("host/src/lifecycle/crashpoint.rs");
    let text = std::fs::read_to_string(path).expect("the daemon's crash points");
    let list =
        text.split("pub const NAMES").nth(1).and_then(|rest| rest.split("];").next()).expect("the list of names");
    let all = list.split('"').skip(1).step_by(2).map(str::to_owned);
    // Those of the PostgreSQL provisioner are walked on a real server, next door.
    all.filter(|point| !point.starts_with("postgres.")).collect()
}

/// Where a point is come by: most of them on SQLite already.
fn world_of(point: &str) -> Setup {
    match point {
        // Side by side alone.
        "retire.before" => Setup::stateless(),
        _ => Setup::echo(),
    }
}

/// Without swap nothing is suspended, and those points are never reached.
fn daemon_cannot_suspend() -> bool {
    Swap::of(600).is_err()
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

/// Drives the daemon through a whole life until it dies; whether it died.
async fn drive(daemon: &mut Daemon) -> Result<bool, String> {
    daemon.spawn();
    if !alive_until(daemon, "acme", runs).await? {
        return Ok(true);
    }
    let call = async |daemon: &Daemon, method: &str, path: &str, body: Option<Value>| {
        if let Some(admin) = admin(daemon) {
            // It may die under the call: that is what this is about.
            let _ = admin.try_call(method, path, body).await;
        }
    };
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
    for (action, phase) in [("suspend", "suspended"), ("sleep", "asleep")] {
        if action == "suspend" && daemon_cannot_suspend() {
            continue;
        }
        call(daemon, "POST", &format!("/v1/workspaces/acme/{action}"), None).await;
        if !alive_until(daemon, "acme", |one| one["status"]["phase"] == phase).await? {
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
async fn settled(daemon: &Daemon, title: &str) -> Result<(), String> {
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

/// One point; what is wrong, if anything.
async fn try_point(point: &str) -> Result<(), String> {
    let setup = world_of(point).rollout("bake_s = 1").workspace("acme", &titled("one"), &[]);
    let mut daemon = setup.env("ORBITD_CRASHPOINT", point).prepare();
    let died = drive(&mut daemon).await.map_err(|stuck| format!("{point}: {stuck}"))?;
    if !died {
        return Err(format!("{point}: a whole life went by without coming there\n{}", daemon.log_tail(40)));
    }
    daemon.environment.clear();
    let path = daemon.dir.join("source/workspaces/acme/workspace.toml");
    let title = if std::fs::read_to_string(path).expect("readable").contains("two") { "two" } else { "one" };
    daemon.start().await;
    let deadline = Instant::now() + seconds(60);
    loop {
        match settled(&daemon, title).await {
            Ok(()) => break,
            Err(reason) if Instant::now() > deadline => {
                return Err(format!("{point}: {reason}\n{}", daemon.log_tail(15)));
            }
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
    // And it stays so: nobody is about to start a second one.
    wait::until("a second look", seconds(5), || settled(&daemon, title)).await;
    Ok(())
}

#[tokio::test]
async fn a_daemon_killed_anywhere_comes_back_whole() {
    let swap = Swap::of(2048);
    let without = |point: &String| swap.is_err() && (point.starts_with("suspend.") || point.starts_with("resume."));
    if swap.is_err() {
        println!("suspend.* and resume.* are not tested: no swap");
    }
    let points: Vec<_> = points().into_iter().filter(|point| !without(point)).collect();
    assert!(points.len() > 15, "{points:?}");
    let queue = std::sync::Arc::new(tokio::sync::Mutex::new(points.clone()));
    let mut lanes = tokio::task::JoinSet::new();
    for _ in 0..LANES {
        let queue = queue.clone();
        lanes.spawn(async move {
            let mut wrong = Vec::new();
            loop {
                let Some(point) = queue.lock().await.pop() else { return wrong };
                if let Err(reason) = try_point(&point).await {
                    wrong.push(reason);
                }
            }
        });
    }
    let mut wrong = Vec::new();
    while let Some(lane) = lanes.join_next().await {
        wrong.extend(lane.expect("a lane"));
    }
    assert!(wrong.is_empty(), "{} of {} points:\n{}", wrong.len(), points.len(), wrong.join("\n"));
    println!("{} crash points: after each the daemon came back whole", points.len());
}
