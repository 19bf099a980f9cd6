//! A workspace moves to a new revision: no request fails, nothing is cut but at the drain deadline, and whatever the new one does,
//! the old one is there (rows, F-09 of the catalogue).
//!
//! "Side by side" runs the stand-in as a distribution that keeps nothing, where two instances may run; "on a copy" runs it on
//! SQLite, where one may.

use std::{net::SocketAddr, sync::Arc};

use orbitd_tests::{
    Daemon, Reply, Setup, admin, http,
    load::{Ask, Check, Load},
    mixed::{Mix, MixedLoad},
    wait::{self, seconds},
    wire::Wire,
};
use serde_json::{Value, json};

use crate::fixtures::instance_address;

const QUICK: &str = "bake_s = 0\ndrain_s = 3";

fn titled(title: &str) -> String {
    format!("tier = \"pro\"\n[app_config.app]\ntitle = \"{title}\"\n")
}

fn load(daemon: &Daemon, mix: Mix) -> MixedLoad {
    let (host, token) = (daemon.host("acme"), daemon.token(&["acme"]));
    MixedLoad::start(&Ask { address: daemon.proxy, host, target: String::new(), token }, mix)
}

const MIX: Mix = Mix { per_second: 100, slow_ms: 0 };

async fn who(daemon: &Daemon) -> Value {
    daemon.get("acme", "/who", Some(&daemon.token(&["acme"]))).await.expect(200).json()
}

async fn instances(daemon: &Daemon, wanted: usize) {
    wait::until(&format!("{wanted} instances"), seconds(40), || async {
        let found = daemon.instances();
        if found.len() == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

/// Reasons of its events, oldest first, with their messages.
async fn events(daemon: &Daemon) -> Vec<(String, String)> {
    let reply = daemon.admin().get("/v1/workspaces/acme/events?limit=500").await.expect(200).json();
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let items = reply["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|event| (text(event, "reason"), text(event, "message"))).collect()
}

async fn event(daemon: &Daemon, reason: &str) -> String {
    wait::until(&format!("the event {reason}"), seconds(60), || async {
        let all = events(daemon).await;
        all.iter()
            .rev()
            .find(|(other, _)| other == reason)
            .map(|(_, message)| message.clone())
            .ok_or(format!("{all:?}"))
    })
    .await
}

async fn rolled_out(daemon: &Daemon, truth: &str, reason: &str) -> Value {
    let workspace = daemon
        .admin()
        .until("acme", &format!("RolledOut {truth} {reason}"), seconds(90), |workspace| {
            let condition = admin::condition(workspace, "RolledOut");
            condition.is_some_and(|one| one["truth"] == truth && one["reason"] == reason)
        })
        .await;
    admin::condition(&workspace, "RolledOut").cloned().unwrap_or_default()
}

#[tokio::test]
async fn side_by_side_rollouts_under_mixed_load_fail_nothing() {
    let daemon = Setup::stateless().rollout(QUICK).workspace("acme", &titled("v0"), &[]).start().await;
    let load = load(&daemon, Mix { slow_ms: 2_000, ..MIX });
    load.answers_of("v0", 100).await;
    for round in 1..=3 {
        let version = format!("v{round}");
        daemon.write_workspace("acme", &titled(&version), &[]);
        load.answers_of(&version, 150).await;
    }
    let report = load.stop().await;
    println!("three blue-green rollouts: {report:?}");
    assert_eq!(report.failed, 0, "{report:?}");
    assert!(report.uploads > 50 && report.versions.len() == 4, "{report:?}");
    instances(&daemon, 1).await;
    let all = events(&daemon).await;
    assert!(all.iter().any(|(reason, _)| reason == "Switched"), "{all:?}");
    assert!(!all.iter().any(|(reason, _)| reason == "Released"), "no pause: {all:?}");
}

#[tokio::test]
async fn a_rollout_that_does_not_drain_is_noticed() {
    let setup = Setup::stateless().rollout(QUICK).env("ORBITD_FAULT", "skip-drain");
    let daemon = setup.workspace("acme", &titled("v0"), &[]).start().await;
    let load = load(&daemon, Mix { slow_ms: 2_500, ..MIX });
    load.answers_of("v0", 100).await;
    daemon.write_workspace("acme", &titled("v1"), &[]);
    wait::until("a failed request", seconds(60), || async {
        let report = load.so_far();
        if report.failed > 0 { Ok(()) } else { Err(format!("{report:?}")) }
    })
    .await;
    load.stop().await;
}

#[tokio::test]
async fn on_a_database_for_one_the_revision_is_proven_on_a_copy_and_the_pause_is_told() {
    let daemon = Setup::echo().rollout(QUICK).workspace("acme", &titled("v0"), &[]).start().await;
    std::fs::write(database(&daemon).join("catalog.sqlite"), "").expect("an empty database is one");
    let load = load(&daemon, MIX);
    load.answers_of("v0", 100).await;
    for version in ["v1", "v2"] {
        daemon.write_workspace("acme", &titled(version), &[]);
        load.answers_of(version, 100).await;
    }
    let report = load.stop().await;
    println!("two rollouts on SQLite: {report:?}");
    assert_eq!(report.failed, 0, "{report:?}");
    let reasons: Vec<String> = events(&daemon).await.into_iter().map(|(reason, _)| reason).collect();
    let first =
        |reason: &str| reasons.iter().position(|other| other == reason).unwrap_or_else(|| panic!("{reasons:?}"));
    assert!(first("Proven") < first("Draining"), "blue is held after green is proven: {reasons:?}");
    println!("{}", event(&daemon, "Released").await);
    instances(&daemon, 1).await;
    let left = std::fs::read_dir(database(&daemon).parent().expect("db")).expect("readable").count();
    assert_eq!(left, 1, "copies are removed");
}

/// The directory of acme's SQLite files.
fn database(daemon: &Daemon) -> std::path::PathBuf {
    let homes = std::fs::read_dir(daemon.dir.join("data/workspaces")).expect("homes");
    let home = homes.flatten().next().expect("acme's home").path();
    let databases = std::fs::read_dir(home.join("db")).expect("databases");
    databases.flatten().next().expect("acme's database").path()
}

#[tokio::test]
async fn a_copy_that_is_impossible_refuses_the_rollout_and_blue_serves() {
    let daemon = Setup::echo().rollout(QUICK).workspace("acme", &titled("good"), &[]).start().await;
    let before = who(&daemon).await;
    std::fs::write(database(&daemon).join("broken.sqlite"), "x".repeat(4096)).expect("written");
    daemon.write_workspace("acme", &titled("better"), &[]);
    let condition = rolled_out(&daemon, "False", "NotProven").await;
    println!("{}", condition["message"]);
    assert!(condition["message"].as_str().is_some_and(|text| text.contains("broken.sqlite")), "{condition}");
    assert_eq!(who(&daemon).await["boot_id"], before["boot_id"], "blue was not touched");
    std::fs::remove_file(database(&daemon).join("broken.sqlite")).expect("removed");
    daemon.admin().post("/v1/workspaces/acme/rollout", json!({})).await.expect(202);
    daemon.admin().running("acme").await;
    assert_eq!(who(&daemon).await["title"], "better");
}

#[tokio::test]
async fn a_green_that_does_not_come_up_right_never_gets_traffic_and_blue_is_renewed() {
    let setup = Setup::stateless().toml("start_timeout_s = 3\n").rollout(QUICK);
    let daemon = setup.workspace("acme", &titled("good"), &[]).start().await;
    let load = load(&daemon, MIX);
    load.answers_of("good", 50).await;
    for (title, named) in [
        ("echo:crash", "told to crash"),
        ("echo:never-ready", "503"),
        ("echo:broken", "500"),
        ("echo:plugin-fails:catalog", "plugin catalog was ready before"),
    ] {
        let before = who(&daemon).await;
        daemon.write_workspace("acme", &titled(title), &[]);
        let says_so = |workspace: &Value| {
            let condition = admin::condition(workspace, "RolledOut");
            condition.is_some_and(|one| one["reason"] == "DidNotComeUp" && one["message"].to_string().contains(named))
        };
        daemon.admin().until("acme", &format!("a failed rollout that names {named:?}"), seconds(60), says_so).await;
        // What green changed in the database is set right by a start of blue's revision.
        wait::until("a renewed blue", seconds(60), || async {
            let now = who(&daemon).await;
            if now["boot_id"] != before["boot_id"] { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
        instances(&daemon, 1).await;
    }
    let report = load.stop().await;
    assert_eq!((report.failed, report.versions.len()), (0, 1), "{report:?}");
}

#[tokio::test]
async fn a_green_that_dies_in_its_bake_gives_the_traffic_back() {
    let setup = Setup::stateless().rollout("bake_s = 8\ndrain_s = 3");
    let daemon = setup.workspace("acme", &titled("good"), &[]).start().await;
    let load = load(&daemon, MIX);
    load.answers_of("good", 50).await;
    daemon.write_workspace("acme", &titled("echo:die-after:3000"), &[]);
    load.answers_of("echo:die-after:3000", 20).await;
    instances(&daemon, 2).await;
    let condition = rolled_out(&daemon, "False", "DiedInBake").await;
    println!("{}", condition["message"]);
    let good = load.so_far().versions["good"];
    load.answers_of("good", good + 100).await;
    instances(&daemon, 1).await;
    let report = load.stop().await;
    println!("died in its bake: {report:?}");
    // What was on it when it died is lost and counted; nothing else may be: 4 streams and the requests of an instant.
    assert!(report.failed <= 12, "{report:?}");
    assert_eq!(who(&daemon).await["title"], "good");
}

#[tokio::test]
async fn streams_live_on_blue_to_the_drain_deadline_and_are_closed_cleanly() {
    let setup = Setup::stateless().rollout("bake_s = 0\ndrain_s = 3");
    let daemon = setup.workspace("acme", &titled("blue"), &[]).start().await;
    let blue = who(&daemon).await["boot_id"].clone();
    let mut socket = Wire::open(daemon.proxy).await.expect("connected");
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        daemon.host("acme"),
        daemon.token(&["acme"])
    );
    socket.say(head.as_bytes()).await;
    socket.hear_until(seconds(5), |bytes| bytes.ends_with(b"\r\n\r\n")).await;
    // And a request that never ends by itself.
    let stuck = http::request("GET", &daemon.host("acme"), "/x?mode=hang", Some(&daemon.token(&["acme"])), &[], "");
    let stuck = tokio::spawn(http::send(daemon.proxy, stuck));
    daemon.write_workspace("acme", &titled("green"), &[]);
    wait::until("green to serve", seconds(30), || async {
        let now = who(&daemon).await;
        if now["boot_id"] != blue { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    socket.say(b"\x81\x02hi").await;
    let heard = socket.hear_until(seconds(2), |bytes| bytes.ends_with(b"\x81\x02hi")).await;
    assert!(heard.bytes.ends_with(b"\x81\x02hi"), "it lives on blue: {:?}", heard.bytes);
    let heard = socket.hear_until(seconds(10), |bytes| bytes.ends_with(&[0x88, 0x02, 0x03, 0xf4])).await;
    assert!(heard.bytes.ends_with(&[0x88, 0x02, 0x03, 0xf4]), "closed with 1012: {:?}", heard.bytes);
    println!("{}", event(&daemon, "Cut").await);
    let stuck = tokio::time::timeout(seconds(40), stuck).await.expect("forced at last").expect("no panic");
    assert!(stuck.is_err() || stuck.is_ok_and(|reply| !reply.status.is_success()), "never called a success");
    instances(&daemon, 1).await;
}

#[tokio::test]
async fn a_rollback_brings_back_the_exact_bytes_until_the_spec_changes() {
    let daemon = Setup::echo().rollout(QUICK).workspace("acme", &titled("one"), &[]).start().await;
    let admin = daemon.admin();
    let first = admin.running("acme").await["status"]["active_revision"].as_str().expect("a revision").to_owned();
    let bytes = admin.get(&format!("/v1/workspaces/acme/revisions/{first}")).await.expect(200).json();
    let digest = who(&daemon).await["config_digest"].clone();
    event(&daemon, "Confirmed").await;
    daemon.write_workspace("acme", &titled("two"), &[]);
    wait::until("two", seconds(60), || async {
        let now = who(&daemon).await;
        if now["title"] == "two" { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    let back = daemon.run(&["workspace", "rollback", "acme"]);
    assert!(back.status.success(), "{back:?}");
    let now = who(&daemon).await;
    assert_eq!((&now["title"], &now["config_digest"]), (&json!("one"), &digest));
    let workspace = admin.running("acme").await;
    assert_eq!(workspace["status"]["active_revision"], first.as_str());
    assert_eq!(admin.get(&format!("/v1/workspaces/acme/revisions/{first}")).await.expect(200).json(), bytes);
    let condition = rolled_out(&daemon, "True", "Pinned").await;
    println!("{}", condition["message"]);
    let listed = daemon.run(&["workspace", "revisions", "acme"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    println!("{listed}");
    assert!(listed.lines().any(|line| line.contains("serves, pinned, good")), "{listed}");
    // A restart keeps the pin, a named revision is found by its beginning, an unknown one is refused by name.
    admin.post("/v1/workspaces/acme/restart", json!({})).await.expect(202);
    admin.running("acme").await;
    assert_eq!(who(&daemon).await["title"], "one");
    let unknown = admin.post("/v1/workspaces/acme/rollback", json!({"to": "000000000000"})).await.expect(422);
    assert!(unknown.text().contains("workspace revisions acme"), "{}", unknown.text());
    // A changed spec ends it.
    daemon.write_workspace("acme", &titled("three"), &[]);
    wait::until("three", seconds(60), || async {
        let now = who(&daemon).await;
        if now["title"] == "three" { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    // And so does a rollout that is asked for.
    admin.running("acme").await;
    let short = &first["sha256:".len()..][..12];
    admin.post("/v1/workspaces/acme/rollback", json!({"to": short})).await.expect(202);
    rolled_out(&daemon, "True", "Pinned").await;
    admin.post("/v1/workspaces/acme/rollout", json!({})).await.expect(202);
    rolled_out(&daemon, "True", "Serving").await;
    assert_eq!(who(&daemon).await["title"], "three");
}

#[tokio::test]
async fn the_last_wish_wins_whatever_is_under_way() {
    for setup in [Setup::stateless(), Setup::echo()] {
        let daemon = setup.rollout(QUICK).workspace("acme", &titled("one"), &[]).start().await;
        let admin = daemon.admin();
        // Two at once: the second supersedes the first in the middle of its start.
        daemon.write_workspace("acme", &titled("echo:slow-start"), &[]);
        rolled_out(&daemon, "False", "RollingOut").await;
        daemon.write_workspace("acme", &titled("two"), &[]);
        wait::until("two", seconds(60), || async {
            let now = who(&daemon).await;
            if now["title"] == "two" { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
        // A stop in the middle of a rollout, then a deletion in the middle of another.
        daemon.write_workspace("acme", &titled("echo:slow-start"), &[]);
        rolled_out(&daemon, "False", "RollingOut").await;
        daemon.write_workspace("acme", &format!("desired = \"stopped\"\n{}", titled("three")), &[]);
        admin.until("acme", "stopped", seconds(60), |workspace| workspace["status"]["phase"] == "stopped").await;
        instances(&daemon, 0).await;
        admin.post("/v1/workspaces", json!({"slug": "beta", "tier": "pro"})).await.expect(201);
        admin.running("beta").await;
        let patch = json!({"app_config": {"app": {"title": "echo:slow-start"}}});
        admin.call("PATCH", "/v1/workspaces/beta", Some(patch)).await.expect(200);
        wait::until("beta's second instance", seconds(30), || async {
            if daemon.instances().len() == 2 { Ok(()) } else { Err(format!("{:?}", daemon.instances())) }
        })
        .await;
        admin.call("DELETE", "/v1/workspaces/beta", None).await.expect(202);
        admin.gone("beta").await;
        instances(&daemon, 0).await;
    }
}

#[tokio::test]
async fn rollouts_wait_for_their_turn_and_the_condition_says_so() {
    let slugs = ["acme", "globex", "initech"];
    let setup = Setup::stateless().toml("max_rollouts = 1\nmax_starting = 4\n").rollout("bake_s = 2\ndrain_s = 1");
    let setup = slugs.iter().fold(setup, |setup, slug| setup.workspace(slug, &titled("one"), &[]));
    let daemon = setup.start().await;
    slugs.iter().for_each(|slug| daemon.write_workspace(slug, &titled("two"), &[]));
    let waits = |workspace: &Value| {
        admin::condition(workspace, "RolledOut")
            .is_some_and(|one| one["reason"] == "WaitingForTurn" && one["message"].to_string().contains("max_rollouts"))
    };
    wait::until("a workspace that waits", seconds(30), || async {
        for slug in slugs {
            if waits(&daemon.admin().workspace(slug).await) {
                return Ok(());
            }
        }
        Err("none waits".to_owned())
    })
    .await;
    let mut most = 0;
    wait::until("all of them rolled out", seconds(90), || {
        most = most.max(daemon.instances().len());
        let daemon = &daemon;
        async move {
            for slug in slugs {
                let reply = daemon.get(slug, "/who", Some(&daemon.token(&[slug]))).await;
                if reply.json()["title"] != "two" {
                    return Err(format!("{slug}: {}", reply.text()));
                }
            }
            Ok(())
        }
    })
    .await;
    assert!(most <= slugs.len() + 1, "{most} instances at the same time");
}

#[tokio::test]
async fn a_restart_holds_requests_tells_the_pause_and_returns_to_the_last_good_revision() {
    let rules = "strategy = \"restart\"\nbake_s = 1\ndrain_s = 3";
    let setup = Setup::stateless().rollout(rules);
    let daemon = setup.workspace("acme", &titled("v0"), &[]).start().await;
    event(&daemon, "Confirmed").await;
    let load = load(&daemon, Mix { per_second: 25, slow_ms: 500 });
    load.answers_of("v0", 50).await;
    // Two seconds until it is ready: everybody waits for it.
    daemon.write_workspace("acme", &titled("echo:slow-start"), &[]);
    let mut most = 0;
    wait::until("answers of the new revision", seconds(60), || {
        most = most.max(daemon.instances().len());
        let seen = load.so_far();
        async move {
            let good = seen.versions.get("echo:slow-start").is_some_and(|count| *count >= 50);
            if good { Ok(()) } else { Err(format!("{seen:?}")) }
        }
    })
    .await;
    assert_eq!(most, 1, "memory for one is enough");
    let told = event(&daemon, "Released").await;
    let held: u64 = told.split(' ').find_map(|word| word.parse().ok()).expect("milliseconds");
    assert!(held >= 2_000, "{told}");
    let metrics = daemon.admin().get("/metrics").await.expect(200).text();
    assert!(metrics.contains("orbitd_rollout_pause_seconds_count 1"), "{metrics}");

    daemon.admin().running("acme").await;
    wait::until("it to be good", seconds(60), || async {
        let confirmed = events(&daemon).await.iter().filter(|(reason, _)| reason == "Confirmed").count();
        if confirmed == 2 { Ok(()) } else { Err(format!("{confirmed} times")) }
    })
    .await;
    let before = load.so_far().versions["echo:slow-start"];
    daemon.write_workspace("acme", &titled("echo:crash"), &[]);
    let condition = rolled_out(&daemon, "False", "DidNotComeUp").await;
    println!("{}", condition["message"]);
    load.answers_of("echo:slow-start", before + 50).await;
    let report = load.stop().await;
    println!("a restart, and one that failed: {report:?}");
    assert_eq!((report.failed, report.versions.len()), (0, 2), "{report:?}");
    instances(&daemon, 1).await;
    let reasons: Vec<String> = events(&daemon).await.into_iter().map(|(reason, _)| reason).collect();
    assert!(!reasons.iter().any(|reason| reason == "Switched" || reason == "Proven"), "{reasons:?}");
}

/// Breaks or mends an instance from behind, or only looks; how often orbitd has asked its catalogue.
async fn behind(instance: SocketAddr, what: &str) -> u64 {
    let request = http::request("GET", "echo", &format!("/.echo/break{what}"), None, &[], "");
    http::send(instance, request).await.expect("an answer").json()["asked"].as_u64().expect("a count")
}

/// Waits until orbitd has asked its catalogue once more.
async fn asked(instance: SocketAddr) {
    let before = behind(instance, "").await;
    wait::until("orbitd to ask", seconds(30), || async {
        let now = behind(instance, "").await;
        if now > before { Ok(()) } else { Err(format!("{now} times")) }
    })
    .await;
}

fn title_of(reply: &Reply) -> Result<String, String> {
    reply.json()["title"].as_str().map(str::to_owned).ok_or(format!("{} {}", reply.status, reply.text()))
}

#[tokio::test]
async fn a_green_that_breaks_blue_is_given_up_before_it_serves() {
    let setup = Setup::stateless().toml("start_timeout_s = 60\n").rollout("bake_s = 0\ndrain_s = 3");
    let daemon = setup.workspace("acme", &titled("good"), &[]).start().await;
    let ask = |target: &str| -> (Ask, Check) {
        let (host, token) = (daemon.host("acme"), daemon.token(&["acme"]));
        (Ask { address: daemon.proxy, host, target: target.to_owned(), token }, Arc::new(title_of))
    };
    // Half of all answers are 500 all the time, which is no reason to give anything up.
    let load = Load::steady(vec![ask("/who"), ask("/x?mode=error")], 40);
    load.more(60).await;
    daemon.write_workspace("acme", &titled("echo:slow-start"), &[]);
    wait::until("the new one to serve", seconds(60), || async {
        let now = who(&daemon).await;
        if now["title"] == "echo:slow-start" { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    rolled_out(&daemon, "True", "Serving").await;
    instances(&daemon, 1).await;

    // Users' requests show it.
    let blue = instance_address(&daemon, "acme").await;
    load.more(60).await;
    daemon.write_workspace("acme", &titled("echo:never-ready:1"), &[]);
    instances(&daemon, 2).await;
    behind(blue, "?on=1").await;
    let condition = rolled_out(&daemon, "False", "BrokeBlue").await;
    println!("{}", condition["message"]);
    assert!(condition["message"].to_string().contains("expand, then contract"), "{condition}");
    assert_eq!(load.stop().await.failed, 0, "every answer was an instance's");

    // And where there are none, the catalogue does. Blue was started anew meanwhile.
    wait::until("a renewed blue", seconds(60), || async {
        let reply = daemon.get("acme", "/who", Some(&daemon.token(&["acme"]))).await;
        let other = reply.json()["port"] != u64::from(blue.port());
        if reply.status == 200 && other { Ok(()) } else { Err(format!("{} {}", reply.status, reply.text())) }
    })
    .await;
    instances(&daemon, 1).await;
    assert!(
        events(&daemon).await.iter().all(|(reason, _)| reason != "RestartFailed"),
        "blue is mended, not given up, too"
    );
    let blue = instance_address(&daemon, "acme").await;
    daemon.write_workspace("acme", &titled("echo:never-ready:2"), &[]);
    instances(&daemon, 2).await;
    asked(blue).await;
    behind(blue, "?on=1").await;
    daemon
        .admin()
        .until("acme", "given up for the catalogue's sake", seconds(60), |workspace| {
            admin::condition(workspace, "RolledOut").is_some_and(|one| {
                one["reason"] == "BrokeBlue"
                    && one["message"].to_string().contains("its catalogue answered with an error")
            })
        })
        .await;
}

#[tokio::test]
async fn a_blue_that_green_broke_is_no_place_to_return_to() {
    let setup = Setup::stateless().rollout("bake_s = 600\ndrain_s = 3");
    let daemon = setup.workspace("acme", &titled("one"), &[]).start().await;
    let blue = instance_address(&daemon, "acme").await;
    daemon.write_workspace("acme", &titled("two"), &[]);
    event(&daemon, "Switched").await;
    asked(blue).await;
    behind(blue, "?on=1").await;
    println!("{}", event(&daemon, "NoWayBack").await);
    event(&daemon, "Confirmed").await;
    // Long before its bake is over.
    instances(&daemon, 1).await;
    rolled_out(&daemon, "True", "Serving").await;
    assert_eq!(who(&daemon).await["title"], "two");
}
