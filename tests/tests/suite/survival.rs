//! Daemon and instances die or stand still, in any order, and the machine's clock is set: rows F-04, F-05, F-22, T-05 and T-15 of the
//! catalogue.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::PathBuf, time::Instant};

use orbitd_tests::{
    Daemon, Setup, admin, http, processes,
    wait::{self, seconds},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::fixtures::boot_id;

fn titled(title: &str) -> String {
    format!("tier = \"pro\"\n[app_config.app]\ntitle = \"{title}\"\n")
}

/// How often something happened to a workspace.
async fn events(daemon: &Daemon, slug: &str, reason: &str) -> usize {
    let reply = daemon.admin().get(&format!("/v1/workspaces/{slug}/events?limit=500")).await.json();
    let items = reply["items"].as_array().cloned().unwrap_or_default();
    items.iter().filter(|event| event["reason"] == reason).count()
}

async fn event(daemon: &Daemon, slug: &str, reason: &str, times: usize) {
    wait::until(&format!("event {reason} of {slug}, {times} times"), seconds(90), || async {
        let seen = events(daemon, slug, reason).await;
        if seen >= times { Ok(()) } else { Err(format!("{seen} times")) }
    })
    .await;
}

/// The instance's pid.
async fn pid(daemon: &Daemon, slug: &str) -> u32 {
    let account = daemon.get(slug, "/who", Some(&daemon.token(&[slug]))).await.expect(200).json();
    account["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid")
}

/// Waits until the workspace is answered by another instance than `before`.
async fn replaced(daemon: &Daemon, slug: &str, before: &str) {
    wait::until(&format!("another instance of {slug}"), seconds(60), || async {
        let request = http::request("GET", &daemon.host(slug), "/who", Some(&daemon.token(&[slug])), &[], "");
        let reply = http::send(daemon.proxy, request).await.map_err(|error| error.to_string())?;
        if reply.status == 200 && reply.json()["boot_id"] != before { Ok(()) } else { Err(reply.text()) }
    })
    .await;
}

#[tokio::test]
async fn whoever_is_killed_first_the_dead_are_replaced_once_and_the_living_stay() {
    let setup = Setup::echo().workspace("acme", &titled("one"), &[]).workspace("globex", &titled("two"), &[]);
    let mut daemon = setup.start().await;
    let bystander = boot_id(&daemon, "globex").await;
    for instance_first in [true, false] {
        let (boot, pid) = (boot_id(&daemon, "acme").await, pid(&daemon, "acme").await);
        let starts = events(&daemon, "acme", "Starting").await;
        // At the same moment, as far as that goes: the first one's death is still news when the second dies.
        if instance_first {
            processes::signal(pid, Signal::KILL);
            daemon.kill();
        } else {
            daemon.kill();
            processes::signal(pid, Signal::KILL);
        }
        daemon.start().await;
        replaced(&daemon, "acme", &boot).await;
        // The daemon may have got as far as a start of its own before it died; no more than that.
        let more = events(&daemon, "acme", "Starting").await - starts;
        assert!((1..=2).contains(&more), "{more} starts");
        assert_eq!(boot_id(&daemon, "globex").await, bystander);
        assert_eq!(daemon.instances().len(), 2, "{:?}", daemon.instances());
    }
}

#[tokio::test]
async fn a_daemon_that_stood_still_replaces_what_died_meanwhile_once() {
    let setup = Setup::echo().workspace("acme", &titled("one"), &[]).workspace("globex", &titled("two"), &[]);
    let daemon = setup.start().await;
    let (boot, bystander) = (boot_id(&daemon, "acme").await, boot_id(&daemon, "globex").await);
    let (pid, starts) = (pid(&daemon, "acme").await, events(&daemon, "acme", "Starting").await);
    processes::signal(daemon.pid(), Signal::STOP);
    processes::signal(pid, Signal::KILL);
    // Health checks and deadlines of the time in between come due all at once.
    tokio::time::sleep(seconds(4)).await;
    processes::signal(daemon.pid(), Signal::CONT);
    replaced(&daemon, "acme", &boot).await;
    assert_eq!(events(&daemon, "acme", "Starting").await, starts + 1, "one start");
    assert_eq!(boot_id(&daemon, "globex").await, bystander);
    assert_eq!(events(&daemon, "globex", "Crashed").await, 0);
    assert_eq!(daemon.instances().len(), 2);
}

#[tokio::test]
async fn an_instance_that_a_stranger_stops_is_let_run() {
    let daemon = Setup::echo().workspace("acme", &titled("one"), &[]).start().await;
    let (boot, pid) = (boot_id(&daemon, "acme").await, pid(&daemon, "acme").await);
    processes::signal(pid, Signal::STOP);
    let began = Instant::now();
    let reply = daemon.get("acme", "/who", Some(&daemon.token(&["acme"]))).await.expect(200).json();
    println!("answered {:?} after a stranger stopped the instance", began.elapsed());
    assert_eq!(reply["boot_id"], boot.as_str(), "the same instance");
    assert_eq!(daemon.instances().len(), 1);
}

/// F-05, as far as a suite goes: `lifecycle.restart_adopted_s` of the bench is the same with real instances.
#[tokio::test]
async fn twenty_instances_outlive_a_killed_daemon() {
    let slugs: Vec<String> = (0..20).map(|n| format!("w{n}")).collect();
    let setup = slugs
        .iter()
        .fold(Setup::echo().toml("max_starting = 4\n"), |setup, slug| setup.workspace(slug, &titled(slug), &[]));
    let mut daemon = setup.start().await;
    let mut boots = BTreeMap::new();
    for slug in &slugs {
        boots.insert(slug, (boot_id(&daemon, slug).await, events(&daemon, slug, "Starting").await));
    }
    let before = daemon.instances();
    assert_eq!(before.len(), 20);
    daemon.kill();
    let began = Instant::now();
    daemon.spawn();
    let tokens: Vec<_> = slugs.iter().map(|slug| (slug, daemon.token(&[slug]))).collect();
    let served = tokens.iter().map(|(slug, token)| {
        let daemon = &daemon;
        wait::until("its answer", seconds(60), move || async move {
            let request = http::request("GET", &daemon.host(slug), "/who", Some(token), &[], "");
            let reply = http::send(daemon.proxy, request).await.map_err(|error| error.to_string())?;
            if reply.status == 200 { Ok(reply.json()["boot_id"].clone()) } else { Err(reply.text()) }
        })
    });
    let answered = futures_util::future::join_all(served).await;
    println!("20 instances serve again {:?} after the start of a new daemon", began.elapsed());
    for (slug, now) in slugs.iter().zip(answered) {
        let (boot, starts) = &boots[slug];
        assert_eq!(now, boot.as_str(), "{slug} is another instance");
        assert_eq!(events(&daemon, slug, "Starting").await, *starts, "{slug} was started again");
    }
    assert_eq!(daemon.instances(), before, "the same processes");
}

/// What the daemon's clock is set ahead by, in days.
const DECADE: i64 = 3652;

/// A token of that time.
fn token_of_then(daemon: &Daemon, slug: &str) -> String {
    let mut claims = daemon.issuer.claims(&[slug]);
    for name in ["iat", "exp"] {
        claims[name] = json!(claims[name].as_i64().expect("a time") + DECADE * 86_400);
    }
    daemon.issuer.sign(&daemon.issuer.header(), &claims)
}

/// libfaketime, where it is installed: what the daemon takes for the machine's clock is what a file says.
fn fake_clock() -> Option<PathBuf> {
    let folders =
        fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    folders.chain([PathBuf::from("/usr/lib/faketime/libfaketimeMT.so.1")]).find(|path| path.exists())
}

#[tokio::test]
async fn a_clock_that_is_set_ends_no_drain_wakes_nobody_and_holds_nothing_up() {
    let Some(library) = fake_clock() else {
        eprintln!("not run: libfaketime is not installed");
        return;
    };
    let setup = Setup::echo().workspace("acme", &titled("one"), &[]).workspace("sleeper", &titled("zzz"), &[]);
    let mut daemon = setup.prepare();
    let clock = daemon.dir.join("clock");
    fs::write(&clock, "+0").expect("written");
    for (name, value) in [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ] {
        daemon.environment.push((name.to_owned(), value));
    }
    let tier = daemon.read_policy("pro.toml");
    let rules =
        "\n[rollout]\nbake_s = 0\nstrategy = \"restart\"\n[sleep]\nstop_after_s = 36000\nwake_every_s = 36000\n";
    daemon.write_policy("pro.toml", tier + rules);
    daemon.start().await;
    for slug in ["acme", "sleeper"] {
        daemon.admin().running(slug).await;
    }
    daemon.admin().call("POST", "/v1/workspaces/sleeper/sleep", None).await.expect(202);
    daemon.admin().until("sleeper", "asleep", seconds(60), |w| w["status"]["phase"] == "asleep").await;
    let token = daemon.token(&["acme"]);

    // Ten years forward while an instance drains: the request on it is answered all the same.
    let slow = http::request("GET", &daemon.host("acme"), "/x?mode=slow&ms=6000", Some(&token), &[], "");
    let slow = tokio::spawn(http::send(daemon.proxy, slow));
    let drains = events(&daemon, "acme", "Draining").await;
    // It must have arrived before the instance is left.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    daemon.write_workspace("acme", &titled("two"), &[]);
    event(&daemon, "acme", "Draining", drains + 1).await;
    let ahead = format!("+{DECADE}d");
    fs::write(&clock, &ahead).expect("written");
    let reply = slow.await.expect("no panic").expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let token = token_of_then(&daemon, "acme");
    wait::until("the next instance", seconds(60), || async {
        let request = http::request("GET", &daemon.host("acme"), "/who", Some(&token), &[], "");
        let reply = http::send(daemon.proxy, request).await.map_err(|error| error.to_string())?;
        if reply.json()["title"] == "two" { Ok(()) } else { Err(reply.text()) }
    })
    .await;
    let year = daemon.admin().get("/v1/workspaces/acme/events?limit=500").await.json();
    let last = year["items"].as_array().and_then(|all| all.last()).expect("an event")["at"].to_string();
    assert!(!last.contains("2026") && !last.contains("2025"), "the daemon does see the other clock: {last}");

    // Then an hour back from where it was at first, with a backoff under way: it ends when it would have.
    daemon.write_workspace("globex", &titled("echo:crash"), &[]);
    let crashes = async |daemon: &Daemon| {
        let workspace = daemon.admin().workspace("globex").await;
        workspace["status"]["crashes"].as_u64().unwrap_or_default()
    };
    let until = async |daemon: &Daemon, wanted: u64| {
        wait::until(&format!("{wanted} crashes"), seconds(60), || async {
            let seen = crashes(daemon).await;
            if seen >= wanted { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;
    };
    until(&daemon, 2).await;
    fs::write(&clock, "-3600").expect("written");
    until(&daemon, 3).await;
    assert_eq!(events(&daemon, "sleeper", "Waking").await, 0, "nobody woke it");
    assert_eq!(daemon.admin().workspace("sleeper").await["status"]["phase"], "asleep");
    assert_eq!(events(&daemon, "acme", "FallingAsleep").await, 0);
    // And over a restart of the daemon, which knows the backoff from the registry alone. (That it is not ten years later it can't know:
    // `wake_every_s` is over then.)
    fs::write(&clock, &ahead).expect("written");
    daemon.kill();
    daemon.start().await;
    until(&daemon, 4).await;
    daemon.kill();
    fs::write(&clock, "+0").expect("written");
    daemon.start().await;
    daemon.write_workspace("globex", &titled("mended"), &[]);
    daemon.admin().running("globex").await;
}

/// The folder of a workspace's instances.
fn home(daemon: &Daemon, slug: &str) -> PathBuf {
    let homes = fs::read_dir(daemon.dir.join("data/workspaces")).expect("there").flatten().map(|entry| entry.path());
    let mut of_slug =
        homes.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(slug)));
    of_slug.next().expect("a home")
}

/// T-05: whatever a plugin manages to leave in its workspace's folder, the daemon writes, reads and removes nothing outside.
#[tokio::test]
async fn what_is_planted_in_a_workspaces_folder_leads_nowhere() {
    let daemon = Setup::echo().start().await;
    let admin = daemon.admin();
    admin.post("/v1/workspaces", json!({"slug": "acme", "tier": "free"})).await;
    admin.running("acme").await;
    let outside = daemon.dir.join("outside");
    fs::create_dir_all(outside.join("folder")).expect("made");
    for file in ["precious", "folder/precious"] {
        fs::write(outside.join(file), "theirs").expect("written");
    }
    let intact = || {
        for file in ["precious", "folder/precious"] {
            assert_eq!(fs::read(outside.join(file)).expect("there"), b"theirs", "{file}");
        }
    };
    let home = home(&daemon, "acme");
    let run = fs::read_dir(home.join("run")).expect("there").flatten().next().expect("an instance").path();
    let log = home.join("logs/instance.log");
    let aside = home.join("logs/aside");
    let fifo = |path: &PathBuf| {
        let made = std::process::Command::new("mkfifo").arg(path).status().expect("ran");
        assert!(made.success());
    };

    // In place of the log: neither read nor written nor waited for, and the API says so.
    for plant in ["link", "hard link", "fifo"] {
        fs::rename(&log, &aside).expect("moved");
        match plant {
            "link" => symlink(outside.join("precious"), &log).expect("planted"),
            "hard link" => fs::hard_link(outside.join("precious"), &log).expect("planted"),
            _ => fifo(&log),
        }
        let shown = admin.get("/v1/workspaces/acme/logs").await;
        assert!(!shown.status.is_success() && !shown.text().contains("theirs"), "{plant}: {}", shown.text());
        // A new instance would write there: it is not started, and why is told.
        admin.post("/v1/workspaces/acme/restart", json!({})).await;
        let refused = admin
            .until("acme", "the reason", seconds(60), |workspace| {
                workspace["status"].to_string().contains("instance.log")
            })
            .await;
        println!(
            "{plant}: {}",
            admin::condition(&refused, "Ready").map_or(Value::Null, |ready| ready["message"].clone())
        );
        intact();
        fs::remove_file(&log).expect("removed");
        fs::rename(&aside, &log).expect("moved back");
        admin.post("/v1/workspaces/acme/restart", json!({})).await;
        admin.running("acme").await;
    }

    // Everywhere below it, when all is removed: links are removed, not followed.
    let _ = run;
    let run = fs::read_dir(home.join("run")).expect("there").flatten().next().expect("an instance").path();
    for place in [home.join("planted"), run.join("tmp"), home.join("logs")] {
        fs::create_dir_all(&place).expect("made");
        symlink(&outside, place.join("link-to-folder")).expect("planted");
        symlink(outside.join("precious"), place.join("link")).expect("planted");
        symlink("../../../../../../outside/folder", place.join("up")).expect("planted");
        fs::hard_link(outside.join("precious"), place.join("hard")).expect("planted");
        fifo(&place.join("fifo"));
    }
    let huge = fs::File::create(home.join("huge")).expect("made");
    huge.set_len(1 << 40).expect("sparse");
    admin.call("DELETE", "/v1/workspaces/acme", None).await;
    admin.gone("acme").await;
    intact();
    assert!(!home.exists(), "all of it is gone");
}

/// T-15: a name that is used again is another workspace.
#[tokio::test]
async fn nothing_of_an_old_life_is_reachable_under_the_same_name() {
    let daemon = Setup::echo().start().await;
    let admin = daemon.admin();
    let new = json!({"slug": "acme", "tier": "pro"});
    admin.post("/v1/workspaces", new.clone()).await;
    let first = admin.running("acme").await;
    let token = daemon.token(&["acme"]);
    daemon.get("acme", "/x?mode=say&text=of-the-old-life", Some(&token)).await.expect(200);
    let link = admin.login_url("acme", &token).await;
    let logs = admin.get("/v1/workspaces/acme/logs").await.expect(200).json();
    assert!(logs["items"].to_string().contains("of-the-old-life"), "{logs}");
    let old_events = admin.get("/v1/workspaces/acme/events").await.expect(200).json();
    let last = old_events["items"].as_array().and_then(|all| all.last()).expect("some")["sequence"].clone();
    let revisions = admin.get("/v1/workspaces/acme/revisions").await.expect(200).json();
    let revision = revisions["items"][0]["digest"].as_str().expect("one").to_owned();

    admin.call("DELETE", "/v1/workspaces/acme", None).await;
    admin.gone("acme").await;
    let knocked = daemon.get("acme", "/", Some(&token)).await.status.as_u16();
    assert!(matches!(knocked, 404 | 421), "{knocked}");
    admin.post("/v1/workspaces", new).await;
    let second = admin.running("acme").await;
    assert_ne!(first["id"], second["id"]);

    // A link into the old workspace is none into the new one.
    let target = link.split_once(&daemon.host("acme")).expect("its own URL").1;
    let used = daemon.get("acme", target, None).await;
    assert!(
        used.status.is_client_error() && used.headers.get("set-cookie").is_none(),
        "{} {:?}",
        used.status,
        used.headers
    );
    let logs = admin.get(&format!("/v1/workspaces/acme/logs?after={}", logs["next"])).await.expect(200).json();
    assert!(logs["rotated"] == true && !logs.to_string().contains("of-the-old-life"), "{logs}");
    let events = admin.get("/v1/workspaces/acme/events").await.expect(200).json();
    let sequences: Vec<_> =
        events["items"].as_array().expect("some").iter().map(|one| one["sequence"].as_i64()).collect();
    assert!(sequences.iter().all(|one| *one > last.as_i64()), "none of the old ones: {sequences:?} after {last}");
    // The same config has the same digest: it is the new workspace's own row.
    let rendered = admin.get(&format!("/v1/workspaces/acme/revisions/{revision}")).await;
    assert!(
        rendered.status == 404 || !rendered.text().contains(first["id"].as_str().expect("an id")),
        "{}",
        rendered.text()
    );
}
