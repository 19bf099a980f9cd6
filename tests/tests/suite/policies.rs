//! Policies swapped while traffic flows: the new one within a second or so, no failed and no mixed-version request; a broken one
//! is refused by name and the old set keeps serving.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

pub use orbitd_tests::binding::with_setting;
use orbitd_tests::{
    Daemon, Reply, Setup,
    binding::module_of,
    load::{Ask, Load},
    wait::{self, seconds},
};
use serde_json::Value;

/// A target that only version A forwards. In B the router refuses it with 418, and the authorizer would with 403: so a 403 is
/// an answer whose router came from A and whose authorizer came from B.
const TARGET: &str = "/api/scaffolder/v2/actions";

fn versions(a: &str) -> (String, String) {
    let b = with_setting(a, "route-plugins", "plugins", r#"["catalog", "app", "auth"]"#);
    let b = with_setting(&b, "route-plugins", "refusal_status", "418");
    let b = with_setting(&b, "route-plugins", "timeouts_ms", "{}");
    let b = with_setting(&b, "claims", "plugins", r#"{ scaffolder = ["nobody"] }"#);
    (a.to_owned(), b)
}

fn name_version(reply: &Reply) -> Result<String, String> {
    match reply.status.as_u16() {
        200 => Ok("A".to_owned()),
        418 => Ok("B".to_owned()),
        403 => Err(format!("mixed: the router of A with the authorizer of B: {}", reply.text())),
        status => Err(format!("{status} {}", reply.text())),
    }
}

fn ask(daemon: &Daemon, slug: &str, target: &str) -> Ask {
    Ask { address: daemon.proxy, host: daemon.host(slug), target: target.to_owned(), token: daemon.token(&[slug]) }
}

#[tokio::test]
async fn swaps_under_load_fail_nothing_and_mix_nothing() {
    let daemon = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).start().await;
    let (a, b) = versions(&daemon.read_policy("pro.toml"));
    let load = Load::start(&ask(&daemon, "acme", TARGET), 6, Arc::new(name_version));
    load.more(50).await;
    let token = daemon.token(&["acme"]);
    let mut slowest = Duration::ZERO;
    for n in 0..10 {
        let (text, wanted) = if n % 2 == 0 { (&b, 418) } else { (&a, 200) };
        let began = std::time::Instant::now();
        daemon.write_policy("pro.toml", text);
        wait::until("the saved policies to decide", seconds(60), || async {
            let status = daemon.get("acme", TARGET, Some(&token)).await.status.as_u16();
            if status == wanted { Ok(()) } else { Err(format!("{status}")) }
        })
        .await;
        slowest = slowest.max(began.elapsed());
        load.more(20).await;
    }
    let report = load.stop().await;
    println!("10 swaps: {report:?}; slowest from save to decision {slowest:?}");
    assert_eq!(report.failed, 0, "{report:?}");
    assert!(report.versions["A"] > 50 && report.versions["B"] > 50, "{report:?}");
}

#[tokio::test]
async fn the_swap_check_sees_a_mixed_decision() {
    let daemon = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).start().await;
    let a = daemon.read_policy("pro.toml");
    // What a half-swapped set would be.
    daemon.write_policy("pro.toml", with_setting(&a, "claims", "plugins", r#"{ scaffolder = ["nobody"] }"#));
    let token = daemon.token(&["acme"]);
    wait::until("the half of B", seconds(30), || async {
        match name_version(&daemon.get("acme", TARGET, Some(&token)).await) {
            Err(reason) if reason.starts_with("mixed") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// Waits until the policy status tells of something refused; its text.
async fn refusal(daemon: &Daemon, named: &[&str]) -> Value {
    let admin = daemon.admin();
    wait::until("the status to name what was refused", seconds(30), || async {
        let status = admin.policies().await;
        let text = status.to_string();
        match named.iter().find(|word| !text.contains(**word)) {
            None => Ok(status),
            Some(word) => Err(format!("no {word:?} in {text}")),
        }
    })
    .await
}

#[tokio::test]
async fn a_broken_module_is_refused_by_name_and_the_old_set_serves() {
    let daemon = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).start().await;
    let toml = daemon.read_policy("pro.toml");
    let module = module_of(&toml, "route-plugins");
    let load = Load::start(&ask(&daemon, "acme", TARGET), 2, Arc::new(name_version));
    load.more(20).await;
    let good = std::fs::read(daemon.dir.join("policies").join(&module)).expect("the module");
    let wrong_world = std::fs::read(daemon.dir.join("policies").join(module_of(&toml, "claims"))).expect("a module");
    for (what, bytes) in [
        ("not Wasm", b"this is no module".to_vec()),
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("of another world", wrong_world),
        ("empty", Vec::new()),
    ] {
        daemon.write_policy(&module, &bytes);
        let status = refusal(&daemon, &["route-plugins", "pro"]).await;
        println!("{what}: {status}");
        load.more(20).await;
        daemon.write_policy(&module, &good);
    }
    for (what, broken) in [
        ("no TOML", "tier = [".to_owned()),
        ("an unknown setting", with_setting(&toml, "claims", "no_such_setting", "1")),
        ("a setting of the wrong type", with_setting(&toml, "claims", "namespace", "7")),
    ] {
        daemon.write_policy("pro.toml", broken);
        refusal(&daemon, &["pro"]).await;
        load.more(20).await;
        println!("{what}: refused");
        daemon.write_policy("pro.toml", &toml);
    }
    let report = load.stop().await;
    assert_eq!(report.failed, 0, "{report:?}");
    assert_eq!(report.versions.keys().collect::<Vec<_>>(), ["A"], "{report:?}");
}

#[tokio::test]
async fn a_new_module_of_the_same_name_takes_over() {
    let daemon = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).start().await;
    let toml = daemon.read_policy("pro.toml");
    let module = module_of(&toml, "route-plugins");
    let before = digests(&daemon.admin().policies().await);
    // The same code with a custom section more: another digest.
    let path = daemon.dir.join("policies").join(&module);
    let mut bytes = std::fs::read(&path).expect("the module");
    bytes.extend_from_slice(&[0, 5, 4, b't', b'e', b's', b't']);
    daemon.write_policy(&module, bytes);
    let admin = daemon.admin();
    wait::until("another digest in the status", seconds(30), || async {
        let now = digests(&admin.policies().await);
        if now.difference(&before).next().is_some() { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    daemon.get("acme", TARGET, Some(&daemon.token(&["acme"]))).await.expect(200);
}

fn digests(status: &Value) -> BTreeSet<String> {
    status.to_string().split('"').filter(|text| text.starts_with("sha256:")).map(str::to_owned).collect()
}
