//! What the controller counts.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{driver::Warmth, ids::WorkspaceId, model::Phase};

/// Counters and gauges of the controller; registered by whoever serves `/metrics`.
pub struct Metrics {
    workspaces: Family<PhaseLabel, Gauge>,
    starts: Counter,
    adoptions: Counter,
    crashes: Counter,
    suspensions: Counter,
    resumptions: Counter,
    warm: Gauge,
    warm_bytes: Gauge,
    switches: Counter,
    rollout_failures: Counter,
    pause: Histogram,
    cut_streams: Counter,
    reconcile_failures: Family<KindLabel, Counter>,
    reconcile: Histogram,
    phases: Mutex<HashMap<WorkspaceId, Phase>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: PhaseName,
}
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PhaseName(Phase);
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

impl EncodeLabelValue for PhaseName {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self.0 {
            Phase::Pending => "pending",
            Phase::Provisioning => "provisioning",
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Suspended => "suspended",
            Phase::Asleep => "asleep",
            Phase::CrashLoop => "crash-loop",
            Phase::Stopped => "stopped",
            Phase::Deleting => "deleting",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        // Milliseconds to tens of seconds: most reconciles only look, some wait for a process.
        let buckets = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];
        Self {
            workspaces: Family::default(),
            starts: Counter::default(),
            adoptions: Counter::default(),
            crashes: Counter::default(),
            suspensions: Counter::default(),
            resumptions: Counter::default(),
            warm: Gauge::default(),
            warm_bytes: Gauge::default(),
            switches: Counter::default(),
            rollout_failures: Counter::default(),
            pause: Histogram::new(buckets),
            cut_streams: Counter::default(),
            reconcile_failures: Family::default(),
            reconcile: Histogram::new(buckets),
            phases: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Registers everything under `orbitd_…`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("orbitd_workspaces", "Workspaces by phase", self.workspaces.clone());
        registry.register("orbitd_instance_starts", "Instances started", self.starts.clone());
        registry.register(
            "orbitd_instance_adoptions",
            "Instances taken over from an earlier daemon",
            self.adoptions.clone(),
        );
        registry.register(
            "orbitd_instance_crashes",
            "Instances that ended unasked or did not come up",
            self.crashes.clone(),
        );
        registry.register("orbitd_instance_suspensions", "Instances suspended", self.suspensions.clone());
        registry.register("orbitd_instance_resumptions", "Suspended instances let run again", self.resumptions.clone());
        registry.register("orbitd_warm_processes", "Processes that wait in the warm pool", self.warm.clone());
        registry.register("orbitd_warm_resident_bytes", "Their resident memory", self.warm_bytes.clone());
        registry.register("orbitd_rollout_switches", "Rollouts whose new instance took over", self.switches.clone());
        registry.register(
            "orbitd_rollout_failures",
            "Rollouts whose new instance did not come up, or failed in its bake",
            self.rollout_failures.clone(),
        );
        registry.register(
            "orbitd_rollout_pause_seconds",
            "How long requests were held by rollouts that need a pause",
            self.pause.clone(),
        );
        registry.register(
            "orbitd_cut_streams",
            "WebSockets and event streams that were ended because their instance had to go",
            self.cut_streams.clone(),
        );
        registry.register(
            "orbitd_reconcile_failures",
            "Reconciles that could not be finished, by kind",
            self.reconcile_failures.clone(),
        );
        registry.register("orbitd_reconcile_seconds", "Duration of one reconcile", self.reconcile.clone());
    }

    pub(super) fn suspended(&self) {
        self.suspensions.inc();
    }
    pub(super) fn resumed(&self) {
        self.resumptions.inc();
    }
    pub(super) fn warm(&self, warmth: Warmth) {
        self.warm.set(i64::try_from(warmth.waiting).unwrap_or(i64::MAX));
        self.warm_bytes.set(i64::try_from(warmth.resident_bytes).unwrap_or(i64::MAX));
    }
    pub(super) fn started(&self) {
        self.starts.inc();
    }
    pub(super) fn adopted(&self) {
        self.adoptions.inc();
    }
    pub(super) fn crashed(&self) {
        self.crashes.inc();
    }
    pub(super) fn switched(&self) {
        self.switches.inc();
    }
    pub(super) fn rollout_failed(&self) {
        self.rollout_failures.inc();
    }
    pub(super) fn paused(&self, pause: Duration) {
        self.switches.inc();
        self.pause.observe(pause.as_secs_f64());
    }
    pub(super) fn cut(&self, streams: u64) {
        self.cut_streams.inc_by(streams);
    }
    pub(super) fn reconciled(&self, took: Duration) {
        self.reconcile.observe(took.as_secs_f64());
    }
    pub(super) fn failed(&self, kind: &'static str) {
        self.reconcile_failures.get_or_create(&KindLabel { kind }).inc();
    }

    /// Moves a workspace to a phase; `None`: it is forgotten.
    pub(super) fn phase(&self, id: WorkspaceId, phase: Option<Phase>) {
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match phase {
            Some(phase) => phases.insert(id, phase),
            None => phases.remove(&id),
        };
        let gauge = |phase| self.workspaces.get_or_create(&PhaseLabel { phase: PhaseName(phase) }).clone();
        if before != phase {
            before.map(|phase| gauge(phase).dec());
            phase.map(|phase| gauge(phase).inc());
        }
    }
}
