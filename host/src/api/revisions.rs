//! A workspace's revisions: list, read, return to one, roll out the newest.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    App, Problem,
    extract::{InPath, InRevisionPath, JsonBody},
    workspaces::{Resource, detached},
};

/// What a rollback returns to.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Rollback {
    /// A digest or the beginning of one; without it the last good revision before the one that serves.
    to: Option<String>,
}

/// `{"items": […]}`, the newest first, without their content.
pub(super) async fn list(State(app): State<App>, InPath(slug): InPath) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({ "items": app.workspaces.revisions(&slug).await? })))
}

/// One revision whole.
pub(super) async fn get(
    State(app): State<App>,
    InRevisionPath(slug, name): InRevisionPath,
) -> Result<Json<Value>, Problem> {
    Ok(Json(json!(app.workspaces.revision(&slug, &name).await?)))
}

/// 202: the return is asked for.
pub(super) async fn rollback(
    State(app): State<App>,
    InPath(slug): InPath,
    JsonBody(body): JsonBody<Rollback>,
) -> Result<Response, Problem> {
    let workspaces = app.workspaces.clone();
    let workspace = detached(async move { workspaces.rollback(&slug, body.to.as_deref()).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(Resource::of(&app, workspace))).into_response())
}

/// 202: the rollout is asked for.
pub(super) async fn rollout(State(app): State<App>, InPath(slug): InPath) -> Result<Response, Problem> {
    let workspaces = app.workspaces.clone();
    let workspace = detached(async move { workspaces.rollout(&slug).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(Resource::of(&app, workspace))).into_response())
}
