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
/// Revisions that the controller can name as being in use.
const MAX_IN_USE: usize = 16;

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

    /// Those of a workspace, the newest first.
    pub async fn revisions(&self, workspace: WorkspaceId) -> Result<Vec<Revision>, RegistryError> {
        let bodies: Vec<String> =
            sqlx::query_scalar("SELECT body FROM revisions WHERE workspace_id = $1 ORDER BY created_at DESC")
                .bind(workspace.to_string())
                .fetch_all(&self.reader)
                .await
                .map_err(RegistryError::of("read the revisions"))?;
        bodies.iter().map(|body| read_json("revision", body)).collect()
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

    /// Forgets all but the newest ten and those in `in_use` (at most sixteen) or run by an instance.
    pub async fn prune_revisions(&self, workspace: WorkspaceId, in_use: &[Digest]) -> Result<(), RegistryError> {
        let mut query = sqlx::query(
            "DELETE FROM revisions WHERE workspace_id = $1 \
             AND digest NOT IN ($3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) \
             AND digest NOT IN (SELECT revision FROM backstage_instances WHERE workspace_id = $1) \
             AND digest NOT IN (SELECT digest FROM revisions WHERE workspace_id = $1 ORDER BY created_at DESC LIMIT $2)",
        )
        .bind(workspace.to_string())
        .bind(KEPT);
        for i in 0..MAX_IN_USE {
            query = query.bind(in_use.get(i).map(Digest::to_string).unwrap_or_default());
        }
        query.execute(&self.writer).await.map_err(RegistryError::of("prune the revisions"))?;
        Ok(())
    }
}
