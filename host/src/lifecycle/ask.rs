//! Asking a workspace to wake or to sleep: anyone who may use the admin API may, whoever owns the spec.

use std::time::Duration;

use super::{LifecycleError, Workspaces, ladder::Asked};
use crate::{
    ids::Slug,
    model::{DesiredState, Phase, Workspace},
};

/// Longest wait for the controller to take a wish up: it may be in the middle of a start.
const HEARD_WITHIN: Duration = Duration::from_secs(20);

impl Workspaces {
    /// Asks a workspace to wake or to sleep. Returns once that is written down; its phase says how far it is.
    pub async fn ask(&self, slug: &Slug, asked: Asked) -> Result<Workspace, LifecycleError> {
        let workspace = self.get(slug).await?;
        if workspace.deleting {
            return Err(LifecycleError::Deleting(slug.clone()));
        }
        if workspace.spec.desired == DesiredState::Stopped {
            return Err(LifecycleError::Invalid(format!(
                "the workspace {slug} is stopped by wish, so it neither sleeps nor wakes: set desired=running first"
            )));
        }
        if asked == Asked::Suspend && !matches!(workspace.status.phase, Phase::Running | Phase::Suspended) {
            return Err(LifecycleError::Invalid(format!(
                "the workspace {slug} does not run, so there is nothing to suspend: wake it first"
            )));
        }
        if asked == Asked::Suspend
            && let Err(reason) = self.shared.can_suspend()
        {
            return Err(LifecycleError::Invalid(format!(
                "the workspace {slug} can't be suspended on this machine: {reason}; `sleep` stops its instance instead"
            )));
        }
        let heard = self.shared.wishes.ask(workspace.id, asked);
        self.shared.look_at(workspace.id);
        match tokio::time::timeout(HEARD_WITHIN, heard).await {
            // A newer wish took its place: that one is what counts now.
            Ok(Ok(()) | Err(_)) => self.get(slug).await,
            Err(_) => Err(LifecycleError::Busy(format!(
                "the workspace {slug} is in the middle of something else (a start, a rollout); try again"
            ))),
        }
    }
}
