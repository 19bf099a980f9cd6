//! What the policies are, reading them again, what becomes of their versions, and what they would make of a request.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Problem, error::Kind, extract::JsonBody};
use crate::{
    policy::{ExplainRequest, Explanation, RolloutError, RolloutEvent},
    proxy,
};

/// Characters of a reason that somebody gives.
const MAX_REASON: usize = 500;

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

/// Which binding: `pro`, `authorizer-2`.
type Named = Path<(String, String)>;

/// Why a version is rolled back.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Why {
    reason: Option<String>,
}

/// Makes the version that is rolled out the one that serves. Answers when it does.
pub(super) async fn promote(State(app): State<App>, Path((tier, binding)): Named) -> Result<Json<Value>, Problem> {
    done(app.policies.promote(&tier, &binding).await)
}

/// Ends the version that is rolled out; if none is, brings back the one that served before.
pub(super) async fn rollback(
    State(app): State<App>,
    Path((tier, binding)): Named,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    // The body may be left out.
    let why = if body.is_empty() { Ok(Why::default()) } else { serde_json::from_slice(&body) };
    let reason = why.map_err(|error| Problem::new(Kind::BadRequest, format!("the body: {error}")))?.reason;
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
        return Err(Problem::new(Kind::Invalid, format!("the reason is longer than {MAX_REASON} characters")));
    }
    done(app.policies.roll_back(&tier, &binding, reason).await)
}

/// Forgets what was promoted and rolled back: the tier's file decides.
pub(super) async fn resume(State(app): State<App>, Path((tier, binding)): Named) -> Result<Json<Value>, Problem> {
    done(app.policies.resume(&tier, &binding).await)
}

fn done(outcome: Result<RolloutEvent, RolloutError>) -> Result<Json<Value>, Problem> {
    let kind = match &outcome {
        Ok(event) => return Ok(Json(json!(event))),
        Err(RolloutError::NotFound(_)) => Kind::NotFound,
        Err(RolloutError::Conflict(_)) => Kind::NothingToDo,
        Err(RolloutError::Refused(_)) => Kind::Refused,
    };
    Err(Problem::new(kind, outcome.err().map(|error| error.to_string()).unwrap_or_default()))
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
