//! What the policies are, and reading them again. The two functions here are all that the API knows of `policy`.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{App, Problem, error::Kind};

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

fn current(app: &App) -> Value {
    json!(app.policies.status())
}
