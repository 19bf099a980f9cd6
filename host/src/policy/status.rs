//! What `orbitd policy status` and `GET /v1/policies` show.

use serde::Serialize;
use time::OffsetDateTime;

use crate::ids::{Digest, TierName};

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
    pub policies: Vec<PolicyInfo>,
}

/// One policy that serves.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyInfo {
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
    /// When this module with these settings began to serve this tier (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub active_since: OffsetDateTime,
    /// The set it came with.
    pub set_version: u64,
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
