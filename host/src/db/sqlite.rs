//! The registry in a file: durability and integrity.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, str::FromStr};

use sqlx::{AnyConnection, Connection, any::AnyConnectOptions};

use super::{
    RegistryError,
    registry::open_error,
    sessions::{Kept, Sessions, Source},
};

/// With WAL, NORMAL may lose the last commits with the power; FULL may not.
const PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                       PRAGMA busy_timeout = 5000; PRAGMA journal_size_limit = 67108864;";
const READERS: u32 = 4;

/// Opens connections to the file.
pub(super) struct File {
    options: AnyConnectOptions,
    place: String,
}

/// Writer and readers of a file, which is made where there is none.
pub(super) async fn open(path: &Path) -> Result<(Sessions, Sessions), RegistryError> {
    let place = path.display().to_string();
    let failed = |source| open_error(&place, source);
    // SQLite would make it readable to all; its log and shared memory take their mode from it.
    let created = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    created.map_err(|error| failed(sqlx::Error::Io(error)))?;
    let options = AnyConnectOptions::from_str(&address(path)).map_err(failed)?;
    let first = AnyConnection::connect_with(&options).await.map_err(failed)?;
    prepare(first, &place).await?;
    let sessions = |most| {
        let (options, place) = (options.clone(), place.clone());
        Sessions::new(Source::File(File { options, place }), most)
    };
    let writer = sessions(1);
    writer.first().await.map_err(failed)?;
    Ok((writer, sessions(READERS)))
}

impl File {
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// A connection whose settings were read back. After trouble the file is looked through first: a failed write to the disk is
    /// forgotten by the kernel (its next `fsync` succeeds), so the old handle's idea of the file counts for nothing.
    pub(super) async fn open(&self, after_trouble: bool) -> Result<Kept, sqlx::Error> {
        let mut connection = AnyConnection::connect_with(&self.options).await?;
        sqlx::raw_sql(PRAGMAS).execute(&mut connection).await?;
        if after_trouble {
            let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut connection).await?;
            if found != "ok" {
                return Err(sqlx::Error::Protocol(format!("{} is damaged: {found:.200}", self.place)));
            }
        }
        if let Some((setting, found, wanted)) = not_durable(&mut connection).await? {
            return Err(sqlx::Error::Protocol(format!(
                "{} runs with {setting} = {found} instead of {wanted}: changes could be lost with the power",
                self.place
            )));
        }
        Ok(Kept { connection, makeshift: None })
    }
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
async fn prepare(mut connection: AnyConnection, place: &str) -> Result<(), RegistryError> {
    let failed = |source| open_error(place, source);
    sqlx::raw_sql(PRAGMAS).execute(&mut connection).await.map_err(failed)?;
    let found: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check(3)").fetch_all(&mut connection).await.map_err(failed)?;
    if found != ["ok"] {
        let detail = found.join("; ").chars().take(300).collect();
        return Err(RegistryError::Corrupt { place: place.to_owned(), detail });
    }
    let wrong = not_durable(&mut connection).await.map_err(failed)?;
    if let Some((setting, found, wanted)) = wrong {
        return Err(RegistryError::NotDurable { setting, found, wanted });
    }
    connection.close().await.map_err(failed)
}

/// The first setting that is not what [`PRAGMAS`] asked for: name, what it is, what it must be. SQLite does not refuse a pragma that it
/// can't follow (WAL on a file system without shared memory), it goes on with another value.
async fn not_durable(
    connection: &mut AnyConnection,
) -> Result<Option<(&'static str, String, &'static str)>, sqlx::Error> {
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await?;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *connection).await?;
    let keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&mut *connection).await?;
    Ok(match (synchronous, journal.as_str(), keys) {
        (2, "wal", 1) => None,
        (2, "wal", keys) => Some(("foreign_keys", keys.to_string(), "1")),
        (2, journal, _) => Some(("journal_mode", journal.to_owned(), "wal")),
        (synchronous, ..) => Some(("synchronous", synchronous.to_string(), "2 (FULL)")),
    })
}
