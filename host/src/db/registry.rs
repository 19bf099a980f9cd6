//! Opens the registry: durability, integrity, migrations.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc, time::Duration};

use sqlx::{
    SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{RegistryError, error::sqlite_code};
use crate::identity::MasterKey;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    /// One connection: SQLite has one writer, and waiting in our own queue is fair where waiting for its lock is not.
    pub(super) writer: SqlitePool,
    pub(super) reader: SqlitePool,
    pub(super) master_key: Arc<MasterKey>,
}

impl Registry {
    /// Opens the file, or makes it; checks it; brings its schema up to date.
    pub async fn open(path: &Path, master_key: Arc<MasterKey>) -> Result<Self, RegistryError> {
        let failed = |source| open_error(path, source);
        // SQLite would make it readable to all; its log and shared memory take their mode from it.
        let created = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        created.map_err(|error| failed(sqlx::Error::Io(error)))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // With WAL, NORMAL may lose the last commits with the power; FULL may not.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .pragma("journal_size_limit", "67108864");
        let pool = |connections| {
            SqlitePoolOptions::new().max_connections(connections).acquire_timeout(Duration::from_secs(15))
        };
        let writer = pool(1).connect_with(options.clone()).await.map_err(failed)?;
        let this = Self { writer, reader: pool(4).connect_lazy_with(options), master_key };
        this.assert_durable().await?;
        this.check_integrity(path).await?;
        MIGRATIONS.run(&this.writer).await.map_err(|error| match error {
            MigrateError::VersionMissing(version) => RegistryError::FromTheFuture { path: path.to_owned(), version },
            MigrateError::VersionMismatch(version) => RegistryError::Corrupt {
                path: path.to_owned(),
                detail: format!("schema {version} is not the one this orbitd knows by that number"),
            },
            MigrateError::Execute(source) => open_error(path, source),
            other => RegistryError::Open { path: path.to_owned(), source: sqlx::Error::Migrate(Box::new(other)) },
        })?;
        Ok(this)
    }

    /// Closes both pools; what was committed is in the file, the write-ahead log is folded in.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    async fn assert_durable(&self) -> Result<(), RegistryError> {
        let operation = RegistryError::of("read the registry's durability");
        let synchronous: i64 =
            sqlx::query_scalar("PRAGMA synchronous").fetch_one(&self.writer).await.map_err(&operation)?;
        let journal: String =
            sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&self.writer).await.map_err(&operation)?;
        let keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&self.writer).await.map_err(&operation)?;
        let wrong = |setting, found, wanted| Err(RegistryError::NotDurable { setting, found, wanted });
        match (synchronous, journal.as_str(), keys) {
            (2, "wal", 1) => Ok(()),
            (2, "wal", keys) => wrong("foreign_keys", keys.to_string(), "1"),
            (2, journal, _) => wrong("journal_mode", journal.to_owned(), "wal"),
            (synchronous, ..) => wrong("synchronous", synchronous.to_string(), "2 (FULL)"),
        }
    }

    async fn check_integrity(&self, path: &Path) -> Result<(), RegistryError> {
        let found: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check(3)")
            .fetch_all(&self.writer)
            .await
            .map_err(|source| open_error(path, source))?;
        if found == ["ok"] {
            return Ok(());
        }
        Err(RegistryError::Corrupt { path: path.to_owned(), detail: found.join("; ").chars().take(300).collect() })
    }
}

fn open_error(path: &Path, source: sqlx::Error) -> RegistryError {
    match sqlite_code(&source) {
        // SQLITE_CORRUPT, SQLITE_NOTADB
        Some(11 | 26) => RegistryError::Corrupt { path: path.to_owned(), detail: source.to_string() },
        Some(13) => RegistryError::Full { operation: "open the registry" },
        Some(5 | 6) => RegistryError::Busy { operation: "open the registry" },
        _ => RegistryError::Open { path: path.to_owned(), source },
    }
}

// === columns ===

pub(super) fn write_time(at: OffsetDateTime) -> String {
    // Formatting fails only for years outside 0..=9999.
    at.format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

pub(super) fn read_time(text: &str) -> Result<OffsetDateTime, RegistryError> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|error| RegistryError::malformed("time")(error.to_string()))
}

pub(super) fn read_json<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, RegistryError> {
    serde_json::from_str(text).map_err(|error| RegistryError::malformed(what)(error.to_string()))
}

pub(super) fn write_json<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, RegistryError> {
    serde_json::to_string(value).map_err(|error| RegistryError::malformed(what)(error.to_string()))
}

pub(super) fn read_id<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<T, RegistryError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| RegistryError::malformed(what)(error.to_string()))
}
