//! Why the registry did not do what it was asked.

use super::sessions::{NoSession, leaves_session_whole};
use crate::identity::MasterKeyError;

/// Why the registry did not do what it was asked. Nothing was changed, except where a variant says otherwise. `place` is the
/// file, or the server's address without its password.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It can't be opened.
    #[error("cannot open the registry {place}: {source}")]
    Open {
        /// Where it is.
        place: String,
        /// What the database said.
        source: sqlx::Error,
    },
    /// It is damaged.
    #[error(
        "the registry {place} is damaged ({detail}): stop orbitd and restore it from a backup; the instances and their databases are not touched"
    )]
    Corrupt {
        /// Where it is.
        place: String,
        /// What the check found; at most 300 characters.
        detail: String,
    },
    /// A newer orbitd has written it.
    #[error(
        "the registry {place} was written by a newer orbitd (schema {version}): run that version, or restore the backup made before the upgrade"
    )]
    FromTheFuture {
        /// Where it is.
        place: String,
        /// The schema version found.
        version: i64,
    },
    /// Another daemon holds it.
    #[error(
        "another orbitd works on the registry {place}: stop it, or give this one a database of its own (`registry.url`)"
    )]
    Held {
        /// Where it is.
        place: String,
    },
    /// What is spoken to is no PostgreSQL session of our own.
    #[error(
        "the registry {place} is reached through a pooler that shares sessions, which would lose orbitd's lock unseen: point `registry.url` at PostgreSQL itself, or at a pool in session mode"
    )]
    Pooled {
        /// Where it is.
        place: String,
    },
    /// Its server does not answer, or no session was to be had.
    #[error("cannot {operation}: the registry does not answer ({source}); running instances are served meanwhile")]
    Unreachable {
        /// What was tried.
        operation: &'static str,
        /// How that ended.
        source: sqlx::Error,
    },
    /// It stopped answering in the middle of a COMMIT, and could not be asked in time what became of that: the change may stand.
    #[error(
        "whether orbitd did {operation} is not known, because the registry stopped answering in the middle of it ({source}); look before you ask again"
    )]
    Unsettled {
        /// What was tried.
        operation: &'static str,
        /// Why it could not be asked.
        source: Box<RegistryError>,
    },
    /// The database does not keep the durability that was asked for.
    #[error(
        "the registry's database runs with {setting} = {found} instead of {wanted}: changes could be lost with the power"
    )]
    NotDurable {
        /// Which pragma or parameter.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// No space is left.
    #[error(
        "cannot {operation}: the disk of the registry is full; free some space (running instances are served meanwhile)"
    )]
    Full {
        /// What was tried.
        operation: &'static str,
    },
    /// The file or its folder can't be written any more.
    #[error(
        "cannot {operation}: the registry can't be written (read-only file system, wrong owner, or a PostgreSQL that is a standby now)"
    )]
    ReadOnly {
        /// What was tried.
        operation: &'static str,
    },
    /// The disk below it fails.
    #[error(
        "cannot {operation}: the disk of the registry fails ({source}); see the system's log; running instances are served meanwhile"
    )]
    Disk {
        /// What was tried.
        operation: &'static str,
        /// What the database said.
        source: sqlx::Error,
    },
    /// Another program holds the file.
    #[error("cannot {operation}: another program has locked the registry; close it (a database shell? a backup?)")]
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
    /// The operation has changed it before: it was asked for again.
    #[error("it was done before")]
    AppliedBefore,
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
            Self::Open { .. }
            | Self::Corrupt { .. }
            | Self::FromTheFuture { .. }
            | Self::Held { .. }
            | Self::Pooled { .. }
            | Self::NotDurable { .. } => RegistryErrorKind::Unusable,
            Self::Full { .. } => RegistryErrorKind::Full,
            Self::ReadOnly { .. }
            | Self::Busy { .. }
            | Self::Unreachable { .. }
            | Self::Disk { .. }
            | Self::Unsettled { .. } => RegistryErrorKind::Unavailable,
            Self::SlugTaken | Self::Changed | Self::AppliedBefore => RegistryErrorKind::Conflict,
            Self::Sealed(_) | Self::Malformed { .. } => RegistryErrorKind::Malformed,
            Self::Failed { .. } => RegistryErrorKind::Failed,
        }
    }

    /// Gives an sqlx error its name.
    pub(super) fn of(operation: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |source| match Condition::of(&source) {
            Some(Condition::Full) => Self::Full { operation },
            Some(Condition::ReadOnly) => Self::ReadOnly { operation },
            Some(Condition::Busy) => Self::Busy { operation },
            Some(Condition::Unreachable) => Self::Unreachable { operation, source },
            Some(Condition::Disk) => Self::Disk { operation, source },
            Some(Condition::Corrupt) | None => Self::Failed { operation, source },
        }
    }

    /// Whether the session that it came from can be used again.
    pub(super) fn leaves_session_whole(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Busy { .. } | Self::SlugTaken | Self::Changed | Self::AppliedBefore => true,
            Self::Sealed(_) | Self::Malformed { .. } => true,
            Self::Failed { source, .. } => leaves_session_whole(source),
            _ => false,
        }
    }

    /// Whether it was the session that failed, not the change: on another one that may succeed.
    pub(super) fn is_of_the_session(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Disk { .. })
    }

    pub(super) fn malformed(what: &'static str) -> impl Fn(String) -> Self {
        move |detail| Self::Malformed { what, detail }
    }
}

/// What both databases have a code for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Full,
    ReadOnly,
    Busy,
    Unreachable,
    /// An input or output error: what was written may not be there.
    Disk,
    Corrupt,
}

impl Condition {
    pub(super) fn of(error: &sqlx::Error) -> Option<Self> {
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::Io(error) if is(error, |reason| matches!(reason, NoSession::ReadOnly)) => {
                    Some(Self::ReadOnly)
                }
                sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => {
                    Some(Self::Unreachable)
                }
                _ => None,
            };
        };
        let code = database.code()?;
        match code.as_ref() {
            // PostgreSQL's are five characters (its manual, appendix A).
            "53100" => Some(Self::Full),
            "58030" => Some(Self::Disk),
            "25006" => Some(Self::ReadOnly),
            "55P03" | "57014" | "40001" | "40P01" => Some(Self::Busy),
            "53300" | "57P01" | "57P02" | "57P03" | "57P05" => Some(Self::Unreachable),
            "XX001" | "XX002" => Some(Self::Corrupt),
            code if code.len() == 5 => code.starts_with("08").then_some(Self::Unreachable),
            // SQLite's extended ones carry the primary one in their low byte.
            code => match code.parse::<i32>().ok()? & 0xff {
                13 => Some(Self::Full),
                8 | 14 => Some(Self::ReadOnly),
                5 | 6 => Some(Self::Busy),
                // SQLITE_IOERR
                10 => Some(Self::Disk),
                // SQLITE_CORRUPT, SQLITE_NOTADB
                11 | 26 => Some(Self::Corrupt),
                _ => None,
            },
        }
    }
}

/// Whether it is our own reason, and this one.
pub(super) fn is(error: &std::io::Error, this: fn(&NoSession) -> bool) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref()).is_some_and(this)
}
