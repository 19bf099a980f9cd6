//! Looks for workspaces whose tier's schedule asks for a backup.

use std::{sync::Arc, time::Duration};

use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use super::{Known, take::take};
use crate::{
    ids::{BackupId, WorkspaceId},
    lifecycle::shared::Shared,
    model::BackupReason,
};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(10);
/// After a failure, before a schedule tries again.
const AFTER_FAILURE: time::Duration = time::Duration::minutes(5);
/// Backups that one look starts; the others come with the next.
const MAX_STARTED: usize = 8;

/// Runs until the controller stops.
pub(in crate::lifecycle) async fn run(shared: Arc<Shared>) {
    // What is there already counts: a restarted daemon does not back everything up at once.
    let mut remembered = false;
    loop {
        let next = Instant::now() + PAUSE;
        if has_schedule(&shared) {
            if !remembered {
                remembered = remember(&shared).await;
            }
            if remembered {
                look(&shared).await;
            }
        }
        tokio::select! {
            // Both arms only wait.
            () = shared.stopping.cancelled() => return,
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

fn has_schedule(shared: &Shared) -> bool {
    let set = shared.policies.snapshot();
    set.tiers().filter_map(|name| set.tier(name)).any(|tier| {
        let rules = &tier.rules().backup;
        rules.every_s.is_some() || rules.daily_at.is_some()
    })
}

/// Reads from the store when each workspace was backed up last.
async fn remember(shared: &Shared) -> bool {
    match shared.backups.store.list(None).await {
        Ok(backups) => {
            // Newest first: an older one changes nothing.
            for backup in backups {
                shared.backups.change(backup.workspace, |known| {
                    known.last.get_or_insert(backup.taken_at);
                });
            }
            true
        }
        Err(error) => {
            tracing::warn!(%error, "the backups can't be listed; scheduled ones wait");
            false
        }
    }
}

async fn look(shared: &Arc<Shared>) {
    let now = OffsetDateTime::now_utc();
    let due: Vec<WorkspaceId> = {
        let set = shared.policies.snapshot();
        let table = shared.directory.snapshot();
        table
            .values()
            .filter(|entry| {
                let rules = set.tier(&entry.tier).map(|tier| &tier.rules().backup);
                rules.is_some_and(|rules| {
                    let Known { running, last, failure } = shared.backups.known(entry.id);
                    let waits = failure.is_some_and(|failure| (now - failure.at).abs() < AFTER_FAILURE);
                    running.is_none() && !waits && rules.is_due(last, now)
                })
            })
            .map(|entry| entry.id)
            .take(MAX_STARTED)
            .collect()
    };
    let mut made = tokio::task::JoinSet::new();
    for id in due {
        // Nothing to back up yet is no failure.
        match shared.registry.workspace(id).await {
            Ok(Some(row)) if row.progress.has_database && !row.workspace.deleting => {}
            _ => continue,
        }
        let shared = shared.clone();
        made.spawn(async move {
            let _ = take(&shared, id, BackupId::generate(), BackupReason::Schedule).await;
        });
    }
    // Told in the workspaces' events; the next look comes when these are through, or at the end.
    tokio::select! {
        () = shared.stopping.cancelled() => {}
        () = async { while made.join_next().await.is_some() {} } => {}
        // A very long one must not hold the others' schedule.
        () = sleep(PAUSE * 6) => made.detach_all(),
    }
}
