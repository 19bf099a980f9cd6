//! What the admin API asks for.

use time::OffsetDateTime;

use super::{FailedBackup, TakeError, take::take};
use crate::{
    backup::BackupError,
    db::Operation,
    ids::{BackupId, Slug},
    lifecycle::{LifecycleError, Workspaces},
    model::{Backup, BackupReason, DesiredState, Owner, Restore, Spec, Workspace},
};

/// Backups of one name, and what becomes of the newest.
pub struct BackupList {
    /// Whole ones, newest first.
    pub items: Vec<Backup>,
    /// Being made now.
    pub running: Option<BackupId>,
    /// The newest that failed, if none has come about since.
    pub failure: Option<FailedBackup>,
}

impl From<BackupError> for LifecycleError {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::NotFound { .. } => Self::NoBackup(error.to_string()),
            BackupError::Damaged { .. } => Self::Invalid(error.to_string()),
            other => Self::BackupStore(other.to_string()),
        }
    }
}

impl Workspaces {
    /// Begins a backup; [`Workspaces::backups`] says how it ends.
    pub async fn backup(&self, slug: &Slug) -> Result<BackupId, LifecycleError> {
        let workspace = self.get(slug).await?;
        let row = self.shared.registry.workspace(workspace.id).await?;
        if !row.is_some_and(|row| row.progress.has_database) {
            return Err(LifecycleError::Invalid(format!("the workspace {slug} has no database yet; try again later")));
        }
        // Asked for again after its answer was lost, it is the same one.
        let id = Operation::current().map_or_else(BackupId::generate, |operation| BackupId(operation.0));
        let running = self.shared.backups.known(workspace.id).running;
        if Operation::current().is_some()
            && (running == Some(id) || self.shared.backups.store.get(slug, id).await.is_ok())
        {
            return Ok(id);
        }
        if running.is_some() {
            return Err(LifecycleError::Busy(format!("a backup of {slug} is being made already; wait for it")));
        }
        let shared = self.shared.clone();
        // Its outcome is an event, and in the list.
        tokio::spawn(async move { take(&shared, workspace.id, id, BackupReason::Asked).await.map(|_| ()) });
        Ok(id)
    }

    /// Backups of a name (also of a workspace that is gone), or all.
    pub async fn backups(&self, slug: Option<&Slug>) -> Result<BackupList, LifecycleError> {
        let items = self.shared.backups.store.list(slug).await?;
        let known = match slug {
            Some(slug) => match self.get(slug).await {
                Ok(workspace) => self.shared.backups.known(workspace.id),
                Err(LifecycleError::NotFound(_)) => Default::default(),
                Err(error) => return Err(error),
            },
            None => Default::default(),
        };
        Ok(BackupList { items, running: known.running, failure: known.failure })
    }

    /// Reads every part of a backup and checks it.
    pub async fn verify_backup(&self, slug: &Slug, id: BackupId) -> Result<Backup, LifecycleError> {
        let store = &self.shared.backups.store;
        let backup = store.get(slug, id).await?;
        store.fetch(&backup, None).await?;
        Ok(backup)
    }

    /// Removes a backup for good.
    pub async fn delete_backup(&self, slug: &Slug, id: BackupId) -> Result<(), LifecycleError> {
        self.shared.backups.store.get(slug, id).await?;
        Ok(self.shared.backups.store.delete(slug, id).await?)
    }

    /// Asks for a restore of `slug` from a backup that lies under `from`. A workspace that is there keeps its spec and is backed
    /// up first; one that is not is made with the backup's spec, owned by the API.
    pub async fn restore(&self, slug: &Slug, from: &Slug, id: BackupId) -> Result<Workspace, LifecycleError> {
        let backup = self.shared.backups.store.get(from, id).await?;
        let kind = self.shared.provisioner.kind();
        if backup.database != kind {
            return Err(LifecycleError::Invalid(format!(
                "the backup {id} is of a {} database and this orbitd makes {kind} ones (provisioner.kind)",
                backup.database
            )));
        }
        let _spared = self.shared.backups.spare(id);
        let wish = Restore { from: from.clone(), backup: id, asked_at: OffsetDateTime::now_utc() };
        match self.get(slug).await {
            Ok(workspace) => {
                let before = BackupId::generate();
                match take(&self.shared, workspace.id, before, BackupReason::BeforeRestore).await {
                    // Nothing there, so nothing to lose.
                    Ok(_) | Err(TakeError::NoDatabase) => {}
                    Err(error) => {
                        return Err(LifecycleError::BackupStore(format!(
                            "{slug} was not touched: it could not be backed up before the restore: {error}"
                        )));
                    }
                }
                self.change(slug, None, |spec| spec.restore = Some(wish.clone())).await
            }
            Err(LifecycleError::NotFound(_)) => {
                let spec = self.spec_of(&backup).await?;
                self.create_from(slug.clone(), Spec { restore: Some(wish), ..spec }, Owner::Api).await
            }
            Err(error) => Err(error),
        }
    }

    /// The spec in a backup, for a new workspace.
    async fn spec_of(&self, backup: &Backup) -> Result<Spec, LifecycleError> {
        let scratch = self.shared.backups.scratch(&format!("spec-{}", BackupId::generate()));
        let scratch = scratch.map_err(|error| LifecycleError::BackupStore(error.to_string()))?;
        let parts = backup.parts.iter().filter(|part| part.name == "spec.json").cloned().collect();
        self.shared.backups.store.fetch(&Backup { parts, ..backup.clone() }, Some(scratch.path())).await?;
        let text = tokio::fs::read_to_string(scratch.path().join("spec.json")).await;
        let text = text.map_err(|error| LifecycleError::Invalid(format!("the backup has no spec: {error}")))?;
        let spec: Spec = serde_json::from_str(&text)
            .map_err(|error| LifecycleError::Invalid(format!("the backup's spec can't be read: {error}")))?;
        self.known_tier(&spec.tier)?;
        Ok(Spec { desired: DesiredState::Running, restarts: 0, password_rotations: 0, ..spec })
    }
}
