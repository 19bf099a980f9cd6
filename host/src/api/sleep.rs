//! `POST /v1/workspaces/{slug}/{wake,suspend,sleep,stop}`: what an operator says beside the ladder. Thin, as `workspaces`.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    App, Problem,
    extract::InPath,
    workspaces::{Resource, detached},
};
use crate::{
    ids::Slug,
    lifecycle::{Asked, SpecPatch},
    model::{DesiredState, Owner},
};

/// 202: it wakes, or is awake.
pub(super) async fn wake(State(app): State<App>, InPath(slug): InPath) -> Result<Response, Problem> {
    ask(&app, slug, Asked::Wake).await
}

/// 202: its instance is being suspended. The next request wakes it.
pub(super) async fn suspend(State(app): State<App>, InPath(slug): InPath) -> Result<Response, Problem> {
    ask(&app, slug, Asked::Suspend).await
}

/// 202: its instance is being stopped. The next request wakes it.
pub(super) async fn sleep(State(app): State<App>, InPath(slug): InPath) -> Result<Response, Problem> {
    ask(&app, slug, Asked::Sleep).await
}

/// 202: down until someone says otherwise; the same as `{"desired": "stopped"}`.
pub(super) async fn stop(State(app): State<App>, InPath(slug): InPath) -> Result<Response, Problem> {
    let workspaces = app.workspaces.clone();
    let patch = SpecPatch { desired: Some(DesiredState::Stopped), ..SpecPatch::default() };
    let workspace = detached(async move { workspaces.patch(&slug, patch, Owner::Api).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(Resource::of(&app, workspace))).into_response())
}

async fn ask(app: &App, slug: Slug, asked: Asked) -> Result<Response, Problem> {
    let workspaces = app.workspaces.clone();
    let workspace = detached(async move { workspaces.ask(&slug, asked).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(Resource::of(app, workspace))).into_response())
}
