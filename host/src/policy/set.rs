//! The immutable compiled set of all tiers' policies.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;

use super::{Authorization, FailureKind, PolicyFailure, RenderInput, Rendered, RequestFacts, Routing};
use crate::ids::{PluginId, TierName};

/// Where the current set is; swapped as one.
#[derive(Default)]
pub struct Policies {
    current: ArcSwap<PolicySet>,
}

/// All tiers' policies of one moment. A request holds one set from start to end.
#[derive(Default)]
pub struct PolicySet {
    tiers: BTreeMap<TierName, TierPolicies>,
}

/// One tier's policies.
pub struct TierPolicies {}

impl Policies {
    /// The current set; hold it for one request.
    pub fn snapshot(&self) -> Arc<PolicySet> {
        self.current.load_full()
    }
}

impl PolicySet {
    /// The policies of a tier.
    pub fn tier(&self, tier: &TierName) -> Option<&TierPolicies> {
        self.tiers.get(tier)
    }
    /// Names of all tiers.
    pub fn tiers(&self) -> impl Iterator<Item = &TierName> {
        self.tiers.keys()
    }
    /// Grows with each swap.
    pub fn version(&self) -> u64 {
        0
    }
}

impl TierPolicies {
    /// Where a request goes. Runs the guest on the calling thread: microseconds, at most the binding's budget.
    pub fn route(&self, _facts: &RequestFacts<'_>) -> Result<Routing, PolicyFailure> {
        Err(unavailable())
    }
    /// Whether the caller may, and who the caller is. All bound authorizers must allow; the first one's user counts.
    pub fn authorize(
        &self,
        _facts: &RequestFacts<'_>,
        _plugin: Option<&PluginId>,
        _claims: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Authorization, PolicyFailure> {
        Err(unavailable())
    }
    /// The config of a workspace. May take its budget (tens of milliseconds): call it off the request path.
    pub fn render(&self, _input: &RenderInput<'_>) -> Result<Rendered, PolicyFailure> {
        Err(unavailable())
    }
}

fn unavailable() -> PolicyFailure {
    PolicyFailure { policy: String::new(), digest: None, kind: FailureKind::Unavailable, message: "not loaded".into() }
}
