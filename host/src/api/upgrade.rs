//! Asking for an upgrade, and which daemon answers. `app` does the work; here is only the question.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::{mpsc, oneshot};

use super::{App, Problem, error::Kind};

/// The end that asks. Cheap to clone.
#[derive(Clone)]
pub struct UpgradeHandle {
    ask: mpsc::Sender<UpgradeRequest>,
    began: OffsetDateTime,
    version: Arc<str>,
}

/// The end that is asked.
pub struct Upgrades(mpsc::Receiver<UpgradeRequest>);

/// One request for an upgrade.
pub struct UpgradeRequest(oneshot::Sender<Result<u32, String>>);

impl UpgradeHandle {
    /// Both ends. One request at a time; a second one meanwhile is refused.
    pub fn new() -> (Self, Upgrades) {
        let (ask, asked) = mpsc::channel(1);
        let version = env!("CARGO_PKG_VERSION").into();
        (Self { ask, began: OffsetDateTime::now_utc(), version }, Upgrades(asked))
    }
}

impl Upgrades {
    /// The next request; pending for ever once nobody can ask. Cancel-safe.
    pub async fn next(&mut self) -> UpgradeRequest {
        match self.0.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}

impl UpgradeRequest {
    /// Tells the outcome: the successor's pid, or why there is none; gives what came with it back.
    pub fn answer<T>(self, outcome: anyhow::Result<(u32, T)>) -> Option<T> {
        match outcome {
            Ok((pid, successor)) => {
                // Whoever asked may be gone; the upgrade goes on.
                let _ = self.0.send(Ok(pid));
                Some(successor)
            }
            Err(error) => {
                tracing::error!("no upgrade: {error:#}");
                let _ = self.0.send(Err(format!("{error:#}")));
                None
            }
        }
    }
}

/// Which daemon this is.
pub(super) async fn about(State(app): State<App>) -> Json<Value> {
    let UpgradeHandle { began, version, .. } = &app.upgrade;
    Json(json!({
        "pid": std::process::id(), "version": version, "started_at": began.format(&Rfc3339).unwrap_or_default(),
    }))
}

/// Starts the program that now lies where this daemon was started from, and hands over to it once it is prepared.
pub(super) async fn upgrade(State(app): State<App>) -> Result<(StatusCode, Json<Value>), Problem> {
    let (outcome, told) = oneshot::channel();
    if app.upgrade.ask.try_send(UpgradeRequest(outcome)).is_err() {
        return Err(Problem::new(Kind::Busy, "an upgrade is under way already"));
    }
    match told.await {
        Ok(Ok(pid)) => Ok((StatusCode::ACCEPTED, Json(json!({"pid": pid})))),
        Ok(Err(reason)) => Err(Problem::new(Kind::Unavailable, reason)),
        Err(_) => Err(Problem::new(Kind::Unavailable, "the daemon is stopping")),
    }
}
