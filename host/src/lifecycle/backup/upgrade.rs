//! Backstage's migrations go one way: before an instance of another distribution may touch a workspace's database, that is backed up.

use super::take::take;
use crate::{
    ids::BackupId,
    lifecycle::reconcile::{Trouble, Work},
    model::{BackupReason, Revision},
};

impl Work<'_> {
    /// Makes the backup that a start of this revision needs, if it needs one. The inner error is why there is none: then it must not
    /// be started.
    pub(in crate::lifecycle) async fn back_up_before(
        &mut self,
        revision: &Revision,
    ) -> Result<Result<(), String>, Trouble> {
        let Some(active) = self.workspace.status.active_revision else { return Ok(Ok(())) };
        let Some(active) = self.shared.registry.revision(self.id(), active).await? else { return Ok(Ok(())) };
        let same = active.distribution == revision.distribution;
        if same || self.progress.backed_up_for.as_ref() == Some(&revision.distribution) {
            return Ok(Ok(()));
        }
        let set = self.shared.policies.snapshot();
        if set.tier(&self.workspace.spec.tier).is_some_and(|tier| !tier.rules().backup.before_upgrade) {
            return Ok(Ok(()));
        }
        match take(self.shared, self.id(), BackupId::generate(), BackupReason::BeforeUpgrade).await {
            Ok(_) => {
                self.progress.backed_up_for = Some(revision.distribution.clone());
                self.save(None).await?;
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(format!(
                "it is not moved to another distribution without a backup (`backup.before_upgrade` of its tier): {error}"
            ))),
        }
    }
}
