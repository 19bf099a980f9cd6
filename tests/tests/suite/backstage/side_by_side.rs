//! The real Backstage on a real PostgreSQL: two of them on one database while a rollout runs (rows of the catalogue).
//! The daemon is this test's own.

use std::sync::Arc;

use orbitd_test_postgres::shared;
use orbitd_tests::{
    Daemon, Reply, Setup,
    load::{Ask, Check, Load},
    postgres::{Access, Login},
    wait::{self, seconds},
    world,
};
use serde_json::Value;

use super::{entities, identities};

/// Requests per second: half of them read the catalogue, half the page.
const PER_SECOND: u32 = 16;

fn titled(title: &str) -> String {
    format!("tier = \"pro\"\nplugins = [\"catalog\"]\n[app_config.app]\ntitle = \"{title}\"\n")
}

/// The page tells its version by its title, a part of which `title` is.
fn page(reply: &Reply) -> Result<String, String> {
    let text = reply.text();
    let title = ["Portal One", "Portal Two"].into_iter().find(|title| text.contains(*title));
    match (reply.status.as_u16(), title) {
        (200, Some(title)) => Ok(title.to_owned()),
        (status, _) => Err(format!("page: {status} {text}")),
    }
}

/// A catalogue without the entity is a failure: nobody took it out.
fn catalogue(reply: &Reply) -> Result<String, String> {
    let text = reply.text();
    match reply.status.as_u16() {
        200 if text.contains("\"storefront\"") => Ok("catalogue".to_owned()),
        status => Err(format!("catalogue: {status} {text}")),
    }
}

fn load(daemon: &Daemon) -> Load {
    let ask = |target: &str| Ask {
        address: daemon.proxy,
        host: daemon.host("acme"),
        target: target.to_owned(),
        token: daemon.token(&["acme"]),
    };
    let kinds: Vec<(Ask, Check)> =
        vec![(ask("/"), Arc::new(page)), (ask("/api/catalog/entities?filter=kind=component"), Arc::new(catalogue))];
    Load::steady(kinds, PER_SECOND)
}

/// Waits until the page has answered with this title so many times more, and says how many instances there were at most.
async fn shows(daemon: &Daemon, load: &Load, title: &str) -> usize {
    let answers = |load: &Load| load.so_far().versions.get(title).copied().unwrap_or(0);
    let wanted = answers(load) + 10;
    let mut most = 0;
    wait::until(&format!("{title} on the page"), seconds(150), || {
        most = most.max(identities(daemon).len());
        async move {
            let report = load.so_far();
            if report.versions.get(title).is_some_and(|count| *count >= wanted) {
                return Ok(());
            }
            Err(format!("{report:?}"))
        }
    })
    .await;
    most
}

async fn one_instance(daemon: &Daemon) -> (u32, String) {
    wait::until("blue to be gone", seconds(90), || async {
        let mut now = identities(daemon);
        if now.len() == 1 { Ok(now.remove(0)) } else { Err(format!("{now:?}")) }
    })
    .await
}

async fn storefront_of(daemon: &Daemon) -> Value {
    let target = "/api/catalog/entities/by-name/component/default/storefront";
    daemon.get("acme", target, Some(&daemon.token(&["acme"]))).await.expect(200).json()
}

async fn owned_by(daemon: &Daemon, owner: &str) {
    wait::until(&format!("the storefront to be {owner}'s"), seconds(40), || async {
        let entity = storefront_of(daemon).await;
        if entity["spec"]["owner"] == owner { Ok(()) } else { Err(entity.to_string()) }
    })
    .await;
}

fn revision(workspace: &Value) -> String {
    workspace["status"]["active_revision"].as_str().expect("a revision").to_owned()
}

#[tokio::test]
async fn two_backstages_on_one_database_hand_over_under_load_and_back() {
    let access = Access::new(shared());
    let (storefront, other) = (world::component("storefront", "team-a"), world::component("storefront", "team-b"));
    let files = [("store.yaml", storefront.as_str())];
    let setup = Setup::backstage().toml(&access.provisioner("")).rollout("bake_s = 1\ndrain_s = 5");
    let daemon = setup.workspace("acme", &titled("Portal One"), &files).start().await;
    wait::until("the entity", seconds(120), || async {
        let names = entities(&daemon, "acme", "component").await?;
        if names == ["storefront"] { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    let uid = storefront_of(&daemon).await["metadata"]["uid"].clone();
    let admin = daemon.admin();
    let first = revision(&admin.workspace("acme").await);
    let bytes = admin.get(&format!("/v1/workspaces/acme/revisions/{first}")).await.expect(200).json();
    let blue = one_instance(&daemon).await;
    wait::until("the first revision to be good", seconds(60), || async {
        let events = admin.get("/v1/workspaces/acme/events?limit=100").await.expect(200).text();
        if events.contains("Confirmed") { Ok(()) } else { Err(events) }
    })
    .await;

    let load = load(&daemon);
    assert_eq!(shows(&daemon, &load, "Portal One").await, 1);
    let added = world::component("checkout", "team-a");
    daemon.write_workspace("acme", &titled("Portal Two"), &[("added.yaml", &added), ("store.yaml", &other)]);
    assert_eq!(shows(&daemon, &load, "Portal Two").await, 2, "both are alive at the overlap");
    let green = one_instance(&daemon).await;
    assert_ne!(green, blue);
    wait::until("the added entity", seconds(60), || async {
        let names = entities(&daemon, "acme", "component").await?;
        if names == ["checkout", "storefront"] { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    // Long before Backstage looks by itself.
    owned_by(&daemon, "team-b").await;

    let back = daemon.run(&["workspace", "rollback", "acme", "--timeout", "3m"]);
    assert!(back.status.success(), "{}", String::from_utf8_lossy(&back.stderr));
    shows(&daemon, &load, "Portal One").await;
    assert_ne!(one_instance(&daemon).await, green);
    assert_eq!(revision(&admin.workspace("acme").await), first);
    assert_eq!(admin.get(&format!("/v1/workspaces/acme/revisions/{first}")).await.expect(200).json(), bytes);
    owned_by(&daemon, "team-a").await;
    assert_eq!(storefront_of(&daemon).await["metadata"]["uid"], uid, "the same entity all the time");
    let report = load.stop().await;
    println!("two real Backstages on one PostgreSQL, there and back: {report:?}");
    assert_eq!(report.failed, 0, "{report:?}");
    let sessions = format!(
        "SELECT count(DISTINCT usename) FROM pg_stat_activity WHERE datname = '{}'",
        Login::of(&daemon, "acme").database
    );
    assert_eq!(shared().superuser("postgres", &sessions), "1", "nobody but the instance's own login is on it");
    let text = daemon.admin().get("/v1/workspaces/acme/events?limit=500").await.expect(200).text();
    assert!(text.contains("Switched") && !text.contains("Released"), "no pause: {text}");
}
