//! Crashes, swaps and config changes under real instances.

use std::sync::Arc;

use orbitd_tests::{
    Daemon, Reply,
    load::{Ask, Load},
    wait::{self, seconds},
    world,
};

use super::{backstage, component, entities, identities, soon};

/// A catalogue page of `slug`, asked again and again; the version is what `of` reads from the answer.
fn load(
    daemon: &Daemon,
    slug: &str,
    target: &str,
    of: impl Fn(&Reply) -> Result<String, String> + Send + Sync + 'static,
) -> Load {
    let ask =
        Ask { address: daemon.proxy, host: daemon.host(slug), target: target.to_owned(), token: daemon.token(&[slug]) };
    Load::start(&ask, 2, Arc::new(of))
}

/// Good is a catalogue: a JSON list, which an empty 200 is not.
fn catalogue(reply: &Reply) -> Result<String, String> {
    match reply.status.as_u16() {
        200 if reply.json().is_array() => Ok("catalogue".to_owned()),
        status => Err(format!("{status} {}", reply.text())),
    }
}

#[tokio::test]
async fn a_killed_daemon_finds_its_real_instances_again() {
    let mut daemon = backstage().await;
    // A trial of the test before may still be ending.
    let before = wait::until("one instance per workspace", seconds(60), || async {
        let now = identities(&daemon);
        if now.len() == 2 { Ok(now) } else { Err(format!("{now:?}")) }
    })
    .await;
    daemon.kill();
    assert_eq!(identities(&daemon), before, "instances outlive the daemon");
    daemon.start().await;
    for slug in ["acme", "globex"] {
        daemon.admin().running(slug).await;
        component(&daemon, slug, if slug == "acme" { "acme-billing" } else { "globex-dashboard" }).await;
    }
    assert_eq!(identities(&daemon), before, "adopted: the same processes, none more");
}

#[tokio::test]
async fn policies_swap_under_real_traffic() {
    let daemon = backstage().await;
    let good = daemon.read_policy("pro.toml");
    let other = crate::policies::with_setting(&good, "route-plugins", "plugins", r#"["app", "auth", "scaffolder"]"#);
    let other = crate::policies::with_setting(&other, "route-plugins", "refusal_status", "418");
    let other = crate::policies::with_setting(&other, "route-plugins", "timeouts_ms", "{}");
    let load = load(&daemon, "acme", "/api/catalog/entities?limit=1", |reply| match reply.status.as_u16() {
        418 => Ok("refused".to_owned()),
        _ => catalogue(reply),
    });
    load.more(20).await;
    for (text, version) in [(&other, "refused"), (&good, "catalogue"), (&other, "refused"), (&good, "catalogue")] {
        let before = load.so_far().versions.get(version).copied().unwrap_or(0);
        daemon.write_policy("pro.toml", text);
        wait::until("the saved policy to decide", soon(), || async {
            let seen = load.so_far().versions;
            if seen.get(version).is_some_and(|count| *count >= before + 20) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    }
    let report = load.stop().await;
    println!("four swaps: {report:?}");
    assert_eq!(report.failed, 0, "{report:?}");
}

#[tokio::test]
async fn a_config_change_under_load_shows_and_fails_nothing() {
    let daemon = backstage().await;
    let path = daemon.dir.join("source/workspaces/globex/workspace.toml");
    let text = std::fs::read_to_string(&path).expect("readable");
    let load = load(&daemon, "globex", "/api/catalog/entities?limit=1", catalogue);
    load.more(10).await;
    let before = identities(&daemon);
    let changed = text.replace("Globex Portal", "Globex Renamed Portal");
    daemon.write_workspace("globex", &changed, &[("added.yaml", &world::component("globex-added", "team-a"))]);
    wait::until("the new title on the page", seconds(120), || async {
        let page = daemon.get("globex", "/", Some(&daemon.token(&["globex"]))).await;
        if page.status == 200 && page.text().contains("Globex Renamed Portal") { Ok(()) } else { Err(page.text()) }
    })
    .await;
    component(&daemon, "globex", "globex-added").await;
    load.more(10).await;
    let report = load.stop().await;
    println!("a config change of a real Backstage: {report:?}");
    assert_eq!(report.failed, 0, "{report:?}");
    let after = identities(&daemon);
    assert_eq!(after.len(), 2, "{after:?}");
    assert_eq!(after.iter().filter(|one| before.contains(one)).count(), 1, "acme's instance was not touched");
    let acme = entities(&daemon, "acme", "component").await.expect("acme's components");
    assert!(!acme.contains(&"globex-added".to_owned()), "{acme:?}");
}

#[tokio::test]
async fn a_config_that_backstage_refuses_leaves_the_last_good_one_serving() {
    let daemon = backstage().await;
    let path = daemon.dir.join("source/workspaces/globex/workspace.toml");
    let text = std::fs::read_to_string(&path).expect("readable");
    component(&daemon, "globex", "globex-dashboard").await;
    // The renderer passes it, Backstage's catalogue plugin does not start with it.
    let broken = format!("{text}\n[app_config.catalog]\nrules = \"none\"\nprocessingInterval = \"never\"\n");
    daemon.write_workspace("globex", &broken, &[]);
    let condition = daemon.admin().condition("globex", "RolledOut", "False", seconds(180)).await;
    println!("{condition}");
    assert!(condition["message"].as_str().is_some_and(|message| message.len() > 20), "{condition}");
    component(&daemon, "globex", "globex-dashboard").await;
    daemon.write_workspace("globex", &text, &[]);
    daemon.admin().running("globex").await;
}

#[tokio::test]
async fn deleting_a_workspace_frees_everything() {
    let daemon = backstage().await;
    let admin = daemon.admin();
    let new = serde_json::json!({"slug": "initech", "tier": "free", "catalog": {"own.yaml": world::component("initech-tps", "team-a")}});
    let created = admin.post("/v1/workspaces", new).await;
    assert!(created.status.is_success(), "{}", created.text());
    admin.running("initech").await;
    component(&daemon, "initech", "initech-tps").await;
    assert_eq!(identities(&daemon).len(), 3);
    let acme = entities(&daemon, "acme", "component").await.expect("acme's components");
    assert!(!acme.contains(&"initech-tps".to_owned()), "{acme:?}");
    let deleted = admin.call("DELETE", "/v1/workspaces/initech", None).await;
    assert!(deleted.status.is_success(), "{}", deleted.text());
    admin.gone("initech").await;
    assert_eq!(identities(&daemon).len(), 2);
    let reply = daemon.get("initech", "/", Some(&daemon.token(&["initech"]))).await;
    assert!(matches!(reply.status.as_u16(), 404 | 421), "{}", reply.status);
}
