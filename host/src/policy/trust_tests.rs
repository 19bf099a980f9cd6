use std::{fs, path::PathBuf, sync::Arc};

use serde_json::Value;

use super::{
    Isolation, Policies, PolicyOptions,
    remote::RemoteOptions,
    testing,
    trust::{Envelope, PrivateKey, Statement, settings_digest},
};
use crate::{ids::Digest, settings::DecisionLogSettings};

/// A tier whose router has a signature, or not; the other two are signed.
struct Signed {
    dir: tempfile::TempDir,
    key: PrivateKey,
}

impl Signed {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("policies")).expect("made");
        let key = PrivateKey::generate(&dir.path().join("key")).expect("made");
        let signed = Self { dir, key };
        signed.write("c.wasm", testing::renderer(r#"{"app":{}}"#));
        signed.write("a.wasm", testing::authorizer("user:default/alice"));
        signed.sign("c.wasm", "by-hand", "renderer", 1);
        signed.sign("a.wasm", "by-hand", "authorizer", 1);
        signed
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("policies").join(name)
    }
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("written");
    }
    fn sign(&self, module: &str, name: &str, world: &str, version: u64) {
        let digest = Digest::of(&fs::read(self.path(module)).expect("there"));
        let statement = Statement { digest, name: name.into(), world: world.into(), version, settings: None };
        let envelope = serde_json::to_string(&Envelope::sign(&statement, &self.key)).expect("JSON");
        self.write(&format!("{module}.sig"), envelope);
    }
    /// The router with these settings, as `own.sig`.
    fn sign_settings(&self, settings: &str, version: u64) {
        self.sign_settings_with(&self.key, settings, version);
    }
    fn sign_settings_with(&self, key: &PrivateKey, settings: &str, version: u64) {
        let digest = Digest::of(&fs::read(self.path("r.wasm")).expect("there"));
        let settings = Some(settings_digest(settings));
        let statement = Statement { digest, name: "by-hand".into(), world: "router".into(), version, settings };
        self.write("own.sig", serde_json::to_string(&Envelope::sign(&statement, key)).expect("JSON"));
    }
    /// Another router, signed with this version.
    fn router(&self, reason: &str, version: u64) {
        self.write("r.wasm", testing::router(404, reason));
        self.sign("r.wasm", "by-hand", "router", version);
    }
    fn tier(&self, trust: &str) {
        let text = format!(
            "[router]\nmodule = \"r.wasm\"\n[[authorizer]]\nmodule = \"a.wasm\"\n[renderer]\nmodule = \"c.wasm\"\n[trust]\n{trust}"
        );
        self.write("pro.toml", text);
    }
    fn open(&self) -> Arc<Policies> {
        Policies::open(PolicyOptions {
            folder: self.dir.path().join("policies"),
            cache_folder: self.dir.path().join("cache"),
            cache_key: [1; 32],
            isolation: Isolation::InProcess,
            rollouts_folder: Some(self.dir.path().join("rollouts")),
            remote: RemoteOptions::offline(self.dir.path().join("modules")),
            accepted_versions: Some(self.dir.path().join("versions.json")),
            decision_log: DecisionLogSettings::default(),
        })
        .expect("opened")
    }
}

/// Why the tier is refused; empty where it is not.
fn reason(policies: &Policies) -> String {
    let status: Value = serde_json::to_value(policies.status()).expect("JSON");
    status["tiers"][0]["refused"]["reason"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_tier_with_keys_takes_signed_modules_and_never_an_older_one() {
    let signed = Signed::new();
    signed.router("seven", 7);
    signed.tier(&format!("keys = [\"{}\"]\n", signed.key.public()));
    let policies = signed.open();
    assert_eq!(reason(&policies), "");
    let status = serde_json::to_value(policies.status()).expect("JSON");
    let shown = &status["tiers"][0]["policies"][0]["signed"];
    assert_eq!((&shown["version"], &shown["key"]), (&7.into(), &signed.key.public().id().into()));

    for (what, change, expect) in [
        (
            "unsigned",
            Box::new(|| fs::remove_file(signed.path("r.wasm.sig")).expect("removed")) as Box<dyn Fn()>,
            "not signed",
        ),
        ("older", Box::new(|| signed.router("six", 6)), "version 6 of by-hand is older than version 7"),
        ("another with the same version", Box::new(|| signed.router("other", 7)), "was accepted with another module"),
        ("of another name", Box::new(|| signed.sign("r.wasm", "another", "router", 9)), "signed as policy \"another\""),
        (
            "of another world",
            Box::new(|| signed.sign("r.wasm", "by-hand", "authorizer", 9)),
            "signed as \"authorizer\"",
        ),
        ("changed after signing", Box::new(|| signed.write("r.wasm", testing::router(404, "x"))), "for another module"),
    ] {
        change();
        let reloaded = policies.reload().await.expect("it looks");
        assert!(!reloaded.swapped, "{what}");
        let said = reason(&policies);
        assert!(said.contains(expect) && said.contains("[router] module r.wasm"), "{what}: {said}");
        signed.router("seven", 7);
        policies.reload().await.expect("it looks");
        assert_eq!(reason(&policies), "", "{what}: and back");
    }
    signed.router("eight", 8);
    assert!(policies.reload().await.expect("it looks").swapped);
    drop(policies);
    // A restart forgets nothing.
    signed.router("seven", 7);
    assert!(reason(&signed.open()).contains("older than version 8"));
    // The way back: the old module under a newer version.
    signed.router("seven", 9);
    assert_eq!(reason(&signed.open()), "");
}

#[tokio::test]
async fn a_strangers_signature_is_refused_even_where_none_is_required() {
    let signed = Signed::new();
    signed.router("one", 1);
    let stranger = PrivateKey::generate(&signed.dir.path().join("stranger")).expect("made");
    signed.tier(&format!("keys = [\"{}\"]\nrequired = false\n", stranger.public()));
    assert!(reason(&signed.open()).contains("none of the tier's keys signed it"));
    for module in ["r.wasm", "a.wasm", "c.wasm"] {
        fs::remove_file(signed.path(&format!("{module}.sig"))).expect("removed");
    }
    assert_eq!(reason(&signed.open()), "", "unsigned is allowed");
    signed.tier("keys = []\n");
    assert!(reason(&signed.open()).contains("[trust] has no keys"));
    signed.tier("keys = [\"ed25519:AAAA\"]\n");
    assert!(reason(&signed.open()).contains("no public key"));
}

#[tokio::test]
async fn a_binding_that_demands_it_takes_only_settings_that_were_signed() {
    let signed = Signed::new();
    signed.router("one", 1);
    let tier = |router: &str| {
        signed.tier(&format!("keys = [\"{}\"]\n", signed.key.public()));
        let text = fs::read_to_string(signed.path("pro.toml")).expect("there");
        signed.write("pro.toml", text.replace("\"r.wasm\"", &format!("\"r.wasm\"\nsigned_settings = true\n{router}")));
    };
    let bound = "signature = \"own.sig\"\nsettings = { limit = 3 }\nsettings_files = { policy = \"p.rego\" }";
    signed.write("p.rego", "allow if false");
    tier(bound);
    signed.sign_settings(r#"{"policy": "allow if false", "limit": 3}"#, 5);
    let policies = signed.open();
    assert_eq!(reason(&policies), "");
    let status = serde_json::to_value(policies.status()).expect("JSON");
    assert_eq!(status["tiers"][0]["policies"][0]["signed"]["settings"], true, "{status}");

    let said = async |policies: &Arc<Policies>| {
        policies.reload().await.expect("it looks");
        reason(policies)
    };
    // Who writes the folder and has no key: another text, other settings, an older text with its own signature, no signature.
    signed.write("p.rego", "allow if true");
    assert!(said(&policies).await.contains("for other settings"));
    signed.sign_settings(r#"{"policy": "allow if true", "limit": 3}"#, 4);
    assert!(said(&policies).await.contains("version 4 of by-hand is older than version 5"));
    signed.sign_settings(r#"{"policy": "allow if true", "limit": 3}"#, 5);
    assert!(said(&policies).await.contains("with other settings"));
    let stranger = PrivateKey::generate(&signed.dir.path().join("stranger")).expect("made");
    signed.sign_settings_with(&stranger, r#"{"policy": "allow if true", "limit": 3}"#, 6);
    assert!(said(&policies).await.contains("none of the tier's keys signed it"));
    signed.sign_settings(r#"{"policy": "allow if true", "limit": 3}"#, 6);
    assert_eq!(said(&policies).await, "", "the text of someone with a key");
    drop(policies);
    // A restart forgets no text that was replaced.
    signed.write("p.rego", "allow if false");
    signed.sign_settings(r#"{"policy": "allow if false", "limit": 3}"#, 5);
    assert!(reason(&signed.open()).contains("version 5 of by-hand is older than version 6"));
    signed.write("p.rego", "allow if true");
    signed.sign_settings(r#"{"policy": "allow if true", "limit": 3}"#, 6);
    let policies = signed.open();
    assert_eq!(reason(&policies), "");
    tier(&bound.replace("limit = 3", "limit = 4"));
    assert!(said(&policies).await.contains("for other settings"));
    tier(&bound.replace("signature = \"own.sig\"\n", ""));
    assert!(said(&policies).await.contains("must be signed, too"), "the module's own signature is not enough");
    fs::remove_file(signed.path("own.sig")).expect("removed");
    tier(bound);
    assert!(said(&policies).await.contains("signature own.sig does not exist"));
}

#[tokio::test]
async fn going_back_needs_a_key_that_is_trusted_now() {
    let signed = Signed::new();
    let trusting = |keys: &[&PrivateKey]| {
        let keys: Vec<String> = keys.iter().map(|key| format!("\"{}\"", key.public())).collect();
        signed.tier(&format!("keys = [{}]\n", keys.join(", ")));
    };
    let stolen = PrivateKey::generate(&signed.dir.path().join("stolen")).expect("made");
    let with = |key: &PrivateKey, reason: &str, version: u64| {
        let module = testing::router(404, reason);
        let (name, world) = ("by-hand".to_owned(), "router".to_owned());
        let statement = Statement { digest: Digest::of(&module), name, world, version, settings: None };
        signed.write("r.wasm", module);
        signed.write("r.wasm.sig", serde_json::to_string(&Envelope::sign(&statement, key)).expect("JSON"));
    };
    with(&stolen, "old", 1);
    trusting(&[&signed.key, &stolen]);
    let policies = signed.open();
    with(&signed.key, "new", 2);
    assert!(policies.reload().await.expect("it looks").swapped);
    // While the key is trusted the way back is open, although the version is older.
    policies.roll_back("pro", "router", None).await.expect("back");
    let serves = |policies: &Policies| {
        let status = serde_json::to_value(policies.status()).expect("JSON");
        status["tiers"][0]["policies"][0]["digest"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(serves(&policies), Digest::of(&testing::router(404, "old")).to_string());
    policies.resume("pro", "router").await.expect("forward again");

    trusting(&[&signed.key]);
    policies.reload().await.expect("it looks");
    let refused = policies.roll_back("pro", "router", None).await.expect_err("its key is out").to_string();
    assert!(refused.contains("can't be gone back to") && refused.contains("none of the tier's keys"), "{refused}");
    assert_eq!(serves(&policies), Digest::of(&testing::router(404, "new")).to_string());
    assert!(!policies.reload().await.expect("it looks").swapped && reason(&policies).is_empty(), "nothing was noted");
}

/// The way back is open to texts that were signed, and to these as they were signed: neither to one from before the binding demanded it,
/// nor to one that was changed where it is kept.
#[tokio::test]
async fn going_back_needs_a_text_that_was_signed() {
    let signed = Signed::new();
    signed.router("one", 1);
    let tier = |limit: u32, more: &str| {
        signed.tier(&format!("keys = [\"{}\"]\n", signed.key.public()));
        let text = fs::read_to_string(signed.path("pro.toml")).expect("there");
        let router = format!("\"r.wasm\"\nsettings = {{ limit = {limit} }}\n{more}");
        signed.write("pro.toml", text.replace("\"r.wasm\"", &router));
    };
    let demanded = |limit: u32, version: u64| {
        signed.sign_settings(&format!(r#"{{"limit": {limit}}}"#), version);
        tier(limit, "signature = \"own.sig\"\nsigned_settings = true\n");
    };
    tier(1, "");
    let policies = signed.open();
    demanded(2, 5);
    assert!(policies.reload().await.expect("it looks").swapped);
    let serves = |policies: &Policies| {
        let status = serde_json::to_value(policies.status()).expect("JSON");
        status["tiers"][0]["policies"][0]["settings_digest"].as_str().unwrap_or_default().to_owned()
    };
    let limit = |limit: u32| Digest::of(format!(r#"{{"limit":{limit}}}"#).as_bytes()).to_string();
    assert_eq!(serves(&policies), limit(2));
    let refused = policies.roll_back("pro", "router", None).await.expect_err("it was not signed").to_string();
    assert!(refused.contains("can't be gone back to") && refused.contains("must be signed, too"), "{refused}");
    assert_eq!(serves(&policies), limit(2), "nothing was changed");

    demanded(3, 6);
    assert!(policies.reload().await.expect("it looks").swapped);
    policies.roll_back("pro", "router", None).await.expect("its text was signed");
    assert_eq!(serves(&policies), limit(2));
    policies.resume("pro", "router").await.expect("forward again");
    drop(policies);
    let ledger = signed.dir.path().join("rollouts/ledger.json");
    let text = fs::read_to_string(&ledger).expect("a ledger");
    let changed = text.replace(r#"{\"limit\":2}"#, r#"{\"limit\":9}"#);
    assert_ne!(changed, text, "the text is kept there");
    fs::write(&ledger, changed).expect("written");
    let policies = signed.open();
    assert_eq!(serves(&policies), limit(3));
    let refused = policies.roll_back("pro", "router", None).await.expect_err("it was changed").to_string();
    assert!(refused.contains("can't be gone back to") && refused.contains("for other settings"), "{refused}");
    assert_eq!(serves(&policies), limit(3));
}
