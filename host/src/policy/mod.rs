//! Policies: loading, binding per tier, swapping while traffic flows.
//!
//! ```text
//! <tier>.toml + modules ─ binding ─ loader ─ store ══ one atomic swap ══▶ PolicySet ─ TierPolicies::{route, authorize, render}
//!        ▲ watch                    (engine)   └─ status, metrics           │               └─ answer: checked before believed
//!                                   rollout: what was promoted and          role: which version decides, memory, breaker, trial
//!                                   rolled back, over the files             └─ shadow, decision_log: off the request's way
//! ```
//!
//! Invariants: a set is immutable and swapped as one; a request sees one set; nothing on the request path reads a file, compiles
//! or takes a lock that a load holds; a tier whose newest files can't be loaded keeps its last policies, and says why.

mod answer;
mod ask;
mod binding;
mod cache_key;
pub mod cases;
mod decision;
mod decision_log;
mod explain;
mod given;
mod live;
mod loader;
mod metrics;
pub mod pace;
mod remembered;
pub mod remote;
pub mod replay;
mod role;
mod rollout;
pub mod schema;
mod set;
mod single;
mod status;
mod store;
pub mod trust;
mod verdicts;
mod view;
mod watch;

#[cfg(test)]
mod released_tests;
#[cfg(test)]
mod rollout_tests;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod trust_tests;

pub use binding::Class;
pub use cache_key::load_or_create_cache_key;
pub use decision::{
    Authorization, FailureKind, Forward, PolicyFailure, Refusal, RenderInput, Rendered, RequestFacts, Routing,
};
pub use decision_log::{Decision, Followed, Follower, Line, Record, Seen};
pub use explain::{ExplainRequest, Explanation, Step};
pub use given::GivenHeaders;
pub use metrics::PolicyMetrics;
/// Who compiles; see [`PolicyOptions::isolation`]. The child is [`orbit_engine::compile_child::run`] under a hidden verb.
pub use orbit_engine::Isolation;
pub use rollout::{HeldBack, RolloutEvent, Sample, Serves, ShadowStatus, Why};
pub use set::{PolicySet, TierPolicies};
pub use single::Single;
pub use status::{
    BindingStatus, BreakerStatus, NextStatus, PolicyInfo, PolicyStatus, Refused, Reloaded, Rolled, TierStatus,
    TrialStatus,
};
pub use store::{Policies, PolicyError, PolicyOptions};
pub use verdicts::RolloutError;
