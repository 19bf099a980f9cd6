//! A database whose workspace is gone.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ids::{Slug, WorkspaceId};

/// A database that outlived its workspace: because someone asked for that, or until its grace period is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptDatabase {
    /// Its name.
    pub database: String,
    /// Whose it was: the life.
    pub workspace: WorkspaceId,
    /// Whose it was: the name.
    pub slug: Slug,
    /// When its workspace was deleted (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub kept_at: OffsetDateTime,
    /// When it is dropped (UTC); `None`: when someone says so.
    #[serde(with = "time::serde::rfc3339::option")]
    pub drop_after: Option<OffsetDateTime>,
}
