//! The registry: workspaces, revisions, keys, instances and events, through sqlx in an SQLite file or in a PostgreSQL database, with the
//! same statements and migrations; and the data directory. `lifecycle` writes it, `app` opens it.
//!
//! Invariants: one daemon per data directory (a lock, [`DataDir`]) and per registry (a PostgreSQL one has a lock of its own); one
//! writing connection, so that no write ever waits for another process's transaction; a write that returned is on the disk
//! (asserted at open); secrets are sealed before they reach a row. A full disk fails writes by name ([`RegistryErrorKind::Full`]) and leaves reads alone.

mod data_dir;
mod error;
mod events;
mod instances;
mod kept;
mod logins;
mod meta;
mod operations;
mod postgres;
mod registry;
mod revisions;
mod sessions;
mod sqlite;
mod workspaces;

pub use data_dir::{DataDir, DataDirError};
pub use error::{RegistryError, RegistryErrorKind};
pub use events::{MAX_EVENTS, NewEvent};
pub use instances::{InstanceRow, InstanceState};
pub use operations::{Begun, MAX_REPLY, Operation, Reply};
pub use registry::{Place, Registry};
pub use workspaces::{DirectoryRow, MAX_GOOD, Progress, Retiring, StatusUpdate, WorkspaceRow};

#[cfg(test)]
mod tests;
