//! Loading and swapping against a real folder and real (hand-written) modules.

use std::{fs, path::Path, time::Duration};

use serde_json::Map;
use tokio_util::sync::CancellationToken;

use super::{remote::RemoteOptions, testing, *};
use crate::{
    ids::{Slug, TierName},
    settings::DecisionLogSettings,
};

const TIER: &str = r#"
[router]
module = "r.wasm"
[[authorizer]]
module = "a.wasm"
[renderer]
module = "c.wasm"
"#;

struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let folder = Self { dir: tempfile::tempdir().expect("a directory") };
        fs::create_dir(folder.path()).expect("made");
        folder.write("r.wasm", testing::router(404, "one"));
        folder.write("a.wasm", testing::authorizer("user:default/alice"));
        folder.write("c.wasm", testing::renderer(r#"{"app":{}}"#));
        folder.write("pro.toml", TIER);
        folder
    }
    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("policies")
    }
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), bytes).expect("written");
    }
    fn open(&self) -> std::sync::Arc<Policies> {
        Policies::open(PolicyOptions {
            folder: self.path(),
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

fn pro() -> TierName {
    "pro".parse().expect("a tier")
}
fn ask(set: &PolicySet) -> String {
    let (workspace, tier): (Slug, TierName) = ("acme".parse().expect("a slug"), pro());
    let headers = http::HeaderMap::new();
    let facts =
        RequestFacts { workspace: &workspace, tier: &tier, method: "GET", path: "/", query: "", headers: &headers };
    match testing::at_once(set.tier(&tier).expect("the tier").route(&facts)) {
        Ok(Routing::Refuse(refusal)) => refusal.reason,
        other => format!("{other:?}"),
    }
}
async fn wait_for(policies: &Policies, until: impl Fn(&Policies) -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !until(policies) {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {:?}", policies.status());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn all_three_worlds_answer() {
    let folder = Folder::new();
    let set = folder.open().snapshot();
    assert_eq!((ask(&set).as_str(), set.version()), ("one", 1));
    let (workspace, tier): (Slug, TierName) = ("acme".parse().expect("a slug"), pro());
    let headers = http::HeaderMap::new();
    let facts =
        RequestFacts { workspace: &workspace, tier: &tier, method: "GET", path: "/", query: "", headers: &headers };
    let policies = set.tier(&tier).expect("the tier");
    let claims = Map::new();
    let allowed = testing::at_once(policies.authorize(&facts, None, &claims));
    let Ok(Authorization::Allow(user)) = allowed else { panic!("{allowed:?}") };
    assert_eq!(user.ownership, ["user:default/alice"]);
    let input = RenderInput {
        workspace: &workspace,
        tier: &tier,
        public_url: "http://acme.localhost",
        app_config: &Map::new(),
        plugins: None,
    };
    assert!(policies.render(&input).expect("rendered").app_config.contains_key("app"));
}

#[tokio::test]
async fn of_a_chain_of_authorizers_all_must_allow_and_the_first_one_s_user_counts() {
    let folder = Folder::new();
    for (name, bytes) in [
        ("bob.wasm", testing::authorizer("user:default/bob")),
        ("no.wasm", testing::denying_authorizer("not today")),
        ("trap.wasm", testing::trapping_authorizer()),
    ] {
        folder.write(name, bytes);
    }
    let policies = folder.open();
    let (workspace, tier): (Slug, TierName) = ("acme".parse().expect("a slug"), pro());
    let headers = http::HeaderMap::new();
    for (chain, expected) in [
        (["a.wasm", "bob.wasm"], "alice"),
        (["bob.wasm", "a.wasm"], "bob"),
        (["a.wasm", "no.wasm"], "not today"),
        (["no.wasm", "trap.wasm"], "not today"),
        (["trap.wasm", "a.wasm"], "Trap"),
        (["a.wasm", "trap.wasm"], "Trap"),
    ] {
        let bindings = chain.map(|module| format!("[[authorizer]]\nmodule = \"{module}\"\n")).join("");
        folder.write("pro.toml", TIER.replace("[[authorizer]]\nmodule = \"a.wasm\"\n", &bindings));
        assert!(policies.reload().await.expect("it looks").refused.is_empty(), "{chain:?}");
        let facts =
            RequestFacts { workspace: &workspace, tier: &tier, method: "GET", path: "/", query: "", headers: &headers };
        let set = policies.snapshot();
        let said = set.tier(&tier).expect("the tier").authorize(&facts, None, &Map::new()).await;
        assert!(format!("{said:?}").contains(expected), "{chain:?}: {said:?}");
    }
}

#[test]
fn an_answer_that_breaks_the_contract_is_a_failure() {
    let folder = Folder::new();
    folder.write("r.wasm", testing::router(200, "fine"));
    folder.write("a.wasm", testing::authorizer("group:default/admins"));
    folder.write("c.wasm", testing::renderer("[1]"));
    let set = folder.open().snapshot();
    assert!(ask(&set).contains("Contract"), "{}", ask(&set));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_module_swaps_and_a_request_keeps_its_set() {
    let folder = Folder::new();
    let policies = folder.open();
    let cancel = CancellationToken::new();
    let watch = tokio::spawn(policies.clone().watch(cancel.clone()));
    let held = policies.snapshot();
    folder.write("r.wasm", testing::router(404, "two"));
    wait_for(&policies, |policies| ask(&policies.snapshot()) == "two").await;
    assert_eq!(ask(&held), "one", "a request finishes on the set it began with");
    let status = policies.status();
    let tier = status.tier(&pro()).expect("its status");
    assert_eq!(
        tier.policies.iter().map(|binding| binding.active.set_version).collect::<Vec<_>>(),
        [2, 1, 1],
        "only one is new"
    );
    let old = std::sync::Arc::downgrade(&held);
    drop(held);
    assert!(old.upgrade().is_none(), "the old set goes with its last request");
    cancel.cancel();
    watch.await.expect("it ends");
}

#[tokio::test]
async fn a_broken_change_is_named_and_the_old_policies_stay() {
    let folder = Folder::new();
    let policies = folder.open();
    let good = testing::router(404, "one");
    for (name, bytes, expect) in [
        ("r.wasm", good[..good.len() / 2].to_vec(), "[router] module r.wasm"),
        ("r.wasm", b"hello".to_vec(), "no WebAssembly file"),
        ("r.wasm", testing::renderer("{}"), "this is a renderer, the binding asks for a router"),
        ("pro.toml", TIER.replace("module = \"r.wasm\"", "modul = \"r.wasm\"").into_bytes(), "line 3"),
        ("pro.toml", TIER.replace("r.wasm", "../r.wasm").into_bytes(), "inside the policies folder"),
        ("pro.toml", b"".to_vec(), "router"),
    ] {
        folder.write(name, &bytes);
        let reloaded = policies.reload().await.expect("it looks");
        assert!(!reloaded.swapped);
        let reason = &reloaded.refused.first().expect("refused").1;
        assert!(reason.contains(expect) && reason.contains("pro.toml"), "{reason}");
        assert_eq!(ask(&policies.snapshot()), "one");
        let status = policies.status();
        let tier = status.tier(&pro()).expect("its status");
        assert!(tier.serving && tier.refused.is_some() && tier.policies.len() == 3);
        folder.write("r.wasm", &good);
        folder.write("pro.toml", TIER);
    }
    let reloaded = policies.reload().await.expect("it looks");
    assert!(!reloaded.swapped && reloaded.refused.is_empty(), "back to what was loaded: nothing new");
    assert!(policies.status().tier(&pro()).expect("its status").refused.is_none());
}

/// Row by row what tells versions apart: here what may be compiled.
#[tokio::test]
async fn a_change_of_the_class_alone_is_a_new_version() {
    let folder = Folder::new();
    // Resource handles: only interpreters may have them.
    let mut module = testing::router(404, "one");
    module
        .extend_from_slice(&wat::parse_str("(component (type (resource (rep i32))))").expect("well-formed text")[8..]);
    folder.write("r.wasm", module);
    let language = TIER.replace(
        "\"r.wasm\"",
        "\"r.wasm\"\nclass = \"language\"\nlimits = { budget_ms = 20, memory_bytes = 1_048_576 }",
    );
    folder.write("free.toml", &language);
    let policies = folder.open();
    assert_eq!(
        policies.snapshot().tiers().map(ToString::to_string).collect::<Vec<_>>(),
        ["free"],
        "pro's class is the other"
    );
    let plain = language.replace("class = \"language\"\n", "");
    folder.write("pro.toml", &language);
    folder.write("free.toml", &plain);
    let refused = policies.reload().await.expect("it looks").refused;
    assert!(refused.len() == 1 && refused[0].0 == "free" && refused[0].1.contains("resource handles"), "{refused:?}");
    assert!(!refused[0].1.contains("class = "), "no interpreter is in it: {refused:?}");
}

#[tokio::test]
async fn one_broken_tier_does_not_hold_up_another() {
    let folder = Folder::new();
    folder.write("free.toml", "[router]\n");
    folder.write("Not A Tier.toml", TIER);
    let policies = folder.open();
    let tiers: Vec<String> = policies.snapshot().tiers().map(ToString::to_string).collect();
    assert_eq!(tiers, ["pro"]);
    assert_eq!(policies.status().tiers.iter().filter(|tier| tier.refused.is_some()).count(), 2);
    folder.write("free.toml", TIER);
    assert!(policies.reload().await.expect("it looks").swapped);
    assert_eq!(policies.snapshot().tiers().count(), 2);
    fs::remove_file(folder.path().join("free.toml")).expect("removed");
    assert!(policies.reload().await.expect("it looks").swapped, "an explicit reload drops a tier");
    assert_eq!(policies.snapshot().tiers().count(), 1);
}

#[test]
fn an_explanation_shows_each_step_and_stops_where_a_request_would() {
    let folder = Folder::new();
    let set = folder.open().snapshot();
    let asked: ExplainRequest =
        serde_json::from_str(r#"{"workspace": "acme", "path": "/api/x?secret=1"}"#).expect("a request");
    let explanation = set.explain(&pro(), &asked, &http::HeaderMap::new()).expect("the tier");
    let steps: Vec<(&str, bool)> =
        explanation.steps.iter().map(|step| (step.binding.as_str(), step.said.is_some())).collect();
    assert_eq!(steps, [("router", true), ("authorizer", false)], "a refused request asks no authorizer");
    assert_eq!(explanation.outcome["refuse"]["reason"], "one");
    let saw = serde_json::to_string(&explanation.steps[0].saw).expect("JSON");
    assert_eq!(saw, r#"{"workspace":"acme","tier":"pro"}"#, "it declared nothing, so nothing is shown");
    assert!(set.explain(&"free".parse().expect("a tier"), &asked, &http::HeaderMap::new()).is_none());
}

#[tokio::test]
async fn a_module_that_fails_its_own_cases_is_not_swapped_in() {
    let folder = Folder::new();
    folder.write("r.test.toml", "[[case]]\nname = \"says one\"\nexpect.refuse.reason = \"one\"\n");
    folder.write("pro.toml", TIER.replace("\"r.wasm\"", "\"r.wasm\"\ntests = \"r.test.toml\""));
    let policies = folder.open();
    assert_eq!(ask(&policies.snapshot()), "one");
    folder.write("r.wasm", testing::router(404, "two"));
    let reloaded = policies.reload().await.expect("it looks");
    let reason = &reloaded.refused.first().expect("refused").1;
    assert!(!reloaded.swapped && reason.contains("fails 1 of 1 cases of r.test.toml"), "{reason}");
    assert!(reason.contains("\"says one\": refuse.reason: expected \"one\", got \"two\""), "{reason}");
    assert_eq!(ask(&policies.snapshot()), "one");
    folder.write("r.test.toml", "[[case]]\nname = \"says two\"\nexpect.refuse.reason = \"two\"\n");
    assert!(policies.reload().await.expect("it looks").swapped, "other cases let it in");
    assert_eq!(ask(&policies.snapshot()), "two");
    // Cases alone: the policy that serves is judged again, and what it fails is said.
    folder.write("r.test.toml", "[[case]]\nname = \"x\"\nexpect.forward = {}\n");
    assert_eq!(policies.reload().await.expect("it looks").refused.len(), 1);
    folder.write("r.test.toml", "[[case]]\nname = \"x\"\nexpct.forward = {}\n");
    let refused = policies.reload().await.expect("it looks").refused;
    assert!(refused[0].1.contains("r.test.toml") && refused[0].1.contains("expct"), "{refused:?}");
    fs::remove_file(folder.path().join("r.test.toml")).expect("removed");
    let refused = policies.reload().await.expect("it looks").refused;
    assert!(refused[0].1.contains("tests r.test.toml does not exist"), "{refused:?}");
}

#[tokio::test]
async fn settings_that_do_not_fit_the_module_s_schema_are_named_with_their_line() {
    let folder = Folder::new();
    let policies = folder.open();
    let schema = r#"{"type": "object", "additionalProperties": false, "properties": {"b": {"type": "array", "items": {"type": "string"}}}}"#;
    folder.write("r.wasm", testing::router_with_schema(schema));
    let with = |lines: &str| TIER.replace("module = \"r.wasm\"", &format!("module = \"r.wasm\"\n{lines}"));
    let refusal = async |lines: &str| {
        folder.write("pro.toml", with(lines));
        policies.reload().await.expect("it looks").refused.first().map(|(_, reason)| reason.clone()).unwrap_or_default()
    };
    assert_eq!(refusal("[router.settings]\nb = [\"x\"]").await, "");
    let reason = refusal("[router.settings]\nb = [\n  \"x\",\n  7,\n]").await;
    assert!(reason.contains("pro.toml: [router]") && reason.contains("router.settings.b[1] (line 7): 7"), "{reason}");
    let reason = refusal("[router.settings]\nc = 1").await;
    assert!(reason.contains("router.settings (line 4)") && reason.contains("'c'"), "{reason}");
    let reason = refusal("[router.next]\nmode = \"shadow\"\n[router.next.settings]\nb = 1").await;
    assert!(reason.contains("router.next.settings.b (line 7)"), "{reason}");
    folder.write("r.wasm", testing::router_with_schema("{\"type\": 7}"));
    let reason = refusal("").await;
    assert!(reason.contains("its settings schema is no valid schema"), "{reason}");
}

#[test]
fn a_missing_folder_says_which() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = PolicyOptions {
        folder: Path::new("/nonexistent/policies").to_owned(),
        cache_folder: dir.path().join("cache"),
        cache_key: [1; 32],
        isolation: Isolation::InProcess,
        rollouts_folder: None,
        remote: RemoteOptions::offline(dir.path().join("modules")),
        accepted_versions: Some(dir.path().join("versions.json")),
        decision_log: DecisionLogSettings::default(),
    };
    let error = Policies::open(options).err().expect("no folder").to_string();
    assert!(error.contains("/nonexistent/policies"), "{error}");
}
