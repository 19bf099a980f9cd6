//! Runs `orbit:policy` WebAssembly components: each decision in a fresh sandbox with a limit on time, memory and answer.
//!
//! ```text
//! bytes ─ shape::check ─ Compiler (cache under a MAC, or a limited child process) ─ Router | Authorizer | Renderer
//!                                                                                      └─ one fresh store per decision
//! ```
//!
//! Who calls it: `orbitd`'s policy module, which knows tiers, files and swapping; this crate knows neither. It is a crate of
//! its own because it is what compiles slowly.
//!
//! Invariants: the epoch deadline is armed before a guest's first instruction, `start` functions included; a store never
//! outlives its call; native code is loaded only if this daemon compiled it (see [`Compiler`]); a guest imports nothing; a tier
//! never has more than its [`Slots`], and a policy that was slow runs on no thread that serves others.

mod bindings;
mod cache;
pub mod compile_child;
mod compiler;
mod conduct;
mod error;
mod inspect;
mod lane;
mod limits;
mod policy;
mod runtime;
mod sandbox;
pub mod shape;
mod slots;
mod ticker;
mod trusted;
mod world;

pub use cache::CacheKey;
pub use compiler::{Compiled, Compiler, Isolation};
pub use error::{CallError, CallErrorKind, LoadError};
pub use inspect::{Inspection, inspect};
pub use limits::Limits;
pub use policy::{
    About, Authorizer, AuthorizerDecision, AuthorizerRequest, Inputs, RenderedConfig, Renderer, RendererRequest,
    Router, RouterDecision, RouterRequest, Terms, describe,
};
pub use runtime::Runtime;
pub use shape::{MAX_MODULE_BYTES, ShapeLimits};
pub use slots::{Slots, StandAside, Turn};
pub use world::{SPOKEN_VERSIONS, World};
