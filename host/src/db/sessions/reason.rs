//! Why there is no session, and whether one can be used again.

use std::time::Duration;

use super::super::error::Condition;

/// Why there is no session, beside what the database says.
#[derive(Debug, thiserror::Error)]
pub(in crate::db) enum NoSession {
    #[error("no server takes changes now: it is a standby, or its administrator made it read-only")]
    ReadOnly,
    #[error("another orbitd holds the registry")]
    Held,
    #[error("no answer within {} s", .0.as_secs())]
    Slow(Duration),
    /// None was had in time: what was to be done was not begun.
    #[error("{0}")]
    LastTry(String),
    #[error("orbitd is stopping")]
    Closed,
}

impl From<NoSession> for sqlx::Error {
    fn from(reason: NoSession) -> Self {
        Self::Io(std::io::Error::other(reason))
    }
}

/// Whether a session can be used again after this: the statement was at fault, or the moment.
pub(in crate::db) fn leaves_session_whole(error: &sqlx::Error) -> bool {
    match Condition::of(error) {
        Some(Condition::Full | Condition::Busy) => true,
        Some(Condition::ReadOnly | Condition::Unreachable | Condition::Disk | Condition::Corrupt) => false,
        None => matches!(
            error,
            sqlx::Error::Database(_)
                | sqlx::Error::RowNotFound
                | sqlx::Error::ColumnNotFound(_)
                | sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::ColumnIndexOutOfBounds { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::Encode(_)
        ),
    }
}

/// What a database says, without the layers that it came through.
pub(super) fn said(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}
