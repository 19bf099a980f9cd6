//! Write an orbitd policy in Rust.
//!
//! A policy is a type that implements [`Router`], [`Authorizer`] or [`Renderer`], and one line that exports it:
//!
//! ```
//! use orbit_policy_sdk::{About, RouteDecision, RouteRequest, Router, forward, header, refuse};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     closed: bool,
//! }
//!
//! struct Door;
//!
//! impl Router for Door {
//!     type Settings = Settings;
//!     const ABOUT: About =
//!         About { name: "door", version: "1.0.0", inputs: &["header:x-door"], settings_schema: "" };
//!
//!     fn route(settings: &Settings, request: RouteRequest) -> Result<RouteDecision, String> {
//!         let knocked = header(&request.headers, "x-door").is_some();
//!         if settings.closed && !knocked { Ok(refuse(503, "closed for today")) } else { Ok(forward("", 0)) }
//!     }
//! }
//!
//! orbit_policy_sdk::export_router!(Door);
//! ```
//!
//! The settings object of the binding is parsed once, when the policy is loaded; each decision gets it back in a compact typed
//! form. A decision runs in a fresh sandbox: nothing that a policy keeps in a `static` lives to the next one.

#![allow(clippy::result_large_err)]

mod about;
#[cfg(target_family = "wasm")]
mod memory;
mod prepared;
mod words;
mod worlds;

pub use about::About;
pub use prepared::{from_bytes, to_configured};
pub use worlds::{
    Allow, AuthorizeDecision, AuthorizeRequest, Authorizer, Configured, Description, Forward, Pair,
    PreparingAuthorizer, Refusal, RenderRequest, Rendered, Renderer, RouteDecision, RouteRequest, Router, allow, claim,
    deny, forward, header, refuse,
};

#[doc(hidden)]
pub mod bindings {
    pub use crate::worlds::{authorizer, renderer, router};
}
