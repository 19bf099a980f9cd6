//! Makes and removes a workspace's database. `lifecycle` decides when and keeps what must be remembered (the login, sealed, in the
//! registry); a [`Provisioner`] does. Three of them: [`SqliteProvisioner`], a directory of database files per workspace (Backstage keeps
//! one per plugin in it), [`PostgresProvisioner`], a database and its roles on a server, and
//! [`StatelessProvisioner`] for distributions that keep nothing.
//!
//! Invariants: every call is idempotent, because a daemon may be killed in the middle of it; what a provisioner did not make
//! it neither takes over nor removes; no link is followed; nothing waits without a limit.

mod access;
mod error;
mod postgres;
mod sqlite;
mod sqlite_copy;
mod stateless;

pub use access::{Access, Site, Stage, Writers};
pub use error::{ProvisionCause, ProvisionError};
pub use postgres::{PostgresError, PostgresProvisioner, PostgresSurvey};
pub use sqlite::SqliteProvisioner;
pub use stateless::StatelessProvisioner;

use std::path::Path;

use crate::model::{Login, Slot};

/// Makes and removes databases.
#[async_trait::async_trait]
pub trait Provisioner: Send + Sync {
    /// `sqlite` or `postgres`: what its dumps can be loaded into.
    fn kind(&self) -> &'static str;
    /// How many instances may be on one database.
    fn writers(&self) -> Writers;
    /// Whether instances log in to it: then `lifecycle` makes a [`Login`] per workspace and hands it in.
    fn needs_login(&self) -> bool;
    /// Connections that all instances together may open; `None` where nobody counts them.
    async fn capacity(&self) -> Result<Option<u64>, ProvisionError>;
    /// Makes the database if there is none, and its login. What is there already is checked, and brought back to what it must
    /// be. `reached` hears of each part that is done.
    async fn ensure(
        &self,
        site: &Site<'_>,
        login: Option<&Login>,
        reached: &(dyn Fn(Stage) + Sync),
    ) -> Result<(), ProvisionError>;
    /// What an instance of `plugins` plugins needs to reach the database. Asks nobody.
    fn access(&self, site: &Site<'_>, login: Option<&Login>, plugins: usize) -> Result<Access, ProvisionError>;
    /// Makes the database `copy` of what the site's holds now, while an instance works on it. `copy` must not exist; one that
    /// failed half-way is removed like any other. Only asked for where [`Provisioner::writers`] is [`Writers::One`]; the others
    /// need not know how.
    async fn copy(&self, site: &Site<'_>, copy: &str) -> Result<(), ProvisionError> {
        let _ = copy;
        let cause = std::io::Error::from(std::io::ErrorKind::Unsupported).into();
        Err(ProvisionError { operation: "copy", database: site.database.to_owned(), cause })
    }
    /// Closes a login that no instance has any more: its password opens nothing from here on. Fine if there is none.
    async fn retire(&self, site: &Site<'_>, slot: Slot) -> Result<(), ProvisionError>;
    /// Closes the database to its workspace, and keeps it although the workspace goes. Says where it is, for a person.
    async fn keep(&self, site: &Site<'_>) -> Result<String, ProvisionError>;
    /// Writes everything in the database into the empty directory `into`, as of one moment (SQLite: one per file), while
    /// instances work on it.
    async fn dump(&self, site: &Site<'_>, login: Option<&Login>, into: &Path) -> Result<(), ProvisionError>;
    /// Replaces everything in the database by what `dump` wrote into `from`. No instance may be on it. The old content stays until
    /// the new one is whole.
    async fn load(&self, site: &Site<'_>, login: Option<&Login>, from: &Path) -> Result<(), ProvisionError>;
    /// Removes the database, kept or not, its logins and everything in it. Fine if there is none.
    async fn remove(&self, site: &Site<'_>) -> Result<(), ProvisionError>;
}
