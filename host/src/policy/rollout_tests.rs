//! Rollouts against a real folder and real (hand-written) modules.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use super::{remote::RemoteOptions, testing, *};
use crate::{
    ids::{Slug, TierName},
    settings::DecisionLogSettings,
};

const TIER: &str =
    "[router]\nmodule = \"r.wasm\"\n[[authorizer]]\nmodule = \"a.wasm\"\n[renderer]\nmodule = \"c.wasm\"\n";

struct Folder(tempfile::TempDir);

impl Folder {
    /// Routers that say `one` and `two`; the tier has these lines in `[router]`.
    fn new(router: &str) -> Self {
        let folder = Self(tempfile::tempdir().expect("a directory"));
        fs::create_dir(folder.0.path().join("policies")).expect("made");
        folder.write("r.wasm", testing::router(404, "one"));
        folder.write("n.wasm", testing::router(404, "two"));
        folder.write("a.wasm", testing::authorizer("user:default/alice"));
        folder.write("c.wasm", testing::renderer(r#"{"app":{}}"#));
        folder.tier(router);
        folder
    }
    fn tier(&self, router: &str) {
        self.write("pro.toml", TIER.replace("[[auth", &format!("{router}\n[[auth")));
    }
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.0.path().join("policies").join(name), bytes).expect("written");
    }
    fn open(&self) -> std::sync::Arc<Policies> {
        Policies::open(PolicyOptions {
            folder: self.0.path().join("policies"),
            cache_folder: self.0.path().join("cache"),
            cache_key: [1; 32],
            isolation: Isolation::InProcess,
            rollouts_folder: Some(self.0.path().join("rollouts")),
            remote: RemoteOptions::offline(self.0.path().join("modules")),
            accepted_versions: Some(self.0.path().join("versions.json")),
            decision_log: DecisionLogSettings { file: Some("/dev/null".into()), ..DecisionLogSettings::default() },
        })
        .expect("opened")
    }
}

fn ask(policies: &Policies, workspace: &str) -> String {
    let (workspace, tier): (Slug, TierName) = (workspace.parse().expect("a slug"), "pro".parse().expect("a tier"));
    let headers = http::HeaderMap::new();
    let facts =
        RequestFacts { workspace: &workspace, tier: &tier, method: "GET", path: "/", query: "", headers: &headers };
    match testing::at_once(policies.snapshot().tier(&tier).expect("the tier").route(&facts)) {
        Ok(Routing::Refuse(refusal)) => refusal.reason,
        Ok(other) => format!("{other:?}"),
        Err(failure) => failure.kind.as_str().to_owned(),
    }
}
fn router(policies: &Policies) -> Value {
    json!(policies.status())["tiers"][0]["policies"][0].clone()
}
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

const CANARY: &str = "[router.next]\nmodule = \"n.wasm\"\nmode = \"canary\"\nworkspaces = [\"acme\"]";

#[tokio::test]
async fn a_canary_is_promoted_and_taken_back_though_its_file_is_gone() {
    let folder = Folder::new(CANARY);
    let policies = folder.open();
    assert_eq!((ask(&policies, "acme").as_str(), ask(&policies, "globex").as_str()), ("two", "one"));
    assert_eq!(router(&policies)["next"]["mode"], "canary");
    policies.promote("pro", "router").await.expect("promoted");
    assert_eq!((ask(&policies, "acme").as_str(), ask(&policies, "globex").as_str()), ("two", "two"));
    assert_eq!(router(&policies)["serves"], "promoted");
    drop(policies);
    fs::remove_file(folder.0.path().join("policies/r.wasm")).expect("removed");
    folder.write("r.wasm", testing::router(404, "one"));
    let policies = folder.open();
    assert_eq!(ask(&policies, "globex"), "two", "a restart forgets nothing");
    policies.roll_back("pro", "router", Some("worse".to_owned())).await.expect("rolled back");
    assert_eq!(ask(&policies, "acme"), "one");
    let status = router(&policies);
    assert_eq!(
        (status["serves"].as_str(), status["next"]["reason"].as_str()),
        (Some("file"), Some("worse")),
        "{status}"
    );
    // Overwritten in place: the version before is only in the ledger now.
    folder.tier("");
    folder.write("r.wasm", testing::router(404, "three"));
    assert!(policies.reload().await.expect("it looks").swapped);
    assert_eq!(ask(&policies, "acme"), "three");
    policies.roll_back("pro", "router", None).await.expect("rolled back");
    assert_eq!(ask(&policies, "acme"), "one");
    let status = router(&policies);
    assert_eq!(
        (status["serves"].as_str(), status["held_back"]["by"].as_str()),
        (Some("rolled-back"), Some("operator"))
    );
    assert!(matches!(policies.roll_back("pro", "router", None).await, Err(RolloutError::Conflict(_))));
    policies.resume("pro", "router").await.expect("resumed");
    assert_eq!(ask(&policies, "acme"), "three", "the file decides");
    let what: Vec<String> = policies.status().events.iter().map(|event| event.what.clone()).collect();
    assert_eq!(what, ["promoted", "rolled-back", "rolled-back", "resumed"]);
    for (tier, binding, named) in [("gold", "router", "gold"), ("pro", "authorizer-2", "authorizer, renderer")] {
        let error = policies.promote(tier, binding).await.expect_err("not there");
        assert!(matches!(error, RolloutError::NotFound(_)) && error.to_string().contains(named), "{error}");
    }
}

#[tokio::test]
async fn a_shadow_decides_nothing_and_its_differences_are_shown() {
    let folder = Folder::new("[router.next]\nmodule = \"n.wasm\"\nmode = \"shadow\"");
    let policies = folder.open();
    for _ in 0..5 {
        assert_eq!(ask(&policies, "acme"), "one");
    }
    let differences = || router(&policies)["next"]["differences"].clone();
    until("the comparisons", || differences()["different"] == 5);
    let sample = differences()["samples"][0].clone();
    assert_eq!((sample["count"].as_u64(), sample["active"]["reason"].as_str()), (Some(5), Some("one")), "{sample}");
    assert_eq!((sample["next"]["reason"].as_str(), sample["workspace"].as_str()), (Some("two"), Some("acme")));
    folder.write("n.wasm", testing::router(404, "one-more").clone());
    policies.reload().await.expect("it looks");
    assert_eq!(differences()["different"], 0, "another version is another trial");
}

#[tokio::test]
async fn a_canary_that_traps_is_rolled_back_by_its_budget() {
    let folder = Folder::new(CANARY);
    folder.write("n.wasm", testing::trapping_router());
    let policies = folder.open();
    let answers: Vec<String> = (0..30).map(|_| ask(&policies, "acme")).collect();
    assert_eq!(answers.iter().filter(|answer| *answer == "trap").count(), 20, "it fails closed: {answers:?}");
    assert_eq!(answers[29], "one", "and is out at once when its budget is spent");
    policies.enforce_budgets();
    let next = router(&policies)["next"].clone();
    assert_eq!((next["mode"].as_str(), next["by"].as_str()), (Some("rolled-back"), Some("error-budget")), "{next}");
    assert!(next["reason"].as_str().is_some_and(|reason| reason.contains("20 of 20")), "{next}");
    assert!(!policies.reload().await.expect("it looks").swapped, "it stays out");
    assert_eq!(ask(&policies, "acme"), "one");
}

#[tokio::test]
async fn a_saved_version_that_traps_gives_way_to_the_one_before() {
    let folder = Folder::new("[router.budget]\nmin_decisions = 5");
    let policies = folder.open();
    assert_eq!(ask(&policies, "acme"), "one");
    folder.write("r.wasm", testing::trapping_router());
    policies.reload().await.expect("it looks");
    let failed = (0..10).filter(|_| ask(&policies, "acme") == "trap").count();
    assert!(failed >= 5);
    policies.enforce_budgets();
    assert_eq!(ask(&policies, "acme"), "one", "from the ledger: its file is overwritten");
    let status = router(&policies);
    assert_eq!(
        (status["serves"].as_str(), status["held_back"]["by"].as_str()),
        (Some("rolled-back"), Some("error-budget"))
    );
}

#[tokio::test]
async fn a_first_version_that_traps_is_cut_off_by_its_breaker() {
    let folder = Folder::new("");
    folder.write("r.wasm", testing::trapping_router());
    let policies = folder.open();
    let answers: Vec<String> = (0..30).map(|_| ask(&policies, "acme")).collect();
    assert_eq!((answers[0].as_str(), answers[29].as_str()), ("trap", "unavailable"), "{answers:?}");
    assert_eq!(router(&policies)["breaker"]["open"], true);
    assert!(router(&policies)["trial"].is_null(), "nothing to go back to");
}

#[tokio::test]
async fn answers_are_remembered_until_a_swap_and_only_where_it_is_on() {
    let folder = Folder::new("");
    let policies = folder.open();
    let mut seen = 0;
    let mut remembered = |policies: &Policies| {
        ask(policies, "acme");
        policies.flush_decisions(Duration::from_secs(30));
        let (lines, _) = policies.recent_decisions();
        assert_eq!(lines.len(), seen + 1);
        seen += 1;
        lines.last().expect("a line").text.contains("\"remembered\":true")
    };
    assert!(!remembered(&policies) && remembered(&policies));
    folder.write("r.wasm", testing::router(404, "two"));
    policies.reload().await.expect("it looks");
    assert!(!remembered(&policies) && remembered(&policies), "a swap empties the memory");
    folder.tier("[router.settings]\na = 1");
    policies.reload().await.expect("it looks");
    assert!(!remembered(&policies), "other settings, other answers");
    folder.write("pro.toml", TIER.replace("\"r.wasm\"", "\"r.wasm\"\nmemory = false"));
    policies.reload().await.expect("it looks");
    assert!(!remembered(&policies) && !remembered(&policies), "off");
    assert_eq!(router(&policies)["memory"], false);
}
