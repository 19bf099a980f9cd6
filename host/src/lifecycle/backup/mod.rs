//! Backups of workspaces: made on request, on a tier's schedule and before a move to another distribution; restored by a step of
//! the controller ([`restore`]). What one is made of is written down in [`crate::model::Backup`], where it lies in
//! [`crate::backup`].
//!
//! Invariants: at most one backup of a workspace is being made, and [`AT_ONCE`] of all; a failed one leaves the last good one
//! alone and its own files are gone; nothing of a running instance waits for it but a writer for its lock.

mod calls;
mod restore;
mod schedule;
mod take;
mod upgrade;

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use time::OffsetDateTime;
use tokio::sync::Semaphore;

pub use calls::BackupList;
pub(super) use restore::Fetched;
pub(super) use schedule::run as run_schedule;

use crate::{
    backup::{BackupError, BackupStore},
    ids::{BackupId, WorkspaceId},
    provisioner::ProvisionError,
};

/// Backups and restores at the same time.
const AT_ONCE: usize = 2;

/// Everything about backups that the controller's parts share.
pub(super) struct Backups {
    pub store: BackupStore,
    /// Where parts lie before they are stored or loaded: private, emptied at each start.
    scratch: PathBuf,
    turns: Semaphore,
    known: Mutex<HashMap<WorkspaceId, Known>>,
    /// Restores from these were asked for, and no spec says so yet.
    asked_for: Mutex<Vec<BackupId>>,
}

/// What this daemon knows of one workspace's backups.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Being made now.
    pub running: Option<BackupId>,
    /// When the newest whole one was begun.
    pub last: Option<OffsetDateTime>,
    /// The newest that failed, since the last whole one.
    pub failure: Option<FailedBackup>,
}

/// A backup that did not come about.
#[derive(Debug, Clone)]
pub struct FailedBackup {
    /// The id it would have had.
    pub id: BackupId,
    /// When it failed (UTC).
    pub at: OffsetDateTime,
    /// Why.
    pub reason: String,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub(super) enum TakeError {
    #[error("a backup of it is being made already")]
    Busy,
    #[error("it has no database yet")]
    NoDatabase,
    #[error(transparent)]
    Database(#[from] ProvisionError),
    #[error(transparent)]
    Store(#[from] BackupError),
    #[error("{0}")]
    Registry(#[from] crate::db::RegistryError),
    #[error("cannot use {}: {source}", path.display())]
    Scratch { path: PathBuf, source: std::io::Error },
}

/// A directory of our own for one backup or restore; gone with this value, whatever happened.
struct Scratch(PathBuf);

/// A backup that is not removed as old.
struct Spared<'a> {
    id: BackupId,
    among: &'a Mutex<Vec<BackupId>>,
}

impl Drop for Spared<'_> {
    fn drop(&mut self) {
        let mut all = self.among.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(position) = all.iter().position(|id| *id == self.id) {
            all.swap_remove(position);
        }
    }
}

// === impl Backups ===

impl Backups {
    /// Empties `scratch`: what is there was left by a daemon that was killed.
    pub fn new(store: BackupStore, scratch: PathBuf) -> std::io::Result<Self> {
        match std::fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self {
            store,
            scratch,
            turns: Semaphore::new(AT_ONCE),
            known: Mutex::default(),
            asked_for: Mutex::default(),
        })
    }

    /// What is known of one workspace.
    pub fn known(&self, id: WorkspaceId) -> Known {
        self.lock().get(&id).cloned().unwrap_or_default()
    }

    fn change(&self, id: WorkspaceId, change: impl FnOnce(&mut Known)) {
        change(self.lock().entry(id).or_default());
    }

    /// Forgets a workspace that is gone; its backups stay.
    pub fn forget(&self, id: WorkspaceId) {
        self.lock().remove(&id);
    }

    fn being_asked_for(&self) -> HashSet<BackupId> {
        self.asked_for.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Keeps a backup from being removed as old until the value that comes back is dropped.
    fn spare(&self, id: BackupId) -> Spared<'_> {
        self.asked_for.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        Spared { id, among: &self.asked_for }
    }

    fn scratch(&self, name: &str) -> Result<Scratch, TakeError> {
        use std::os::unix::fs::DirBuilderExt;
        let path = self.scratch.join(name);
        let failed = |source| TakeError::Scratch { path: path.clone(), source };
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
        Ok(Scratch(path))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkspaceId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scratch {
    fn path(&self) -> &Path {
        &self.0
    }

    /// A directory in it.
    fn dir(&self, name: &str) -> Result<PathBuf, TakeError> {
        let path = self.0.join(name);
        std::fs::create_dir(&path).map_err(|source| TakeError::Scratch { path: path.clone(), source })?;
        Ok(path)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, TakeError> {
        let path = self.0.join(name);
        std::fs::write(&path, text).map_err(|source| TakeError::Scratch { path: path.clone(), source })?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "files of a backup could not be removed");
        }
    }
}
