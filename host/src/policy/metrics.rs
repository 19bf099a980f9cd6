//! What the policies count.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::FailureKind;

/// Counters of decisions and swaps; cheap to clone, all clones are one.
#[derive(Debug, Clone, Default)]
pub struct PolicyMetrics {
    decisions: Family<DecisionLabels, Counter>,
    swaps: Family<SwapLabels, Counter>,
    version: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    tier: String,
    world: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SwapLabels {
    outcome: &'static str,
}

/// The counters of one tier and world, looked up once: a decision costs an atomic add.
#[derive(Debug)]
pub(super) struct Outcomes {
    pub allowed: Counter,
    pub refused: Counter,
    failed: [Counter; 6],
}

const KINDS: [FailureKind; 6] = [
    FailureKind::Error,
    FailureKind::Trap,
    FailureKind::Timeout,
    FailureKind::Memory,
    FailureKind::Contract,
    FailureKind::Unavailable,
];

// === impl PolicyMetrics ===

impl PolicyMetrics {
    /// Shows them in `registry` as `orbitd_policy_…`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("orbitd_policy_decisions", "Decisions by tier, world and outcome", self.decisions.clone());
        registry.register("orbitd_policy_swaps", "Loads of the policy files by outcome", self.swaps.clone());
        registry.register("orbitd_policy_set_version", "The set that serves", self.version.clone());
    }

    pub(super) fn outcomes(&self, tier: &str, world: &'static str) -> Outcomes {
        let counter = |outcome| {
            let labels = DecisionLabels { tier: tier.to_owned(), world, outcome };
            self.decisions.get_or_create(&labels).clone()
        };
        Outcomes {
            allowed: counter("allowed"),
            refused: counter("refused"),
            failed: KINDS.map(|kind| counter(kind.as_str())),
        }
    }

    /// `outcome` is `swapped`, `unchanged` or `refused`.
    pub(super) fn swapped(&self, outcome: &'static str, version: u64) {
        self.swaps.get_or_create(&SwapLabels { outcome }).inc();
        self.version.set(version as i64);
    }
}

// === impl Outcomes ===

impl Outcomes {
    pub fn failed(&self, kind: FailureKind) {
        if let Some(at) = KINDS.iter().position(|known| *known == kind) {
            self.failed[at].inc();
        }
    }
}
