use std::{fs, path::Path};

use super::*;
use crate::{ids::Digest, policy::metrics::PolicyMetrics};

fn recorder(settings: DecisionLogSettings) -> (Arc<Recorder>, PolicyMetrics) {
    let metrics = PolicyMetrics::default();
    (Recorder::start(&settings, metrics.log().clone()).expect("started"), metrics)
}

fn entry(n: usize) -> Entry {
    Entry {
        at: SystemTime::now(),
        info: Arc::new(PolicyInfo::example("router", Digest::of(b"module"))),
        inputs: Arc::from(vec!["header:authorization".to_owned()]),
        mode: "active",
        remembered: false,
        view: OwnedView {
            workspace: "acme".into(),
            tier: "pro".into(),
            headers: vec![("authorization".into(), format!("canary-{n}"))],
            ..OwnedView::default()
        },
        decision: Decision::Refuse { status: 404, reason: format!("number {n}, canary-{n}") },
        took: Duration::from_micros(7),
    }
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[test]
fn a_line_reads_back_as_a_record_and_holds_no_secret() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("decisions.jsonl");
    let (recorder, _) = recorder(DecisionLogSettings { file: Some(path.clone()), ..DecisionLogSettings::default() });
    let tap = recorder.tap("pro");
    assert!(tap.begin().is_some());
    (0..3).for_each(|n| tap.record(|| entry(n)));
    recorder.flush(Duration::from_secs(10));
    let text = fs::read_to_string(&path).expect("there");
    assert!(!text.contains("canary"), "{text}");
    let record: Record = serde_json::from_str(text.lines().next().expect("a line")).expect("a record");
    assert_eq!(
        (record.workspace.as_str(), record.masked.join(" ")),
        ("acme", "header:authorization decision".to_owned())
    );
    assert_eq!(record.decision, Decision::Refuse { status: 404, reason: "number 0, ***".into() });
    assert_eq!(recorder.recent().len(), 3);
}

#[test]
fn every_kind_of_decision_reads_back() {
    let (status, reason) = (403, "no".to_owned());
    let plugins = vec!["app".to_owned()];
    for decision in [
        Decision::Forward { plugin: "catalog".into(), timeout_ms: 5 },
        Decision::Refuse { status, reason: reason.clone() },
        Decision::Allow { user: "user:default/a".into(), ownership: vec!["user:default/a".into()] },
        Decision::Deny { status, reason: reason.clone() },
        Decision::Render { config_digest: Digest::of(b"config"), plugins },
        Decision::Fail { kind: crate::policy::FailureKind::Trap, reason },
    ] {
        let (recorder, _) =
            recorder(DecisionLogSettings { file: Some("/dev/null".into()), ..DecisionLogSettings::default() });
        recorder.tap("pro").record(|| Entry { decision: decision.clone(), view: OwnedView::default(), ..entry(0) });
        recorder.flush(Duration::from_secs(10));
        let line = recorder.recent().pop().expect("a line");
        let record: Record = serde_json::from_str(&line.text).unwrap_or_else(|error| panic!("{error}: {}", line.text));
        assert_eq!((record.decision, record.digest), (decision, Digest::of(b"module")));
    }
}

#[test]
fn drops_are_counted_and_told_in_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("decisions.jsonl");
    let (recorder, metrics) =
        recorder(DecisionLogSettings { file: Some(path.clone()), queue: 4, ..DecisionLogSettings::default() });
    let tap = recorder.tap("pro");
    // That this ends, and drops, shows that nobody waits for the file.
    (0..20_000).for_each(|n| tap.record(|| entry(n)));
    // The thread tells of them with its next look.
    let deadline = Instant::now() + Duration::from_secs(60);
    let (written, dropped) = loop {
        let all = lines(&path);
        let dropped: u64 = all.iter().filter_map(|line| line["dropped"].as_u64()).sum();
        let written = all.iter().filter(|line| line["id"].is_string()).count() as u64;
        if written + dropped == 20_000 {
            break (written, dropped);
        }
        assert!(Instant::now() < deadline, "{written} written, {dropped} dropped");
        std::thread::yield_now();
    };
    assert!(written > 0 && dropped > 0 && metrics.log().dropped_so_far("queue") == dropped);
}

#[test]
fn a_full_disk_loses_lines_and_nothing_else() {
    let (recorder, metrics) =
        recorder(DecisionLogSettings { file: Some("/dev/full".into()), ..DecisionLogSettings::default() });
    let tap = recorder.tap("pro");
    (0..10).for_each(|n| tap.record(|| entry(n)));
    recorder.flush(Duration::from_secs(10));
    assert_eq!(metrics.log().dropped_so_far("file"), 10);
    assert_eq!(recorder.recent().len(), 10, "a look still shows them");
}

#[tokio::test]
async fn it_is_on_while_somebody_follows_and_a_slow_one_misses_some() {
    let (recorder, metrics) = recorder(DecisionLogSettings::default());
    let tap = recorder.tap("pro");
    assert!(tap.begin().is_none(), "off");
    let mut follower = recorder.follow().expect("a place");
    assert!(tap.begin().is_some(), "on");
    for n in 0..MAX_BEHIND + 100 {
        tap.record(|| entry(n));
        if n % 100 == 0 {
            recorder.flush(Duration::from_secs(10));
        }
    }
    recorder.flush(Duration::from_secs(10));
    let Some(Followed::Missed(missed)) = follower.next().await else { panic!("it was too slow") };
    assert!(missed >= 100 && metrics.log().dropped_so_far("follower") == missed);
    let Some(Followed::Line(line)) = follower.next().await else { panic!("and goes on") };
    assert!(line.text.contains("number"));
    drop(follower);
    assert!(tap.begin().is_none(), "off again");
}

#[test]
fn a_tier_s_share_is_sampled() {
    let settings = DecisionLogSettings {
        file: Some("/dev/null".into()),
        tiers: [("free".to_owned(), Share::percent(10)), ("off".to_owned(), Share::NONE)].into(),
        ..DecisionLogSettings::default()
    };
    let (recorder, _) = recorder(settings);
    let taken = |tier| (0..10_000).filter(|_| recorder.tap(tier).begin().is_some()).count();
    assert!((700..1_300).contains(&taken("free")), "{}", taken("free"));
    assert_eq!((taken("off"), taken("pro")), (0, 10_000));
}
