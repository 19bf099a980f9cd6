//! Makes one backup: dump, spec and revision; parts, then the manifest; then old ones go.

use std::{collections::HashSet, sync::Arc};

use time::OffsetDateTime;

use super::{FailedBackup, TakeError};
use crate::{
    crashpoint,
    db::{DataDir, NewEvent, WorkspaceRow},
    ids::{BackupId, WorkspaceId},
    lifecycle::shared::Shared,
    model::{Backup, BackupReason, BackupRules, Login, Workspace},
    provisioner::Site,
};

/// Makes a backup and says so in the workspace's events, also that and why it failed.
pub(in crate::lifecycle) async fn take(
    shared: &Arc<Shared>,
    workspace: WorkspaceId,
    id: BackupId,
    reason: BackupReason,
) -> Result<Backup, TakeError> {
    begin(shared, workspace, id)?;
    let done = make(shared, workspace, id, reason).await;
    let event = match &done {
        Ok(backup) => {
            shared.backups.change(workspace, |known| {
                known.running = None;
                known.failure = None;
                known.last = Some(backup.taken_at);
            });
            let text = format!(
                "backup {id} ({}): {} files, {} bytes in {}",
                reason.as_str(),
                backup.parts.len(),
                backup.bytes(),
                shared.backups.store.place()
            );
            NewEvent { reason: "BackedUp", message: text }
        }
        Err(error) => {
            let failure = FailedBackup { id, at: OffsetDateTime::now_utc(), reason: error.to_string() };
            shared.backups.change(workspace, |known| {
                known.running = None;
                known.failure = Some(failure);
            });
            NewEvent { reason: "BackupFailed", message: format!("no backup ({}): {error}", reason.as_str()) }
        }
    };
    tracing::info!(id = %workspace, reason = event.reason, "{}", event.message);
    if let Err(error) = shared.registry.insert_event(workspace, &event, OffsetDateTime::now_utc()).await {
        tracing::warn!(%error, "an event could not be stored");
    }
    // The condition follows.
    shared.look_at(workspace);
    done
}

fn begin(shared: &Shared, workspace: WorkspaceId, id: BackupId) -> Result<(), TakeError> {
    let mut busy = false;
    shared.backups.change(workspace, |known| match known.running {
        Some(_) => busy = true,
        None => known.running = Some(id),
    });
    if busy { Err(TakeError::Busy) } else { Ok(()) }
}

async fn make(
    shared: &Arc<Shared>,
    workspace: WorkspaceId,
    id: BackupId,
    reason: BackupReason,
) -> Result<Backup, TakeError> {
    // Never closed.
    let Ok(_turn) = shared.backups.turns.acquire().await else { return Err(TakeError::Busy) };
    let row = shared.registry.workspace(workspace).await?;
    let Some(WorkspaceRow { workspace, progress, .. }) = row.filter(|row| row.progress.has_database) else {
        return Err(TakeError::NoDatabase);
    };
    let taken_at = OffsetDateTime::now_utc();
    let scratch = shared.backups.scratch(&id.to_string())?;
    let dump = scratch.dir("database")?;
    let login = login(shared, workspace.id).await?;
    let (database, home) =
        (DataDir::database_name(&workspace.slug, workspace.id), shared.home(&workspace.slug, workspace.id));
    let site = Site { workspace: workspace.id, database: &database, home: &home };
    shared.provisioner.dump(&site, login.as_ref(), &dump).await?;
    crashpoint!("backup.after-dump");

    let mut files = Vec::new();
    let entries = std::fs::read_dir(&dump).map_err(|source| TakeError::Scratch { path: dump.clone(), source })?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        // Ours: dumps are named by the provisioner.
        files.push((format!("database/{}", name.to_string_lossy()), entry.path()));
    }
    files.sort();
    let text = |value: serde_json::Result<String>| value.unwrap_or_default();
    files.push(("spec.json".into(), scratch.write("spec.json", &text(serde_json::to_string_pretty(&workspace.spec)))?));
    let revision = match workspace.status.active_revision.or(progress.rendered) {
        Some(digest) => shared.registry.revision(workspace.id, digest).await?,
        None => None,
    };
    if let Some(revision) = &revision {
        let path = scratch.write("revision.json", &text(serde_json::to_string_pretty(revision)))?;
        files.push(("revision.json".into(), path));
    }
    let store = &shared.backups.store;
    let mut parts = Vec::with_capacity(files.len());
    for (name, path) in &files {
        parts.push(store.put(&workspace.slug, id, name, path).await?);
        crashpoint!("backup.after-part");
    }
    let backup = Backup {
        format: 1,
        id,
        slug: workspace.slug.clone(),
        workspace: workspace.id,
        tier: workspace.spec.tier.clone(),
        taken_at,
        reason,
        database: shared.provisioner.kind().to_owned(),
        revision: revision.as_ref().map(|revision| revision.digest),
        distribution: revision.map(|revision| revision.distribution),
        orbitd: env!("CARGO_PKG_VERSION").to_owned(),
        parts,
    };
    store.finish(&backup).await?;
    crashpoint!("backup.after-manifest");
    prune(shared, &workspace, id).await;
    Ok(backup)
}

/// Removes backups beyond the tier's numbers, and what unfinished ones have left; never one that a restore is to come from. The new
/// backup counts whatever becomes of this.
async fn prune(shared: &Shared, workspace: &Workspace, newest: BackupId) {
    let rules = shared.policies.snapshot().tier(&workspace.spec.tier).map(|tier| tier.rules().backup.clone());
    let store = &shared.backups.store;
    let pruned = async {
        let whole = store.list(Some(&workspace.slug)).await?;
        let surplus = rules.map(|rules| surplus(&rules, workspace.id, &whole)).unwrap_or_default();
        if !surplus.is_empty() {
            let wanted = wanted(shared).await?;
            for old in surplus.iter().filter(|old| !wanted.contains(&old.id)) {
                store.delete(&old.slug, old.id).await?;
            }
        }
        store.sweep(&workspace.slug, newest).await?;
        Ok::<_, TakeError>(())
    };
    if let Err(error) = pruned.await {
        tracing::warn!(workspace = %workspace.slug, %error, "old backups could not be removed; the next one tries again");
    }
}

/// Those beyond the rules' numbers, of `all` of a name, the newest first. Backups of an earlier workspace of the name are not this one's.
fn surplus<'a>(rules: &BackupRules, workspace: WorkspaceId, all: &'a [Backup]) -> Vec<&'a Backup> {
    use BackupReason::{BeforeRestore, BeforeUpgrade, Schedule};
    let of = |reason| {
        let own = all.iter().filter(move |one| one.reason == reason && one.workspace == workspace);
        own.skip(rules.kept_of(reason).unwrap_or(usize::MAX))
    };
    [Schedule, BeforeUpgrade, BeforeRestore].into_iter().flat_map(of).collect()
}

/// Backups that a restore is to come from: asked for just now, or noted in a spec.
async fn wanted(shared: &Shared) -> Result<HashSet<BackupId>, TakeError> {
    let mut wanted = shared.backups.being_asked_for();
    let specs = shared.registry.workspaces().await?;
    wanted.extend(specs.iter().filter_map(|workspace| workspace.spec.restore.as_ref().map(|wish| wish.backup)));
    Ok(wanted)
}

/// The login of a workspace's database, where there is one.
pub(super) async fn login(shared: &Shared, workspace: WorkspaceId) -> Result<Option<Login>, TakeError> {
    if !shared.provisioner.needs_login() {
        return Ok(None);
    }
    Ok(Some(shared.registry.login_or_new(workspace, OffsetDateTime::now_utc()).await?))
}
