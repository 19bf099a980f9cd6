//! Puts the parts together and runs them: `orbitd serve`. Called by `cli` alone.
//!
//! ```text
//! log → preflight → data dir (lock) → master key → registry → distribution → policies → directory
//!     → listeners (bound before any instance starts) → lifecycle → authn → servers → source → READY
//! signal → source stops → proxy stops accepting and drains → instances stay (or stop: --stop-instances)
//!     → admin, internal → registry closed → lock released
//! ```
//!
//! Invariants: nothing is started before everything that can be refused was checked; the data directory's lock is the first
//! thing taken and the last given back; instances outlive the daemon unless asked otherwise; every wait of the shutdown has
//! a deadline, and a further signal cuts it.
//!
//! Panics: a panic is logged with its place and ends its task only (one request, one reconcile). The few tasks that
//! everything stands on (proxy, admin, internal, controller, source) are watched: should one end on its own, the daemon
//! shuts down in order and exits 1, for its supervisor to start it again; the instances run on meanwhile.

pub mod activation;
mod handover;
mod listeners;
mod lock;
mod log;
pub mod ports;
pub mod preflight;
mod pressure;
mod ready;
mod serve;
mod shutdown;
mod signals;
mod source_loop;
mod tasks;
mod wiring;

pub use lock::data_dir_in_use;
pub use serve::{ServeOptions, serve};
pub use source_loop::{SourceReport, SourceStatus};
