//! Makes and removes a workspace's database. `lifecycle` decides when; one [`Provisioner`] now: [`SqliteProvisioner`], a directory of
//! database files per workspace (Backstage keeps one per plugin in it).
//!
//! Invariants: both calls are idempotent, because a daemon may be killed in the middle of them; no link is followed.

mod sqlite;

pub use sqlite::SqliteProvisioner;

use std::path::Path;

use serde_json::Value;

/// Makes and removes databases.
#[async_trait::async_trait]
pub trait Provisioner: Send + Sync {
    /// Makes the database of this name if there is none. `home` is the workspace's own directory.
    async fn ensure(&self, database: &str, home: &Path) -> Result<(), ProvisionError>;
    /// What `backend.database` of the workspace's Backstage must say.
    fn config(&self, database: &str, home: &Path) -> Value;
    /// Removes the database and everything in it. Fine if there is none.
    async fn remove(&self, database: &str, home: &Path) -> Result<(), ProvisionError>;
}

/// Why a database could not be made or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} the database {database}: {source}")]
pub struct ProvisionError {
    /// `make` or `remove`.
    pub operation: &'static str,
    /// Which database.
    pub database: String,
    /// What the system said.
    pub source: std::io::Error,
}
