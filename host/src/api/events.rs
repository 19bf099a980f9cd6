//! A workspace's events: as a list, or as a stream (`Accept: text/event-stream`) that goes on until the client leaves.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
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
use crate::{ids::Slug, model::Event};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 500;
/// Between two looks of a stream.
const PAUSE: Duration = Duration::from_secs(1);
/// A stream ends after this; the client connects again with `Last-Event-ID` and misses nothing.
const MAX_STREAM: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// Sequences above this one.
    after: Option<i64>,
    limit: Option<u32>,
}

/// `{"items": […]}`, oldest first; pass the last one's `sequence` as `after` to go on.
pub(super) async fn events(
    State(app): State<App>,
    InPath(slug): InPath,
    InQuery(query): InQuery<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
    // What a browser's EventSource sends when it connects again.
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = resumed.or(query.after).unwrap_or(0);
    let items = app.workspaces.events(&slug, after, limit).await?;
    if !accepts(&headers, "text/event-stream") {
        return Ok(Json(json!({ "items": items })).into_response());
    }
    let Ok(place) = app.waiting.clone().try_acquire_owned() else {
        return Err(Problem::new(Kind::Busy, "64 requests wait or follow events already; ask for a list instead"));
    };
    let follow = Follow { app, slug, after, ends: Instant::now() + MAX_STREAM, first: Some(items), _place: place };
    Ok(Sse::new(frames(follow)).keep_alive(sse::KeepAlive::default()).into_response())
}

/// One client's place in the events.
struct Follow {
    app: App,
    slug: Slug,
    after: i64,
    ends: Instant,
    /// What the first look found already.
    first: Option<Vec<Event>>,
    _place: tokio::sync::OwnedSemaphorePermit,
}

fn frames(follow: Follow) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let batches = stream::unfold(follow, |mut follow| async move {
        let items = match follow.first.take() {
            Some(items) => items,
            None => follow.next().await?,
        };
        follow.after = items.last().map_or(follow.after, |event| event.sequence);
        Some((stream::iter(items), follow))
    });
    batches.flatten().filter_map(|event| async move {
        let frame = sse::Event::default().id(event.sequence.to_string()).event(&event.reason);
        frame.json_data(&event).ok().map(Ok)
    })
}

impl Follow {
    /// The next events, or the end: time over, shutdown, workspace gone, registry broken.
    async fn next(&self) -> Option<Vec<Event>> {
        loop {
            tokio::select! {
                // Both cancel-safe: nothing is taken.
                () = tokio::time::sleep(PAUSE) => {}
                () = self.app.shutdown.cancelled() => return None,
            }
            if Instant::now() >= self.ends {
                return None;
            }
            let items = self.app.workspaces.events(&self.slug, self.after, MAX_LIMIT).await.ok()?;
            if !items.is_empty() {
                return Some(items);
            }
        }
    }
}
