//! Following what grows (a log, events) as server-sent events: a page, then each next one as it comes, until the client leaves, an hour
//! is over, the daemon stops, or nothing is there to follow any more.
//!
//! The client sets the pace: the next page is read when the last one is on its way, so one that reads slowly costs a page of memory.

use std::{convert::Infallible, time::Duration};

use axum::{
    http::HeaderMap,
    response::{IntoResponse, Response, Sse, sse},
};
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::{App, Problem, error::Kind};

/// Between two looks at something that has not grown.
const PAUSE: Duration = Duration::from_millis(500);
/// A stream ends after this; the client connects again with `Last-Event-ID` and misses nothing.
const MAX_STREAM: Duration = Duration::from_secs(3600);

/// What is new after a position.
pub(super) struct Page<P> {
    /// Each with the position after it as its id. None: not grown.
    pub frames: Vec<sse::Event>,
    /// The position after all of them.
    pub next: P,
}

/// Where a client that connects again had come to: what a browser's EventSource sends by itself.
pub(super) fn resumed<P: std::str::FromStr>(headers: &HeaderMap) -> Option<P> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}

/// The stream that begins with this page; `look` reads the one after a position (`None`: the end).
pub(super) fn follow<P, L>(
    app: App,
    first: Page<P>,
    look: impl Fn(App, P) -> L + Send + Sync + 'static,
) -> Result<Response, Problem>
where
    P: Copy + Send + Sync + 'static,
    L: Future<Output = Option<Page<P>>> + Send,
{
    let Ok(place) = app.waiting.clone().try_acquire_owned() else {
        return Err(Problem::new(Kind::Busy, "64 requests wait or follow already; ask without the stream instead"));
    };
    let ends = Instant::now() + MAX_STREAM;
    let begin = (first.next, Some(first.frames));
    let pages = stream::unfold((begin, app, look, place), move |((at, ready), app, look, place)| async move {
        let page = match ready {
            Some(frames) => Page { frames, next: at },
            None => next_page(&app, at, &look, ends).await?,
        };
        Some((stream::iter(page.frames), ((page.next, None), app, look, place)))
    });
    let frames = pages.flatten().map(Ok::<_, Infallible>);
    Ok(Sse::new(frames).keep_alive(sse::KeepAlive::default()).into_response())
}

/// Looks until there is something new.
async fn next_page<P, L>(app: &App, at: P, look: &impl Fn(App, P) -> L, ends: Instant) -> Option<Page<P>>
where
    P: Copy,
    L: Future<Output = Option<Page<P>>>,
{
    loop {
        // At once after a page: a full one means that there is more already.
        let page = look(app.clone(), at).await?;
        if !page.frames.is_empty() {
            return Some(page);
        }
        tokio::select! {
            // Both cancel-safe: nothing is taken.
            () = tokio::time::sleep(PAUSE) => {}
            () = app.shutdown.cancelled() => return None,
        }
        if Instant::now() >= ends {
            return None;
        }
    }
}
