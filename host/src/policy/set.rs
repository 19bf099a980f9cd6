//! The immutable compiled set of all tiers' policies, and a tier's three calls.
//!
//! A request holds one [`PolicySet`] from start to end, so it never sees two versions; an old set's code is freed when the
//! last request that holds it ends.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use orbit_engine::{
    Authorizer, AuthorizerRequest, CallError, CallErrorKind, Inputs, Renderer, RendererRequest, Router, RouterRequest,
};
use serde_json::{Map, Value};

use super::{
    Authorization, FailureKind, PolicyFailure, RenderInput, Rendered, RequestFacts, Routing, answer,
    metrics::Outcomes,
    remembered::{Key, Remembered},
    status::PolicyInfo,
};
use crate::{
    ids::{PluginId, TierName},
    model::TierRules,
};

/// All tiers' policies of one moment. A request holds one set from start to end.
#[derive(Default)]
pub struct PolicySet {
    pub(super) version: u64,
    pub(super) tiers: BTreeMap<TierName, Arc<TierPolicies>>,
}

/// One tier's policies.
pub struct TierPolicies {
    pub(super) router: Bound<Router>,
    pub(super) authorizers: Vec<Bound<Authorizer>>,
    pub(super) renderer: Bound<Renderer>,
    pub(super) rules: TierRules,
    pub(super) outcomes: TierOutcomes,
}

pub(super) struct TierOutcomes {
    pub router: Outcomes,
    pub authorizer: Outcomes,
    pub renderer: Outcomes,
}

/// A policy in its place.
pub(super) struct Bound<P: Decides> {
    pub policy: Arc<Loaded<P>>,
    pub info: PolicyInfo,
}

/// A loaded policy and what it already answered.
pub(super) struct Loaded<P: Decides> {
    pub policy: P,
    pub remembered: Remembered<P::Answer>,
}

/// What a policy's remembered answers are. A renderer is asked too rarely to remember anything.
pub(super) trait Decides {
    type Answer: Clone;
}
impl Decides for Router {
    type Answer = Routing;
}
impl Decides for Authorizer {
    type Answer = Authorization;
}
impl Decides for Renderer {
    type Answer = ();
}

// === impl PolicySet ===

impl PolicySet {
    /// The policies of a tier.
    pub fn tier(&self, tier: &TierName) -> Option<&TierPolicies> {
        self.tiers.get(tier).map(Arc::as_ref)
    }
    /// Names of all tiers.
    pub fn tiers(&self) -> impl Iterator<Item = &TierName> {
        self.tiers.keys()
    }
    /// Grows with each swap.
    pub fn version(&self) -> u64 {
        self.version
    }
}

// === impl TierPolicies ===

impl TierPolicies {
    /// What the tier says beside its policies.
    pub fn rules(&self) -> &TierRules {
        &self.rules
    }

    /// Where a request goes. Runs the guest on the calling thread: microseconds, at most the binding's budget.
    pub fn route(&self, facts: &RequestFacts<'_>) -> Result<Routing, PolicyFailure> {
        let bound = &self.router;
        let Loaded { policy, remembered } = &*bound.policy;
        let headers = declared_headers(policy.inputs(), facts);
        let headers = borrowed(&headers);
        let asked = router_request(facts, &headers);
        let decision = remembered.or_decide(key(policy.inputs(), &asked), || {
            let decision = policy.route(&asked).map_err(failure)?;
            answer::routing(decision).map_err(breach)
        });
        let counts = &self.outcomes.router;
        match decision {
            Ok(routing) => {
                if matches!(routing, Routing::Forward(_)) {
                    counts.allowed.inc()
                } else {
                    counts.refused.inc()
                };
                Ok(routing)
            }
            Err(failed) => Err(bound.failed(failed, counts)),
        }
    }

    /// Whether the caller may, and who the caller is. All bound authorizers must allow; the first one's user counts.
    pub fn authorize(
        &self,
        facts: &RequestFacts<'_>,
        plugin: Option<&PluginId>,
        claims: &Map<String, Value>,
    ) -> Result<Authorization, PolicyFailure> {
        let counts = &self.outcomes.authorizer;
        let mut user = None;
        for bound in &self.authorizers {
            let Loaded { policy, remembered } = &*bound.policy;
            let inputs = policy.inputs();
            let headers = declared_headers(inputs, facts);
            let headers = borrowed(&headers);
            let texts = claim_texts(inputs, claims);
            let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
            let asked = AuthorizerRequest {
                request: router_request(facts, &headers),
                plugin: plugin.map_or("", PluginId::as_str),
                claims: &texts,
            };
            let mut key = key(inputs, &asked.request);
            key.push(asked.plugin);
            key.push_pairs(asked.claims);
            let decision = remembered.or_decide(key, || {
                let decision = policy.authorize(&asked).map_err(failure)?;
                answer::authorization(decision).map_err(breach)
            });
            match decision {
                Ok(Authorization::Allow(one)) => {
                    user.get_or_insert(one);
                }
                Ok(denied) => {
                    counts.refused.inc();
                    return Ok(denied);
                }
                Err(failed) => return Err(bound.failed(failed, counts)),
            }
        }
        // The binding file can't be without an authorizer; if it ever is, nobody comes in.
        let user = user.ok_or_else(|| unavailable("authorizer", "the tier has no authorizer"))?;
        counts.allowed.inc();
        Ok(Authorization::Allow(user))
    }

    /// The config of a workspace. May take its budget (tens of milliseconds): call it off the request path.
    pub fn render(&self, input: &RenderInput<'_>) -> Result<Rendered, PolicyFailure> {
        let bound = &self.renderer;
        let app_config = serde_json::to_string(input.app_config)
            .map_err(|error| unavailable("renderer", &format!("the workspace's app_config is not JSON: {error}")))?;
        let plugins: Option<Vec<&str>> = input.plugins.map(|plugins| plugins.iter().map(PluginId::as_str).collect());
        let asked = RendererRequest {
            workspace: input.workspace.as_str(),
            tier: input.tier.as_str(),
            public_url: input.public_url,
            app_config: &app_config,
            plugins: plugins.as_deref(),
        };
        let counts = &self.outcomes.renderer;
        let config = bound.policy.policy.render(&asked).map_err(failure);
        match config.and_then(|config| answer::rendered(config).map_err(breach)) {
            Ok(rendered) => {
                counts.allowed.inc();
                Ok(rendered)
            }
            Err(failed) => Err(bound.failed(failed, counts)),
        }
    }

    pub(super) fn infos(&self) -> Vec<PolicyInfo> {
        let authorizers = self.authorizers.iter().map(|bound| bound.info.clone());
        std::iter::once(self.router.info.clone())
            .chain(authorizers)
            .chain(std::iter::once(self.renderer.info.clone()))
            .collect()
    }
}

// === impl Bound ===

impl<P: Decides> Bound<P> {
    fn failed(&self, (kind, message): (FailureKind, String), counts: &Outcomes) -> PolicyFailure {
        counts.failed(kind);
        PolicyFailure { policy: self.info.policy.clone(), digest: Some(self.info.digest), kind, message }
    }
}

pub(super) fn failure(error: CallError) -> (FailureKind, String) {
    let kind = match error.kind {
        CallErrorKind::Error => FailureKind::Error,
        CallErrorKind::Trap => FailureKind::Trap,
        CallErrorKind::Timeout => FailureKind::Timeout,
        CallErrorKind::Memory => FailureKind::Memory,
        CallErrorKind::Contract => FailureKind::Contract,
        CallErrorKind::Unavailable => FailureKind::Unavailable,
    };
    (kind, error.message)
}

pub(super) fn breach(reason: String) -> (FailureKind, String) {
    (FailureKind::Contract, reason)
}

fn unavailable(binding: &str, message: &str) -> PolicyFailure {
    PolicyFailure {
        policy: binding.to_owned(),
        digest: None,
        kind: FailureKind::Unavailable,
        message: message.to_owned(),
    }
}

/// Everything that the policy gets to see of this request.
fn key(inputs: &Inputs, asked: &RouterRequest<'_>) -> Key {
    let mut key = Key::new();
    key.push(asked.workspace);
    key.push(asked.tier);
    for (declared, part) in [(inputs.method, asked.method), (inputs.path, asked.path), (inputs.query, asked.query)] {
        key.push(if declared { part } else { "" });
    }
    key.push_pairs(asked.headers);
    key
}

pub(super) fn router_request<'a>(facts: &RequestFacts<'a>, headers: &'a [(&'a str, &'a str)]) -> RouterRequest<'a> {
    RouterRequest {
        workspace: facts.workspace.as_str(),
        tier: facts.tier.as_str(),
        method: facts.method,
        path: facts.path,
        query: facts.query,
        headers,
    }
}

/// Values of the declared headers; bytes that are no UTF-8 are replaced, because a policy reads text.
pub(super) fn declared_headers<'a>(inputs: &'a Inputs, facts: &RequestFacts<'a>) -> Vec<(&'a str, Cow<'a, str>)> {
    let mut pairs = Vec::new();
    for name in &inputs.headers {
        for value in facts.headers.get_all(name.as_str()) {
            pairs.push((name.as_str(), String::from_utf8_lossy(value.as_bytes())));
        }
    }
    pairs
}

/// JSON text of the declared claims that the token has.
pub(super) fn claim_texts<'a>(inputs: &'a Inputs, claims: &Map<String, Value>) -> Vec<(&'a str, String)> {
    let names = inputs.claims.iter();
    names.filter_map(|name| claims.get(name).map(|value| (name.as_str(), value.to_string()))).collect()
}

pub(super) fn borrowed<'a>(pairs: &'a [(&'a str, Cow<'a, str>)]) -> Vec<(&'a str, &'a str)> {
    pairs.iter().map(|(name, value)| (*name, value.as_ref())).collect()
}
