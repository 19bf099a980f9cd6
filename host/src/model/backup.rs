//! A backup as everyone sees it: its manifest, which is written last. What has none is no backup.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ids::{BackupId, Digest, Slug, TierName, WorkspaceId};

/// What a backup is of and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Of this form: 1.
    pub format: u32,
    /// Which.
    pub id: BackupId,
    /// Whose: the name it had.
    pub slug: Slug,
    /// Whose: the life it had.
    pub workspace: WorkspaceId,
    /// Its class then.
    pub tier: TierName,
    /// When it was begun (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub taken_at: OffsetDateTime,
    /// Why.
    pub reason: BackupReason,
    /// `sqlite` or `postgres`: what its database parts can be loaded into.
    pub database: String,
    /// The revision that served, if one did, and the distribution that it ran on.
    pub revision: Option<Digest>,
    /// Its digest: what wrote the database. An older one refuses what a newer one migrated.
    pub distribution: Option<String>,
    /// The orbitd that made it.
    pub orbitd: String,
    /// All files but the manifest.
    pub parts: Vec<Part>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `spec.json`, `revision.json`, `database/<file>`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Of its bytes.
    pub digest: Digest,
}

/// Why a backup was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackupReason {
    /// Someone asked.
    Asked,
    /// The tier's schedule.
    Schedule,
    /// The workspace was about to move to another distribution, whose migrations go one way.
    BeforeUpgrade,
    /// It was about to be restored over.
    BeforeRestore,
}

/// A restore that is wanted; it is done once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// The name under which the backup lies: the workspace's own, or another's.
    pub from: Slug,
    /// Which backup.
    pub backup: BackupId,
    /// When it was asked for (UTC): the same one again is another wish.
    #[serde(with = "time::serde::rfc3339")]
    pub asked_at: OffsetDateTime,
}

impl Backup {
    /// All parts together, bytes.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

impl BackupReason {
    /// As it is in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Schedule => "schedule",
            Self::BeforeUpgrade => "before-upgrade",
            Self::BeforeRestore => "before-restore",
        }
    }
}
