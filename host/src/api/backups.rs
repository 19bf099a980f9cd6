//! Backups, and databases that outlived their workspaces. A backup is begun here and followed in the list: it may take longer
//! than a request may.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    App, Problem,
    error::Kind,
    extract::{InPath, InQuery, JsonBody},
    workspaces::{Resource, detached},
};
use crate::{
    ids::{BackupId, Slug},
    model::Backup,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    slug: Option<Slug>,
}

/// Which backup; `from` where it lies under another name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreBody {
    backup: BackupId,
    from: Option<Slug>,
}

/// A backup in a list.
#[derive(Serialize)]
struct Item {
    #[serde(flatten)]
    backup: Backup,
    bytes: u64,
}

impl From<Backup> for Item {
    fn from(backup: Backup) -> Self {
        Self { bytes: backup.bytes(), backup }
    }
}

/// 202 with the id that the backup will have.
pub(super) async fn create(State(app): State<App>, InPath(slug): InPath) -> Result<Response, Problem> {
    let id = app.workspaces.backup(&slug).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"id": id, "slug": slug}))).into_response())
}

/// `{"items": […], "running"?, "failure"?}`: whole backups, newest first, of one name or of all.
pub(super) async fn list(State(app): State<App>, InQuery(query): InQuery<ListQuery>) -> Result<Json<Value>, Problem> {
    let found = app.workspaces.backups(query.slug.as_ref()).await?;
    let items: Vec<Item> = found.items.into_iter().map(Item::from).collect();
    let mut body = json!({ "items": items });
    if let Some(id) = found.running {
        body["running"] = json!(id);
    }
    if let Some(failure) = found.failure {
        let at = failure.at.format(&Rfc3339).unwrap_or_default();
        body["failure"] = json!({"id": failure.id, "at": at, "reason": failure.reason});
    }
    Ok(Json(body))
}

/// 200 if every part is what was stored.
pub(super) async fn verify(State(app): State<App>, path: Path<(String, String)>) -> Result<Json<Value>, Problem> {
    let (slug, id) = named(path)?;
    let workspaces = app.workspaces.clone();
    let backup = detached(async move { workspaces.verify_backup(&slug, id).await }).await?;
    Ok(Json(json!(Item::from(backup))))
}

/// 204: it is gone.
pub(super) async fn delete(State(app): State<App>, path: Path<(String, String)>) -> Result<StatusCode, Problem> {
    let (slug, id) = named(path)?;
    let workspaces = app.workspaces.clone();
    detached(async move { workspaces.delete_backup(&slug, id).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// 202: the restore is asked for; `Restored` says how it ended. A workspace that is not there is made.
pub(super) async fn restore(
    State(app): State<App>,
    InPath(slug): InPath,
    JsonBody(body): JsonBody<RestoreBody>,
) -> Result<Response, Problem> {
    let workspaces = app.workspaces.clone();
    let from = body.from.unwrap_or_else(|| slug.clone());
    let workspace = detached(async move { workspaces.restore(&slug, &from, body.backup).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(Resource::of(&app, workspace))).into_response())
}

/// `{"items": […]}`: databases whose workspaces are gone.
pub(super) async fn kept(State(app): State<App>) -> Result<Json<Value>, Problem> {
    let items = app.workspaces.kept_databases().await?;
    Ok(Json(json!({ "items": items, "now": OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default() })))
}

/// 204: it is dropped.
pub(super) async fn drop_kept(State(app): State<App>, Path(database): Path<String>) -> Result<StatusCode, Problem> {
    let workspaces = app.workspaces.clone();
    detached(async move { workspaces.drop_kept_database(&database).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn named(Path((slug, id)): Path<(String, String)>) -> Result<(Slug, BackupId), Problem> {
    let wrong = |reason: String| Problem::new(Kind::BadRequest, reason);
    let slug = slug.parse().map_err(|error: crate::ids::InvalidId| wrong(error.to_string()))?;
    let id = id.parse().map_err(|_| wrong(format!("{id:.64?} is no backup's id; `orbitd backup list` shows them")))?;
    Ok((slug, id))
}
