//! Asks a tier's policies and turns what they say into a way on or an error. A policy that gives no answer closes: 503.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::error::ProxyError;
use crate::{
    identity::BackstageUser,
    ids::PluginId,
    policy::{Authorization, FailureKind, Forward, Policies, PolicyFailure, PolicySet, RequestFacts, Routing},
};

/// Where the policies are.
pub(super) enum Decisions {
    /// The daemon's.
    Policies(Arc<Policies>),
    /// A test's: everything is forwarded, and this says who may.
    #[cfg(test)]
    Fixed(fn(&RequestFacts<'_>, &Map<String, Value>) -> Authorization),
}

/// The policies of one moment: a request is judged by one set, whatever is swapped meanwhile.
pub(super) enum Pinned {
    /// A set.
    Set(Arc<PolicySet>),
    /// A test's.
    #[cfg(test)]
    Fixed(fn(&RequestFacts<'_>, &Map<String, Value>) -> Authorization),
}

impl Decisions {
    /// The current policies, for one request.
    pub fn pin(&self) -> Pinned {
        match self {
            Self::Policies(policies) => Pinned::Set(policies.snapshot()),
            #[cfg(test)]
            Self::Fixed(fixed) => Pinned::Fixed(*fixed),
        }
    }
}

impl Pinned {
    /// What the request is for.
    pub async fn route(&self, facts: &RequestFacts<'_>) -> Result<Forward, ProxyError> {
        let routing = match self {
            Self::Set(set) => match set.tier(facts.tier) {
                Some(tier) => tier.route(facts).await,
                None => return Err(no_tier(facts)),
            },
            #[cfg(test)]
            Self::Fixed(_) => Ok(Routing::Forward(Forward { plugin: None, timeout: None })),
        };
        match routing {
            Ok(Routing::Forward(forward)) => Ok(forward),
            Ok(Routing::Refuse(refusal)) => Err(ProxyError::Refused { status: refusal.status, reason: refusal.reason }),
            Err(failure) => Err(failed(facts, &failure)),
        }
    }

    /// Who the caller is, if the caller may.
    pub async fn authorize(
        &self,
        facts: &RequestFacts<'_>,
        plugin: Option<&PluginId>,
        claims: &Map<String, Value>,
    ) -> Result<BackstageUser, ProxyError> {
        let authorization = match self {
            Self::Set(set) => match set.tier(facts.tier) {
                Some(tier) => tier.authorize(facts, plugin, claims).await,
                None => return Err(no_tier(facts)),
            },
            #[cfg(test)]
            Self::Fixed(fixed) => Ok(fixed(facts, claims)),
        };
        match authorization {
            Ok(Authorization::Allow(user)) => Ok(user),
            Ok(Authorization::Deny(refusal)) => {
                Err(ProxyError::Denied { status: refusal.status, reason: refusal.reason })
            }
            Err(failure) => Err(failed(facts, &failure)),
        }
    }
}

fn no_tier(facts: &RequestFacts<'_>) -> ProxyError {
    tracing::debug!(tier = %facts.tier, "no policies are loaded for this tier");
    ProxyError::PolicyFailed(FailureKind::Unavailable)
}

fn failed(facts: &RequestFacts<'_>, failure: &PolicyFailure) -> ProxyError {
    // The policy host counts and warns; here it only needs to be found by workspace.
    tracing::debug!(workspace = %facts.workspace, %failure, "a policy gave no answer");
    ProxyError::PolicyFailed(failure.kind)
}
