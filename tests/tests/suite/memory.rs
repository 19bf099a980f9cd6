//! Memory caps, against a daemon whose instances hold real memory: the idlest goes to sleep, one with someone on it does not, a
//! start past a cap waits and names it.

use orbitd_tests::{
    Daemon, Setup, admin,
    wait::seconds,
    wire::{self, Wire},
};
use serde_json::{Value, json};

use crate::fixtures::boot_id;

/// MiB that an instance of these tests holds, beside some 50 of Node's own.
const HELD: u32 = 150;
/// Two of them fit, three don't.
const CAP: &str = "500";
/// What the machine itself is short of must not interfere.
const HOST_CAP: &str = "[memory]\navailable_mb = 0\nstalled_percent = 0.0\n";
/// May sleep, and does not by itself while a test runs.
const MAY_SLEEP: &str = "\n[rollout]\nbake_s = 0\n[sleep]\nstop_after_s = 36000\n";

fn holding(tier: &str) -> String {
    format!("tier = \"{tier}\"\n[app_config.app]\ntitle = \"echo:holds:{HELD}\"\n")
}

fn phase(workspace: &Value) -> &str {
    workspace["status"]["phase"].as_str().unwrap_or_default()
}

/// Suspended where another test has added swap, else stopped.
async fn falls_asleep(daemon: &Daemon, slug: &str) {
    let asleep = |workspace: &Value| matches!(phase(workspace), "asleep" | "suspended");
    daemon.admin().until(slug, "asleep", seconds(60), asleep).await;
}

async fn is_awake(daemon: &Daemon, slug: &str) {
    let workspace = daemon.admin().workspace(slug).await;
    assert_eq!(phase(&workspace), "running", "{workspace}");
}

async fn reasons(daemon: &Daemon, slug: &str) -> Vec<String> {
    let reply = daemon.admin().get(&format!("/v1/workspaces/{slug}/events?limit=500")).await.expect(200).json();
    let items = reply["items"].as_array().cloned().unwrap_or_default();
    items.iter().map(|event| format!("{}: {}", event["reason"], event["message"])).collect()
}

/// An event stream that goes on until its connection is dropped.
async fn occupy(daemon: &Daemon, slug: &str) -> Wire {
    let mut wire = Wire::open(daemon.proxy).await.expect("connected");
    let (host, token) = (daemon.host(slug), daemon.token(&[slug]));
    let target = "/x?mode=events&n=100000&ms=100";
    wire.say(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\r\n").as_bytes())
        .await;
    goes_on(&mut wire).await;
    wire
}

/// Its next event comes.
async fn goes_on(wire: &mut Wire) {
    let heard = wire.hear_until(seconds(30), |bytes| wire::count(bytes, b"data: ") > 0).await;
    assert!(!heard.closed && heard.text().contains("data: "), "{}", heard.text());
}

#[tokio::test]
async fn past_the_hosts_cap_the_idlest_sleeps_the_busy_do_not_and_a_start_waits() {
    let mut daemon = Setup::echo().toml(&format!("{HOST_CAP}instances_mb = {CAP}\n")).prepare();
    let tier = daemon.read_policy("pro.toml");
    daemon.write_policy("pro.toml", tier + MAY_SLEEP);
    daemon.start().await;
    let mut busy = Vec::new();
    for slug in ["one", "two", "three"] {
        daemon.write_workspace(slug, &holding("pro"), &[]);
        daemon.admin().running(slug).await;
        busy.push(occupy(&daemon, slug).await);
    }
    // The cap is reached, and nobody can be sent to sleep: the next one waits, and everybody can see for what.
    daemon.write_workspace("late", "tier = \"pro\"\n", &[]);
    let waits = |workspace: &Value| {
        admin::condition(workspace, "Ready").is_some_and(|ready| ready["reason"] == "WaitingForMemory")
    };
    let late = daemon.admin().until("late", "waiting for memory", seconds(60), waits).await;
    let message = admin::condition(&late, "Ready").expect("a condition")["message"].to_string();
    assert!(message.contains("memory.instances_mb"), "{message}");
    let token = daemon.token(&["late"]);
    let poll = [("x-orbit-progress", "1"), ("accept", "application/json")];
    let answer = daemon.send("GET", "late", "/", Some(&token), &poll, "").await;
    assert!(
        answer.status == 503 && answer.text().contains("waiting for memory"),
        "{} {}",
        answer.status,
        answer.text()
    );

    // Two of them are free. The one that was asked last is not the idlest.
    for wire in &mut busy {
        goes_on(wire).await;
    }
    let mut third = busy.pop().expect("the last one");
    drop(busy);
    let boot = boot_id(&daemon, "two").await;
    falls_asleep(&daemon, "one").await;
    let one = reasons(&daemon, "one").await;
    assert!(one.iter().any(|event| event.contains("FallingAsleep") && event.contains("memory")), "{one:?}");
    daemon.admin().running("late").await;
    for slug in ["two", "three"] {
        is_awake(&daemon, slug).await;
        let events = reasons(&daemon, slug).await;
        assert!(!events.iter().any(|event| event.contains("FallingAsleep")), "{slug}: {events:?}");
    }
    goes_on(&mut third).await;
    assert_eq!(boot_id(&daemon, "two").await, boot);
    // Who sleeps for it comes back when it is wanted, if another gives way.
    drop(third);
    daemon.get("one", "/", Some(&daemon.token(&["one"]))).await.expect(200);
}

#[tokio::test]
async fn a_tiers_cap_is_its_own() {
    let mut daemon = Setup::echo().toml(HOST_CAP).prepare();
    for (tier, cap) in [("pro", format!("max_awake_mb = {CAP}\n")), ("free", String::new())] {
        let text = daemon.read_policy(&format!("{tier}.toml"));
        daemon.write_policy(&format!("{tier}.toml"), text + MAY_SLEEP + &cap);
    }
    daemon.start().await;
    // Idlest of all, and of another tier.
    let admin = daemon.admin();
    admin.post("/v1/workspaces", json!({"slug": "other", "tier": "free"})).await;
    admin.running("other").await;
    for slug in ["one", "two", "three"] {
        daemon.write_workspace(slug, &holding("pro"), &[]);
        admin.running(slug).await;
    }
    for slug in ["two", "three"] {
        boot_id(&daemon, slug).await;
    }
    falls_asleep(&daemon, "one").await;
    for slug in ["other", "two", "three"] {
        is_awake(&daemon, slug).await;
    }
}
