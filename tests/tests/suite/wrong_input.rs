//! What a new user gets wrong: each time the thing, the reason and the next step are named, and nothing is lost.

use std::{net::TcpListener, process::Output};

use orbitd_tests::{Daemon, Setup, processes};
use serde_json::json;

/// That it ended with an error in time, and that its text has all these words; the text.
fn refused(what: &str, output: &Output, words: &[&str]) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{what}: it worked:\n{text}");
    for word in words {
        assert!(text.contains(word), "{what}: {word:?} is not named in:\n{text}");
    }
    assert!(!text.contains("panicked"), "{what}: a panic:\n{text}");
    println!("{what}: {}", text.lines().last().unwrap_or_default());
    text
}

fn rewrite(daemon: &Daemon, change: impl Fn(&str) -> String) {
    let path = daemon.dir.join("orbitd.toml");
    let text = std::fs::read_to_string(&path).expect("readable");
    let changed = change(&text);
    assert_ne!(text, changed, "the settings were to be changed");
    std::fs::write(path, changed).expect("written");
}

#[tokio::test]
async fn a_port_that_is_taken() {
    for admin in [false, true] {
        let daemon = Setup::echo().prepare();
        let address = if admin { daemon.admin_address } else { daemon.proxy };
        let _holder = TcpListener::bind(address).expect("free until now");
        let port = address.port().to_string();
        let key = if admin { "admin.listen" } else { "proxy.listen" };
        refused("port taken", &daemon.run(&["serve"]), &[&port, key, &std::process::id().to_string()]);
    }
}

#[tokio::test]
async fn settings_that_are_no_toml_or_name_an_unknown_key() {
    let daemon = Setup::echo().prepare();
    rewrite(&daemon, |text| text.replacen("[proxy]", "[proxy", 1));
    refused("broken TOML", &daemon.run(&["serve"]), &["orbitd.toml", "line 5"]);
    let daemon = Setup::echo().prepare();
    rewrite(&daemon, |text| text.replacen("[proxy]\n", "[proxy]\nlissten = 1\n", 1));
    refused("unknown key", &daemon.run(&["serve"]), &["orbitd.toml", "line 6", "lissten"]);
    let daemon = Setup::echo().prepare();
    rewrite(&daemon, |text| text.replacen("[proxy]\n", "[proxy]\nmax_held = \"many\"\n", 1));
    refused("wrong type", &daemon.run(&["serve"]), &["orbitd.toml", "line 6"]);
    let daemon = Setup::echo().env("ORBITD__PROXY__MAX_HELDD", "1").prepare();
    refused("unknown variable", &daemon.run(&["serve"]), &["ORBITD__PROXY__MAX_HELDD"]);
}

#[tokio::test]
async fn a_settings_file_that_is_not_there() {
    let daemon = Setup::echo().prepare();
    std::fs::remove_file(daemon.dir.join("orbitd.toml")).expect("removed");
    refused("no settings file", &daemon.run(&["serve"]), &["orbitd.toml"]);
}

#[tokio::test]
async fn node_that_is_missing() {
    let daemon = Setup::echo().prepare();
    rewrite(&daemon, |text| {
        let (before, after) = text.split_once("node = \"").expect("a node setting");
        format!("{before}node = \"/nowhere/node\"{}", after.split_once('"').expect("a quoted path").1)
    });
    refused("Node missing", &daemon.run(&["serve"]), &["/nowhere/node"]);
}

#[tokio::test]
async fn a_distribution_that_is_not_there() {
    let daemon = Setup::echo().prepare();
    rewrite(&daemon, |text| text.replacen("tests/echo", "tests/no-such-distribution", 1));
    refused("no distribution", &daemon.run(&["serve"]), &["no-such-distribution"]);
}

#[tokio::test]
async fn a_data_directory_that_can_not_be_written() {
    // Root may write anywhere but where no directory can be: in /proc, or below a file.
    for data in ["/proc/orbitd-data", "/etc/hostname/data"] {
        let daemon = Setup::echo().prepare();
        let own = daemon.dir.join("data").display().to_string();
        rewrite(&daemon, |text| text.replacen(&own, data, 1));
        refused("unwritable data directory", &daemon.run(&["serve"]), &[data]);
    }
}

#[tokio::test]
async fn a_second_daemon_on_the_same_data_directory() {
    let daemon = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).start().await;
    let before = daemon.instances();
    let (proxy, admin) = (orbitd_tests::world::free_address(), orbitd_tests::world::free_address());
    let mut second = daemon.command(&["serve"]);
    second.env("ORBITD__PROXY__LISTEN", proxy.to_string()).env("ORBITD__ADMIN__LISTEN", admin.to_string());
    let data = daemon.dir.join("data").display().to_string();
    refused("second daemon", &orbitd_tests::daemon::run_limited(second), &[&data]);
    assert!(processes::lives(daemon.pid()));
    assert_eq!(daemon.instances(), before);
    daemon.get("acme", "/", Some(&daemon.token(&["acme"]))).await.expect(200);
}

#[tokio::test]
async fn a_bad_slug_a_duplicate_an_unknown_tier_and_an_unknown_plugin() {
    let daemon = Setup::echo().start().await;
    let admin = daemon.admin();
    for slug in ["", "Acme", "1acme", "a_b", "a.b", "../x", &"a".repeat(41)] {
        let reply = admin.post("/v1/workspaces", json!({"slug": slug, "tier": "pro"})).await;
        assert!(matches!(reply.status.as_u16(), 400 | 422), "{slug:?}: {} {}", reply.status, reply.text());
        assert!(reply.text().contains("slug"), "{slug:?}: {}", reply.text());
    }
    let reply = admin.post("/v1/workspaces", json!({"slug": "acme", "tier": "no-such-tier"})).await;
    assert!(matches!(reply.status.as_u16(), 400 | 404 | 422), "{} {}", reply.status, reply.text());
    assert!(
        reply.text().contains("no-such-tier") && reply.text().contains("pro"),
        "the tiers that exist: {}",
        reply.text()
    );
    let reply = admin.post("/v1/workspaces", json!({"slug": "acme", "tier": "pro", "plugins": ["No Plugin"]})).await;
    assert!(matches!(reply.status.as_u16(), 400 | 422), "{} {}", reply.status, reply.text());
    let reply = admin.post("/v1/workspaces", json!({"slug": "acme", "tier": "pro", "plugin": []})).await;
    assert!(matches!(reply.status.as_u16(), 400 | 422) && reply.text().contains("plugin"), "{}", reply.text());
    assert_eq!(admin.get("/v1/workspaces").await.expect(200).json()["items"], json!([]));

    admin.post("/v1/workspaces", json!({"slug": "acme", "tier": "free"})).await;
    refused("bad slug", &daemon.run(&["workspace", "create", "Acme!", "--tier", "pro"]), &["Acme!", "a-z"]);
    refused("duplicate", &daemon.run(&["workspace", "create", "acme", "--tier", "pro"]), &["acme", "exists"]);
    refused("unknown tier", &daemon.run(&["workspace", "create", "beta", "--tier", "gold"]), &["gold"]);
    refused("unknown workspace", &daemon.run(&["workspace", "get", "nobody"]), &["nobody"]);
    admin.running("acme").await;
}

#[tokio::test]
async fn admin_calls_without_the_right_bearer() {
    let daemon = Setup::echo().start().await;
    for token in ["", "wrong", &daemon.token(&["acme"])] {
        let admin = orbitd_tests::Admin::new(daemon.admin_address, token);
        for path in ["/v1/workspaces", "/v1/policies"] {
            admin.get(path).await.expect(401);
        }
    }
    // For supervisors and scrapers, as the design says.
    let anonymous = orbitd_tests::Admin::new(daemon.admin_address, "none");
    for path in ["/healthz", "/readyz", "/metrics"] {
        anonymous.get(path).await.expect(200);
    }
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(daemon.dir.join("data").join(name)).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!((mode("admin.token"), mode("master.key"), mode("") & 0o766), (0o600, 0o600, 0o700));
}

#[tokio::test]
async fn a_command_without_a_daemon() {
    let daemon = Setup::echo().prepare();
    let text = refused("no daemon", &daemon.run(&["workspace", "list"]), &[&daemon.admin_address.to_string()]);
    assert!(text.contains("serve") || text.contains("doctor"), "no next step: {text}");
}

#[tokio::test]
async fn policies_that_are_not_there() {
    let daemon = Setup::echo().prepare();
    std::fs::remove_dir_all(daemon.dir.join("policies")).expect("removed");
    let policies = daemon.dir.join("policies").display().to_string();
    refused("no policies", &daemon.run(&["serve"]), &[&policies]);
}
