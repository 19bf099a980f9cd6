//! The immutable compiled set of all tiers' policies, and a tier's three calls.
//!
//! A request holds one [`PolicySet`] from start to end, so it never sees two versions; an old set's code is freed when the
//! last request that holds it ends.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use orbit_engine::{Authorizer, Renderer, RendererRequest, Router};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::{
    Authorization, FailureKind, PolicyFailure, RenderInput, Rendered, RequestFacts, Routing, answer,
    decision_log::{Decision, Entry, Tap},
    metrics::Outcomes,
    role::{Bound, Decides, Failed, Next, PerRequest, Role},
    rollout::{Compared, Sample},
    view::{Caller, OwnedView, View},
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
    pub(super) router: Role<Router>,
    pub(super) authorizers: Vec<Role<Authorizer>>,
    pub(super) renderer: Role<Renderer>,
    pub(super) rules: TierRules,
    pub(super) outcomes: TierOutcomes,
    pub(super) tap: Tap,
}

pub(super) struct TierOutcomes {
    pub router: Outcomes,
    pub authorizer: Outcomes,
    pub renderer: Outcomes,
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

    /// Where a request goes. Runs the guest on the calling thread: microseconds, at most the binding's budget; waits before that
    /// while the tier's share of the sandboxes is taken.
    pub async fn route(&self, facts: &RequestFacts<'_>) -> Result<Routing, PolicyFailure> {
        let counts = &self.outcomes.router;
        let routing = decide(&self.router, facts, None, &self.tap, counts).await?;
        match &routing {
            Routing::Forward(_) => counts.allowed.inc(),
            Routing::Refuse(_) => counts.refused.inc(),
        };
        Ok(routing)
    }

    /// Whether the caller may, and who the caller is. All bound authorizers must allow; the first one's user counts.
    pub async fn authorize(
        &self,
        facts: &RequestFacts<'_>,
        plugin: Option<&PluginId>,
        claims: &Map<String, Value>,
    ) -> Result<Authorization, PolicyFailure> {
        let counts = &self.outcomes.authorizer;
        let caller = Caller { plugin: plugin.map_or("", PluginId::as_str), claims };
        let mut user = None;
        for role in &self.authorizers {
            match decide(role, facts, Some(caller), &self.tap, counts).await? {
                Authorization::Allow(one) => {
                    user.get_or_insert(one);
                }
                denied => {
                    counts.refused.inc();
                    return Ok(denied);
                }
            }
        }
        // The binding file can't be without an authorizer; if it ever is, nobody comes in.
        let user = user.ok_or_else(|| unavailable("authorizer", "the tier has no authorizer"))?;
        counts.allowed.inc();
        Ok(Authorization::Allow(user))
    }

    /// The config of a workspace. May take its budget (tens of milliseconds): call it off the request path.
    pub fn render(&self, input: &RenderInput<'_>) -> Result<Rendered, PolicyFailure> {
        let (workspace, tier) = (input.workspace.as_str(), input.tier.as_str());
        let app_config = serde_json::to_string(input.app_config)
            .map_err(|error| unavailable("renderer", &format!("the workspace's app_config is not JSON: {error}")))?;
        let plugins: Option<Vec<&str>> = input.plugins.map(|plugins| plugins.iter().map(PluginId::as_str).collect());
        let asked = RendererRequest {
            workspace,
            tier,
            public_url: input.public_url,
            app_config: &app_config,
            plugins: plugins.as_deref(),
        };
        let ask = |bound: &Bound<Renderer>| {
            bound.guarded(workspace, || {
                let config = bound.policy.policy.render(&asked)?;
                answer::rendered(config).map_err(Failed::contract)
            })
        };
        let nothing = || OwnedView { workspace: workspace.to_owned(), tier: tier.to_owned(), ..OwnedView::default() };
        let role = &self.renderer;
        let (bound, mode) = role.pick(tier, workspace);
        let began = self.tap.begin();
        let rendered = ask(bound);
        if let Some(began) = began {
            record(&self.tap, bound, mode, false, nothing(), &rendered, began.elapsed());
        }
        if let Some(next) = role.shadow(tier, workspace) {
            // Not on a request's way: compared here.
            let shadowed = ask(&next.bound);
            let shown = compare(next, &self.tap, nothing(), &described::<Renderer>(&rendered), &shadowed);
            if let (true, Some(_)) = (shown, began) {
                record(&self.tap, &next.bound, "shadow", false, nothing(), &shadowed, Duration::ZERO);
            }
        }
        let counts = &self.outcomes.renderer;
        match rendered {
            Ok(rendered) => {
                counts.allowed.inc();
                Ok(rendered)
            }
            Err(failed) => {
                counts.failed(failed.kind);
                Err(bound.failure(failed))
            }
        }
    }
}

/// One decision of one role: by the version that serves this workspace, shown to a version in the shadow, written into the log.
async fn decide<P: PerRequest + Send + Sync + 'static>(
    role: &Role<P>,
    facts: &RequestFacts<'_>,
    caller: Option<Caller<'_>>,
    tap: &Tap,
    counts: &Outcomes,
) -> Result<P::Answer, PolicyFailure> {
    let (tier, workspace) = (facts.tier.as_str(), facts.workspace.as_str());
    let (bound, mode) = role.pick(tier, workspace);
    let began = tap.begin();
    let view = View::of(bound.policy.policy.inputs(), facts, caller);
    let decided = bound.decide(&view).await;
    if let Some(began) = began {
        record(tap, bound, mode, decided.remembered, view.to_owned(), &decided.answer, began.elapsed());
    }
    if let Some(next) = role.shadow(tier, workspace) {
        show(next, facts, caller, tap, began.is_some(), &decided.answer);
    }
    decided.answer.map_err(|failed| {
        counts.failed(failed.kind);
        bound.failure(failed)
    })
}

/// Has the version in the shadow decide, too, on its own thread. What it needs is copied only if there is room.
fn show<P: PerRequest + Send + Sync + 'static>(
    next: &Next<P>,
    facts: &RequestFacts<'_>,
    caller: Option<Caller<'_>>,
    tap: &Tap,
    logged: bool,
    active: &Result<P::Answer, Failed>,
) {
    next.shadow.compare(|| {
        let view = View::of(next.bound.policy.policy.inputs(), facts, caller).to_owned();
        let (next, tap, active) = (next.clone(), tap.clone(), described::<P>(active));
        Box::new(move || {
            let began = Instant::now();
            let decided = next.bound.decide_in_background(&view.view());
            let took = began.elapsed();
            compare(&next, &tap, view.clone(), &active, &decided.answer);
            if logged {
                record(&tap, &next.bound, "shadow", decided.remembered, view, &decided.answer, took);
            }
        })
    });
}

/// Counts what a comparison came to, and keeps an example of a difference. Whether there was one.
fn compare<P: Decides>(
    next: &Next<P>,
    tap: &Tap,
    view: OwnedView,
    active: &Decision,
    shadowed: &Result<P::Answer, Failed>,
) -> bool {
    let mut said = described::<P>(shadowed);
    let compared = match (active.same_as(&said), &said) {
        (true, _) => Compared::Same,
        (false, Decision::Fail { .. }) => Compared::Failed,
        (false, _) => Compared::Different,
    };
    next.shadow.count(compared);
    if compared != Compared::Same {
        let workspace = view.workspace.clone();
        let mut active = active.clone();
        let (seen, _) = tap.masks().apply(view.clone(), &mut said);
        tap.masks().apply(view, &mut active);
        let at = OffsetDateTime::now_utc();
        next.shadow.sample(Sample { count: 1, active, next: said, workspace, seen, at });
    }
    compared != Compared::Same
}

fn described<P: Decides>(answer: &Result<P::Answer, Failed>) -> Decision {
    answer.as_ref().map_or_else(Failed::decision, P::decision)
}

fn record<P: Decides>(
    tap: &Tap,
    bound: &Bound<P>,
    mode: &'static str,
    remembered: bool,
    view: OwnedView,
    answer: &Result<P::Answer, Failed>,
    took: Duration,
) {
    tap.record(|| Entry {
        at: SystemTime::now(),
        info: bound.info.clone(),
        inputs: bound.inputs.clone(),
        mode,
        remembered,
        view,
        decision: described::<P>(answer),
        took,
    });
}

fn unavailable(binding: &str, message: &str) -> PolicyFailure {
    PolicyFailure {
        policy: binding.to_owned(),
        digest: None,
        kind: FailureKind::Unavailable,
        message: message.to_owned(),
    }
}
