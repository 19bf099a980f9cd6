//! Workspaces and the registry on a real PostgreSQL, on the echo stand-in: what is made and removed there, what becomes of
//! it when the server fails, how passwords change and connections are shared out.

use std::sync::Arc;

use orbitd_test_postgres::{Server, shared};
use orbitd_tests::{
    Daemon, Reply, Setup, admin,
    load::{Ask, Load},
    postgres::{Access, Login},
    wait::{self, seconds},
};
use serde_json::{Value, json};

use crate::fixtures::boot_id;

fn titled(title: &str) -> String {
    format!("tier = \"pro\"\n[app_config.app]\ntitle = \"{title}\"\n")
}

fn good(reply: &Reply) -> Result<String, String> {
    match (reply.status.as_u16(), reply.json()["title"].as_str()) {
        (200, Some(title)) => Ok(title.to_owned()),
        (status, _) => Err(format!("{status} {}", reply.text())),
    }
}

fn load(daemon: &Daemon, slug: &str) -> Load {
    let ask =
        Ask { address: daemon.proxy, host: daemon.host(slug), target: "/who".into(), token: daemon.token(&[slug]) };
    Load::start(&ask, 4, Arc::new(good))
}

/// Roles and databases of workspaces on the server whose names begin so.
fn left(server: &Server, prefix: &str) -> String {
    let names = format!(
        "SELECT rolname FROM pg_roles WHERE starts_with(rolname::text, '{prefix}') UNION ALL \
         SELECT datname FROM pg_database WHERE starts_with(datname::text, '{prefix}') ORDER BY 1"
    );
    server.superuser("postgres", &names)
}

async fn database_of(daemon: &Daemon, slug: &str) -> String {
    let workspace = daemon.admin().workspace(slug).await;
    admin::condition(&workspace, "Provisioned").expect("it")["message"].as_str().expect("text").to_owned()
}

#[tokio::test]
async fn doctor_looks_at_the_database_server() {
    let access = Access::new(shared());
    let checks = |toml: &str| -> Vec<(String, String, String)> {
        let daemon = Setup::echo().toml(toml).prepare();
        let report: Value = serde_json::from_slice(&daemon.run(&["doctor", "--json"]).stdout).expect("JSON");
        let checks = report["checks"].as_array().cloned().unwrap_or_default();
        let text = |check: &Value, field: &str| check[field].as_str().unwrap_or_default().to_owned();
        let of = |check: &Value| (text(check, "check"), text(check, "verdict"), text(check, "text"));
        checks.iter().map(of).filter(|(check, ..)| check.starts_with("database")).collect()
    };
    let verdict = |checks: &[(String, String, String)], wanted: &str| {
        let found = checks.iter().find(|(check, ..)| check == wanted);
        found.map(|(_, verdict, _)| verdict.clone()).unwrap_or_else(|| panic!("{checks:?}"))
    };
    let good = checks(&access.provisioner(""));
    for check in ["database server", "database rights", "database connections"] {
        assert_eq!(verdict(&good, check), "ok", "{good:?}");
    }
    assert!(!format!("{good:?}").contains(&access.password));
    let full = checks(&access.provisioner("reserve = 100000"));
    assert_eq!(verdict(&full, "database connections"), "fail");
    shared().superuser("postgres", &format!("ALTER ROLE {} NOCREATEROLE", access.user));
    let lacking = checks(&access.provisioner(""));
    assert_eq!(verdict(&lacking, "database rights"), "fail", "{lacking:?}");
    let nobody = "[provisioner]\nkind = \"postgres\"\n[provisioner.postgres]\nurl = \"postgres://o:p@127.0.0.1:1/o\"\n";
    let down = checks(nobody);
    assert_eq!(verdict(&down, "database server"), "fail", "{down:?}");
    assert_eq!(down.len(), 1, "and nothing is said of what nobody saw");
    assert_eq!(checks(""), [], "SQLite needs no server");
}

#[tokio::test]
async fn a_workspace_s_database_is_made_used_kept_or_dropped() {
    let access = Access::new(shared());
    let setup =
        Setup::echo().toml(&access.provisioner("")).rollout("bake_s = 1").workspace("acme", &titled("one"), &[]);
    let daemon = setup.start().await;
    let admin = daemon.admin();
    for slug in ["made", "stays"] {
        admin.post("/v1/workspaces", json!({"slug": slug, "tier": "free"})).await.expect(201);
        admin.running(slug).await;
    }
    let (acme, made) = (Login::of(&daemon, "acme"), Login::of(&daemon, "made"));
    acme.sql(shared(), "CREATE SCHEMA catalog; CREATE TABLE catalog.t (n INT)").expect("its own schema");
    let refused = shared().sql(acme.role(), &made.database, "SELECT 1").expect_err("another's database");
    assert!(refused.contains("permission denied"), "{refused}");

    // The password is in one file of the instance, and nowhere else that can be read.
    for text in [daemon.log_tail(10_000), admin.workspace("acme").await.to_string()] {
        assert!(!text.contains(&acme.password) && !text.contains(&access.password), "a password is shown");
    }
    assert!(!shared().log().contains(&acme.password), "the server logs every statement, and no password");
    for path in files(&daemon.dir.join("data")) {
        let bytes = std::fs::read(&path).unwrap_or_default();
        let holds = orbitd_tests::wire::count(&bytes, acme.password.as_bytes()) > 0;
        assert!(!holds || path.ends_with("secrets/database-password"), "{} holds the password", path.display());
    }
    for found in daemon.instances() {
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(format!("/proc/{}/{file}", found.pid)).expect("readable");
            assert_eq!(orbitd_tests::wire::count(&bytes, acme.password.as_bytes()), 0, "{file}");
        }
    }

    let stays = Login::of(&daemon, "stays");
    stays.sql(shared(), "CREATE TABLE kept (n INT)").expect("its own");
    admin.call("DELETE", "/v1/workspaces/made", None).await.expect(202);
    admin.call("DELETE", "/v1/workspaces/stays?keep_data=true", None).await.expect(202);
    admin.gone("made").await;
    admin.gone("stays").await;
    assert_eq!(left(shared(), &made.database), "", "nothing is left of it");
    assert!(stays.sql(shared(), "SELECT 1").is_err(), "kept, and closed");
    let count = "SELECT count(*) FROM kept";
    assert_eq!(shared().superuser(&stays.database, count), "0", "its data is there");
    let kept = admin.get("/v1/kept-databases").await.expect(200).json();
    assert_eq!(kept["items"][0]["database"], stays.database.as_str());
    assert_eq!(kept["items"][0]["drop_after"], Value::Null);
    let listed = daemon.run(&["database", "list"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&stays.database), "{listed:?}");
    let dropped = daemon.run(&["database", "drop", &stays.database, "--yes"]);
    assert!(dropped.status.success(), "{dropped:?}");
    assert_eq!(left(shared(), &stays.database), "");
}

fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

#[tokio::test]
async fn a_deleted_database_has_its_grace_period() {
    let access = Access::new(shared());
    let toml = access.provisioner("").replace("[provisioner]", "[provisioner]\ndrop_grace_s = 2");
    let daemon = Setup::echo().toml(&toml).start().await;
    let admin = daemon.admin();
    admin.post("/v1/workspaces", json!({"slug": "acme", "tier": "free"})).await.expect(201);
    admin.running("acme").await;
    let database = database_of(&daemon, "acme").await;
    admin.call("DELETE", "/v1/workspaces/acme", None).await.expect(202);
    admin.gone("acme").await;
    assert!(left(shared(), &database).contains(&database), "it is still there");
    // The name is free meanwhile, and another life has another database.
    admin.post("/v1/workspaces", json!({"slug": "acme", "tier": "free"})).await.expect(201);
    admin.running("acme").await;
    assert_ne!(database_of(&daemon, "acme").await, database);
    wait::until("the database to be dropped", seconds(40), || async {
        let left = left(shared(), &database);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn a_password_changes_under_load_without_a_failed_request() {
    let access = Access::new(shared());
    let setup =
        Setup::echo().toml(&access.provisioner("")).rollout("bake_s = 1").workspace("acme", &titled("one"), &[]);
    let daemon = setup.start().await;
    let mut old = Login::of(&daemon, "acme");
    let load = load(&daemon, "acme");
    load.more(30).await;
    for _ in 0..2 {
        let boot = boot_id(&daemon, "acme").await;
        let rotated = daemon.run(&["workspace", "rotate-password", "acme"]);
        assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
        // The command returns when the old one is closed.
        let new = Login::of(&daemon, "acme");
        assert!(old.password != new.password && old.user != new.user, "{} {}", old.user, new.user);
        assert_eq!(new.sql(shared(), "SELECT 1").expect("the new one works"), "1");
        let refused = old.sql(shared(), "SELECT 1").expect_err("the old one is refused");
        assert!(refused.contains("authentication failed") || refused.contains("not permitted"), "{refused}");
        assert_ne!(boot_id(&daemon, "acme").await, boot, "the instance has it");
        old = new;
    }
    load.more(30).await;
    let report = load.stop().await;
    println!("two rotations: {report:?}");
    assert_eq!(report.failed, 0, "{report:?}");
}

#[tokio::test]
async fn what_serves_goes_on_while_the_server_is_down() {
    let server = Server::start(&[]);
    let access = Access::new(&server);
    // Beside the daemon's own files only: the registry stays in its file.
    let setup =
        Setup::echo().toml(&access.provisioner("")).rollout("bake_s = 1").workspace("acme", &titled("one"), &[]);
    let daemon = setup.start().await;
    let admin = daemon.admin();
    let load = load(&daemon, "acme");
    load.more(20).await;
    server.down();
    admin.post("/v1/workspaces", json!({"slug": "late", "tier": "free"})).await.expect(201);
    let condition = admin.condition("late", "Provisioned", "False", seconds(30)).await;
    assert_eq!(condition["reason"], "DatabaseUnreachable", "{condition}");
    assert!(!condition.to_string().contains(&access.password), "{condition}");
    // A new configuration can't start now: what serves is not touched for it.
    daemon.write_workspace("acme", &titled("two"), &[]);
    admin.condition("acme", "Provisioned", "False", seconds(30)).await;
    load.more(50).await;
    let tries = daemon.log_tail(100_000).matches("could not be finished").count();
    assert!(tries < 40, "{tries} tries: a busy loop");
    server.up();
    admin.running("late").await;
    wait::until("the new configuration", seconds(60), || async {
        let seen = load.so_far().versions;
        if seen.contains_key("two") { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    let report = load.stop().await;
    println!("a server that was down: {report:?}");
    assert_eq!(report.failed, 0, "{report:?}");
}

#[tokio::test]
async fn connections_are_shared_out_before_the_server_runs_out_of_them() {
    // 60 less 3 for superusers less a reserve of 15: 42. Five plugins with a pool of four are 20.
    let server = Server::start(&["max_connections = 60", "superuser_reserved_connections = 3"]);
    let access = Access::new(&server);
    let plugins = "plugins = [\"app\", \"auth\", \"catalog\", \"permission\", \"search\"]\n";
    let pool = "max_pool = 4\nconnection_limit = 200";
    let mut setup = Setup::echo().toml(&access.provisioner(pool));
    for slug in ["one", "two"] {
        setup = setup.workspace(slug, &format!("tier = \"pro\"\n{plugins}"), &[]);
    }
    let daemon = setup.start().await;
    let admin = daemon.admin();
    daemon.write_workspace("three", &format!("tier = \"pro\"\n{plugins}"), &[]);
    let condition = admin
        .until("three", "waiting for connections", seconds(40), |workspace| {
            admin::condition(workspace, "Ready").is_some_and(|ready| ready["reason"] == "WaitingForConnections")
        })
        .await;
    let text = admin::condition(&condition, "Ready").expect("it")["message"].to_string();
    assert!(text.contains("40 of 42"), "{text}");
    daemon.write_workspace("one", &format!("tier = \"pro\"\ndesired = \"stopped\"\n{plugins}"), &[]);
    admin.running("three").await;
    // What never fits is refused by name.
    let many: Vec<String> = ["scaffolder", "techdocs", "kubernetes", "proxy", "notifications", "signals", "argocd"]
        .map(|p| format!("{p:?}"))
        .into();
    let all = plugins.replace(']', &format!(", {}]", many.join(", ")));
    daemon.write_workspace("four", &format!("tier = \"pro\"\n{all}"), &[]);
    admin
        .until("four", "refused", seconds(40), |workspace| {
            admin::condition(workspace, "Ready")
                .is_some_and(|ready| ready["message"].to_string().contains("max_connections"))
        })
        .await;
}

#[tokio::test]
async fn the_registry_lives_on_a_server_and_has_one_daemon() {
    let access = Access::new(shared());
    let setup = Setup::echo().toml(&access.registry()).rollout("bake_s = 1").workspace("acme", &titled("one"), &[]);
    let mut daemon = setup.start().await;
    assert!(!daemon.dir.join("data/registry.sqlite").exists());
    let boot = boot_id(&daemon, "acme").await;
    daemon.kill();
    daemon.start().await;
    daemon.admin().running("acme").await;
    assert_eq!(boot_id(&daemon, "acme").await, boot, "adopted from what the server holds");

    let second = Setup::echo().toml(&access.registry()).prepare();
    let refused = second.run(&["serve"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && said.contains("another orbitd works on the registry"), "{said}");
    assert!(!said.contains(&access.password), "{said}");

    // Someone ends its sessions: requests don't notice, and it can write again.
    let load = load(&daemon, "acme");
    load.more(10).await;
    for _ in 0..5 {
        let end =
            format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{}'", access.user);
        shared().superuser("postgres", &end);
        load.more(10).await;
    }
    daemon.write_workspace("acme", &titled("two"), &[]);
    wait::until("the new configuration", seconds(60), || async {
        let seen = load.so_far().versions;
        if seen.contains_key("two") { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    let report = load.stop().await;
    println!("a registry whose sessions are ended: {report:?}");
    assert_eq!(report.failed, 0, "{report:?}");
    let leaks = shared().superuser(&access.user, "SELECT count(*) FROM signing_keys WHERE sealed LIKE '%PRIVATE%'");
    assert_eq!(leaks, "0");
}
