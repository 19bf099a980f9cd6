//! What the policies are, reading them again, and what becomes of their versions.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Problem, error::Kind};
use crate::policy::{RolloutError, RolloutEvent};

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

fn current(app: &App) -> Value {
    json!(app.policies.status())
}
