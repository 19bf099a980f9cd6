//! Why a backup could not be stored, read or trusted.

use std::{io, path::PathBuf};

use crate::ids::{BackupId, Slug};

/// Why a backup could not be stored, read or trusted.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The place can't be used.
    #[error("backups can't be kept in {place}: {reason}")]
    Place {
        /// The directory or bucket.
        place: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// The place failed.
    #[error("cannot {operation} {what} in {place}: {source}")]
    Store {
        /// What was tried.
        operation: &'static str,
        /// With which object.
        what: String,
        /// The directory or bucket.
        place: String,
        /// What the store said.
        source: Box<object_store::Error>,
    },
    /// A local file failed.
    #[error("cannot {operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such backup, or it was never finished.
    #[error("there is no whole backup {id} of {slug}; `orbitd backup list {slug}` shows those that are")]
    NotFound {
        /// Of which name.
        slug: Slug,
        /// Which.
        id: BackupId,
    },
    /// It is not what was stored.
    #[error("the backup {id} is damaged: {detail}; use another one")]
    Damaged {
        /// Which.
        id: BackupId,
        /// What is wrong with which part.
        detail: String,
    },
}

impl BackupError {
    /// Whether another try may end better.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Store { .. } | Self::File { .. })
    }
}
