//! Policies: loading, binding per tier, swapping while traffic flows.

mod decision;

pub use decision::{
    Authorization, FailureKind, Forward, PolicyFailure, Refusal, RenderInput, Rendered, RequestFacts, Routing,
};

mod set;

pub use set::{Policies, PolicySet, TierPolicies};
