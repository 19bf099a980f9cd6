//! A new version of a policy comes into service in the shadow, for some, for all, and leaves again: no request fails on the way, and
//! who was not meant to meet it never does.

use std::{process::Output, sync::Arc, time::Duration};

use orbitd_tests::{
    Daemon, Reply, Setup,
    load::{Ask, Load},
    wait::{self, seconds},
};
use serde_json::Value;

/// Version A forwards it, version B refuses it with 418.
const TARGET: &str = "/api/scaffolder/v2/actions";
/// Version B, as settings of the same module.
const B: &str = "[router.next.settings]\nplugins = [\"catalog\", \"app\", \"auth\"]\nrefusal_status = 418\n";

fn name_version(reply: &Reply) -> Result<String, String> {
    match reply.status.as_u16() {
        200 => Ok("A".to_owned()),
        418 => Ok("B".to_owned()),
        status => Err(format!("{status} {}", reply.text())),
    }
}

fn load(daemon: &Daemon, slug: &str, workers: usize) -> Load {
    let (host, token) = (daemon.host(slug), daemon.token(&[slug]));
    let ask = Ask { address: daemon.proxy, host, target: TARGET.to_owned(), token };
    Load::start(&ask, workers, Arc::new(name_version))
}

/// The tier's file with these lines in `[router]`.
pub fn with_router(pro: &str, lines: &str) -> String {
    let at = pro.find("[[authorizer]]").expect("a tier's file");
    format!("{}{lines}\n{}", &pro[..at], &pro[at..])
}

async fn two_workspaces() -> Daemon {
    let setup = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).workspace("globex", "tier = \"pro\"\n", &[]);
    setup.start().await
}

/// The router's row in the status of tier pro.
async fn router(daemon: &Daemon) -> Value {
    let status = daemon.admin().policies().await;
    let pro = status["tiers"].as_array().and_then(|tiers| tiers.iter().find(|tier| tier["tier"] == "pro"));
    pro.expect("the tier")["policies"][0].clone()
}

async fn until_router(daemon: &Daemon, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, seconds(30), || async {
        let router = router(daemon).await;
        if holds(&router) { Ok(router) } else { Err(router.to_string()) }
    })
    .await
}

async fn metrics(daemon: &Daemon) -> String {
    daemon.admin().get("/metrics").await.expect(200).text()
}

fn command(daemon: &Daemon, line: &str) -> Output {
    daemon.run(&line.split(' ').collect::<Vec<_>>())
}

#[track_caller]
fn done(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[tokio::test]
async fn a_shadow_changes_nothing_for_users_and_its_differences_are_counted() {
    let daemon = two_workspaces().await;
    let load = load(&daemon, "acme", 3);
    load.more(20).await;
    let pro = daemon.read_policy("pro.toml");
    daemon.write_policy("pro.toml", with_router(&pro, &format!("[router.next]\nmode = \"shadow\"\n{B}")));
    let seen =
        until_router(&daemon, "differences", |router| router["next"]["differences"]["different"].as_u64() > Some(20));
    let sample = seen.await["next"]["differences"]["samples"][0].clone();
    let report = load.stop().await;
    assert!(report.failed == 0 && report.versions.keys().eq(["A"]), "{report:?}");
    assert_eq!(
        (sample["next"]["status"].as_u64(), sample["seen"]["path"].as_str()),
        (Some(418), Some(TARGET)),
        "{sample}"
    );
    let text = metrics(&daemon).await;
    let counted =
        text.lines().find(|line| line.starts_with("orbitd_policy_shadow_total") && line.contains("different"));
    assert!(counted.is_some_and(|line| !line.ends_with(" 0")), "{counted:?}");
    let status = done(&command(&daemon, "policy status"));
    assert!(
        status.contains("shadow 100%") && status.contains("the active version said forward scaffolder"),
        "{status}"
    );
}

#[tokio::test]
async fn promote_and_rollback_under_load_fail_nothing() {
    let daemon = two_workspaces().await;
    let pro = daemon.read_policy("pro.toml");
    let canary = format!("[router.next]\nmode = \"canary\"\nworkspaces = [\"acme\"]\n{B}");
    daemon.write_policy("pro.toml", with_router(&pro, &canary));
    until_router(&daemon, "the canary", |router| router["next"]["mode"] == "canary").await;
    let (acme, globex) = (load(&daemon, "acme", 2), load(&daemon, "globex", 4));
    acme.more(20).await;
    globex.more(20).await;
    assert!(!globex.so_far().versions.contains_key("B"), "only the named workspace meets it");
    let token = daemon.token(&["globex"]);
    for verb in ["promote", "rollback"] {
        done(&command(&daemon, &format!("policy {verb} pro router")));
        // The command returns when it serves.
        let wanted = if verb == "promote" { 418 } else { 200 };
        daemon.get("globex", TARGET, Some(&token)).await.expect(wanted);
        globex.more(50).await;
    }
    acme.more(10).await;
    daemon.get("acme", TARGET, Some(&daemon.token(&["acme"]))).await.expect(200);
    let (acme, globex) = (acme.stop().await, globex.stop().await);
    assert_eq!((acme.failed, globex.failed), (0, 0), "{acme:?} {globex:?}");
    assert!(acme.versions["B"] >= 20 && globex.versions["B"] > 0 && globex.versions["A"] > 50, "{acme:?} {globex:?}");
    let status = done(&command(&daemon, "policy status"));
    assert!(status.contains("rolled back by operator") && status.contains("promoted"), "{status}");
    let again = command(&daemon, "policy promote pro router");
    assert_eq!(again.status.code(), Some(4), "nothing to promote: {}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(command(&daemon, "policy promote gold router").status.code(), Some(3));
}

#[tokio::test]
async fn a_rollback_brings_back_a_module_that_was_overwritten_and_survives_a_restart() {
    let mut daemon = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).start().await;
    let token = daemon.token(&["acme"]);
    let before = router(&daemon).await;
    let (pro, hostile) = (daemon.read_policy("pro.toml"), hostile(&daemon));
    let settings = pro.find("[router.settings]").expect("settings")..pro.find("[[authorizer]]").expect("an authorizer");
    let mut other = pro.clone();
    other.replace_range(settings, "[router.settings]\nmisbehave = \"status\"\n\n");
    std::fs::copy(daemon.dir.join("policies").join(hostile), daemon.dir.join("policies/modules/route-plugins.wasm"))
        .expect("overwritten");
    daemon.write_policy("pro.toml", other);
    let now = until_router(&daemon, "the other module", |router| router["digest"] != before["digest"]).await;
    assert_eq!(now["serves"], "file");
    daemon.get("acme", TARGET, Some(&token)).await.expect(503);
    done(&command(&daemon, "policy rollback pro router"));
    daemon.get("acme", TARGET, Some(&token)).await.expect(200);
    daemon.terminate();
    daemon.start().await;
    daemon.admin().running("acme").await;
    daemon.get("acme", TARGET, Some(&token)).await.expect(200);
    let after = router(&daemon).await;
    assert_eq!((&after["digest"], after["serves"].as_str()), (&before["digest"], Some("rolled-back")), "{after}");
}

/// Where the misbehaving router is, relative to the policies folder.
fn hostile(daemon: &Daemon) -> String {
    let folder = daemon.dir.join("policies/modules");
    let found = ["fixtures/hostile.wasm", "hostile.wasm", "hostile/router.wasm"]
        .into_iter()
        .find(|name| folder.join(name).is_file());
    format!("modules/{}", found.expect("the hostile router is built: `make guests`"))
}

#[tokio::test]
async fn a_canary_that_traps_is_rolled_back_by_itself_and_only_its_share_noticed() {
    let daemon = two_workspaces().await;
    let pro = daemon.read_policy("pro.toml");
    let canary = format!(
        "[router.budget]\nmin_decisions = 10\n[router.next]\nmodule = \"{}\"\nmode = \"canary\"\nworkspaces = [\"acme\"]\n\
         [router.next.settings]\nmisbehave = \"trap\"\n",
        hostile(&daemon)
    );
    let globex = load(&daemon, "globex", 2);
    globex.more(10).await;
    daemon.write_policy("pro.toml", with_router(&pro, &canary));
    until_router(&daemon, "the canary", |router| router["next"]["mode"] == "canary").await;
    let token = daemon.token(&["acme"]);
    let mut failed = 0;
    while daemon.get("acme", TARGET, Some(&token)).await.status == 503 {
        failed += 1;
        assert!(failed < 100, "it is never rolled back");
    }
    assert_eq!(failed, 10, "it fails closed, and is out with the decision that spends the budget");
    let router = until_router(&daemon, "the rollback", |router| router["next"]["mode"] == "rolled-back").await;
    assert_eq!(router["next"]["by"], "error-budget");
    globex.more(20).await;
    let globex = globex.stop().await;
    assert_eq!((globex.failed, globex.versions.contains_key("B")), (0, false), "{globex:?}");
    let events = daemon.admin().policies().await["events"].clone();
    assert!(
        events[0]["reason"].as_str().is_some_and(|reason| reason.contains("10 of 10") && reason.contains("trap")),
        "{events}"
    );
    let counted =
        "orbitd_policy_rollouts_total{tier=\"pro\",binding=\"router\",what=\"rolled-back\",by=\"error-budget\"} 1";
    assert!(metrics(&daemon).await.contains(counted), "{}", metrics(&daemon).await);
    done(&command(&daemon, "policy resume pro router"));
    until_router(&daemon, "another try", |router| router["next"]["mode"] == "canary").await;
}

/// Catalogue rows W-26 and R-13.
#[tokio::test]
async fn a_policy_that_traps_half_of_its_calls_is_cut_off_and_another_tier_does_not_notice() {
    let setup = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).workspace("globex", "tier = \"free\"\n", &[]);
    let daemon = setup.start().await;
    let pro = daemon.read_policy("pro.toml");
    let settings = pro.find("[router.settings]").expect("settings")..pro.find("[[authorizer]]").expect("an authorizer");
    let mut bad = pro.clone();
    // Nothing to go back to by itself, and nothing remembered: what is left is the breaker.
    bad.replace_range(settings, "[router.budget]\nrollback = \"manual\"\n\n");
    let bad = bad.replacen("modules/route-plugins.wasm\"", &format!("{}\"\nmemory = false", hostile(&daemon)), 1);
    let globex = load(&daemon, "globex", 2);
    globex.more(10).await;
    daemon.write_policy("pro.toml", bad);
    until_router(&daemon, "the bad module", |router| router["policy"] == "hostile").await;
    let token = daemon.token(&["acme"]);
    let slowest = async {
        let mut slowest = Duration::ZERO;
        for n in 0..60 {
            let began = std::time::Instant::now();
            let target = if n % 2 == 0 { "/!trap/x" } else { "/fine" };
            let status = daemon.get("acme", target, Some(&token)).await.status.as_u16();
            slowest = slowest.max(began.elapsed());
            assert!(status == 503 || (n % 2 == 1 && status == 200), "request {n}: {status}");
        }
        slowest
    }
    .await;
    let router = router(&daemon).await;
    assert!(router["breaker"]["openings"].as_u64() > Some(0), "{router}");
    println!("slowest answer {slowest:?}");
    assert!(metrics(&daemon).await.contains("orbitd_policy_breaker_openings_total{tier=\"pro\",binding=\"router\"}"));
    globex.more(20).await;
    assert_eq!(globex.stop().await.failed, 0, "another tier has policies of its own");
    daemon.write_policy("pro.toml", &pro);
    wait::until("the good policy to serve at once", seconds(30), || async {
        let status = daemon.get("acme", TARGET, Some(&token)).await.status;
        if status == 200 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}
