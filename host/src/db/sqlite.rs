//! The registry in a file: durability and integrity.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, str::FromStr, time::Duration};

use sqlx::{
    AnyPool, Connection,
    any::{AnyConnectOptions, AnyPoolOptions},
};

use super::{RegistryError, registry::open_error};

/// With WAL, NORMAL may lose the last commits with the power; FULL may not.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                       PRAGMA busy_timeout = 5000; PRAGMA journal_size_limit = 67108864;";
const READERS: u32 = 4;

/// Writer and readers of a file, which is made where there is none.
pub(super) async fn open(path: &Path) -> Result<(AnyPool, AnyPool), RegistryError> {
    let place = path.display().to_string();
    let failed = |source| open_error(&place, source);
    // SQLite would make it readable to all; its log and shared memory take their mode from it.
    let created = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    created.map_err(|error| failed(sqlx::Error::Io(error)))?;
    let options = AnyConnectOptions::from_str(&address(path)).map_err(failed)?;
    // Once by itself: the pool would try again and again, and tell nothing of why.
    let first = sqlx::AnyConnection::connect_with(&options).await.map_err(failed)?;
    prepare(first, &place).await?;
    let pool = |connections| {
        AnyPoolOptions::new().max_connections(connections).acquire_timeout(Duration::from_secs(15)).after_connect(
            |connection, _| Box::pin(async move { sqlx::raw_sql(PRAGMAS).execute(connection).await.map(|_| ()) }),
        )
    };
    let writer = pool(1).connect_with(options.clone()).await.map_err(failed)?;
    assert_durable(&writer).await?;
    Ok((writer, pool(READERS).connect_lazy_with(options)))
}

/// `sqlite:` and the path, whatever is in it.
fn address(path: &Path) -> String {
    use std::fmt::Write as _;
    let mut address = "sqlite://".to_owned();
    for byte in std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()) {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => address.push(char::from(*byte)),
            // Writing to a string does not fail.
            other => _ = write!(address, "%{other:02X}"),
        }
    }
    address + "?mode=rwc"
}

/// What can be wrong with a file is found here, by name.
async fn prepare(mut connection: sqlx::AnyConnection, place: &str) -> Result<(), RegistryError> {
    let failed = |source| open_error(place, source);
    sqlx::raw_sql(PRAGMAS).execute(&mut connection).await.map_err(failed)?;
    let found: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check(3)").fetch_all(&mut connection).await.map_err(failed)?;
    if found != ["ok"] {
        let detail = found.join("; ").chars().take(300).collect();
        return Err(RegistryError::Corrupt { place: place.to_owned(), detail });
    }
    connection.close().await.map_err(failed)
}

async fn assert_durable(writer: &AnyPool) -> Result<(), RegistryError> {
    let operation = RegistryError::of("read the registry's durability");
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(writer).await.map_err(&operation)?;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(writer).await.map_err(&operation)?;
    let keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(writer).await.map_err(&operation)?;
    let wrong = |setting, found, wanted| Err(RegistryError::NotDurable { setting, found, wanted });
    match (synchronous, journal.as_str(), keys) {
        (2, "wal", 1) => Ok(()),
        (2, "wal", keys) => wrong("foreign_keys", keys.to_string(), "1"),
        (2, journal, _) => wrong("journal_mode", journal.to_owned(), "wal"),
        (synchronous, ..) => wrong("synchronous", synchronous.to_string(), "2 (FULL)"),
    }
}
