//! Databases that outlive their workspaces: noted when one goes, dropped when their time is over or someone says so.

use std::{sync::Arc, time::Duration};

use time::OffsetDateTime;

use super::{LifecycleError, Workspaces, shared::Shared};
use crate::{model::KeptDatabase, provisioner::Site};

/// Between two looks for those whose time is over.
const PAUSE: Duration = Duration::from_secs(15);

/// Runs until the controller stops.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        match shared.registry.kept().await {
            Ok(all) => {
                // A clock that was set ahead must not drop anything.
                let now = shared.clock.now().min(OffsetDateTime::now_utc());
                for kept in all.iter().filter(|kept| kept.drop_after.is_some_and(|at| at <= now)) {
                    if let Err(error) = drop_now(&shared, kept).await {
                        tracing::warn!(database = kept.database, %error, "a kept database could not be dropped; it is tried again");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "the kept databases can't be listed"),
        }
        tokio::select! {
            // Both arms only wait.
            () = shared.stopping.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn drop_now(shared: &Shared, kept: &KeptDatabase) -> Result<(), LifecycleError> {
    let home = shared.home(&kept.slug, kept.workspace);
    let site = Site { workspace: kept.workspace, database: &kept.database, home: &home };
    let dropped = shared.provisioner.remove(&site).await;
    dropped.map_err(|error| LifecycleError::Database(error.to_string()))?;
    shared.registry.delete_kept(&kept.database).await?;
    tracing::info!(workspace = %kept.slug, database = kept.database, "a kept database was dropped");
    Ok(())
}

impl Workspaces {
    /// Databases whose workspaces are gone.
    pub async fn kept_databases(&self) -> Result<Vec<KeptDatabase>, LifecycleError> {
        Ok(self.shared.registry.kept().await?)
    }

    /// Drops one for good.
    pub async fn drop_kept_database(&self, database: &str) -> Result<(), LifecycleError> {
        let kept = self.shared.registry.kept().await?.into_iter().find(|kept| kept.database == database);
        let kept = kept.ok_or_else(|| {
            LifecycleError::NoBackup(format!(
                "no database of this name is kept: {database:.80}; `orbitd database list` shows those that are"
            ))
        })?;
        drop_now(&self.shared, &kept).await
    }
}
