//! A decision log against a candidate: what would it have said? Pure but for asking the candidate.
//!
//! Only what is known is replayed: a decision of which the candidate needs an input that is masked in the log, or that the logged policy
//! did not declare, is counted with that reason instead of guessed at.

use std::{
    collections::BTreeMap,
    io::{self, BufRead},
};

use orbit_engine::Inputs;
use serde::Serialize;

use super::{
    decision_log::{DECISION, Decision, Record, Seen},
    role::{Decides, Failed, PerRequest},
    single::Single,
    view::{OwnedView, declared},
};

/// Bytes of a line; a longer one is no decision.
const MAX_LINE: u64 = 1 << 20;
/// Examples of each kind of change.
const EXAMPLES: usize = 3;
/// Kinds of changes that are told apart; past it they count as "other changes".
const MAX_KINDS: usize = 200;

/// What a log came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Replay {
    /// Decisions that the candidate was asked again.
    pub replayed: u64,
    /// Of them with the same outcome.
    pub same: u64,
    /// The others, the most frequent first.
    pub changes: Vec<Change>,
    /// Decisions that can't be replayed, by reason.
    pub not_replayable: BTreeMap<String, u64>,
    /// Lines of other bindings, of versions in the shadow, of drops.
    pub others: u64,
    /// Lines that are no decisions.
    pub unreadable: u64,
}

/// One kind of change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// What the log says: `deny 403`.
    pub was: String,
    /// What the candidate says.
    pub now: String,
    /// How many.
    pub count: u64,
    /// The first ones.
    pub examples: Vec<Example>,
}

/// A changed decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// In the log.
    pub id: String,
    /// Whose request.
    pub workspace: String,
    /// Which class.
    pub tier: String,
    /// What both versions saw.
    pub seen: Seen,
    /// What the log says.
    pub was: Decision,
    /// What the candidate says.
    pub now: Decision,
}

/// Which lines count.
#[derive(Debug, Clone, Default)]
pub struct Chosen {
    /// The binding that the candidate would take: `authorizer-2`; none is the first one of its world.
    pub binding: Option<String>,
    /// Only of this tier.
    pub tier: Option<String>,
}

impl Replay {
    /// Decisions with another outcome.
    pub fn changed(&self) -> u64 {
        self.changes.iter().map(|change| change.count).sum()
    }
}

/// Asks `candidate` what the log's decisions were about. A renderer's inputs are not logged: it has nothing to replay.
///
/// # Errors
/// The log can't be read.
pub fn replay(log: impl BufRead, candidate: &Single, chosen: &Chosen) -> io::Result<Replay> {
    match candidate {
        Single::Router(policy) => through(log, policy, "router", chosen),
        Single::Authorizer(policy) => through(log, policy, "authorizer", chosen),
        Single::Renderer(_) => {
            let reason = "a renderer's inputs are the workspace's config, which is not logged".to_owned();
            Ok(Replay { not_replayable: [(reason, 1)].into(), ..Replay::default() })
        }
    }
}

fn through<P: PerRequest>(mut log: impl BufRead, policy: &P, world: &str, chosen: &Chosen) -> io::Result<Replay> {
    let binding = chosen.binding.as_deref().unwrap_or(world);
    let needs = declared(policy.inputs());
    let mut outcome = Replay::default();
    let mut kinds: BTreeMap<(String, String), Change> = BTreeMap::new();
    let mut line = Vec::new();
    while next_line(&mut log, &mut line)? {
        if line.is_empty() {
            continue;
        }
        let Ok(record) = serde_json::from_slice::<Record>(&line) else {
            let told = serde_json::from_slice::<serde_json::Value>(&line).is_ok_and(|line| line["dropped"].is_u64());
            *if told { &mut outcome.others } else { &mut outcome.unreadable } += 1;
            continue;
        };
        let wanted = record.binding == binding
            && record.mode != "shadow"
            && chosen.tier.as_ref().is_none_or(|tier| *tier == record.tier);
        if !wanted {
            outcome.others += 1;
            continue;
        }
        if let Some(reason) = obstacle(&needs, &record) {
            *outcome.not_replayable.entry(reason).or_default() += 1;
            continue;
        }
        outcome.replayed += 1;
        let view = narrowed(policy.inputs(), &record);
        let now = policy.ask(&view.view()).as_ref().map_or_else(Failed::decision, <P as Decides>::decision);
        if now.same_as(&record.decision) {
            outcome.same += 1;
            continue;
        }
        let mut kind = labels(&record.decision, &now);
        if kinds.len() >= MAX_KINDS && !kinds.contains_key(&kind) {
            kind = ("other".to_owned(), "other".to_owned());
        }
        let change = kinds.entry(kind).or_insert_with_key(|(was, now)| {
            let (was, now) = (was.clone(), now.clone());
            Change { was, now, count: 0, examples: Vec::new() }
        });
        change.count += 1;
        if change.examples.len() < EXAMPLES {
            let Record { id, workspace, tier, seen, decision, .. } = record;
            change.examples.push(Example { id, workspace, tier, seen, was: decision, now });
        }
    }
    outcome.changes = kinds.into_values().collect();
    outcome.changes.sort_by_key(|change| std::cmp::Reverse(change.count));
    Ok(outcome)
}

/// The next line without its end; of one that is too long, nothing that could be taken for a decision.
fn next_line(log: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = io::Read::take(&mut *log, MAX_LINE).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if read as u64 == MAX_LINE {
        *line = b"too long".to_vec();
        log.skip_until(b'\n')?;
    }
    Ok(true)
}

/// Why a decision can't be replayed, if it can't.
fn obstacle(needs: &[String], record: &Record) -> Option<String> {
    if matches!(&record.decision, Decision::Fail { kind: super::FailureKind::Unavailable, .. }) {
        return Some("the logged policy was not asked (its breaker was open, or no sandbox was free)".to_owned());
    }
    if record.masked.iter().any(|masked| masked == DECISION) {
        return Some("its decision is masked in part".to_owned());
    }
    let masked = needs.iter().find(|need| record.masked.contains(need));
    if let Some(need) = masked {
        return Some(format!("{need} is masked in the log"));
    }
    let missing = needs.iter().find(|need| !record.inputs.contains(need))?;
    Some(format!("{missing} is not in the log: the logged policy did not declare it"))
}

/// What the candidate sees of a record.
fn narrowed(inputs: &Inputs, record: &Record) -> OwnedView {
    let seen = &record.seen;
    let only_if = |declared: bool, part: &str| if declared { part.to_owned() } else { String::new() };
    let headers = inputs.headers.iter().flat_map(|name| seen.headers.iter().filter(move |(known, _)| known == name));
    let claims = inputs.claims.iter().filter_map(|name| Some((name.clone(), seen.claims.get(name)?.to_string())));
    OwnedView {
        workspace: record.workspace.clone(),
        tier: record.tier.clone(),
        method: only_if(inputs.method, &seen.method),
        path: only_if(inputs.path, &seen.path),
        query: only_if(inputs.query, &seen.query),
        headers: headers.cloned().collect(),
        plugin: seen.plugin.clone(),
        claims: claims.collect(),
    }
}

/// Two decisions in words that group: users and reasons are left out, unless nothing else differs.
fn labels(was: &Decision, now: &Decision) -> (String, String) {
    let label = |decision: &Decision| match decision {
        Decision::Allow { .. } => "allow".to_owned(),
        other => other.to_string(),
    };
    let (was_label, now_label) = (label(was), label(now));
    if was_label != now_label {
        return (was_label, now_label);
    }
    let differs = match (was, now) {
        (Decision::Allow { user: a, .. }, Decision::Allow { user: b, .. }) if a != b => "as another user",
        (Decision::Allow { .. }, _) => "with other ownership",
        (Decision::Forward { .. }, _) => "with another timeout",
        _ => "with another reason",
    };
    (was_label, format!("{now_label} {differs}"))
}

#[cfg(test)]
mod tests {
    use orbit_engine::{Compiler, Isolation, Runtime, World};
    use serde_json::json;

    use super::*;
    use crate::policy::{Class, testing};

    fn candidate(bytes: &[u8], world: World) -> Single {
        let compiler =
            Compiler::new(Runtime::start().expect("an engine"), Isolation::InProcess, None).expect("a compiler");
        let compiled = compiler.compile(bytes).expect("compiled");
        Single::load(&compiler, &compiled, world, "{}", Class::Policy.default_limits(world)).expect("loaded")
    }
    fn record(binding: &str, decision: serde_json::Value) -> serde_json::Value {
        let digest = crate::ids::Digest::of(b"m").to_string();
        let mut record = json!({
            "id": "1", "time": "2026-01-02T03:04:05Z", "workspace": "acme", "tier": "pro", "binding": binding,
            "world": "router", "policy": "p", "version": "1", "digest": digest, "settings_digest": digest, "mode": "active",
            "remembered": false, "inputs": ["path"], "seen": {"path": "/a"}, "duration_us": 9});
        let (record_map, decision) =
            (record.as_object_mut().expect("an object"), decision.as_object().expect("one").clone());
        record_map.extend(decision);
        record
    }

    #[test]
    fn exactly_the_changed_decisions_are_listed_by_kind() {
        let same = json!({"decision": "refuse", "status": 404, "reason": "one"});
        let reason = json!({"decision": "refuse", "status": 404, "reason": "other"});
        let forward = json!({"decision": "forward", "plugin": "catalog", "timeout_ms": 0});
        let mut shadow = record("router", forward.clone());
        shadow["mode"] = "shadow".into();
        let mut lines: Vec<String> =
            [&same, &reason, &forward, &forward].map(|it| record("router", it.clone()).to_string()).into();
        lines.push(record("authorizer", forward).to_string());
        lines.push(shadow.to_string());
        lines.push(r#"{"dropped": 3, "because": "queue", "time": "2026-01-02T03:04:05Z"}"#.into());
        lines.push("half a li".into());
        lines.push("x".repeat(MAX_LINE as usize + 10));
        lines.push(record("router", same).to_string());
        let log = lines.join("\n");
        let router = candidate(&testing::router(404, "one"), World::Router);
        let outcome = replay(log.as_bytes(), &router, &Chosen::default()).expect("read");
        assert_eq!((outcome.replayed, outcome.same, outcome.changed()), (5, 2, 3));
        assert_eq!((outcome.others, outcome.unreadable), (3, 2));
        let kinds: Vec<_> = outcome.changes.iter().map(|c| (c.was.as_str(), c.now.as_str(), c.count)).collect();
        assert_eq!(kinds, [("forward catalog", "refuse 404", 2), ("refuse 404", "refuse 404 with another reason", 1)]);
        let none = replay(log.as_bytes(), &router, &Chosen { tier: Some("free".into()), binding: None }).expect("read");
        assert_eq!(none.replayed, 0);
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let needs = ["path".to_owned(), "header:x-door".to_owned()];
        let mut record: Record =
            serde_json::from_value(record("router", json!({"decision": "refuse", "status": 404, "reason": ""})))
                .expect("one");
        assert!(obstacle(&needs[..1], &record).is_none());
        assert!(obstacle(&needs, &record).expect("unknown").starts_with("header:x-door is not in the log"));
        record.inputs = needs.to_vec();
        assert!(obstacle(&needs, &record).is_none(), "declared and absent is known");
        record.masked = vec!["header:x-door".to_owned()];
        assert_eq!(obstacle(&needs, &record).as_deref(), Some("header:x-door is masked in the log"));
        let renderer = candidate(&testing::renderer("{}"), World::Renderer);
        let outcome = replay(&b""[..], &renderer, &Chosen::default()).expect("read");
        assert_eq!(outcome.not_replayable.len(), 1);
    }
}
