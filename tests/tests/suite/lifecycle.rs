//! A workspace's life on the echo stand-in: created, changed, crashed, adopted, deleted. The process oracle watches that nothing
//! is lost and nothing is left behind.

use std::{collections::BTreeMap, sync::Arc};

use orbitd_tests::{
    Daemon, Reply, Setup, admin, http,
    load::{Ask, Load},
    processes,
    wait::{self, seconds},
};
use rustix::process::Signal;
use serde_json::json;

use crate::fixtures::boot_id;

fn titled(title: &str) -> String {
    format!("tier = \"pro\"\n[app_config.app]\ntitle = \"{title}\"\n")
}

fn by_title(reply: &Reply) -> Result<String, String> {
    match (reply.status.as_u16(), reply.json()["title"].as_str()) {
        (200, Some(title)) => Ok(title.to_owned()),
        (status, _) => Err(format!("{status} {}", reply.text())),
    }
}

fn load(daemon: &Daemon, slug: &str, workers: usize) -> Load {
    let ask =
        Ask { address: daemon.proxy, host: daemon.host(slug), target: "/who".into(), token: daemon.token(&[slug]) };
    Load::start(&ask, workers, Arc::new(by_title))
}

/// Waits until this many instances live.
async fn instances(daemon: &Daemon, wanted: usize) -> Vec<processes::Found> {
    wait::until(&format!("{wanted} instances"), seconds(40), || async {
        let found = daemon.instances();
        if found.len() == wanted { Ok(found) } else { Err(format!("{found:?}")) }
    })
    .await
}

#[tokio::test]
async fn created_used_deleted_and_created_again() {
    let daemon = Setup::echo().start().await;
    let admin = daemon.admin();
    let new = json!({"slug": "acme", "tier": "pro", "app_config": {"app": {"title": "One"}}});
    let created = admin.post("/v1/workspaces", new.clone()).await;
    assert!(matches!(created.status.as_u16(), 201 | 202), "{} {}", created.status, created.text());
    let first = admin.running("acme").await;
    assert_eq!(first["owner"], "api");
    assert_eq!(first["url"], format!("http://{}", daemon.host("acme")));
    assert_eq!(daemon.get("acme", "/", Some(&daemon.token(&["acme"]))).await.expect(200).json()["title"], "One");
    let again = admin.post("/v1/workspaces", new.clone()).await.expect(409);
    assert!(again.json()["detail"].to_string().contains("acme"), "{}", again.text());
    let boot = boot_id(&daemon, "acme").await;
    instances(&daemon, 1).await;

    let deleted = admin.call("DELETE", "/v1/workspaces/acme", None).await;
    assert!(deleted.status.is_success(), "{} {}", deleted.status, deleted.text());
    admin.gone("acme").await;
    instances(&daemon, 0).await;
    let reply = daemon.get("acme", "/", Some(&daemon.token(&["acme"]))).await;
    assert!(matches!(reply.status.as_u16(), 404 | 421), "{}", reply.status);
    let left = files_naming(&daemon, first["id"].as_str().expect("an id"));
    assert!(left.is_empty(), "left behind: {left:?}");

    admin.post("/v1/workspaces", new).await;
    let second = admin.running("acme").await;
    assert_ne!(first["id"], second["id"], "another life");
    assert_ne!(boot_id(&daemon, "acme").await, boot);
}

/// Paths below the data directory that carry this text in their name.
fn files_naming(daemon: &Daemon, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![daemon.dir.join("data")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_name().to_string_lossy().contains(text) {
                found.push(path.display().to_string());
            } else if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[tokio::test]
async fn a_config_change_under_load_fails_no_request() {
    let daemon = Setup::echo().workspace("acme", &titled("one"), &[]).start().await;
    let load = load(&daemon, "acme", 6);
    load.more(50).await;
    for title in ["two", "three"] {
        let boot = boot_id(&daemon, "acme").await;
        daemon.write_workspace("acme", &titled(title), &[]);
        wait::until("the new config to serve", seconds(60), || async {
            let seen = load.so_far().versions;
            if seen.get(title).is_some_and(|count| *count > 30) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
        assert_ne!(boot_id(&daemon, "acme").await, boot);
    }
    let report = load.stop().await;
    println!("two config changes: {report:?}");
    assert_eq!(report.failed, 0, "{report:?}");
    assert_eq!(report.versions.keys().collect::<Vec<_>>(), ["one", "three", "two"]);
    instances(&daemon, 1).await;
}

#[tokio::test]
async fn the_load_check_sees_requests_that_fail() {
    // Without time to hold a request, a restart must show: otherwise the zero above would mean nothing.
    let setup = Setup::echo().env("ORBITD__PROXY__MAX_HELD", "0").workspace("acme", &titled("one"), &[]);
    let daemon = setup.start().await;
    let load = load(&daemon, "acme", 6);
    load.more(50).await;
    daemon.write_workspace("acme", &titled("echo:slow-start"), &[]);
    wait::until("a failed request", seconds(60), || async {
        let report = load.so_far();
        if report.failed > 0 { Ok(()) } else { Err(format!("{report:?}")) }
    })
    .await;
    load.stop().await;
}

#[tokio::test]
async fn the_same_config_saved_again_restarts_nothing() {
    let daemon = Setup::echo().workspace("acme", &titled("one"), &[]).start().await;
    let (boot, before) = (boot_id(&daemon, "acme").await, daemon.admin().workspace("acme").await);
    daemon.write_workspace("acme", &format!("# a remark\n{}", titled("one")), &[]);
    // A change that does restart comes after it: then the first one was surely seen.
    daemon.write_workspace("globex", &titled("two"), &[]);
    daemon.admin().running("globex").await;
    assert_eq!(boot_id(&daemon, "acme").await, boot);
    assert_eq!(daemon.admin().workspace("acme").await["generation"], before["generation"]);
}

#[tokio::test]
async fn a_config_that_does_not_come_up_leaves_the_last_good_one_serving() {
    let daemon = Setup::echo().workspace("acme", &titled("good"), &[]).start().await;
    let load = load(&daemon, "acme", 2);
    load.more(10).await;
    daemon.write_workspace("acme", &titled("echo:crash"), &[]);
    daemon
        .admin()
        .until("acme", "the failed roll-out's cause", seconds(90), |workspace| {
            let rolled_out = admin::condition(workspace, "RolledOut");
            rolled_out.is_some_and(|one| one["truth"] == "False" && says(one, "told to crash"))
        })
        .await;
    load.more(20).await;
    let report = load.stop().await;
    assert_eq!(
        (report.failed, report.versions.keys().collect::<Vec<_>>()),
        (0, vec![&"good".to_owned()]),
        "{report:?}"
    );
    daemon.write_workspace("acme", &titled("mended"), &[]);
    daemon.admin().condition("acme", "RolledOut", "True", seconds(60)).await;
    assert_eq!(daemon.get("acme", "/", Some(&daemon.token(&["acme"]))).await.expect(200).json()["title"], "mended");
}

#[tokio::test]
async fn a_broken_workspace_file_is_named_by_line_and_the_last_good_one_serves() {
    let daemon = Setup::echo().workspace("acme", &titled("good"), &[]).start().await;
    for (broken, named) in [
        ("tier = \"pro\"\n[app_config\n", "line 2"),
        ("tier = \"pro\"\ntear = 1\n", "tear"),
        ("tier = \"no-such-tier\"\n", "no-such-tier"),
        ("tier = \"pro\"\nplugins = [\"no-such-plugin\"]\n", "no-such-plugin"),
        ("tier = \"pro\"\n[app_config.backend]\nlisten = 1\n", "backend"),
        ("tier = \"pro\"\n[app_config.app]\ntitle = \"${HOME}\"\n", "HOME"),
    ] {
        daemon.write_workspace("acme", broken, &[]);
        let workspace = daemon
            .admin()
            .until("acme", &format!("a condition that names {named}"), seconds(60), |workspace| {
                let accepted = admin::condition(workspace, "ConfigAccepted");
                accepted.is_some_and(|accepted| accepted["truth"] == "False" && says(accepted, named))
            })
            .await;
        println!("{}", admin::condition(&workspace, "ConfigAccepted").expect("a condition")["message"]);
        let reply = daemon.get("acme", "/", Some(&daemon.token(&["acme"]))).await.expect(200);
        assert_eq!(reply.json()["title"], "good");
    }
    daemon.write_workspace("acme", &titled("mended"), &[]);
    daemon.admin().condition("acme", "ConfigAccepted", "True", seconds(60)).await;
}

fn says(condition: &serde_json::Value, word: &str) -> bool {
    let text = condition["message"].as_str().unwrap_or_default();
    text.contains(word) || word == "HOME" && text.contains("environment")
}

#[tokio::test]
async fn a_killed_daemon_finds_its_instances_again() {
    let slugs = ["acme", "globex", "initech"];
    let setup = slugs.iter().fold(Setup::echo(), |setup, slug| setup.workspace(slug, &titled(slug), &[]));
    let mut daemon = setup.start().await;
    for round in 0..3 {
        let mut boots = BTreeMap::new();
        for slug in slugs {
            boots.insert(slug, boot_id(&daemon, slug).await);
        }
        let before = instances(&daemon, 3).await;
        if round == 2 {
            // An orderly stop leaves them running, too.
            let status = daemon.terminate();
            assert!(status.success(), "{status}");
        } else {
            daemon.kill();
        }
        assert_eq!(daemon.instances(), before, "instances outlive the daemon");
        daemon.start().await;
        for slug in slugs {
            assert_eq!(boot_id(&daemon, slug).await, boots[slug], "{slug} was started anew");
        }
        assert_eq!(daemon.instances(), before, "none lost, none doubled");
    }
}

#[tokio::test]
async fn an_instance_that_died_while_nobody_watched_is_replaced() {
    let mut daemon = Setup::echo().workspace("acme", &titled("one"), &[]).start().await;
    let (boot, pid) = (boot_id(&daemon, "acme").await, instances(&daemon, 1).await[0].pid);
    daemon.kill();
    processes::signal(pid, Signal::KILL);
    wait::until("the instance to be gone", seconds(5), || async {
        if processes::lives(pid) { Err("alive".to_owned()) } else { Ok(()) }
    })
    .await;
    daemon.start().await;
    wait::until("a new instance", seconds(60), || async {
        let reply = daemon.get("acme", "/who", Some(&daemon.token(&["acme"]))).await;
        if reply.status == 200 && reply.json()["boot_id"] != boot.as_str() { Ok(()) } else { Err(reply.text()) }
    })
    .await;
    instances(&daemon, 1).await;
}

#[tokio::test]
async fn a_crashed_instance_comes_back_and_requests_wait_for_it() {
    let daemon = Setup::echo().workspace("acme", &titled("one"), &[]).start().await;
    let (boot, pid) = (boot_id(&daemon, "acme").await, instances(&daemon, 1).await[0].pid);
    processes::signal(pid, Signal::KILL);
    wait::until("another boot id", seconds(60), || async {
        let request = http::request("GET", &daemon.host("acme"), "/who", Some(&daemon.token(&["acme"])), &[], "");
        let reply = http::send(daemon.proxy, request).await.map_err(|error| error.to_string())?;
        if reply.status == 200 && reply.json()["boot_id"] != boot.as_str() { Ok(()) } else { Err(reply.text()) }
    })
    .await;
    instances(&daemon, 1).await;
    let events = daemon.admin().get("/v1/workspaces/acme/events?limit=100").await.expect(200).json();
    assert!(events["items"].as_array().is_some_and(|items| !items.is_empty()), "{events}");
}

#[tokio::test]
async fn a_workspace_that_never_comes_up_says_why_and_mends() {
    let daemon = Setup::echo().toml("start_timeout_s = 4\n").start().await;
    daemon.write_workspace("acme", &titled("echo:crash"), &[]);
    let admin = daemon.admin();
    let ready = admin.condition("acme", "Ready", "False", seconds(60)).await;
    let workspace =
        admin.until("acme", "a named cause", seconds(60), |w| w["status"].to_string().contains("told to crash")).await;
    println!("{ready}\n{}", workspace["status"]);
    let reply = daemon.get("acme", "/", Some(&daemon.token(&["acme"]))).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(!reply.header("retry-after").is_empty(), "{:?}", reply.headers);
    daemon.write_workspace("globex", &titled("echo:never-ready"), &[]);
    admin.condition("globex", "Ready", "False", seconds(60)).await;
    for slug in ["acme", "globex"] {
        daemon.write_workspace(slug, &titled("fine"), &[]);
        admin.running(slug).await;
    }
    instances(&daemon, 2).await;
}

#[tokio::test]
async fn stopped_by_wish_and_started_again_and_restarted() {
    let daemon = Setup::echo().start().await;
    let admin = daemon.admin();
    admin.post("/v1/workspaces", json!({"slug": "acme", "tier": "free"})).await;
    admin.running("acme").await;
    let boot = boot_id(&daemon, "acme").await;
    admin.post("/v1/workspaces/acme/restart", json!({})).await;
    wait::until("another boot id", seconds(60), || async {
        let now = boot_id(&daemon, "acme").await;
        if now != boot { Ok(()) } else { Err(now) }
    })
    .await;
    admin.call("PATCH", "/v1/workspaces/acme", Some(json!({"desired": "stopped"}))).await.expect(200);
    admin.until("acme", "stopped", seconds(40), |workspace| workspace["status"]["phase"] == "stopped").await;
    instances(&daemon, 0).await;
    assert_eq!(daemon.get("acme", "/", Some(&daemon.token(&["acme"]))).await.status, 503);
    admin.call("PATCH", "/v1/workspaces/acme", Some(json!({"desired": "running"}))).await.expect(200);
    admin.running("acme").await;
    daemon.get("acme", "/", Some(&daemon.token(&["acme"]))).await.expect(200);
}

#[tokio::test]
async fn a_workspace_of_the_source_is_changed_there_only() {
    let daemon = Setup::echo().workspace("acme", &titled("one"), &[]).start().await;
    let admin = daemon.admin();
    let patch = admin.call("PATCH", "/v1/workspaces/acme", Some(json!({"tier": "free"}))).await.expect(409);
    assert!(patch.json()["detail"].to_string().contains("source:directory"), "{}", patch.text());
    admin.call("DELETE", "/v1/workspaces/acme", None).await.expect(409);
    admin.running("acme").await;
}

#[tokio::test]
async fn serve_with_stop_instances_leaves_nothing() {
    let mut daemon = Setup::echo().workspace("acme", &titled("one"), &[]).prepare();
    daemon.arguments = vec!["--stop-instances".to_owned()];
    daemon.start().await;
    daemon.admin().running("acme").await;
    let status = daemon.terminate();
    assert!(status.success(), "{status}\n{}", daemon.log_tail(30));
    assert_eq!(daemon.instances(), []);
}

#[tokio::test]
async fn secrets_and_keys_are_nowhere_they_can_be_read() {
    let secret = "canary-4f1c9a77";
    let mut daemon = Setup::echo().prepare();
    std::fs::create_dir_all(daemon.dir.join("secrets/acme")).expect("made");
    std::fs::write(daemon.dir.join("secrets/acme/github"), format!("{secret}\n")).expect("written");
    let toml = "tier = \"pro\"\n[app_config.integrations]\ngithub = [{ host = \"github.com\", token = { \"$secret\" = \"GITHUB_TOKEN\" } }]\n\
                [secrets]\nGITHUB_TOKEN = { file = \"github\" }\n";
    daemon.write_workspace("acme", toml, &[]);
    daemon.start().await;
    let admin = daemon.admin();
    let workspace = admin.running("acme").await;
    assert!(!workspace.to_string().contains(secret));
    let pid = instances(&daemon, 1).await[0].pid;
    for file in
        [format!("/proc/{pid}/cmdline"), format!("/proc/{pid}/environ"), format!("/proc/{}/environ", daemon.pid())]
    {
        let bytes = std::fs::read(&file).expect("readable");
        assert_eq!(orbitd_tests::wire::count(&bytes, secret.as_bytes()), 0, "{file}");
        assert_eq!(orbitd_tests::wire::count(&bytes, admin.bearer().as_bytes()), 0, "{file}");
    }
    assert!(!daemon.log_tail(10_000).contains(secret));
    let mut open = Vec::new();
    let mut folders = vec![daemon.dir.join("data")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("readable").flatten() {
            use std::os::unix::fs::PermissionsExt;
            let path = entry.path();
            let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
            if meta.is_dir() {
                folders.push(path);
            } else if meta.is_file() {
                let holds =
                    std::fs::read(&path).is_ok_and(|bytes| orbitd_tests::wire::count(&bytes, secret.as_bytes()) > 0);
                let in_secrets = path.components().any(|part| part.as_os_str() == "secrets");
                if (holds && !in_secrets) || meta.permissions().mode() & 0o077 != 0 {
                    open.push(format!(
                        "{} mode {:o} holds the secret: {holds}",
                        path.display(),
                        meta.permissions().mode() & 0o777
                    ));
                }
            }
        }
    }
    assert!(open.is_empty(), "{}", open.join("\n"));
}
