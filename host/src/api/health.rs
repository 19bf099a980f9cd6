//! What monitoring asks.

use std::sync::atomic::Ordering;

use axum::{extract::State, http::header, response::IntoResponse};

use super::{App, Problem, error::Kind};

/// 200 once the daemon listens.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// 200 once everything is loaded.
pub(super) async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    if app.ready.load(Ordering::Acquire) {
        return Ok("ready\n");
    }
    Err(Problem::new(Kind::NotReady, "workspaces and policies are being loaded"))
}

/// OpenMetrics text.
pub(super) async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, Problem> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &app.metrics)
        .map_err(|_| Problem::new(Kind::Internal, "the metrics can't be written"))?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}
