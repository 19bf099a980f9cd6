//! Rendered configurations. Immutable: written once, read at a start, pruned when nothing refers to them.

use super::{
    Registry, RegistryError,
    registry::{read_json, write_json, write_time},
};
use crate::{
    ids::{Digest, WorkspaceId},
    model::Revision,
};

/// Revisions kept per workspace beside those that are in use.
const KEPT: i64 = 10;

impl Registry {
    /// Stores a revision; one of the same digest is the same one.
    pub async fn insert_revision(&self, revision: &Revision) -> Result<(), RegistryError> {
        sqlx::query(
            "INSERT INTO revisions (workspace_id, digest, body, created_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (workspace_id, digest) DO NOTHING",
        )
        .bind(revision.workspace.to_string())
        .bind(revision.digest.to_string())
        .bind(write_json("revision", revision)?)
        .bind(write_time(revision.created_at))
        .execute(&self.writer)
        .await
        .map_err(RegistryError::of("store the revision"))?;
        Ok(())
    }

    /// One revision.
    pub async fn revision(&self, workspace: WorkspaceId, digest: Digest) -> Result<Option<Revision>, RegistryError> {
        let body: Option<String> =
            sqlx::query_scalar("SELECT body FROM revisions WHERE workspace_id = $1 AND digest = $2")
                .bind(workspace.to_string())
                .bind(digest.to_string())
                .fetch_optional(&self.reader)
                .await
                .map_err(RegistryError::of("read the revision"))?;
        body.map(|body| read_json("revision", &body)).transpose()
    }

    /// Forgets all but the newest ten and those in `in_use` (at most four) or run by an instance.
    pub async fn prune_revisions(&self, workspace: WorkspaceId, in_use: &[Digest]) -> Result<(), RegistryError> {
        let keep = |i: usize| in_use.get(i).map(Digest::to_string).unwrap_or_default();
        sqlx::query(
            "DELETE FROM revisions WHERE workspace_id = $1 AND digest NOT IN ($2, $3, $4, $5) \
             AND digest NOT IN (SELECT revision FROM backstage_instances WHERE workspace_id = $1) \
             AND digest NOT IN (SELECT digest FROM revisions WHERE workspace_id = $1 ORDER BY created_at DESC LIMIT $6)",
        )
        .bind(workspace.to_string())
        .bind(keep(0))
        .bind(keep(1))
        .bind(keep(2))
        .bind(keep(3))
        .bind(KEPT)
        .execute(&self.writer)
        .await
        .map_err(RegistryError::of("prune the revisions"))?;
        Ok(())
    }
}
