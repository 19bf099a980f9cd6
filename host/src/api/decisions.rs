//! The decisions of policies: the newest as a list, or as a stream (`Accept: text/event-stream`) that goes on until the client leaves.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response, Sse, sse},
};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{App, Problem, error::Kind, extract::InQuery, workspaces::accepts};
use crate::policy::{Followed, Follower, Line};

/// A stream ends after this; the client connects again.
const MAX_STREAM: Duration = Duration::from_secs(3600);

/// Which decisions; what is left out is any.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chosen {
    tier: Option<String>,
    workspace: Option<String>,
    binding: Option<String>,
    /// `allow`, `deny`, `forward`, `refuse`, `render`, `fail`.
    decision: Option<String>,
}

impl Chosen {
    fn holds(&self, line: &Line) -> bool {
        let is = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        is(&self.tier, &line.tier)
            && is(&self.workspace, &line.workspace)
            && is(&self.binding, &line.binding)
            && is(&self.decision, line.decision)
    }
}

/// `{"items": […], "logged": …}`, oldest first, at most the newest 500; or the stream, whose events are `decision`, and `dropped` where the
/// client was too slow.
pub(super) async fn decisions(
    State(app): State<App>,
    InQuery(chosen): InQuery<Chosen>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !accepts(&headers, "text/event-stream") {
        let (lines, logged) = app.policies.recent_decisions();
        let items = lines.iter().filter(|line| chosen.holds(line)).filter_map(|line| parsed(line));
        return Ok(Json(json!({ "items": items.collect::<Vec<_>>(), "logged": logged })).into_response());
    }
    let busy = |why: &str| Problem::new(Kind::Busy, format!("{why}; ask for a list instead"));
    let place = app.waiting.clone().try_acquire_owned();
    let place = place.map_err(|_| busy("64 requests wait or follow events already"))?;
    let follower = app.policies.follow_decisions().ok_or_else(|| busy("32 follow the decisions already"))?;
    let follow = Follow { app, chosen, follower, ends: Instant::now() + MAX_STREAM, _place: place };
    Ok(Sse::new(frames(follow)).keep_alive(sse::KeepAlive::default()).into_response())
}

/// One client's place.
struct Follow {
    app: App,
    chosen: Chosen,
    follower: Follower,
    ends: Instant,
    _place: tokio::sync::OwnedSemaphorePermit,
}

fn frames(follow: Follow) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    stream::unfold(follow, |mut follow| async move {
        let followed = follow.next().await?;
        Some((followed, follow))
    })
    .map(|followed| {
        Ok(match followed {
            Followed::Line(line) => sse::Event::default().event("decision").data(&line.text),
            Followed::Missed(missed) => {
                let data = json!({ "dropped": missed, "because": "follower" }).to_string();
                sse::Event::default().event("dropped").data(data)
            }
        })
    })
}

impl Follow {
    /// The next one for this client, or the end: time over, or shutdown.
    async fn next(&mut self) -> Option<Followed> {
        loop {
            let followed = tokio::select! {
                // All cancel-safe: what was not taken stays in the follower's queue.
                followed = self.follower.next() => followed?,
                () = tokio::time::sleep_until(self.ends) => return None,
                () = self.app.shutdown.cancelled() => return None,
            };
            match &followed {
                Followed::Line(line) if !self.chosen.holds(line) => {}
                _ => return Some(followed),
            }
        }
    }
}

fn parsed(line: &Line) -> Option<Value> {
    serde_json::from_str(&line.text).ok()
}
