//! Revisions as people see them: which there are, and going back to one.

use serde::Serialize;
use time::OffsetDateTime;

use super::{LifecycleError, Workspaces};
use crate::{
    ids::{Digest, PluginId, Slug},
    model::{Revision, Workspace},
};

/// Hex digits of a digest that name a revision, at least.
const MIN_PREFIX: usize = 6;

/// A revision without its content.
#[derive(Debug, Clone, Serialize)]
pub struct RevisionSummary {
    /// Over everything in it.
    pub digest: Digest,
    /// It serves, or served last.
    pub active: bool,
    /// It has served well: it outlived its bake.
    pub good: bool,
    /// A rollback holds the workspace on it.
    pub pinned: bool,
    /// It is the newest that was rendered.
    pub newest: bool,
    /// It did not come up, or died in its bake.
    pub failed: bool,
    /// Plugins that it starts.
    pub plugins: Vec<PluginId>,
    /// Digest of the distribution that it runs on.
    pub distribution: String,
    /// When it was rendered first (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

impl Workspaces {
    /// Revisions of a workspace that are kept, the newest first: those in use, the last good ones, and ten more.
    pub async fn revisions(&self, slug: &Slug) -> Result<Vec<RevisionSummary>, LifecycleError> {
        let workspace = self.get(slug).await?;
        let progress = self.progress(&workspace).await?;
        let (status, pinned) = (&workspace.status, workspace.spec.pinned);
        let summary = |revision: Revision| RevisionSummary {
            active: status.active_revision == Some(revision.digest),
            good: progress.good.contains(&revision.digest),
            pinned: pinned == Some(revision.digest),
            newest: progress.rendered == Some(revision.digest),
            failed: status.failed_revision == Some(revision.digest),
            digest: revision.digest,
            plugins: revision.plugins,
            distribution: revision.distribution,
            created_at: revision.created_at,
        };
        Ok(self.shared.registry.revisions(workspace.id).await?.into_iter().map(summary).collect())
    }

    /// One whole: what its instances get, byte for byte. `name`: its digest, or the beginning of it.
    pub async fn revision(&self, slug: &Slug, name: &str) -> Result<Revision, LifecycleError> {
        let workspace = self.get(slug).await?;
        self.find_revision(&workspace, name).await
    }

    /// Returns to a revision, its exact bytes: to the one named by `to` (its digest, or the beginning of it), else to the last good
    /// one before the one that serves. It stays there until the spec changes or [`Workspaces::rollout`] is called; what is newer is
    /// rendered meanwhile and waits. Any owner may ask for it.
    pub async fn rollback(&self, slug: &Slug, to: Option<&str>) -> Result<Workspace, LifecycleError> {
        let workspace = self.get(slug).await?;
        let revision = match to {
            Some(name) => self.find_revision(&workspace, name).await?,
            None => {
                let progress = self.progress(&workspace).await?;
                let before = progress.good.iter().rev().find(|good| Some(**good) != workspace.status.active_revision);
                let before = before.ok_or_else(|| {
                    LifecycleError::Invalid(format!(
                        "there is no revision of {slug} to return to: none but the one that serves has served well; \
                         `orbitd workspace revisions {slug}` lists those that can be named with --to"
                    ))
                })?;
                self.find_revision(&workspace, &before.to_string()).await?
            }
        };
        if revision.distribution != self.shared.distribution.digest {
            return Err(LifecycleError::Invalid(format!(
                "revision {} runs on the distribution {}, and this orbitd runs {}: start orbitd with that one to return to it",
                revision.digest.short(),
                revision.distribution,
                self.shared.distribution.digest,
            )));
        }
        let pinned = self.change(slug, None, |spec| spec.pinned = Some(revision.digest)).await?;
        self.note(
            pinned.id,
            "RollbackAsked",
            format!("a return to revision {} was asked for", revision.digest.short()),
        )
        .await;
        Ok(pinned)
    }

    /// Rolls out the newest config: ends a rollback, gives a revision that failed another chance, and replaces the instance in
    /// any case. Any owner may ask for it.
    pub async fn rollout(&self, slug: &Slug) -> Result<Workspace, LifecycleError> {
        self.change(slug, None, |spec| {
            spec.pinned = None;
            spec.restarts += 1;
        })
        .await
    }

    async fn find_revision(&self, workspace: &Workspace, name: &str) -> Result<Revision, LifecycleError> {
        let digits = name.strip_prefix("sha256:").unwrap_or(name);
        let invalid = |reason: &str| {
            let slug = &workspace.slug;
            LifecycleError::Invalid(format!("{name:.80?} {reason}; `orbitd workspace revisions {slug}` lists them"))
        };
        if digits.len() < MIN_PREFIX || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid("is not the beginning of a revision's digest (6 hex digits at least)"));
        }
        let wanted = format!("sha256:{}", digits.to_ascii_lowercase());
        let all = self.shared.registry.revisions(workspace.id).await?;
        let mut found = all.into_iter().filter(|revision| revision.digest.to_string().starts_with(&wanted));
        match (found.next(), found.next()) {
            (Some(revision), None) => Ok(revision),
            (None, _) => Err(invalid("is no revision that is kept")),
            (Some(_), Some(_)) => Err(invalid("begins more than one revision's digest")),
        }
    }

    async fn progress(&self, workspace: &Workspace) -> Result<crate::db::Progress, LifecycleError> {
        let row = self.shared.registry.workspace(workspace.id).await?;
        Ok(row.ok_or_else(|| LifecycleError::NotFound(workspace.slug.clone()))?.progress)
    }
}
