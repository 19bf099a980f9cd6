//! One request through a tier, step by step: which policy was asked, what it was passed, what it said, how long it took.
//!
//! Nothing is sent to an instance, counted or remembered. Claims are given by whoever asks and verified by nobody: this shows
//! what the policies make of them, not who somebody is.

use std::time::Duration;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Authorization, PolicySet, RequestFacts, Routing, TierPolicies,
    ask::{self, Asked},
    given::GivenHeaders,
    status::PolicyInfo,
    view::Caller,
};
use crate::ids::{Digest, PluginId, Slug, TierName};

/// A request that is to be explained.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// Whose.
    pub workspace: Slug,
    /// Which tier's policies; without, the workspace's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<TierName>,
    /// `GET`…
    #[serde(default = "get")]
    pub method: String,
    /// With `?query`, as a client sends it.
    #[serde(default = "root")]
    pub path: String,
    /// As a client sends them. Those that orbitd takes away before a policy looks are taken away here too.
    #[serde(default)]
    pub headers: GivenHeaders,
    /// Of the caller's token, as JSON.
    #[serde(default)]
    pub claims: Map<String, Value>,
}

fn get() -> String {
    "GET".into()
}
fn root() -> String {
    "/".into()
}

/// What became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// Whose policies.
    pub tier: TierName,
    /// Of which set.
    pub set_version: u64,
    /// Router, then authorizers in order.
    pub steps: Vec<Step>,
    /// `{"forward": {"plugin", "user", "ownership"}}`, or what ended it: `refuse`, `deny` or `fail`.
    pub outcome: Value,
}

/// One policy's part.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// `active`, or `canary` where a new version decides for this workspace.
    pub mode: &'static str,
    /// `router`, `authorizer`, `authorizer-2`…
    pub binding: String,
    /// The policy's own name.
    pub policy: String,
    /// The policy's own version.
    pub version: String,
    /// Of the module.
    pub digest: Digest,
    /// As in the tier's file.
    pub module: String,
    /// What it declared and was therefore passed; absent where an earlier step ended the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saw: Option<Map<String, Value>>,
    /// What it said; absent where it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<Value>,
    /// Microseconds of wall time, in a fresh sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_us: Option<f64>,
}

impl PolicySet {
    /// Takes a request through the policies of `tier`; `headers` as policies see them. `None`: the set has no such tier. Runs
    /// guests on the calling thread.
    pub fn explain(&self, tier: &TierName, asked: &ExplainRequest, headers: &HeaderMap) -> Option<Explanation> {
        let policies = self.tier(tier)?;
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let facts = RequestFacts { workspace: &asked.workspace, tier, method: &asked.method, path, query, headers };
        let (steps, outcome) = policies.explain(&facts, &asked.claims);
        Some(Explanation { tier: tier.clone(), set_version: self.version(), steps, outcome })
    }
}

impl TierPolicies {
    /// By the versions that decide for this workspace: a canary, if it is among its audience.
    fn explain(&self, facts: &RequestFacts<'_>, claims: &Map<String, Value>) -> (Vec<Step>, Value) {
        let (tier, workspace) = (facts.tier.as_str(), facts.workspace.as_str());
        let (router, mode) = self.router.pick(tier, workspace);
        let routed = ask::request(&router.policy.policy, facts, None);
        let said = routed.json(ask::routing_json);
        let mut steps = vec![step(&router.info, mode, &routed, said.clone())];
        let mut outcome = match routed.said {
            Ok(Routing::Forward(to)) => Ok(to.plugin),
            _ => Err(said),
        };
        let mut user = None;
        for role in &self.authorizers {
            let (authorizer, mode) = role.pick(tier, workspace);
            let Ok(plugin) = &outcome else {
                steps.push(not_asked(&authorizer.info, mode));
                continue;
            };
            let caller = Caller { plugin: plugin.as_ref().map_or("", PluginId::as_str), claims };
            let authorized = ask::request(&authorizer.policy.policy, facts, Some(caller));
            let said = authorized.json(ask::authorization_json);
            steps.push(step(&authorizer.info, mode, &authorized, said.clone()));
            match authorized.said {
                // All must allow; the first one's user counts.
                Ok(Authorization::Allow(one)) => {
                    user.get_or_insert(one);
                }
                _ => outcome = Err(said),
            }
        }
        let outcome = match outcome {
            Err(ended) => ended,
            Ok(plugin) => json!({"forward": {
                "plugin": plugin.as_ref().map_or("", PluginId::as_str),
                "user": user.as_ref().map(|user| &user.entity_ref),
                "ownership": user.as_ref().map(|user| &user.ownership),
            }}),
        };
        (steps, outcome)
    }
}

fn step<A>(info: &PolicyInfo, mode: &'static str, asked: &Asked<A>, said: Value) -> Step {
    Step { saw: Some(asked.saw.clone()), said: Some(said), took_us: Some(micros(asked.took)), ..not_asked(info, mode) }
}

fn not_asked(info: &PolicyInfo, mode: &'static str) -> Step {
    Step {
        mode,
        binding: info.binding.clone(),
        policy: info.policy.clone(),
        version: info.version.clone(),
        digest: info.digest,
        module: info.module.clone(),
        saw: None,
        said: None,
        took_us: None,
    }
}

fn micros(took: Duration) -> f64 {
    (took.as_nanos() as f64 / 100.0).round() / 10.0
}
