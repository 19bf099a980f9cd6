//! Why the registry did not do what it was asked.

use std::path::PathBuf;

use crate::identity::MasterKeyError;

/// Why the registry did not do what it was asked. Nothing was changed, except where a variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The file can't be opened.
    #[error("cannot open the registry {}: {source}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The file is damaged.
    #[error("the registry {} is damaged ({detail}): stop orbitd and restore registry.sqlite from a backup; the instances and their databases are not touched", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What the check found; at most 300 characters.
        detail: String,
    },
    /// A newer orbitd has written it.
    #[error("the registry {} was written by a newer orbitd (schema {version}): run that version, or restore the backup made before the upgrade", path.display())]
    FromTheFuture {
        /// Which file.
        path: PathBuf,
        /// The schema version found.
        version: i64,
    },
    /// The database does not keep the durability that was asked for.
    #[error(
        "the registry's database runs with {setting} = {found} instead of {wanted}: changes could be lost with the power"
    )]
    NotDurable {
        /// Which pragma.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// No space is left.
    #[error(
        "cannot {operation}: the disk of the data directory is full; free some space (running instances are served meanwhile)"
    )]
    Full {
        /// What was tried.
        operation: &'static str,
    },
    /// The file or its folder can't be written any more.
    #[error("cannot {operation}: the registry can't be written (read-only file system, or wrong owner)")]
    ReadOnly {
        /// What was tried.
        operation: &'static str,
    },
    /// Another program holds the file.
    #[error("cannot {operation}: another program has locked the registry; close it (a `sqlite3` shell? a backup?)")]
    Busy {
        /// What was tried.
        operation: &'static str,
    },
    /// The slug is another living workspace's.
    #[error("the slug is taken")]
    SlugTaken,
    /// The spec has changed since it was read: read again.
    #[error("the workspace was changed meanwhile")]
    Changed,
    /// A sealed column does not open.
    #[error(transparent)]
    Sealed(#[from] MasterKeyError),
    /// A column does not hold what it should.
    #[error("the registry holds a malformed {what}: {detail}")]
    Malformed {
        /// Which column or row.
        what: &'static str,
        /// Why it can't be read.
        detail: String,
    },
    /// Anything else that the database said.
    #[error("cannot {operation}: {source}")]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// What the database said.
        source: sqlx::Error,
    },
}

/// The closed set of kinds: a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegistryErrorKind {
    /// The file can't be opened or used.
    Unusable,
    /// The disk is full.
    Full,
    /// It can't be written, or is locked, for now.
    Unavailable,
    /// The caller's change conflicts with another.
    Conflict,
    /// A row can't be read.
    Malformed,
    /// Anything else.
    Failed,
}

impl RegistryErrorKind {
    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unusable => "unusable",
            Self::Full => "full",
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Malformed => "malformed",
            Self::Failed => "failed",
        }
    }
}

impl RegistryError {
    /// Which kind it is.
    pub fn kind(&self) -> RegistryErrorKind {
        match self {
            Self::Open { .. } | Self::Corrupt { .. } | Self::FromTheFuture { .. } | Self::NotDurable { .. } => {
                RegistryErrorKind::Unusable
            }
            Self::Full { .. } => RegistryErrorKind::Full,
            Self::ReadOnly { .. } | Self::Busy { .. } => RegistryErrorKind::Unavailable,
            Self::SlugTaken | Self::Changed => RegistryErrorKind::Conflict,
            Self::Sealed(_) | Self::Malformed { .. } => RegistryErrorKind::Malformed,
            Self::Failed { .. } => RegistryErrorKind::Failed,
        }
    }

    /// Gives an sqlx error its name. SQLite's extended codes carry the primary one in their low byte.
    pub(super) fn of(operation: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |source| match sqlite_code(&source) {
            Some(13) => Self::Full { operation },
            Some(8 | 14) => Self::ReadOnly { operation },
            Some(5 | 6) => Self::Busy { operation },
            _ => Self::Failed { operation, source },
        }
    }

    pub(super) fn malformed(what: &'static str) -> impl Fn(String) -> Self {
        move |detail| Self::Malformed { what, detail }
    }
}

/// SQLite's primary result code.
pub(super) fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
