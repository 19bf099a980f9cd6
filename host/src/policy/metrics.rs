//! What the policies count.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{FailureKind, status::PolicyInfo};

/// Counters of decisions and swaps; cheap to clone, all clones are one.
#[derive(Debug, Clone, Default)]
pub struct PolicyMetrics {
    decisions: Family<DecisionLabels, Counter>,
    swaps: Family<SwapLabels, Counter>,
    version: Gauge,
    active: Family<ActiveLabels, Gauge>,
    shadow: Family<ShadowLabels, Counter>,
    trials: Family<TrialLabels, Counter>,
    rollouts: Family<RolloutLabels, Counter>,
    breakers: Family<BindingLabels, Counter>,
    log: LogMetrics,
}

/// What the decision log counts.
#[derive(Debug, Clone, Default)]
pub(super) struct LogMetrics {
    recorded: Counter,
    dropped: Family<DropLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DropLabels {
    because: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BindingLabels {
    tier: String,
    binding: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActiveLabels {
    tier: String,
    binding: String,
    policy: String,
    digest: String,
    mode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShadowLabels {
    tier: String,
    binding: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrialLabels {
    tier: String,
    binding: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RolloutLabels {
    tier: String,
    binding: String,
    what: &'static str,
    by: &'static str,
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
        registry.register("orbitd_policy_active", "1 for each version that runs, by mode", self.active.clone());
        registry.register("orbitd_policy_shadow", "Comparisons with a version in the shadow", self.shadow.clone());
        registry.register("orbitd_policy_trial_decisions", "Decisions of new versions", self.trials.clone());
        registry.register("orbitd_policy_rollouts", "Promotions and rollbacks", self.rollouts.clone());
        registry.register("orbitd_policy_breaker_openings", "Policies cut off for failing", self.breakers.clone());
        registry.register("orbitd_policy_decision_log_recorded", "Logged decisions", self.log.recorded.clone());
        registry.register(
            "orbitd_policy_decision_log_dropped",
            "Decisions that the log lost",
            self.log.dropped.clone(),
        );
    }

    /// In the order of [`super::rollout::Compared`].
    pub(super) fn shadow(&self, tier: &str, binding: &str) -> [Counter; 4] {
        ["same", "different", "failed", "dropped"].map(|result| {
            let labels = ShadowLabels { tier: tier.to_owned(), binding: binding.to_owned(), result };
            self.shadow.get_or_create(&labels).clone()
        })
    }

    /// Answered, failed.
    pub(super) fn trial(&self, tier: &str, binding: &str) -> [Counter; 2] {
        ["answered", "failed"].map(|result| {
            let labels = TrialLabels { tier: tier.to_owned(), binding: binding.to_owned(), result };
            self.trials.get_or_create(&labels).clone()
        })
    }

    pub(super) fn breaker(&self, tier: &str, binding: &str) -> Counter {
        let labels = BindingLabels { tier: tier.to_owned(), binding: binding.to_owned() };
        self.breakers.get_or_create(&labels).clone()
    }

    /// `what` is `promoted`, `rolled-back` or `resumed`.
    pub(super) fn rolled(&self, tier: &str, binding: &str, what: &'static str, by: &'static str) {
        let labels = RolloutLabels { tier: tier.to_owned(), binding: binding.to_owned(), what, by };
        self.rollouts.get_or_create(&labels).inc();
    }

    /// Says which versions run: those of `now`, and no others.
    pub(super) fn running<'a>(&self, now: impl Iterator<Item = (&'a str, &'a PolicyInfo, &'static str)>) {
        self.active.clear();
        for (tier, info, mode) in now {
            let labels = ActiveLabels {
                tier: tier.to_owned(),
                binding: info.binding.clone(),
                policy: info.policy.clone(),
                digest: info.digest.to_string(),
                mode,
            };
            self.active.get_or_create(&labels).set(1);
        }
    }

    pub(super) fn log(&self) -> &LogMetrics {
        &self.log
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

// === impl LogMetrics ===

impl LogMetrics {
    pub fn recorded(&self, count: u64) {
        self.recorded.inc_by(count);
    }

    /// `because` is `queue`, `file` or `follower`.
    pub fn dropped(&self, because: &'static str, count: u64) {
        self.dropped.get_or_create(&DropLabels { because }).inc_by(count);
    }

    #[cfg(test)]
    pub fn dropped_so_far(&self, because: &'static str) -> u64 {
        self.dropped.get_or_create(&DropLabels { because }).get()
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
