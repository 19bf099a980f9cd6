//! The registry: workspaces, revisions, keys, instances and events, in SQLite through sqlx; and the data directory that it
//! lives in. `lifecycle` writes it, `app` opens it.
//!
//! Invariants: one daemon per data directory (a lock, [`DataDir`]); one writing connection, so that no write ever waits for
//! another process's transaction; a write that returned is on the disk (`synchronous=FULL`, asserted at open); secrets
//! are sealed before they reach a row. A full disk fails writes by name ([`RegistryErrorKind::Full`]) and leaves reads alone.

mod data_dir;
mod error;
mod events;
mod instances;
mod meta;
mod registry;
mod revisions;
mod workspaces;

pub use data_dir::{DataDir, DataDirError};
pub use error::{RegistryError, RegistryErrorKind};
pub use events::{MAX_EVENTS, NewEvent};
pub use instances::{InstanceRow, InstanceState};
pub use registry::Registry;
pub use workspaces::{DirectoryRow, MAX_GOOD, Progress, StatusUpdate, WorkspaceRow};

#[cfg(test)]
mod tests;
