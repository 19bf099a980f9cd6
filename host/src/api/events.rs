//! A workspace's events: as a list, or as a stream (`Accept: text/event-stream`) that goes on until the client leaves.

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response, sse},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    App, Problem,
    extract::{InPath, InQuery},
    follow::{Page, follow, resumed},
    workspaces::accepts,
};
use crate::model::Event;

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 500;

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
    let after = resumed(&headers).or(query.after).unwrap_or(0);
    let items = app.workspaces.events(&slug, after, limit).await?;
    if !accepts(&headers, "text/event-stream") {
        return Ok(Json(json!({ "items": items })).into_response());
    }
    follow(app, page(after, &items), move |app, after| {
        let slug = slug.clone();
        async move { app.workspaces.events(&slug, after, MAX_LIMIT).await.ok().map(|items| page(after, &items)) }
    })
}

/// A frame per event: its reason as the event's name, its sequence as id.
fn page(after: i64, items: &[Event]) -> Page<i64> {
    let frame = |event: &Event| {
        let frame = sse::Event::default().id(event.sequence.to_string()).event(&event.reason);
        frame.json_data(event).ok()
    };
    Page { frames: items.iter().filter_map(frame).collect(), next: items.last().map_or(after, |event| event.sequence) }
}
