//! What the proxy counts. Every label comes from a closed set in the code: nothing that a client chooses becomes one. All
//! series exist from the start, so a request adds to atomics and looks nothing up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{error::ProxyError, validate::Reject};
use crate::authn::Reason;

type Labels = [(&'static str, &'static str); 1];

/// Upper ends of the duration buckets, microseconds.
const BUCKETS: [u64; 14] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];
/// Status classes of forwarded answers.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The proxy's metrics; cheap to clone.
#[derive(Clone)]
pub(super) struct Metrics {
    answered: [Counter; 5],
    local: Counter,
    errors: Family<Labels, Counter>,
    rejects: Family<Labels, Counter>,
    tokens: Family<Labels, Counter>,
    /// Client connections that ended with a parse error of hyper's.
    pub unparsable: Counter,
    /// Connections made to instances.
    pub connects: Counter,
    /// Open client connections.
    pub connections: Gauge,
    /// Requests between their head and the end of their answer's head.
    pub active: Gauge,
    /// Requests that wait for an instance.
    pub held: Gauge,
    /// Open WebSocket tunnels.
    pub tunnels: Gauge,
    duration: Durations,
}

/// A histogram of atomics: the one of the library takes a lock.
#[derive(Debug, Clone, Default)]
struct Durations(Arc<DurationCells>);

#[derive(Debug, Default)]
struct DurationCells {
    counts: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

// === impl Metrics ===

impl Metrics {
    /// Registers everything.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("orbitd_proxy");
        let requests = Family::<Labels, Counter>::default();
        registry.register("requests", "Requests, by how they ended", requests.clone());
        let rejects = Family::<Labels, Counter>::default();
        registry.register("rejects", "Requests that break the rules, by rule", rejects.clone());
        for reject in Reject::ALL {
            drop(rejects.get_or_create(&[("reason", reject.describe().1)]));
        }
        let tokens = Family::<Labels, Counter>::default();
        registry.register("token_refusals", "Tokens that were not believed, by reason", tokens.clone());
        for kind in ProxyError::KINDS {
            drop(requests.get_or_create(&[("outcome", kind)]));
        }
        let (unparsable, connects) = (Counter::default(), Counter::default());
        registry.register(
            "unparsable",
            "Client connections that ended with bytes that are no HTTP",
            unparsable.clone(),
        );
        registry.register("upstream_connects", "Connections made to instances", connects.clone());
        let gauges: [Gauge; 4] = Default::default();
        for ((name, help), gauge) in [
            ("connections", "Open client connections"),
            ("active_requests", "Requests without an answer yet"),
            ("held_requests", "Requests that wait for an instance"),
            ("tunnels", "Open WebSocket tunnels"),
        ]
        .into_iter()
        .zip(&gauges)
        {
            registry.register(name, help, gauge.clone());
        }
        let duration = Durations::default();
        registry.register("request_duration_seconds", "From a request's head to its answer's head", duration.clone());
        let [connections, active, held, tunnels] = gauges;
        let outcome = |label| requests.get_or_create(&[("outcome", label)]).clone();
        let (answered, local) = (CLASSES.map(outcome), outcome("local"));
        Self {
            answered,
            local,
            errors: requests,
            rejects,
            tokens,
            unparsable,
            connects,
            connections,
            active,
            held,
            tunnels,
            duration,
        }
    }

    /// An instance answered.
    pub fn answered(&self, status: http::StatusCode, took: Duration) {
        self.answered[usize::from(status.as_u16() / 100).clamp(1, 5) - 1].inc();
        self.duration.observe(took);
    }

    /// We answered ourselves.
    pub fn local(&self) {
        self.local.inc();
    }

    /// We answered with an error.
    pub fn failed(&self, error: &ProxyError) {
        self.errors.get_or_create(&[("outcome", error.kind())]).inc();
        match error {
            ProxyError::Rejected(reject) => {
                self.rejects.get_or_create(&[("reason", reject.describe().1)]).inc();
            }
            ProxyError::Unauthenticated(reason) => {
                self.tokens.get_or_create(&[("reason", reason.map_or("missing", Reason::as_str))]).inc();
            }
            ProxyError::Sessionless => {
                self.tokens.get_or_create(&[("reason", "sessionless")]).inc();
            }
            _ => {}
        }
    }
}

// === impl Durations ===

impl Durations {
    fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().position(|end| micros <= *end).unwrap_or(BUCKETS.len());
        self.0.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        #[expect(clippy::cast_precision_loss, reason = "seconds for a person or a graph")]
        let seconds = |micros: u64| micros as f64 / 1e6;
        let ends = BUCKETS.iter().map(|end| seconds(*end)).chain([f64::INFINITY]);
        let buckets: Vec<_> =
            ends.zip(&self.0.counts).map(|(end, count)| (end, count.load(Ordering::Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(seconds(self.0.micros.load(Ordering::Relaxed)), count, &buckets, None)
    }
    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// A gauge that counts this one until it is dropped.
pub(super) struct Counted(Gauge);

impl Counted {
    /// Counts one in.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
