//! Opens the registry: in a file or on a server, its schema brought up to date.

use std::{path::PathBuf, sync::Arc};

use sqlx::migrate::{MigrateError, Migrator};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{RegistryError, error::Condition, postgres, sessions::Sessions, sqlite};
use crate::{identity::MasterKey, settings::PostgresUrl};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Where the registry is.
#[derive(Debug, Clone)]
pub enum Place {
    /// An SQLite file; made where there is none.
    File(PathBuf),
    /// A PostgreSQL database.
    Server(PostgresUrl),
}

/// The registry. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    /// One connection. In a file there is one writer, and waiting in our own queue is fair where waiting for its lock is not; on
    /// a server it is the one that holds the daemon's lock.
    pub(super) writer: Sessions,
    pub(super) reader: Sessions,
    pub(super) master_key: Arc<MasterKey>,
}

impl Registry {
    /// Opens it, or makes it; checks it; brings its schema up to date.
    pub async fn open(place: &Place, master_key: Arc<MasterKey>) -> Result<Self, RegistryError> {
        sqlx::any::install_default_drivers();
        let (writer, reader) = match place {
            Place::File(path) => sqlite::open(path).await?,
            Place::Server(url) => postgres::open(url).await?,
        };
        let place = place.to_string();
        writer.migrate(&MIGRATIONS).await.map_err(|error| match error {
            MigrateError::VersionMissing(version) => RegistryError::FromTheFuture { place: place.clone(), version },
            MigrateError::VersionMismatch(version) => RegistryError::Corrupt {
                place: place.clone(),
                detail: format!("schema {version} is not the one this orbitd knows by that number"),
            },
            MigrateError::Execute(source) => open_error(&place, source),
            other => RegistryError::Open { place: place.clone(), source: sqlx::Error::Migrate(Box::new(other)) },
        })?;
        Ok(Self { writer, reader, master_key })
    }

    /// Closes all sessions; what was committed is there, a file's write-ahead log is folded in, a server's lock is free.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(url) => f.write_str(&url.shown()),
        }
    }
}

pub(super) fn open_error(place: &str, source: sqlx::Error) -> RegistryError {
    const OPERATION: &str = "open the registry";
    match Condition::of(&source) {
        Some(Condition::Corrupt) => RegistryError::Corrupt { place: place.to_owned(), detail: source.to_string() },
        Some(Condition::Full) => RegistryError::Full { operation: OPERATION },
        Some(Condition::Busy) => RegistryError::Busy { operation: OPERATION },
        _ => RegistryError::Open { place: place.to_owned(), source },
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
