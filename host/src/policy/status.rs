//! What `orbitd policy status` and `GET /v1/policies` show.

use serde::Serialize;
use time::OffsetDateTime;

use super::{
    remote::RemoteModule,
    rollout::{HeldBack, RolloutEvent, Serves, ShadowStatus},
    trust::Signed,
};
use crate::{
    ids::{Digest, TierName},
    model::Share,
};

/// The whole picture of one moment.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PolicyStatus {
    /// Of the set that serves; grows by one with each swap.
    pub set_version: u64,
    /// When that set began to serve (UTC).
    #[serde(with = "time::serde::rfc3339::option")]
    pub active_since: Option<OffsetDateTime>,
    /// By name. Tiers that have never loaded are among them.
    pub tiers: Vec<TierStatus>,
    /// Promotions and rollbacks, the newest last; at most 100.
    pub events: Vec<RolloutEvent>,
    /// Modules that come from registries.
    pub remote: Vec<RemoteModule>,
    /// Promotions and rollbacks could not be made durable: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_saved: Option<String>,
}

/// One tier.
#[derive(Debug, Clone, Serialize)]
pub struct TierStatus {
    /// Its name, or the stem of a file that is no tier name.
    pub tier: String,
    /// Whether the set that serves has it: requests of a tier without policies are answered 503.
    pub serving: bool,
    /// The newest file is not what serves: why.
    pub refused: Option<Refused>,
    /// Router, authorizers in order, renderer.
    pub policies: Vec<BindingStatus>,
}

/// One binding: what serves, and what is rolled out.
#[derive(Debug, Clone, Serialize)]
pub struct BindingStatus {
    /// What serves.
    #[serde(flatten)]
    pub active: PolicyInfo,
    /// Why it does.
    pub serves: Serves,
    /// Whether its answers are remembered.
    pub memory: bool,
    /// Whether it is cut off, because most of its decisions failed.
    pub breaker: BreakerStatus,
    /// While it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialStatus>,
    /// What the tier's file names and does not serve, because it was rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldBack>,
    /// What is rolled out beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<NextStatus>,
}

/// A version that is rolled out, or would be.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum NextStatus {
    /// It decides nothing.
    Shadow {
        /// Which version.
        #[serde(flatten)]
        version: Rolled,
        /// What its answers came to, against the active one's.
        differences: ShadowStatus,
    },
    /// It decides for its workspaces.
    Canary {
        /// Which version.
        #[serde(flatten)]
        version: Rolled,
    },
    /// It was rolled back.
    RolledBack(HeldBack),
}

/// A version that runs beside the active one.
#[derive(Debug, Clone, Serialize)]
pub struct Rolled {
    /// Which.
    #[serde(flatten)]
    pub info: PolicyInfo,
    /// Of the tier's workspaces.
    pub share: Share,
    /// Beside those.
    pub workspaces: Vec<String>,
    /// See [`BindingStatus::breaker`].
    pub breaker: BreakerStatus,
    /// Its decisions so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialStatus>,
}

/// A breaker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BreakerStatus {
    /// Whether its policy is not asked for the moment.
    pub open: bool,
    /// How often it opened.
    pub openings: u64,
}

/// How a new version does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrialStatus {
    /// Since it began, and since this daemon started.
    pub decisions: u64,
    /// Of them without an answer. Refusals are answers.
    pub failures: u64,
    /// What it may fail.
    pub allowed: Share,
    /// Why its budget is spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent: Option<String>,
}

/// One version of a policy in its place.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyInfo {
    /// `router`, `authorizer`, `authorizer-2`…, `renderer`: what `orbitd policy promote` calls it.
    pub binding: String,
    /// `router`, `authorizer` or `renderer`.
    pub world: &'static str,
    /// The policy's own name.
    pub policy: String,
    /// The policy's own version.
    pub version: String,
    /// Of the module's bytes.
    pub digest: Digest,
    /// As in the tier's file.
    pub module: String,
    /// Of the settings as JSON.
    pub settings_digest: Digest,
    /// When this version began to serve this tier in this way, across restarts (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub active_since: OffsetDateTime,
    /// The set it came with.
    pub set_version: u64,
    /// Who signed it, where the tier has keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<Signed>,
}

/// Why the newest version of a tier does not serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// `router`, `authorizer`, `renderer`; none where the tier's file itself is at fault.
    pub world: Option<&'static str>,
    /// Of the refused module, if it could be read.
    pub digest: Option<Digest>,
    /// The thing, the reason, the next step.
    pub reason: String,
    /// When it was refused first (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// What a reload came to.
#[derive(Debug, Clone, Serialize)]
pub struct Reloaded {
    /// Whether a new set serves now.
    pub swapped: bool,
    /// The set that serves.
    pub set_version: u64,
    /// Tiers whose newest file does not serve, and why.
    pub refused: Vec<(String, String)>,
}

impl PolicyStatus {
    /// One tier's.
    pub fn tier(&self, tier: &TierName) -> Option<&TierStatus> {
        self.tiers.iter().find(|status| status.tier == tier.as_str())
    }
}

impl PolicyInfo {
    #[cfg(test)]
    pub(super) fn example(binding: &str, digest: Digest) -> Self {
        Self {
            binding: binding.to_owned(),
            world: "router",
            policy: "example".to_owned(),
            version: "1.0.0".to_owned(),
            digest,
            module: "example.wasm".to_owned(),
            settings_digest: Digest::of(b"{}"),
            active_since: OffsetDateTime::UNIX_EPOCH,
            set_version: 1,
            signed: None,
        }
    }
}
