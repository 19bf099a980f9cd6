use std::{fs, path::PathBuf, sync::Arc};

use serde_json::Value;

use super::{
    Isolation, Policies, PolicyOptions,
    remote::RemoteOptions,
    testing,
    trust::{Envelope, PrivateKey, Statement},
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
        let statement = Statement { digest, name: name.into(), world: world.into(), version };
        let envelope = serde_json::to_string(&Envelope::sign(&statement, &self.key)).expect("JSON");
        self.write(&format!("{module}.sig"), envelope);
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
