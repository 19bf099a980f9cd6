//! Workspaces over HTTP. Thin: what is allowed and what it means is decided in `lifecycle`.

use std::future::Future;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    App, Problem,
    error::Kind,
    extract::{InPath, InQuery, JsonBody},
    wait::{self, WaitQuery},
};
use crate::{
    db::Operation,
    ids::Slug,
    lifecycle::{LifecycleError, NewWorkspace, SpecPatch},
    model::{Instance, MAX_CATALOG_BYTES, Owner, Workspace},
    source::check_app_config,
};

/// Workspaces of one answer: all that a source can name.
const MAX_PAGE: usize = 100_000;
const MAX_CATALOG_FILES: usize = 500;

/// A workspace as the API shows it: the registry's own form and where it is.
#[derive(Serialize)]
pub(super) struct Resource {
    #[serde(flatten)]
    workspace: Workspace,
    url: String,
    /// Its processes, where one workspace was asked for. Never with their boot secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    instances: Option<Vec<Instance>>,
}

impl Resource {
    pub(super) fn of(app: &App, workspace: Workspace) -> Self {
        let url = app.proxy.public_url(&workspace.slug, app.proxy_port);
        Self { workspace, url, instances: None }
    }
}

/// Where a list begins and how long it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    /// Slugs above this one.
    after: Option<Slug>,
    limit: Option<usize>,
}

/// What becomes of its data.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    /// The database stays.
    #[serde(default)]
    keep_data: bool,
}

/// `{"items": […], "next": "<slug>" if there are more}`. Items come without `spec.catalog` and `spec.app_config`, which may be
/// megabytes each: ask for one workspace to see them.
pub(super) async fn list(State(app): State<App>, InQuery(page): InQuery<PageQuery>) -> Result<Json<Value>, Problem> {
    let limit = page.limit.unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let mut all = app.workspaces.list().await?;
    all.sort_by(|a, b| a.slug.cmp(&b.slug));
    let mut rest = all.into_iter().filter(|workspace| page.after.as_ref().is_none_or(|after| workspace.slug > *after));
    let items: Vec<_> = rest
        .by_ref()
        .take(limit)
        .map(|mut workspace| {
            workspace.spec.catalog.clear();
            workspace.spec.app_config.clear();
            Resource::of(&app, workspace)
        })
        .collect();
    let last = items.last().map(|resource| resource.workspace.slug.clone());
    let next = if rest.next().is_some() { last } else { None };
    let mut body = json!({ "items": items });
    if let Some(next) = next {
        body["next"] = json!(next);
    }
    Ok(Json(body))
}

/// 201 with the new workspace; its status says how far it is (`?wait=ready` on the GET follows it).
pub(super) async fn create(State(app): State<App>, JsonBody(new): JsonBody<NewWorkspace>) -> Result<Response, Problem> {
    check(Some(&new.app_config), Some(&new.catalog))?;
    let workspaces = app.workspaces.clone();
    let workspace = detached(async move { workspaces.create(new, Owner::Api).await }).await?;
    let location = format!("/v1/workspaces/{}", workspace.slug);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(Resource::of(&app, workspace))).into_response())
}

/// One workspace, at once or when it has settled (see [`wait`]).
pub(super) async fn get(
    State(app): State<App>,
    InPath(slug): InPath,
    InQuery(query): InQuery<WaitQuery>,
) -> Result<Json<Resource>, Problem> {
    let workspace = wait::get(&app, &slug, &query).await?;
    let instances = app.workspaces.instances(&slug).await?;
    Ok(Json(Resource { instances: Some(instances), ..Resource::of(&app, workspace) }))
}

/// The changed workspace.
pub(super) async fn patch(
    State(app): State<App>,
    InPath(slug): InPath,
    JsonBody(patch): JsonBody<SpecPatch>,
) -> Result<Json<Resource>, Problem> {
    check(patch.app_config.as_ref(), patch.catalog.as_ref())?;
    let workspaces = app.workspaces.clone();
    let workspace = detached(async move { workspaces.patch(&slug, patch, Owner::Api).await }).await?;
    Ok(Json(Resource::of(&app, workspace)))
}

/// 202: the deletion has begun (`?wait=gone` on the GET follows it).
pub(super) async fn delete(
    State(app): State<App>,
    InPath(slug): InPath,
    InQuery(query): InQuery<DeleteQuery>,
) -> Result<Response, Problem> {
    let workspaces = app.workspaces.clone();
    let workspace = detached(async move { workspaces.delete(&slug, query.keep_data, Owner::Api).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(Resource::of(&app, workspace))).into_response())
}

/// 202: the restart is asked for.
pub(super) async fn restart(State(app): State<App>, InPath(slug): InPath) -> Result<Response, Problem> {
    let workspaces = app.workspaces.clone();
    let workspace = detached(async move { workspaces.restart(&slug).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(Resource::of(&app, workspace))).into_response())
}

/// 202: a new database password is asked for, and the restart that brings it to the instance.
pub(super) async fn rotate_password(State(app): State<App>, InPath(slug): InPath) -> Result<Response, Problem> {
    let workspaces = app.workspaces.clone();
    let workspace = detached(async move { workspaces.rotate_password(&slug).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(Resource::of(&app, workspace))).into_response())
}

/// Whether the client asks for this type by name; JSON is the answer for everybody else.
pub(super) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|one| one.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(wanted)))
}

/// Runs a change to its end even if the client hangs up: axum drops a handler's future then.
pub(super) async fn detached<T: Send + 'static>(
    change: impl Future<Output = Result<T, LifecycleError>> + Send + 'static,
) -> Result<T, Problem> {
    let change = Operation::within(Operation::current(), change);
    match tokio::spawn(change).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Problem::new(Kind::Internal, "a bug in orbitd ended the change; its log says more")),
    }
}

/// What a source refuses, the API refuses: nothing that a workspace says may reach the instance's files or environment.
fn check(
    app_config: Option<&Map<String, Value>>,
    catalog: Option<&std::collections::BTreeMap<String, String>>,
) -> Result<(), Problem> {
    let invalid = |reason: String| Problem::new(Kind::Invalid, reason);
    if let Some(app_config) = app_config {
        check_app_config(app_config).map_err(invalid)?;
    }
    let Some(catalog) = catalog else { return Ok(()) };
    if catalog.len() > MAX_CATALOG_FILES {
        return Err(invalid(format!("catalog: {} files, more than {MAX_CATALOG_FILES}; join some", catalog.len())));
    }
    if catalog.values().map(String::len).sum::<usize>() > MAX_CATALOG_BYTES {
        return Err(invalid(format!("catalog: larger than {} MiB in all; make it smaller", MAX_CATALOG_BYTES >> 20)));
    }
    for (name, text) in catalog {
        let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"));
        let plain =
            name.len() <= 255 && !name.starts_with('.') && !name.contains('/') && !name.contains(char::is_control);
        if !plain || stem.is_none_or(str::is_empty) {
            return Err(invalid(format!("catalog.{name:.64?}: a file's name ends in .yaml or .yml and has no slash")));
        }
        if text.trim().is_empty() || text.contains('\0') {
            return Err(invalid(format!("catalog.{name}: it is empty or holds a NUL byte")));
        }
    }
    Ok(())
}
