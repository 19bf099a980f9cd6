//! Rows of workspaces. Specs are written with a compare-and-set on the generation; statuses are the controller's alone.

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row, any::AnyRow};
use time::OffsetDateTime;

use super::{
    NewEvent, Operation, Registry, RegistryError,
    registry::{read_id, read_json, read_time, write_json, write_time},
};
use crate::{
    ids::{Digest, InstanceId, Slug, TierName, WorkspaceId},
    model::{DesiredState, Sleep, Slot, Spec, Status, Workspace},
};

/// A workspace and what the controller remembers of it from one run of the daemon to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkspaceRow {
    /// As everyone sees it.
    pub workspace: Workspace,
    /// The controller's own.
    pub progress: Progress,
    /// It is being deleted, and its database stays.
    pub keep_data: bool,
}

/// Good revisions remembered per workspace; the oldest is forgotten past it.
pub const MAX_GOOD: usize = 8;

/// What the controller remembers of a workspace. Never shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Its database is there. Set before the database is made, cleared after it is dropped: never a forgotten one.
    pub has_database: bool,
    /// The newest revision that was rendered, whether it came up or not.
    pub rendered: Option<Digest>,
    /// `spec.restarts` that has been acted on (a backoff cleared, a failed revision given another chance).
    pub restarts_seen: i64,
    /// `spec.password_rotations` that has been acted on.
    pub rotations_seen: i64,
    /// A login that is to be closed once no instance has it any more.
    pub retiring: Option<Retiring>,
    /// `asked_at` of the restore that was done last, or given up.
    #[serde(with = "time::serde::rfc3339::option")]
    pub restored: Option<OffsetDateTime>,
    /// The distribution that the workspace was backed up for before it moves there.
    pub backed_up_for: Option<String>,
    /// Revisions that outlived their bake, the last one last, each once; at most [`MAX_GOOD`].
    pub good: Vec<Digest>,
    /// What served before the active revision took over, until that has outlived its bake: what its failure returns to.
    pub fallback: Option<Digest>,
    /// The newest instance that ran on the database and is gone. One that is older and still serves must be started anew.
    pub tried: Option<InstanceId>,
    /// That it sleeps.
    pub sleep: Option<Sleep>,
}

/// A login that is to be closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retiring {
    /// Which of the two.
    pub slot: Slot,
    /// Instances with a smaller id may still have it.
    pub before: InstanceId,
}

/// What the directory needs of a workspace.
pub struct DirectoryRow {
    /// Which.
    pub id: WorkspaceId,
    /// Its name.
    pub slug: Slug,
    /// Its class.
    pub tier: TierName,
    /// Whether its instance should run.
    pub desired: DesiredState,
    /// Whether it sleeps.
    pub asleep: bool,
    /// PKCS#8.
    pub signing_key: Vec<u8>,
}

/// What one step of the controller changes, written in one transaction.
pub struct StatusUpdate<'a> {
    /// Whose.
    pub id: WorkspaceId,
    /// The whole new status.
    pub status: &'a Status,
    /// The whole new progress.
    pub progress: &'a Progress,
    /// `Some(generation)`: nothing is left to do for that generation, the periodic scan may pass it by.
    pub at_rest: Option<i64>,
    /// Told to operators.
    pub events: &'a [NewEvent],
    /// When (UTC).
    pub now: OffsetDateTime,
}

/// Values of the column `deleting` beside 0.
const DROP_DATA: i64 = 1;
const KEEP_DATA: i64 = 2;
const COLUMNS: &str = "id, slug, owner, spec, generation, deleting, status, progress, created_at, updated_at";

fn select(tail: &str) -> sqlx::AssertSqlSafe<String> {
    // Both parts are constants of this file.
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM workspaces {tail}"))
}

async fn is_there(connection: &mut AnyConnection, id: WorkspaceId) -> Result<bool, sqlx::Error> {
    let found = sqlx::query("SELECT 1 FROM workspaces WHERE id = $1").bind(id.to_string()).fetch_optional(connection);
    Ok(found.await?.is_some())
}

fn row(row: &AnyRow) -> Result<WorkspaceRow, RegistryError> {
    let text = |name: &'static str| row.try_get::<String, _>(name).map_err(RegistryError::of("read a workspace"));
    let number = |name: &'static str| row.try_get::<i64, _>(name).map_err(RegistryError::of("read a workspace"));
    Ok(WorkspaceRow {
        workspace: Workspace {
            id: read_id("workspace id", &text("id")?)?,
            slug: read_id("slug", &text("slug")?)?,
            owner: read_id("owner", &text("owner")?)?,
            spec: read_json("spec", &text("spec")?)?,
            generation: number("generation")?,
            deleting: number("deleting")? != 0,
            status: read_json("status", &text("status")?)?,
            created_at: read_time(&text("created_at")?)?,
            updated_at: read_time(&text("updated_at")?)?,
        },
        progress: read_json("progress", &text("progress")?)?,
        keep_data: number("deleting")? == KEEP_DATA,
    })
}

impl Registry {
    /// A new workspace with its signing key (PKCS#8, sealed here), or [`RegistryError::SlugTaken`].
    pub async fn insert_workspace(&self, workspace: &Workspace, signing_key: &[u8]) -> Result<(), RegistryError> {
        const OPERATION: &str = "store the new workspace";
        let failed = RegistryError::of(OPERATION);
        let sealed = self.master_key.seal("signing key", signing_key)?;
        let (spec, status) = (write_json("spec", &workspace.spec)?, write_json("status", &workspace.status)?);
        let progress = write_json("progress", &Progress::default())?;
        let mut settling = self.writer.settling(OPERATION).await?;
        loop {
            let again = settling.is_again();
            let work = async |connection: &mut AnyConnection| {
                if again && is_there(connection, workspace.id).await.map_err(&failed)? {
                    return Ok(());
                }
                sqlx::query(
                "INSERT INTO workspaces (id, slug, owner, spec, generation, deleting, status, progress, attention, created_at, updated_at) \
                 VALUES ($1, $2, $3, $4, $5, 0, $6, $7, 1, $8, $9)",
            )
            .bind(workspace.id.to_string())
            .bind(workspace.slug.as_str())
            .bind(workspace.owner.to_string())
            .bind(&spec)
            .bind(workspace.generation)
            .bind(&status)
            .bind(&progress)
            .bind(write_time(workspace.created_at))
            .bind(write_time(workspace.updated_at))
            .execute(&mut *connection)
            .await
            .map_err(|error| match error.as_database_error() {
                Some(e) if e.is_unique_violation() => RegistryError::SlugTaken,
                _ => failed(error),
            })?;
                sqlx::query("INSERT INTO signing_keys (workspace_id, sealed, created_at) VALUES ($1, $2, $3)")
                    .bind(workspace.id.to_string())
                    .bind(&sealed)
                    .bind(write_time(workspace.created_at))
                    .execute(&mut *connection)
                    .await
                    .map_err(&failed)?;
                Ok(())
            };
            if let Some(outcome) = settling.transaction(work).await {
                return outcome;
            }
        }
    }

    /// All, by slug.
    pub async fn workspaces(&self) -> Result<Vec<Workspace>, RegistryError> {
        let rows = sqlx::query(select("ORDER BY slug"))
            .fetch_all(&self.reader)
            .await
            .map_err(RegistryError::of("list the workspaces"))?;
        rows.iter().map(|r| row(r).map(|r| r.workspace)).collect()
    }

    /// What the directory needs of every living workspace.
    pub async fn directory_rows(&self) -> Result<Vec<DirectoryRow>, RegistryError> {
        const OPERATION: &str = "load the workspaces";
        let rows = sqlx::query(
            "SELECT w.id, w.slug, w.spec, k.sealed, w.progress FROM workspaces w JOIN signing_keys k ON k.workspace_id = w.id \
             WHERE w.deleting = 0",
        )
        .fetch_all(&self.reader)
        .await
        .map_err(RegistryError::of(OPERATION))?;
        #[derive(Deserialize)]
        struct Part {
            tier: TierName,
            #[serde(default)]
            desired: DesiredState,
        }
        rows.iter()
            .map(|row| {
                let text = |i: usize| row.try_get::<String, _>(i).map_err(RegistryError::of(OPERATION));
                let Part { tier, desired } = read_json("spec", &text(2)?)?;
                Ok(DirectoryRow {
                    id: read_id("workspace id", &text(0)?)?,
                    slug: read_id("slug", &text(1)?)?,
                    tier,
                    desired,
                    asleep: read_json::<Progress>("progress", &text(4)?)?.sleep.is_some(),
                    signing_key: self.master_key.open("signing key", &text(3)?)?,
                })
            })
            .collect()
    }

    /// The living workspace of a slug.
    pub async fn workspace_by_slug(&self, slug: &Slug) -> Result<Option<Workspace>, RegistryError> {
        let found = sqlx::query(select("WHERE slug = $1"))
            .bind(slug.as_str())
            .fetch_optional(&self.reader)
            .await
            .map_err(RegistryError::of("read the workspace"))?;
        found.as_ref().map(|r| row(r).map(|r| r.workspace)).transpose()
    }

    /// One, with the controller's own part.
    pub async fn workspace(&self, id: WorkspaceId) -> Result<Option<WorkspaceRow>, RegistryError> {
        let found = sqlx::query(select("WHERE id = $1"))
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .map_err(RegistryError::of("read the workspace"))?;
        found.as_ref().map(row).transpose()
    }

    /// Ids of all that the periodic scan must look at.
    pub async fn workspaces_to_look_at(&self) -> Result<Vec<WorkspaceId>, RegistryError> {
        let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM workspaces WHERE attention = 1")
            .fetch_all(&self.reader)
            .await
            .map_err(RegistryError::of("scan the workspaces"))?;
        ids.iter().map(|id| read_id("workspace id", id)).collect()
    }

    /// PKCS#8 of a workspace's signing key.
    pub async fn signing_key(&self, id: WorkspaceId) -> Result<Option<Vec<u8>>, RegistryError> {
        let sealed: Option<String> = sqlx::query_scalar("SELECT sealed FROM signing_keys WHERE workspace_id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await
            .map_err(RegistryError::of("read the signing key"))?;
        Ok(sealed.map(|sealed| self.master_key.open("signing key", &sealed)).transpose()?)
    }

    /// Writes a spec if the generation still is `seen`; the new generation is `seen + 1`. Otherwise
    /// [`RegistryError::Changed`]: read again and decide again. [`RegistryError::AppliedBefore`]: the operation that this task works for
    /// has done it.
    pub async fn write_spec(
        &self,
        id: WorkspaceId,
        seen: i64,
        spec: &Spec,
        now: OffsetDateTime,
    ) -> Result<(), RegistryError> {
        const OPERATION: &str = "store the change";
        let failed = RegistryError::of(OPERATION);
        let text = write_json("spec", spec)?;
        let mut settling = self.writer.settling(OPERATION).await?;
        loop {
            let again = settling.is_again();
            let work = async |connection: &mut AnyConnection| {
                if again {
                    let found = sqlx::query("SELECT generation, spec FROM workspaces WHERE id = $1")
                        .bind(id.to_string())
                        .fetch_optional(&mut *connection)
                        .await
                        .map_err(&failed)?;
                    let column = |row: &AnyRow| Ok((row.try_get::<i64, _>(0)?, row.try_get::<String, _>(1)?));
                    let found = found.as_ref().map(column).transpose().map_err(&failed)?;
                    if found.is_some_and(|found| found == (seen + 1, text.clone())) {
                        return Ok(());
                    }
                }
                if let Some(operation) = Operation::current()
                    && !operation.apply(connection).await.map_err(&failed)?
                {
                    return Err(RegistryError::AppliedBefore);
                }
                let done = sqlx::query(
                    "UPDATE workspaces SET spec = $1, generation = $2, attention = 1, updated_at = $3 \
                 WHERE id = $4 AND generation = $5 AND deleting = 0",
                )
                .bind(&text)
                .bind(seen + 1)
                .bind(write_time(now))
                .bind(id.to_string())
                .bind(seen)
                .execute(connection)
                .await
                .map_err(&failed)?;
                if done.rows_affected() == 1 { Ok(()) } else { Err(RegistryError::Changed) }
            };
            if let Some(outcome) = settling.transaction(work).await {
                return outcome;
            }
        }
    }

    /// Marks a workspace for deletion, with a generation of its own; with or without its database. Once marked it stays as it was marked.
    pub async fn mark_deleting(
        &self,
        id: WorkspaceId,
        keep_data: bool,
        now: OffsetDateTime,
    ) -> Result<(), RegistryError> {
        const OPERATION: &str = "store the deletion";
        // Done again, it finds what it has done.
        let mut settling = self.writer.settling(OPERATION).await?;
        loop {
            let work = async |connection: &mut AnyConnection| {
                sqlx::query(
                    "UPDATE workspaces SET deleting = $3, generation = generation + 1, attention = 1, updated_at = $1 \
                 WHERE id = $2 AND deleting = 0",
                )
                .bind(write_time(now))
                .bind(id.to_string())
                .bind(if keep_data { KEEP_DATA } else { DROP_DATA })
                .execute(connection)
                .await
                .map_err(RegistryError::of(OPERATION))?;
                Ok(())
            };
            if let Some(outcome) = settling.transaction(work).await {
                return outcome;
            }
        }
    }

    /// Forgets a workspace and everything that hangs on it: revisions, key, instances, events.
    pub async fn delete_workspace(&self, id: WorkspaceId) -> Result<(), RegistryError> {
        sqlx::query("DELETE FROM workspaces WHERE id = $1")
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .map_err(RegistryError::of("forget the workspace"))?;
        Ok(())
    }

    /// Writes what a step of the controller changed.
    pub async fn write_status(&self, update: StatusUpdate<'_>) -> Result<(), RegistryError> {
        const OPERATION: &str = "store the status";
        let StatusUpdate { id, status, progress, at_rest, events, now } = update;
        let (status, progress) = (write_json("status", status)?, write_json("progress", progress)?);
        let work = async |connection: &mut AnyConnection| {
            sqlx::query(
                "UPDATE workspaces SET status = $1, progress = $2, updated_at = $3, \
                 attention = CASE WHEN generation = $4 THEN 0 ELSE 1 END WHERE id = $5",
            )
            .bind(status)
            .bind(progress)
            .bind(write_time(now))
            .bind(at_rest.unwrap_or(-1))
            .bind(id.to_string())
            .execute(&mut *connection)
            .await
            .map_err(RegistryError::of(OPERATION))?;
            for event in events {
                super::events::insert(connection, id, event, now).await?;
            }
            Ok(())
        };
        self.writer.transaction(OPERATION, work).await
    }
}
