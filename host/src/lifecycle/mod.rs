//! A workspace's life. Specs are written through [`Workspaces`] (admin API, config sources); one controller owns the statuses, the
//! instances and what the directory offers. `app` starts it with [`start`].
//!
//! Who tells whom: a written spec, an exit, an idle instance, a hint from the proxy each put a workspace's id into the [`queue`],
//! carrying nothing else; a periodic scan of the registry does the same, so that a lost hint costs seconds, not correctness. A
//! worker takes an id, and repeats *load, observe, ask [`step`], do it, store it* until there is nothing to do for now.
//!
//! Invariants: at most one reconcile per workspace at a time; a side effect is recorded before it is done (an instance's row
//! before its process, "has a database" before the database), so a killed daemon finds whatever it left; what the directory offers
//! is computed from the same facts as the step.

mod alarms;
mod apply;
mod ask;
mod backoff;
mod backup;
mod cause;
mod clock;
mod config;
mod controller;
pub mod crashpoint;
mod database;
mod facts;
mod fault;
mod harm;
mod host_config;
mod kept;
mod ladder;
mod live;
mod memory;
mod metrics;
mod noticed;
mod observe;
mod offer;
mod operations;
mod perform;
mod queue;
mod reconcile;
mod render;
mod revisions;
mod rotation;
mod secrets;
mod shared;
mod sleep;
mod start;
mod start_instance;
mod starters;
mod status;
mod step;
#[cfg(test)]
mod step_tests;
#[cfg(test)]
mod step_worlds;
mod turns;
mod validate;
mod warm;
mod wishes;
mod workspaces;

pub use backup::{BackupList, FailedBackup};
pub use ladder::Asked;
pub use metrics::Metrics;
pub use revisions::RevisionSummary;
pub use start::{ControllerHandle, Parts, StartError, start};
pub use workspaces::{LifecycleError, NewWorkspace, SpecPatch, Workspaces};
