//! A workspace's log: its last lines, what came after a position, or a stream (`Accept: text/event-stream`) that goes on over rotations,
//! restarts and rollouts until the client leaves.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
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
use crate::driver::LogPart;

const DEFAULT_LINES: usize = 200;
const MAX_LINES: usize = 5_000;

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
    let after = resumed(&headers).or(query.after);
    let part = app.workspaces.logs(&slug, after, query.lines.unwrap_or(DEFAULT_LINES).min(MAX_LINES)).await?;
    if accepts(&headers, "text/event-stream") {
        return follow(app, page(part), move |app, after| {
            let slug = slug.clone();
            async move { app.workspaces.logs(&slug, Some(after), MAX_LINES).await.ok().map(page) }
        });
    }
    if accepts(&headers, "text/plain") {
        let text = part.lines.into_iter().map(|line| line + "\n").collect::<String>();
        return Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response());
    }
    Ok(Json(json!({ "items": part.lines, "next": part.next, "rotated": part.rotated })).into_response())
}

/// One frame: the lines joined; `rotated` as event where lines before them are gone.
fn page(part: LogPart) -> Page<u64> {
    if part.lines.is_empty() && !part.rotated {
        return Page { frames: Vec::new(), next: part.next };
    }
    let event = if part.rotated { "rotated" } else { "lines" };
    // A carriage return would end a field of the stream: progress bars are full of them.
    let text = part.lines.join("\n").replace('\r', " ");
    Page { frames: vec![sse::Event::default().id(part.next.to_string()).event(event).data(text)], next: part.next }
}
