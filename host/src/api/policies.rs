//! What the policies are, reading them again, and what they would make of a request.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{App, Problem, error::Kind, extract::JsonBody};
use crate::{
    policy::{ExplainRequest, Explanation},
    proxy,
};

/// Every binding of every tier with digest, state and, where it was refused, the reason.
pub(super) async fn status(State(app): State<App>) -> Json<Value> {
    Json(current(&app))
}

/// Reads the policy folder now; the answer is the status after it. What is broken is in there: the old set keeps serving.
pub(super) async fn reload(State(app): State<App>) -> Result<Json<Value>, Problem> {
    match app.policies.reload().await {
        Ok(_) => Ok(Json(current(&app))),
        Err(error) => Err(Problem::new(Kind::Unavailable, format!("{error}; the old set keeps serving"))),
    }
}

/// Takes a request through a tier's policies and shows each step. Nothing is sent to an instance; the claims are the caller's own
/// words.
pub(super) async fn explain(
    State(app): State<App>,
    JsonBody(asked): JsonBody<ExplainRequest>,
) -> Result<Json<Explanation>, Problem> {
    let invalid = |reason: String| Problem::new(Kind::Invalid, reason);
    let mut headers = asked.headers.to_map().map_err(invalid)?;
    proxy::as_policies_see(&asked.method, &asked.path, &mut headers).map_err(invalid)?;
    let tier = match &asked.tier {
        Some(tier) => tier.clone(),
        None => app.workspaces.get(&asked.workspace).await?.spec.tier,
    };
    let policies = app.policies.snapshot();
    let missing = format!("no policies are loaded for tier {tier}; GET /v1/policies says why");
    // Guests run on the thread that asks: not on one that serves others.
    let explained = tokio::task::spawn_blocking(move || policies.explain(&tier, &asked, &headers));
    match explained.await {
        Ok(Some(explanation)) => Ok(Json(explanation)),
        Ok(None) => Err(Problem::new(Kind::NotFound, missing)),
        Err(_) => Err(Problem::new(Kind::Internal, "the explanation was cut off; orbitd's log says why")),
    }
}

fn current(app: &App) -> Value {
    json!(app.policies.status())
}
