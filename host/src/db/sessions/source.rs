//! Where sessions come from: a file, or servers.

use sqlx::AnyConnection;
use tokio::time::Instant;

use crate::db::{postgres::Servers, sqlite::File};

/// Where sessions come from.
pub(in crate::db) enum Source {
    File(File),
    Servers(Servers),
}

/// An open connection, and what it was opened for.
pub(in crate::db) struct Kept {
    pub connection: AnyConnection,
    /// It can only read, for want of a better one.
    pub makeshift: Option<Makeshift>,
}

/// For how long nothing better is looked for.
#[derive(Debug, Clone, Copy)]
pub(in crate::db) struct Makeshift {
    pub until: Instant,
    /// How often a session that writes had been opened: once there is one, a read elsewhere might not see what it has written.
    pub writers: u64,
}

impl Source {
    pub(super) async fn open(&self, after_trouble: bool) -> Result<Kept, sqlx::Error> {
        match self {
            Self::File(file) => file.open(after_trouble).await,
            Self::Servers(servers) => servers.open().await,
        }
    }

    pub(super) async fn is_good(&self, kept: &mut Kept) -> bool {
        match self {
            // What it fails with is found by the next statement.
            Self::File(_) => true,
            Self::Servers(servers) => servers.is_good(kept).await,
        }
    }

    pub(super) fn place(&self) -> &str {
        match self {
            Self::File(file) => file.place(),
            Self::Servers(servers) => servers.place(),
        }
    }
}
