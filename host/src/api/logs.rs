//! A workspace's log: its last lines, what came after a position, or a stream (`Accept: text/event-stream`) that goes on over rotations,
//! restarts and rollouts until the client leaves.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response, Sse, sse},
};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::{
    App, Problem,
    error::Kind,
    extract::{InPath, InQuery},
    workspaces::accepts,
};
use crate::{driver::LogPart, ids::Slug};

const DEFAULT_LINES: usize = 200;
const MAX_LINES: usize = 5_000;
/// Between two looks of a stream.
const PAUSE: Duration = Duration::from_millis(500);
/// A stream ends after this; the client connects again with `Last-Event-ID` and misses nothing.
const MAX_STREAM: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    lines: Option<usize>,
    /// A position that an earlier answer named.
    after: Option<u64>,
}

/// `{"items": […], "next": 4711, "rotated": false}`: pass `next` as `after` to go on.
pub(super) async fn logs(
    State(app): State<App>,
    InPath(slug): InPath,
    InQuery(query): InQuery<LogsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = resumed.or(query.after);
    let part = app.workspaces.logs(&slug, after, query.lines.unwrap_or(DEFAULT_LINES).min(MAX_LINES)).await?;
    if accepts(&headers, "text/event-stream") {
        let Ok(place) = app.waiting.clone().try_acquire_owned() else {
            return Err(Problem::new(Kind::Busy, "64 requests wait or follow already; ask for lines instead"));
        };
        let follow =
            Follow { app, slug, next: part.next, ends: Instant::now() + MAX_STREAM, first: Some(part), _place: place };
        return Ok(Sse::new(frames(follow)).keep_alive(sse::KeepAlive::default()).into_response());
    }
    if accepts(&headers, "text/plain") {
        let text = part.lines.into_iter().map(|line| line + "\n").collect::<String>();
        return Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response());
    }
    Ok(Json(json!({ "items": part.lines, "next": part.next, "rotated": part.rotated })).into_response())
}

/// One client's place in the log.
struct Follow {
    app: App,
    slug: Slug,
    next: u64,
    ends: Instant,
    /// What the first look found already.
    first: Option<LogPart>,
    _place: tokio::sync::OwnedSemaphorePermit,
}

/// A frame per part: its lines joined, the position after them as id, `rotated` as event where it is.
fn frames(follow: Follow) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let parts = stream::unfold(follow, |mut follow| async move {
        let part = match follow.first.take() {
            Some(part) => part,
            None => follow.later().await?,
        };
        follow.next = part.next;
        Some((part, follow))
    });
    parts.map(|part| {
        let event = if part.rotated { "rotated" } else { "lines" };
        // A carriage return would end a field of the stream: progress bars are full of them.
        let text = part.lines.join("\n").replace('\r', " ");
        Ok(sse::Event::default().id(part.next.to_string()).event(event).data(text))
    })
}

impl Follow {
    /// The next lines, or the end: time over, shutdown, workspace gone.
    async fn later(&self) -> Option<LogPart> {
        loop {
            tokio::select! {
                // Both cancel-safe: nothing is taken.
                () = tokio::time::sleep(PAUSE) => {}
                () = self.app.shutdown.cancelled() => return None,
            }
            if Instant::now() >= self.ends {
                return None;
            }
            let part = self.app.workspaces.logs(&self.slug, Some(self.next), MAX_LINES).await.ok()?;
            if !part.lines.is_empty() || part.rotated {
                return Some(part);
            }
        }
    }
}
