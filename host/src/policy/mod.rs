//! Policies: loading, binding per tier, swapping while traffic flows.
//!
//! ```text
//! <tier>.toml + modules ─ binding ─ loader ─ store ══ one atomic swap ══▶ PolicySet ─ TierPolicies::{route, authorize, render}
//!        ▲ watch                    (engine)   └─ status, metrics                          └─ answer: checked before believed
//! ```
//!
//! Invariants: a set is immutable and swapped as one; a request sees one set; nothing on the request path reads a file, compiles
//! or takes a lock that a load holds; a tier whose newest files can't be loaded keeps its last policies, and says why.

mod answer;
pub mod ask;
mod binding;
mod cache_key;
pub mod cases;
mod decision;
mod loader;
mod metrics;
mod remembered;
mod set;
mod single;
mod status;
mod store;
mod watch;

#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod testing;

pub use binding::default_limits;
pub use cache_key::load_or_create_cache_key;
pub use decision::{
    Authorization, FailureKind, Forward, PolicyFailure, Refusal, RenderInput, Rendered, RequestFacts, Routing,
};
pub use metrics::PolicyMetrics;
/// Who compiles; see [`PolicyOptions::isolation`]. The child is [`orbit_engine::compile_child::run`] under a hidden verb.
pub use orbit_engine::Isolation;
pub use set::{PolicySet, TierPolicies};
pub use single::Single;
pub use status::{PolicyInfo, PolicyStatus, Refused, Reloaded, TierStatus};
pub use store::{Policies, PolicyError, PolicyOptions};
