//! How workspaces' databases are made.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::postgres::{PostgresUrl, UrlError, either};

/// How workspaces' databases are made.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct ProvisionerSettings {
    /// Which databases.
    pub kind: ProvisionerKind,
    /// Seconds that a deleted workspace's database is kept before it is dropped; 0 drops it at once.
    pub drop_grace_s: u64,
    /// The server, for `kind = "postgres"`.
    pub postgres: PostgresSettings,
}

/// Which databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProvisionerKind {
    /// Files beside the instance.
    #[default]
    Sqlite,
    /// A database per workspace on one PostgreSQL server, a schema per plugin in it.
    Postgres,
}

/// The server, and how its connections are shared out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresSettings {
    /// orbitd's own role (CREATEDB, CREATEROLE, no superuser) on the server: `postgres://…`. Instances use its host, port and sslmode.
    pub url: Option<PostgresUrl>,
    /// A file that holds that address.
    pub url_file: Option<PathBuf>,
    /// Connections that one workspace may have open; twice what one instance opens fits in, because of rollouts.
    pub connection_limit: u32,
    /// Connections that one plugin's pool may open, at most; fewer where `connection_limit` asks for it.
    pub max_pool: u32,
    /// Connections of the server that are left for orbitd and everybody else.
    pub reserve: u32,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self { url: None, url_file: None, connection_limit: 80, max_pool: 3, reserve: 15 }
    }
}

impl PostgresSettings {
    /// The server's address, wherever it is written.
    pub fn server(&self) -> Result<PostgresUrl, UrlError> {
        either("provisioner.postgres", self.url.as_ref(), self.url_file.as_deref())
    }
}
