//! Makes and removes a workspace's database. `lifecycle` decides when; one [`Provisioner`] now: [`SqliteProvisioner`], a directory of
//! database files per workspace (Backstage keeps one per plugin in it).
//!
//! Invariants: both calls are idempotent, because a daemon may be killed in the middle of them; no link is followed.

mod sqlite;
mod sqlite_copy;
mod stateless;

pub use sqlite::SqliteProvisioner;
pub use stateless::StatelessProvisioner;

use std::path::Path;

use serde_json::Value;

/// Makes and removes databases.
#[async_trait::async_trait]
pub trait Provisioner: Send + Sync {
    /// Makes the database of this name if there is none. `home` is the workspace's own directory.
    async fn ensure(&self, database: &str, home: &Path) -> Result<(), ProvisionError>;
    /// What `backend.database` of the workspace's Backstage must say.
    fn config(&self, database: &str, home: &Path) -> Value;
    /// How many instances may run on one database.
    fn writers(&self) -> Writers;
    /// Makes the database `copy` of what `database` holds now, while an instance works on it. `copy` must not exist; a copy that
    /// failed is removed like any other. Only asked for where [`Provisioner::writers`] is [`Writers::One`].
    async fn copy(&self, database: &str, copy: &str, home: &Path) -> Result<(), ProvisionError>;
    /// Removes the database and everything in it. Fine if there is none.
    async fn remove(&self, database: &str, home: &Path) -> Result<(), ProvisionError>;
}

/// How many instances may run on one database at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// One: a second one would corrupt it.
    One,
    /// Two at least.
    Many,
}

/// Why a database could not be made, copied or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} the database {database}: {source}")]
pub struct ProvisionError {
    /// `make`, `copy` or `remove`.
    pub operation: &'static str,
    /// Which database.
    pub database: String,
    /// What the system said.
    pub source: std::io::Error,
}
