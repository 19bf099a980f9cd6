//! Backups and restores, read back: on files with the echo stand-in, on PostgreSQL with a real Backstage.

use std::{path::PathBuf, sync::Arc};

use orbitd_test_postgres::shared;
use orbitd_tests::{
    Daemon, Setup, admin,
    load::{Ask, Load},
    postgres::{Access, Login},
    wait::{self, seconds},
    world,
};
use serde_json::{Value, json};

const TOML: &str = "tier = \"pro\"\n";

/// Runs a command of the CLI; what it printed, as JSON.
fn cli(daemon: &Daemon, args: &[&str]) -> Value {
    let output = daemon.run(&[args, &["--json"]].concat());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {out} {err}\n{}", daemon.log_tail(20));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}: {out}"))
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// The folder of a workspace's database files.
fn files_of(daemon: &Daemon, slug: &str) -> PathBuf {
    let homes = std::fs::read_dir(daemon.dir.join("data/workspaces")).expect("homes").flatten();
    let home = homes.map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.rsplit_once('-').is_some_and(|(of, _)| of == slug)
    });
    let databases = std::fs::read_dir(home.expect("a home").join("db")).expect("databases").flatten();
    databases.map(|entry| entry.path()).next().expect("one")
}

/// Runs a statement on a workspace's `catalog.sqlite` with the machine's own Python; what it read, one row a line.
fn sqlite(daemon: &Daemon, slug: &str, statement: &str) -> String {
    let script =
        "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nfor r in c.execute(sys.argv[2]): print(*r)\nc.commit()\n";
    let file = files_of(daemon, slug).join("catalog.sqlite");
    let output =
        std::process::Command::new("python3").args(["-c", script]).arg(file).arg(statement).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn load(daemon: &Daemon, slug: &str, target: &str) -> Load {
    let ask =
        Ask { address: daemon.proxy, host: daemon.host(slug), target: target.into(), token: daemon.token(&[slug]) };
    Load::start(
        &ask,
        3,
        Arc::new(|reply| match reply.status.as_u16() {
            200 => Ok("good".to_owned()),
            status => Err(format!("{status} {}", reply.text())),
        }),
    )
}

#[tokio::test]
async fn files_are_backed_up_while_they_are_written_and_restored_in_place_and_elsewhere() {
    let daemon =
        Setup::echo().workspace("acme", TOML, &[("web.yaml", &world::component("web", "team-a"))]).start().await;
    let admin = daemon.admin();
    sqlite(&daemon, "acme", "CREATE TABLE entities (name TEXT)");
    sqlite(&daemon, "acme", "INSERT INTO entities VALUES ('one')");
    let load = load(&daemon, "acme", "/who");
    load.more(10).await;
    let first = cli(&daemon, &["backup", "create", "acme"]);
    let id = text(&first["id"]);
    assert_eq!((&first["database"], &first["reason"]), (&json!("sqlite"), &json!("asked")));
    sqlite(&daemon, "acme", "INSERT INTO entities VALUES ('two')");

    cli(&daemon, &["backup", "restore", "acme", &id, "--yes"]);
    assert_eq!(sqlite(&daemon, "acme", "SELECT name FROM entities"), "one", "as it was then");
    load.more(10).await;
    let report = load.stop().await;
    println!("a restore in place: {report:?}");
    assert_eq!(report.failed, 0, "requests are held for it: {report:?}");
    let restored = admin.workspace("acme").await;
    assert_eq!(admin::condition(&restored, "Restored").expect("it")["truth"], "True", "{restored}");
    // What was replaced can be had back, too.
    let list = cli(&daemon, &["backup", "list", "acme"]);
    assert_eq!(list["items"].as_array().expect("a list").len(), 2, "{list}");
    assert_eq!(list["items"][0]["reason"], "before-restore");

    cli(&daemon, &["backup", "restore", "acme", &id, "--into", "drill"]);
    assert_eq!(sqlite(&daemon, "drill", "SELECT name FROM entities"), "one");
    let drill = admin.workspace("drill").await;
    assert_eq!(drill["spec"]["catalog"]["web.yaml"], world::component("web", "team-a"), "with its spec: {drill}");
    assert_eq!(drill["owner"], "api");

    // Its backups outlive a workspace; a damaged one is found, and changes nothing.
    let newer = cli(&daemon, &["backup", "create", "drill"]);
    admin.call("DELETE", "/v1/workspaces/drill", None).await.expect(202);
    admin.gone("drill").await;
    let newer = text(&newer["id"]);
    cli(&daemon, &["backup", "verify", "drill", &newer]);
    let part = daemon.dir.join(format!("data/backups/drill/{newer}/database/catalog.sqlite"));
    let mut bytes = std::fs::read(&part).expect("a part");
    bytes[100] ^= 1;
    std::fs::write(&part, bytes).expect("damaged");
    let refused = daemon.run(&["backup", "verify", "drill", &newer]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("catalog.sqlite is not what was stored"), "{said}");
    let body = json!({"backup": newer, "from": "drill"});
    admin.post("/v1/workspaces/acme/restore", body).await.expect(202);
    let failed = admin.condition("acme", "Restored", "False", seconds(30)).await;
    assert!(failed["message"].to_string().contains("the database is as it was"), "{failed}");
    admin.running("acme").await;
    assert_eq!(sqlite(&daemon, "acme", "SELECT name FROM entities"), "one");
    cli(&daemon, &["backup", "delete", "drill", &newer, "--yes"]);
    assert!(!daemon.dir.join("data/backups/drill").exists(), "and its folder");
}

#[tokio::test]
async fn a_failed_backup_is_named_and_the_last_good_one_stays() {
    let setup = Setup::echo().workspace("acme", TOML, &[]);
    let daemon = setup.start().await;
    let admin = daemon.admin();
    sqlite(&daemon, "acme", "CREATE TABLE entities (name TEXT)");
    let good = text(&cli(&daemon, &["backup", "create", "acme"])["id"]);
    // A file that is no database, where Backstage keeps a plugin's.
    std::fs::write(files_of(&daemon, "acme").join("broken.sqlite"), "x".repeat(4096)).expect("written");
    let refused = daemon.run(&["backup", "create", "acme"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("broken.sqlite"), "{said}");
    let condition = admin.condition("acme", "BackedUp", "False", seconds(20)).await;
    assert_eq!(condition["reason"], "BackupFailed", "{condition}");
    let list = cli(&daemon, &["backup", "list", "acme"]);
    assert_eq!(list["items"].as_array().expect("a list").len(), 1, "{list}");
    assert_eq!(list["items"][0]["id"], good.as_str());
    let folders = std::fs::read_dir(daemon.dir.join("data/backups/acme")).expect("read").count();
    assert_eq!(folders, 1, "nothing of the failed one");
    std::fs::remove_file(files_of(&daemon, "acme").join("broken.sqlite")).expect("removed");
    cli(&daemon, &["backup", "create", "acme"]);
    admin.condition("acme", "BackedUp", "True", seconds(20)).await;
}

#[tokio::test]
async fn a_new_distribution_waits_for_a_backup() {
    let mut daemon = Setup::echo().workspace("acme", TOML, &[]).prepare();
    // A distribution of our own, so that it can be exchanged.
    let distribution = daemon.dir.join("distribution");
    world::copy_tree(&orbitd_tests::paths::echo(), &distribution).expect("copied");
    let settings = daemon.dir.join("orbitd.toml");
    let toml = std::fs::read_to_string(&settings).expect("readable");
    let echo = format!("{:?}", orbitd_tests::paths::echo().display().to_string());
    std::fs::write(&settings, toml.replace(&echo, &format!("{:?}", distribution.display().to_string())))
        .expect("written");
    daemon.start().await;
    daemon.admin().running("acme").await;
    sqlite(&daemon, "acme", "CREATE TABLE entities (name TEXT)");
    assert_eq!(cli(&daemon, &["backup", "list", "acme"])["items"], json!([]));
    daemon.terminate();
    let manifest = distribution.join("distribution.json");
    let text = std::fs::read_to_string(&manifest).expect("readable").replace("echo-1", "echo-2");
    std::fs::write(&manifest, text).expect("written");
    daemon.start().await;
    wait::until("the backup before the move", seconds(60), || async {
        let list = daemon.admin().get("/v1/backups?slug=acme").await.expect(200).json();
        let found = list["items"].as_array().is_some_and(|items| {
            items.iter().any(|b| b["reason"] == "before-upgrade" && b["distribution"] == "echo-1")
        });
        if found { Ok(()) } else { Err(list.to_string()) }
    })
    .await;
    daemon.admin().running("acme").await;
}

#[tokio::test]
async fn a_tier_s_schedule_makes_backups_and_keeps_so_many() {
    let daemon = Setup::echo().prepare();
    let mut daemon = daemon;
    let tier = daemon.read_policy("pro.toml") + "\n[backup]\ndaily_at = \"00:00\"\nkeep = 1\n";
    daemon.write_policy("pro.toml", tier);
    daemon.write_workspace("acme", TOML, &[]);
    daemon.start().await;
    daemon.admin().running("acme").await;
    sqlite(&daemon, "acme", "CREATE TABLE IF NOT EXISTS entities (name TEXT)");
    let backups = || async {
        let list = daemon.admin().get("/v1/backups?slug=acme").await.expect(200).json();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter(|item| item["reason"] == "schedule").map(|item| text(&item["id"])).collect::<Vec<_>>()
    };
    wait::until("a scheduled backup", seconds(40), || async {
        let found = backups().await;
        if found.len() == 1 { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

#[tokio::test]
async fn backups_before_a_restore_are_kept_so_many_and_never_the_one_that_is_wanted() {
    let mut daemon = Setup::echo().prepare();
    let tier = daemon.read_policy("pro.toml") + "\n[backup]\nkeep_before = 2\n";
    daemon.write_policy("pro.toml", tier);
    daemon.write_workspace("acme", TOML, &[]);
    daemon.start().await;
    let admin = daemon.admin();
    admin.running("acme").await;
    sqlite(&daemon, "acme", "CREATE TABLE entities (name TEXT)");
    let asked = text(&cli(&daemon, &["backup", "create", "acme"])["id"]);
    let of = async |reason: &str| -> Vec<String> {
        let list = admin.get("/v1/backups?slug=acme").await.expect(200).json();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter(|item| item["reason"] == reason).map(|item| text(&item["id"])).collect()
    };
    let mut from = asked.clone();
    let mut oldest = String::new();
    for round in 0..5 {
        cli(&daemon, &["backup", "restore", "acme", &from, "--yes"]);
        let kept = of("before-restore").await;
        // The third is made while the first is what is to be restored: that one stays until another restore is done.
        let most = if matches!(round, 2 | 3) { 3 } else { 2 };
        assert!(kept.len() <= most, "round {round}: {kept:?}");
        if round == 0 {
            oldest = kept[0].clone();
        }
        from = if round == 1 { oldest.clone() } else { asked.clone() };
        if round == 2 {
            assert!(kept.contains(&oldest), "{oldest} was wanted: {kept:?}");
        }
    }
    assert!(!of("before-restore").await.contains(&oldest), "it is old, and nobody wants it");
    assert_eq!(of("asked").await, [asked], "what someone asked for stays");
}

#[tokio::test]
async fn a_bucket_holds_backups_as_a_directory_does() {
    let address = world::free_address();
    let s3 = format!(
        "[backups.s3]\nbucket = \"orbitd\"\nprefix = \"eu/one\"\nendpoint = \"http://{address}\"\naccess_key_id = \"S3RVER\"\n\
         secret_access_key_file = \"s3.key\"\n"
    );
    let mut daemon = Setup::echo().toml(&s3).workspace("acme", TOML, &[]).prepare();
    std::fs::write(daemon.dir.join("s3.key"), "S3RVER\n").expect("written");
    // In the daemon's directory, with which it is cleaned up.
    let mut server = std::process::Command::new("node")
        .arg(orbitd_tests::paths::s3_server())
        .args(["-d", "buckets", "-a", "127.0.0.1", "-p", &address.port().to_string(), "--configure-bucket", "orbitd"])
        .current_dir(&daemon.dir)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("node runs");
    wait::until("the bucket's server", seconds(20), || async {
        tokio::net::TcpStream::connect(address).await.map_err(|error| error.to_string())
    })
    .await;
    daemon.start().await;
    daemon.admin().running("acme").await;
    sqlite(&daemon, "acme", "CREATE TABLE entities (name TEXT)");
    // More than one request's worth: it goes up in pieces.
    sqlite(&daemon, "acme", "CREATE TABLE blobs AS SELECT randomblob(12000000) AS b");
    let id = text(&cli(&daemon, &["backup", "create", "acme"])["id"]);
    cli(&daemon, &["backup", "verify", "acme", &id]);
    assert!(daemon.dir.join(format!("buckets/orbitd/eu/one/acme/{id}")).exists(), "under its prefix");
    cli(&daemon, &["backup", "restore", "acme", &id, "--into", "drill"]);
    assert_eq!(sqlite(&daemon, "drill", "SELECT length(b) FROM blobs"), "12000000");
    // The store goes away: named, and what was there is there again when it comes back.
    server.kill().expect("killed");
    server.wait().expect("waited for");
    let refused = daemon.run(&["backup", "list", "acme"]);
    assert!(!refused.status.success());
    assert!(!daemon.log_tail(10_000).contains("S3RVER\""), "no key in the log");
}

/// Entities with the ids that the database gave them: another database gives others.
async fn uids(daemon: &Daemon, slug: &str) -> Result<Vec<(String, String)>, String> {
    let reply = daemon.get(slug, "/api/catalog/entities?filter=kind=component", Some(&daemon.token(&[slug]))).await;
    let json = reply.json();
    let list =
        json.as_array().filter(|_| reply.status == 200).ok_or_else(|| format!("{} {}", reply.status, reply.text()))?;
    let mut found: Vec<_> =
        list.iter().map(|entity| (text(&entity["metadata"]["name"]), text(&entity["metadata"]["uid"]))).collect();
    found.sort();
    if found.is_empty() { Err("no component yet".to_owned()) } else { Ok(found) }
}

#[tokio::test]
async fn a_real_backstage_on_postgres_changes_its_password_under_load_and_is_restored_with_its_entities() {
    let access = Access::new(shared());
    let catalog = world::component("storefront", "team-a");
    let toml = "tier = \"pro\"\nplugins = [\"catalog\", \"search\"]\n";
    let setup = Setup::backstage().toml(&access.provisioner("")).rollout("bake_s = 1").workspace(
        "acme",
        toml,
        &[("store.yaml", &catalog)],
    );
    let daemon = setup.start().await;
    let before = wait::until("the entity", seconds(120), || uids(&daemon, "acme")).await;
    let old = Login::of(&daemon, "acme");
    let schemas = old
        .sql(shared(), "SELECT string_agg(nspname, ' ' ORDER BY 1) FROM pg_namespace WHERE nspname NOT LIKE 'pg%'")
        .expect("read");
    assert!(schemas.contains("catalog") && schemas.contains("search"), "a schema per plugin: {schemas}");

    let load = load(&daemon, "acme", "/api/catalog/entities?limit=1");
    load.more(5).await;
    let rotated = daemon.run(&["workspace", "rotate-password", "acme", "--timeout", "3m"]);
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    load.more(10).await;
    let report = load.stop().await;
    println!("a real Backstage's password: {report:?}");
    assert_eq!(report.failed, 0, "{report:?}");
    old.sql(shared(), "SELECT 1").expect_err("the old password opens nothing");
    // Another workspace reads the files from another place, anew: only what is in the database alone shows a restore.
    let mark = "CREATE TABLE catalog.mark AS SELECT entity_ref FROM catalog.refresh_state";
    Login::of(&daemon, "acme").sql(shared(), mark).expect("marked");

    let backup = cli(&daemon, &["backup", "create", "acme"]);
    let id = text(&backup["id"]);
    cli(&daemon, &["backup", "verify", "acme", &id]);
    let made = daemon.run(&["backup", "restore", "acme", &id, "--into", "drill"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let restored = wait::until("the entities of the drill", seconds(60), || uids(&daemon, "drill")).await;
    assert_eq!(restored[0].0, before[0].0);
    let (acme, drill) = (Login::of(&daemon, "acme"), Login::of(&daemon, "drill"));
    let entities = drill.sql(shared(), "SELECT entity_ref FROM catalog.mark").expect("what was in the database");
    assert!(entities.contains("component:default/storefront"), "{entities}");
    assert!(shared().sql(drill.role(), &acme.database, "SELECT 1").is_err(), "and a database of its own");
}
