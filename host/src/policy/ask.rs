//! One question to one policy, outside the request path: what it was passed, what it said, how long it took.
//!
//! Called by `explain` (a tier's policies) and `cases` (an author's examples). Nothing is remembered, counted or logged. The
//! question is narrowed to what the policy declared exactly as on the request path, and the answer is checked as there.

use std::time::{Duration, Instant};

use orbit_engine::{Inputs, Renderer, RendererRequest};
use serde_json::{Map, Value, json};

use super::{
    Authorization, RenderInput, Rendered, RequestFacts, Routing, answer,
    role::{Failed, PerRequest},
    view::{Caller, View},
};
use crate::ids::PluginId;

/// A question and its answer.
#[derive(Debug, Clone)]
pub(super) struct Asked<A> {
    /// What the policy was passed, and nothing else: JSON by input name.
    pub saw: Map<String, Value>,
    /// What it said, or how it failed to.
    pub said: Result<A, Failed>,
    /// Wall time of the call with its sandbox.
    pub took: Duration,
}

/// Asks a router, or, with a caller, an authorizer.
pub(super) fn request<P: PerRequest>(
    policy: &P,
    facts: &RequestFacts<'_>,
    caller: Option<Caller<'_>>,
) -> Asked<P::Answer> {
    let view = View::of(policy.inputs(), facts, caller);
    timed(saw(policy.inputs(), &view, caller), || policy.ask(&view))
}

/// Asks a renderer.
pub(super) fn render(policy: &Renderer, input: &RenderInput<'_>) -> Asked<Rendered> {
    as_renderer_request(input, |asked| {
        let saw = Map::from_iter([
            ("workspace".to_owned(), asked.workspace.into()),
            ("tier".to_owned(), asked.tier.into()),
            ("public_url".to_owned(), asked.public_url.into()),
            ("app_config".to_owned(), Value::Object(input.app_config.clone())),
            ("plugins".to_owned(), json!(asked.plugins)),
        ]);
        timed(saw, || render_once(policy, asked))
    })
}

/// One call of a renderer, its answer checked.
pub(super) fn render_once(policy: &Renderer, asked: &RendererRequest<'_>) -> Result<Rendered, Failed> {
    answer::rendered(policy.render(asked)?).map_err(Failed::contract)
}

/// As the engine asks a renderer.
pub(super) fn as_renderer_request<R>(input: &RenderInput<'_>, with: impl FnOnce(&RendererRequest<'_>) -> R) -> R {
    let app_config = Value::Object(input.app_config.clone()).to_string();
    let plugins: Option<Vec<&str>> = input.plugins.map(|plugins| plugins.iter().map(PluginId::as_str).collect());
    with(&RendererRequest {
        workspace: input.workspace.as_str(),
        tier: input.tier.as_str(),
        public_url: input.public_url,
        app_config: &app_config,
        plugins: plugins.as_deref(),
    })
}

fn timed<A>(saw: Map<String, Value>, ask: impl FnOnce() -> Result<A, Failed>) -> Asked<A> {
    let began = Instant::now();
    let said = ask();
    Asked { saw, said, took: began.elapsed() }
}

/// What is always passed, and what was declared: an empty query that was declared is something else than one that was not.
fn saw(inputs: &Inputs, view: &View<'_>, caller: Option<Caller<'_>>) -> Map<String, Value> {
    let mut saw = Map::new();
    saw.insert("workspace".into(), view.workspace.into());
    saw.insert("tier".into(), view.tier.into());
    let parts =
        [("method", inputs.method, view.method), ("path", inputs.path, view.path), ("query", inputs.query, view.query)];
    for (name, _, value) in parts.into_iter().filter(|(_, declared, _)| *declared) {
        saw.insert(name.into(), value.into());
    }
    if !inputs.headers.is_empty() {
        let mut headers: Map<String, Value> = Map::new();
        for (name, value) in &view.headers {
            if let Value::Array(values) = headers.entry(*name).or_insert_with(|| Value::Array(Vec::new())) {
                values.push(value.as_ref().into());
            }
        }
        saw.insert("headers".into(), Value::Object(headers));
    }
    if let Some(caller) = caller {
        let declared = inputs.claims.iter().filter_map(|name| Some((name.clone(), caller.claims.get(name)?.clone())));
        saw.insert("plugin".into(), view.plugin.into());
        saw.insert("claims".into(), Value::Object(declared.collect()));
    }
    saw
}

// === What was said, as JSON: the form that cases and explain share ===

impl<A> Asked<A> {
    /// `{"<kind>": {…}}`, by one of the functions below, or `{"fail": {"kind", "message"}}`.
    pub fn json(&self, said: fn(&A) -> Value) -> Value {
        match &self.said {
            Ok(answer) => said(answer),
            Err(failed) => json!({"fail": {"kind": failed.kind.as_str(), "message": failed.message}}),
        }
    }
}

/// `{"forward": {"plugin", "timeout_ms"}}` or `{"refuse": {"status", "reason"}}`.
pub(super) fn routing_json(routing: &Routing) -> Value {
    match routing {
        Routing::Forward(to) => json!({"forward": {
            "plugin": to.plugin.as_ref().map_or("", PluginId::as_str),
            "timeout_ms": to.timeout.map_or(0, |timeout| timeout.as_millis() as u64),
        }}),
        Routing::Refuse(refusal) => json!({"refuse": {"status": refusal.status, "reason": refusal.reason}}),
    }
}

/// `{"allow": {"user", "ownership"}}` or `{"deny": {"status", "reason"}}`.
pub(super) fn authorization_json(authorization: &Authorization) -> Value {
    match authorization {
        Authorization::Allow(user) => json!({"allow": {"user": user.entity_ref, "ownership": user.ownership}}),
        Authorization::Deny(refusal) => json!({"deny": {"status": refusal.status, "reason": refusal.reason}}),
    }
}

/// `{"render": {"app_config", "plugins", "notices"}}`.
pub(super) fn rendered_json(rendered: &Rendered) -> Value {
    let plugins: Vec<&str> = rendered.plugins.iter().map(PluginId::as_str).collect();
    json!({"render": {"app_config": rendered.app_config, "plugins": plugins, "notices": rendered.notices}})
}
