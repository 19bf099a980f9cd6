//! One question to one policy, outside the request path: what it was passed, what it said, how long it took.
//!
//! Called by `explain` (a tier's policies), `cases` (an author's examples) and `orbitd policy bench`. Nothing is remembered and
//! nothing is counted. The question is narrowed to what the policy declared exactly as on the request path.

use std::time::{Duration, Instant};

use orbit_engine::{Authorizer, Inputs, Renderer, RendererRequest, Router};
use serde_json::{Map, Value, json};

use super::{
    Authorization, FailureKind, RenderInput, Rendered, RequestFacts, Routing, answer,
    role::{Failed, PerRequest},
    view::{Caller, View},
};
use crate::ids::PluginId;

/// A question and its answer.
#[derive(Debug, Clone)]
pub struct Asked<A> {
    /// What the policy was passed, and nothing else: JSON by input name.
    pub saw: Map<String, Value>,
    /// What it said, or how it failed to.
    pub said: Result<A, (FailureKind, String)>,
    /// Wall time of the call with its sandbox.
    pub took: Duration,
}

/// Asks a router.
pub fn route(policy: &Router, facts: &RequestFacts<'_>) -> Asked<Routing> {
    let view = View::of(policy.inputs(), facts, None);
    timed(seen_request(policy.inputs(), &view), || policy.ask(&view))
}

/// Asks an authorizer.
pub fn authorize(
    policy: &Authorizer,
    facts: &RequestFacts<'_>,
    plugin: Option<&PluginId>,
    claims: &Map<String, Value>,
) -> Asked<Authorization> {
    let inputs = policy.inputs();
    let caller = Caller { plugin: plugin.map_or("", PluginId::as_str), claims };
    let view = View::of(inputs, facts, Some(caller));
    let mut saw = seen_request(inputs, &view);
    saw.insert("plugin".into(), view.plugin.into());
    let declared = claims.iter().filter(|(name, _)| inputs.claims.contains(name));
    saw.insert("claims".into(), Value::Object(declared.map(|(name, value)| (name.clone(), value.clone())).collect()));
    timed(saw, || policy.ask(&view))
}

/// Asks a renderer.
pub fn render(policy: &Renderer, input: &RenderInput<'_>) -> Asked<Rendered> {
    let app_config = Value::Object(input.app_config.clone()).to_string();
    let plugins: Option<Vec<&str>> = input.plugins.map(|plugins| plugins.iter().map(PluginId::as_str).collect());
    let asked = RendererRequest {
        workspace: input.workspace.as_str(),
        tier: input.tier.as_str(),
        public_url: input.public_url,
        app_config: &app_config,
        plugins: plugins.as_deref(),
    };
    let saw = json!({
        "workspace": asked.workspace, "tier": asked.tier, "public_url": asked.public_url,
        "app_config": input.app_config, "plugins": plugins,
    });
    let saw = if let Value::Object(saw) = saw { saw } else { Map::new() };
    timed(saw, || {
        let said = policy.render(&asked)?;
        answer::rendered(said).map_err(Failed::contract)
    })
}

fn timed<A>(saw: Map<String, Value>, ask: impl FnOnce() -> Result<A, Failed>) -> Asked<A> {
    let began = Instant::now();
    let said = ask().map_err(|failed| (failed.kind, failed.message));
    Asked { saw, said, took: began.elapsed() }
}

fn seen_request(inputs: &Inputs, view: &View<'_>) -> Map<String, Value> {
    let mut saw = Map::new();
    saw.insert("workspace".into(), view.workspace.into());
    saw.insert("tier".into(), view.tier.into());
    for (name, declared, value) in
        [("method", inputs.method, view.method), ("path", inputs.path, view.path), ("query", inputs.query, view.query)]
    {
        if declared {
            saw.insert(name.into(), value.into());
        }
    }
    if !inputs.headers.is_empty() {
        let mut by_name: Map<String, Value> = Map::new();
        for (name, value) in &view.headers {
            if let Value::Array(values) = by_name.entry(*name).or_insert_with(|| Value::Array(Vec::new())) {
                values.push(value.as_ref().into());
            }
        }
        saw.insert("headers".into(), Value::Object(by_name));
    }
    saw
}

// === What was said, as JSON: the form that cases, explain and their readers share ===

/// A routing as JSON: `{"forward": {"plugin", "timeout_ms"}}` or `{"refuse": {"status", "reason"}}`.
pub fn routing_json(routing: &Routing) -> Value {
    match routing {
        Routing::Forward(to) => json!({"forward": {
            "plugin": to.plugin.as_ref().map_or("", PluginId::as_str),
            "timeout_ms": to.timeout.map_or(0, |timeout| timeout.as_millis() as u64),
        }}),
        Routing::Refuse(refusal) => json!({"refuse": {"status": refusal.status, "reason": refusal.reason}}),
    }
}

/// An authorization as JSON: `{"allow": {"user", "ownership"}}` or `{"deny": {"status", "reason"}}`.
pub fn authorization_json(authorization: &Authorization) -> Value {
    match authorization {
        Authorization::Allow(user) => json!({"allow": {"user": user.entity_ref, "ownership": user.ownership}}),
        Authorization::Deny(refusal) => json!({"deny": {"status": refusal.status, "reason": refusal.reason}}),
    }
}

/// A rendered config as JSON: `{"render": {"app_config", "plugins", "notices"}}`.
pub fn rendered_json(rendered: &Rendered) -> Value {
    let plugins: Vec<&str> = rendered.plugins.iter().map(PluginId::as_str).collect();
    json!({"render": {"app_config": rendered.app_config, "plugins": plugins, "notices": rendered.notices}})
}

/// A failure as JSON: `{"fail": {"kind", "message"}}`.
pub fn failure_json((kind, message): &(FailureKind, String)) -> Value {
    json!({"fail": {"kind": kind.as_str(), "message": message}})
}

impl<A> Asked<A> {
    /// What was said as JSON, by one of the functions beside this.
    pub fn json(&self, said: fn(&A) -> Value) -> Value {
        match &self.said {
            Ok(answer) => said(answer),
            Err(failed) => failure_json(failed),
        }
    }
}
