//! Instances are kept apart (catalogue T-02 to T-06, F-11): a plugin that turned hostile tries, with its instance's rights, to reach
//! another workspace, the daemon and the machine. That the tries are good ones is shown by a daemon that confines nothing.

use std::{collections::BTreeMap, fs, io::Write, os::unix::fs::MetadataExt, path::PathBuf};

use orbitd_tests::{
    Daemon, Setup,
    processes::{self, Found},
    wait::{self, seconds},
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// What came of each try: the error's code, or `done`.
type Outcomes = BTreeMap<String, String>;

async fn attack(daemon: &Daemon, slug: &str, plan: &Value) -> Outcomes {
    let token = daemon.token(&[slug]);
    let reply = daemon.send("POST", slug, "/x?mode=attack", Some(&token), &[], plan.to_string()).await.expect(200);
    serde_json::from_slice(&reply.body).expect("outcomes")
}

/// The measures that `doctor` finds, and whether each is in use.
fn measures(daemon: &Daemon) -> BTreeMap<String, bool> {
    let output = daemon.run(&["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    let confinement = checks.iter().filter(|check| check["check"] == "confinement");
    let of = |check: &Value| {
        let (name, _) = check["text"].as_str()?.split_once(':')?;
        // Past the test runner's capture: whoever reads a green run must see what it stands on.
        let _ = writeln!(std::io::stderr(), "confinement: {} {}", check["verdict"], check["text"]);
        Some((name.to_owned(), check["verdict"] == "ok"))
    };
    confinement.filter_map(of).collect()
}

fn instance(daemon: &Daemon, slug: &str) -> Found {
    let home = format!("/workspaces/{slug}-");
    let all = daemon.instances();
    all.iter()
        .find(|found| found.cwd.display().to_string().contains(&home))
        .cloned()
        .unwrap_or_else(|| panic!("{all:?}"))
}

fn home(found: &Found) -> PathBuf {
    found.cwd.ancestors().nth(2).expect("<home>/run/<id>").to_owned()
}

fn status_field(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
}

const SECRET: &str = "tier = \"free\"\n[secrets]\nKEY = { file = \"key\" }\n";

async fn two_workspaces(toml: &str) -> Daemon {
    let mut daemon =
        Setup::echo().toml(toml).workspace("acme", "tier = \"free\"\n", &[]).workspace("globex", SECRET, &[]).prepare();
    let dir = daemon.dir.join("secrets/globex");
    fs::create_dir_all(&dir).expect("made");
    fs::write(dir.join("key"), "the crown jewels").expect("written");
    daemon.start().await;
    for slug in ["acme", "globex"] {
        daemon.admin().running(slug).await;
    }
    daemon
}

/// Files, processes and sockets of others: nothing of it may work, whichever measure it is that refuses.
fn forbidden(daemon: &Daemon, victim: &Found) -> Value {
    let (data, home) = (daemon.dir.join("data"), home(victim));
    let text = |path: PathBuf| path.display().to_string();
    let (run, pid) = (|name: &str| text(victim.cwd.join(name)), victim.pid);
    json!({
        "read": [
            run("app-config.json"), run("host.json"), run("report.jsonl"), run("secrets/KEY"),
            text(home.join("logs/instance.log")),
            text(data.join("registry.sqlite")), text(data.join("master.key")), text(data.join("admin.token")),
            text(daemon.dir.join("orbitd.toml")), text(daemon.dir.join("secrets/globex/key")), "/etc/shadow", "/root/.bashrc",
            format!("/proc/{pid}/environ"), format!("/proc/{pid}/mem"), format!("/proc/{}/environ", daemon.pid()),
        ],
        "list": [
            text(data.clone()), text(data.join("workspaces")), text(home.clone()), text(victim.cwd.clone()), "/root",
            format!("/proc/{pid}/fd"), format!("/proc/{}/fd", daemon.pid()),
        ],
        "write": [run("planted"), text(home.join("planted")), text(data.join("planted")), "/tmp/planted-by-a-plugin"],
        "probe": [pid, daemon.pid()],
    })
}

#[tokio::test]
async fn a_hostile_plugin_reaches_nothing_but_its_own() {
    let daemon = two_workspaces("").await;
    let measures = measures(&daemon);
    assert!(measures.values().any(|active| *active), "instances are not confined at all: {measures:?}");
    if !(measures["own user"] && measures["landlock"]) {
        let _ = writeln!(std::io::stderr(), "not run: what follows needs an own user and Landlock together");
        return;
    }
    let (own, victim) = (instance(&daemon, "acme"), instance(&daemon, "globex"));

    let outcomes = attack(&daemon, "acme", &forbidden(&daemon, &victim)).await;
    let worked: Vec<_> = outcomes.iter().filter(|(_, outcome)| *outcome == "done").collect();
    assert_eq!(worked, Vec::<(&String, &String)>::new());

    // Its own socket's neighbour, its own home, the machine's programs, other ports, the daemon's doors.
    let port = |slug| {
        let daemon = &daemon;
        async move { crate::fixtures::instance_address(daemon, slug).await.port() }
    };
    let (mine, theirs) = (port("acme").await, port("globex").await);
    let internal = fs::read_to_string(daemon.dir.join("data/internal.port")).expect("it is kept");
    let at = |port: &str, path: &str| format!("http://127.0.0.1:{port}{path}");
    let wrong = "0".repeat(64);
    let gets = [
        at(&theirs.to_string(), "/"),
        at(&theirs.to_string(), "/api/catalog/entities"),
        at(&daemon.admin_address.port().to_string(), "/v1/workspaces"),
        at(internal.trim(), &format!("/i/{wrong}/api/auth/.well-known/jwks.json")),
    ];
    let plan = json!({
        "socket": [victim.cwd.join("http.sock")],
        "write": [home(&own).join("planted"), home(&own).join("logs/instance.log"), own.cwd.join("tmp/mine")],
        "run": [["/bin/sh", "-c", "exit 0"]],
        "listen": [mine + 1],
        "get": gets,
        "kill": [victim.pid],
    });
    let outcomes = attack(&daemon, "acme", &plan).await;
    let refused = |what: &str| {
        let (_, outcome) = outcomes.iter().find(|(name, _)| name.starts_with(what)).expect("it was tried");
        matches!(outcome.as_str(), "EACCES" | "EPERM" | "ENOENT")
    };
    assert!(refused("socket") && refused("kill") && refused("run") && refused("listen"), "{outcomes:?}");
    assert!(refused(&format!("write {}", home(&own).join("planted").display())), "{outcomes:?}");
    assert!(refused(&format!("write {}", home(&own).join("logs").display())), "{outcomes:?}");
    assert_eq!(outcomes[&format!("write {}", own.cwd.join("tmp/mine").display())], "done", "its own it may");
    for (url, status) in gets.iter().zip(["404", "404", "401", "404"]) {
        assert_eq!(outcomes[&format!("get {url}")], status, "{url}");
    }
    assert!(processes::lives(victim.pid), "the neighbour lives");
    daemon.get("globex", "/", Some(&daemon.token(&["globex"]))).await.expect(200);
}

#[tokio::test]
async fn the_attacks_work_where_nothing_is_confined() {
    let daemon = two_workspaces("[confine]\nmode = \"off\"\n").await;
    let measures = measures(&daemon);
    assert!(measures.values().all(|active| !active), "{measures:?}");
    let victim = instance(&daemon, "globex");
    let outcomes = attack(&daemon, "acme", &forbidden(&daemon, &victim)).await;
    for what in ["read", "list", "write", "probe"] {
        let tried = || outcomes.iter().filter(|(name, _)| name.starts_with(what));
        assert!(
            tried().any(|(_, outcome)| outcome == "done"),
            "no {what} got through: {:?}",
            tried().collect::<Vec<_>>()
        );
    }
    let _ = fs::remove_file("/tmp/planted-by-a-plugin");
}

#[tokio::test]
async fn each_instance_shows_what_binds_it() {
    let daemon = two_workspaces("").await;
    let measures = measures(&daemon);
    let all = [instance(&daemon, "acme"), instance(&daemon, "globex")];
    for found in &all {
        assert_eq!(status_field(found.pid, "NoNewPrivs:"), "1");
        let limits = fs::read_to_string(format!("/proc/{}/limits", found.pid)).expect("it lives");
        assert!(limits.lines().any(|line| line.starts_with("Max core file size") && line.contains(" 0 ")), "{limits}");
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let files = most.min(16_384).to_string();
        assert!(limits.lines().any(|line| line.starts_with("Max open files") && line.contains(&files)), "{limits}");
        if measures["cgroups"] {
            let groups = fs::read_to_string(format!("/proc/{}/cgroup", found.pid)).expect("it lives");
            let id = found.cwd.file_name().expect("an id").to_string_lossy().into_owned();
            assert!(groups.contains(&id), "{groups}");
        }
        let report = fs::read_to_string(found.cwd.join("report.jsonl")).expect("a report");
        assert!(report.starts_with("{\"event\":\"confined\""), "{report}");
    }
    if measures["own user"] {
        let users = all.each_ref().map(|found| status_field(found.pid, "Uid:"));
        assert!(users.iter().all(|user| !user.starts_with('0')) && users[0] != users[1], "{users:?}");
        let owner = fs::metadata(&all[0].cwd).expect("there").uid();
        assert!(users[0].starts_with(&owner.to_string()));
        // The next daemon, and the next life of the workspace's instance, keep the user.
        let mut daemon = daemon;
        daemon.kill();
        daemon.start().await;
        daemon.admin().running("acme").await;
        assert_eq!(instance(&daemon, "acme").pid, all[0].pid, "adopted across users");
        processes::signal(all[0].pid, Signal::KILL);
        let after = wait::until("the next instance", seconds(30), || async {
            match daemon.instances().into_iter().find(|found| found.cwd.starts_with(home(&all[0]))) {
                Some(found) if found.pid != all[0].pid && !found.command.contains("become-instance") => Ok(found),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert_eq!(status_field(after.pid, "Uid:"), users[0]);
    }
}

#[tokio::test]
async fn what_a_plugin_plants_in_its_home_leads_the_daemon_nowhere() {
    let daemon = Setup::echo().workspace("acme", "tier = \"free\"\n", &[]).start().await;
    let own = instance(&daemon, "acme");
    let target = daemon.dir.join("data/admin.token");
    let before = fs::read(&target).expect("read");
    let run = |name: &str| own.cwd.join(name).display().to_string();
    let plan = json!({
        "remove": [run("report.jsonl"), run("http.sock"), run("app-config.json")],
        "link": [[target, run("report.jsonl")], [target, run("http.sock")], ["/", run("root")], [daemon.dir, run("tmp/up")]],
        "hardlink": [[target, run("tmp/second")]],
    });
    let outcomes = attack(&daemon, "acme", &plan).await;
    assert!(outcomes.iter().any(|(name, outcome)| name.starts_with("link") && outcome == "done"), "{outcomes:?}");
    assert!(outcomes.iter().all(|(name, outcome)| !name.starts_with("hardlink") || outcome != "done"), "{outcomes:?}");
    // The socket is gone, so it is unhealthy or, asked to, restarted: either way a new directory, and the old one is removed.
    let admin = daemon.admin();
    admin.post("/v1/workspaces/acme/restart", json!({})).await;
    wait::until("another instance", seconds(60), || async {
        match daemon.instances().into_iter().find(|found| found.pid != own.pid) {
            Some(_) if !own.cwd.exists() => Ok(()),
            _ => Err("not yet".to_owned()),
        }
    })
    .await;
    admin.running("acme").await;
    daemon.get("acme", "/", Some(&daemon.token(&["acme"]))).await.expect(200);
    assert_eq!(fs::read(&target).expect("still there"), before);
}

/// Writes limits into the tier `free`.
fn limit(daemon: &Daemon, resources: &str) {
    daemon.write_policy("free.toml", format!("{}\n[resources]\n{resources}\n", daemon.read_policy("free.toml")));
}

#[tokio::test]
async fn what_runs_away_is_contained_and_the_neighbour_serves() {
    let mut daemon = Setup::echo()
        .workspace("acme", "tier = \"free\"\n", &[])
        .workspace("globex", "tier = \"pro\"\n", &[])
        .prepare();
    limit(&daemon, "memory_mb = 192\npids = 64");
    daemon.start().await;
    for slug in ["acme", "globex"] {
        daemon.admin().running(slug).await;
    }
    if !measures(&daemon)["cgroups"] {
        return; // said above; nothing else contains these
    }
    // A process that left the session and lost its parent is still in the group, and goes with the instance.
    let own = instance(&daemon, "acme");
    assert_eq!(attack(&daemon, "acme", &json!({"escape": [600]})).await["escape 600"], "done");
    assert!(daemon.instances().iter().any(|found| found.command.contains("600000")), "{:?}", daemon.instances());
    let started = attack(&daemon, "acme", &json!({"children": [40]})).await;
    let started: u32 = started["children 40"].parse().expect("a number");
    assert!((1..40).contains(&started), "{started} processes, of 11 threads each, within 64");
    daemon.get("globex", "/", Some(&daemon.token(&["globex"]))).await.expect(200);
    // Too much memory: the kernel ends it, and it is started again.
    let token = daemon.token(&["acme"]);
    let plan = json!({"memory": [400]}).to_string();
    let reply = daemon.send("POST", "acme", "/x?mode=attack", Some(&token), &[], plan).await;
    assert!(reply.status.is_server_error(), "{} {}", reply.status, reply.text());
    wait::until("a new instance, and nothing left of the old", seconds(60), || async {
        let all = daemon.instances();
        let left = all.iter().any(|found| found.pid == own.pid || found.command.contains("setTimeout"));
        let next = all.iter().any(|found| found.cwd != own.cwd && found.cwd.starts_with(home(&own)));
        if !left && next { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;
    daemon.admin().running("acme").await;
    let events = daemon.admin().get("/v1/workspaces/acme/events").await.expect(200).text();
    assert!(events.contains("out of memory"), "{events}");
    assert!(processes::lives(instance(&daemon, "globex").pid));
}

#[tokio::test]
async fn a_flood_on_standard_output_does_not_fill_the_disk() {
    const LIMIT: u64 = 1 << 20;
    let setup = Setup::echo().toml(&format!("max_log_bytes = {LIMIT}\n"));
    let daemon = setup.workspace("acme", "tier = \"free\"\n", &[]).start().await;
    let logs = home(&instance(&daemon, "acme")).join("logs");
    let size = || -> u64 {
        let files = fs::read_dir(&logs).expect("logs").flatten();
        files.map(|file| file.metadata().map_or(0, |metadata| metadata.len())).sum()
    };
    let token = daemon.token(&["acme"]);
    let flood = daemon.send("POST", "acme", "/x?mode=attack", Some(&token), &[], json!({"talk": [2048]}).to_string());
    let mut most = 0;
    tokio::pin!(flood);
    loop {
        tokio::select! {
            reply = &mut flood => break assert_eq!(reply.expect(200).json()["talk 2048"], "done"),
            // Cancel-safe: it only waits.
            () = tokio::time::sleep(std::time::Duration::from_millis(5)) => most = most.max(size()),
        }
    }
    assert!(most < 700 << 20, "2 GiB were written, {} MiB of them lay on the disk at once", most >> 20);
    wait::until("the log within its limit", seconds(10), || async {
        let now = size();
        if now <= 2 * LIMIT + 4096 { Ok(()) } else { Err(format!("{now} bytes")) }
    })
    .await;
    daemon.get("acme", "/", Some(&daemon.token(&["acme"]))).await.expect(200);
}
