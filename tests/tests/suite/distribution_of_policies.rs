//! Policies that come from a registry, and policies that must be signed: with a real registry, the real commands, and what an
//! attacker would try who can write the registry or the policies folder but has no key.

use orbitd_tests::{
    Daemon, Setup,
    registry::Registry,
    wait::{self, seconds},
};
use serde_json::Value;

const TARGET: &str = "/api/scaffolder/v2/actions";

/// The tier `pro` with this router and these further lines.
pub(crate) fn tier(daemon: &Daemon, module: &str, more: &str) -> String {
    let mut table: toml::Table = daemon.read_policy("pro.toml").parse().expect("a tier's TOML");
    table["router"]["module"] = toml::Value::from(module);
    table.remove("trust");
    table.extend(more.parse::<toml::Table>().expect("TOML"));
    toml::to_string(&table).expect("written")
}

/// Runs a command that must succeed; what it printed.
pub(crate) fn orbitd(daemon: &Daemon, args: &[&str]) -> String {
    let output = orbitd_tests::daemon::run_limited({
        let mut command = std::process::Command::new(orbitd_tests::paths::orbitd());
        command.args(args).current_dir(&daemon.dir);
        command
    });
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The router's module with `n` in a section that nothing reads: other bytes, same decisions.
pub(crate) fn variant(daemon: &Daemon, n: u8) -> String {
    let mut bytes = std::fs::read(daemon.dir.join("policies/modules/route-plugins.wasm")).expect("the module");
    bytes.extend_from_slice(&[0, 3, 1, b'n', n]);
    let name = format!("router-{n}.wasm");
    std::fs::write(daemon.dir.join(&name), bytes).expect("written");
    name
}

/// Waits until the status of tier `pro` is as wanted; the tier.
pub(crate) async fn pro(daemon: &Daemon, what: &str, wanted: impl Fn(&Value, &Value) -> bool) -> Value {
    let admin = daemon.admin();
    wait::until(what, seconds(30), || async {
        let status = admin.policies().await;
        let tiers = status["tiers"].as_array().cloned().unwrap_or_default();
        let tier = tiers.into_iter().find(|tier| tier["tier"] == "pro").unwrap_or_default();
        if wanted(&tier, &status) { Ok(tier) } else { Err(format!("{} {}", tier["refused"], status["remote"])) }
    })
    .await
}

async fn refused(daemon: &Daemon, named: &[&str]) {
    pro(daemon, &format!("tier pro to be refused with {named:?}"), |tier, _| {
        let reason = tier["refused"]["reason"].as_str().unwrap_or_default();
        named.iter().all(|word| reason.contains(word))
    })
    .await;
}

pub(crate) async fn serves(daemon: &Daemon, what: &str, file: &str) {
    let bytes = std::fs::read(daemon.dir.join(file)).expect("the module");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    pro(daemon, what, |tier, _| {
        tier["refused"].is_null() && tier["policies"][0]["digest"] == format!("sha256:{digest}")
    })
    .await;
    daemon.get("acme", TARGET, Some(&daemon.token(&["acme"]))).await.expect(200);
}

async fn with_registry() -> (Daemon, Registry) {
    let setup = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).toml("[oci]\npoll_s = 1\n");
    let daemon = setup.start().await;
    let registry = Registry::start(&daemon.dir);
    (daemon, registry)
}

#[tokio::test]
async fn a_policy_comes_from_a_registry_and_survives_it() {
    let (mut daemon, mut registry) = with_registry().await;
    let tag = registry.reference("policies/route-plugins:live");
    let (one, two) = (variant(&daemon, 1), variant(&daemon, 2));
    daemon.write_policy("pro.toml", tier(&daemon, &tag, ""));
    refused(&daemon, &["can't be pulled", "policies/route-plugins:live"]).await;
    daemon.get("acme", TARGET, Some(&daemon.token(&["acme"]))).await.expect(200);
    let pinned = orbitd(&daemon, &["policy", "push", &one, &tag]);
    assert!(pinned.starts_with(&registry.reference("policies/route-plugins@sha256:")), "{pinned}");
    serves(&daemon, "the pushed module to serve", &one).await;

    // The registry is gone: what was pulled serves, also after a restart, and the status says what is wrong.
    registry.stop();
    let unreachable = |_: &Value, status: &Value| {
        status["remote"][0]["error"].is_string() && status["remote"][0]["reference"] == tag.as_str()
    };
    pro(&daemon, "the registry's silence to be told", unreachable).await;
    serves(&daemon, "the pulled module to serve on", &one).await;
    daemon.kill();
    daemon.start().await;
    daemon.admin().running("acme").await;
    serves(&daemon, "the pulled module to serve after a restart", &one).await;

    // It is back, and the tag moves: the new module serves. A digest stays where it is.
    registry.start_again();
    pro(&daemon, "the registry to answer again", |_, status| status["remote"][0]["error"].is_null()).await;
    orbitd(&daemon, &["policy", "push", &two, &tag]);
    serves(&daemon, "the tag's new module to serve", &two).await;
    daemon.write_policy("pro.toml", tier(&daemon, &pinned, ""));
    serves(&daemon, "the pinned module to serve", &one).await;
    daemon.write_policy("pro.toml", tier(&daemon, "oci://nowhere", ""));
    refused(&daemon, &["oci://nowhere", "names its registry"]).await;
}

#[tokio::test]
async fn an_attacker_without_a_key_changes_nothing() {
    let (mut daemon, registry) = with_registry().await;
    let key = "policy.key";
    let public = orbitd(&daemon, &["policy", "keygen", "--out", key]);
    assert!(public.starts_with("ed25519:"), "{public}");
    for module in ["claims", "render-app-config"] {
        let file = format!("policies/modules/{module}.wasm");
        orbitd(&daemon, &["policy", "sign", &file, "--key", key]);
    }
    let tag = registry.reference("policies/route-plugins:live");
    let (old, new) = (variant(&daemon, 1), variant(&daemon, 2));
    let name = ["--name", "route-plugins", "--key", key, "--signed-version"];
    let push =
        |file: &str, version: &str| orbitd(&daemon, &[&["policy", "push", file, &tag], &name[..], &[version]].concat());
    push(&old, "1");
    daemon.write_policy("pro.toml", tier(&daemon, &tag, &format!("[trust]\nkeys = [{public:?}]\n")));
    serves(&daemon, "the signed module to serve", &old).await;
    push(&new, "2");
    serves(&daemon, "the next signed module to serve", &new).await;

    // Unsigned; signed by a stranger; the old module with its good signature again.
    orbitd(&daemon, &["policy", "push", &old, &tag]);
    refused(&daemon, &["route-plugins:live", "it is not signed"]).await;
    orbitd(&daemon, &["policy", "keygen", "--out", "stranger.key"]);
    orbitd(&daemon, &["policy", "push", &old, &tag, "--name", "route-plugins", "--key", "stranger.key"]);
    refused(&daemon, &["none of the tier's keys signed it"]).await;
    push(&old, "1");
    refused(&daemon, &["version 1 of route-plugins is older than version 2, which tier pro has accepted"]).await;
    daemon.get("acme", TARGET, Some(&daemon.token(&["acme"]))).await.expect(200);
    // A restart does not help: then the tier has nothing that it may serve, and serves nothing.
    daemon.kill();
    daemon.start().await;
    refused(&daemon, &["older than version 2"]).await;
    // The operator's way back is a newer signature.
    let push =
        |file: &str, version: &str| orbitd(&daemon, &[&["policy", "push", file, &tag], &name[..], &[version]].concat());
    push(&old, "3");
    serves(&daemon, "the old module, signed anew, to serve", &old).await;
}

/// Where the text is the policy, whoever can write the folder and has no key can't change it.
#[tokio::test]
async fn a_text_that_must_be_signed_is_not_swapped() {
    const LET_IN: &str = "package access\n\ndefault allow := false\nallow if \"developer\" in input.roles\n";
    let daemon = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).start().await;
    let public = orbitd(&daemon, &["policy", "keygen", "--out", "policy.key"]);
    let sign_with = |text: &str, version: &str, key: &str| {
        daemon.write_policy("access.rego", text);
        let text = ["--settings-file", "policy=policies/access.rego", "--out", "policies/access.rego.sig"];
        let sign = ["policy", "sign", "policies/modules/rego.wasm", "--key", key, "--signed-version", version];
        orbitd(&daemon, &[&sign[..], &text].concat())
    };
    let sign = |text: &str, version: &str| sign_with(text, version, "policy.key");
    for module in ["route-plugins", "render-app-config"] {
        orbitd(&daemon, &["policy", "sign", &format!("policies/modules/{module}.wasm"), "--key", "policy.key"]);
    }
    assert!(sign(LET_IN, "1").contains("settings sha256:"));
    let mut table: toml::Table = daemon.read_policy("pro.toml").parse().expect("a tier's TOML");
    let binding = "[[authorizer]]\nmodule = \"modules/rego.wasm\"\nsettings_files = { policy = \"access.rego\" }\n\
                   signature = \"access.rego.sig\"\nsigned_settings = true\n";
    table.extend(format!("{binding}[trust]\nkeys = [{public:?}]\n").parse::<toml::Table>().expect("TOML"));
    daemon.write_policy("pro.toml", toml::to_string(&table).expect("written"));
    let rego =
        |tier: &Value| tier["policies"][1]["policy"] == "rego" && tier["policies"][1]["signed"]["settings"] == true;
    pro(&daemon, "the signed text to serve", |tier, _| tier["refused"].is_null() && rego(tier)).await;
    let token = daemon.token(&["acme"]);
    daemon.get("acme", TARGET, Some(&token)).await.expect(200);

    let shut = LET_IN.replace("developer", "nobody");
    daemon.write_policy("access.rego", &shut);
    refused(&daemon, &["rego.wasm", "its signature is for other settings"]).await;
    daemon.get("acme", TARGET, Some(&token)).await.expect(200);
    // With a signature of their own; and, once it is signed for good, the old text with its good signature.
    orbitd(&daemon, &["policy", "keygen", "--out", "stranger.key"]);
    sign_with(&shut, "2", "stranger.key");
    refused(&daemon, &["rego.wasm", "none of the tier's keys signed it"]).await;
    daemon.get("acme", TARGET, Some(&token)).await.expect(200);
    sign(&shut, "2");
    pro(&daemon, "the text that someone with a key signed", |tier, _| tier["refused"].is_null() && rego(tier)).await;
    wait::until("the new text to decide", seconds(30), || async {
        let status = daemon.get("acme", TARGET, Some(&token)).await.status.as_u16();
        if status == 403 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    sign(LET_IN, "1");
    refused(&daemon, &["version 1 of rego is older than version 2, which tier pro has accepted"]).await;
    assert_eq!(daemon.get("acme", TARGET, Some(&token)).await.status.as_u16(), 403, "the old text did not come back");
}
