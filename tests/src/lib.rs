//! The harness of the integration tests: starts the real `orbitd` binary with everything in a directory of its own, speaks
//! to it as users, operators and attackers do, and watches its processes. Whoever reads a test reads these words:
//!
//! * [`Daemon`]: one `orbitd serve` and its directory; gone when dropped, whatever happened to the test.
//! * [`Issuer`]: makes the tokens, good and bad.
//! * [`Reply`]: what came back, from [`Daemon::get`] and friends or from [`http::send`].
//! * [`wire::Wire`]: bytes in, bytes out, nothing parsed on the way in.
//! * [`load::Load`]: keep-alive and one-shot requests without retries, every failure counted.
//! * [`mixed::MixedLoad`]: open-model load of requests, uploads, event streams and WebSockets, every failure counted.
//! * [`fault::Proxy`]: a network that fails on purpose.
//! * [`wait::until`]: the only way to wait.

pub mod admin;
pub mod authority;
pub mod binding;
pub mod chromium;
pub mod daemon;
pub mod fault;
pub mod http;
pub mod kill_rig;
pub mod load;
pub mod mixed;
pub mod paths;
pub mod postgres;
pub mod processes;
pub mod registry;
pub mod swap;
pub mod token_service;
pub mod tokens;
pub mod wait;
pub mod wire;
pub mod world;

pub use admin::Admin;
pub use daemon::{Daemon, Setup};
pub use http::Reply;
pub use tokens::Issuer;
