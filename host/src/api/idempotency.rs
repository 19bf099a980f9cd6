//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a client that lost the answer to a change sends it again with the same key,
//! and gets the first one's answer; nothing is done twice. On POST below `/v1/workspaces`, but for login links, of which a second one harms
//! nobody.
//!
//! * The same key with another request: 422. The same key while the first is under way: the second waits for its end.
//! * What is kept is success. A refusal changed nothing and frees the key; after a 5xx the next try goes on with the same operation.
//! * Kept for a day, in the registry: a restart of the daemon forgets nothing ([`crate::db::Operation`]).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{App, MAX_CATALOG_BODY, Problem, error::Kind};
use crate::{
    db::{Begun, MAX_REPLY, Operation, Reply},
    ids::Digest,
};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is an earlier one's (as Stripe has it).
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const MAX_KEY: usize = 255;
/// Keys that are being worked on; past it 503.
const MAX_UNDER_WAY: usize = 256;

/// Who works on which key.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<HashMap<Digest, Arc<tokio::sync::Mutex<()>>>>);

/// Does a change with a key once.
pub(super) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let covered =
        request.method() == Method::POST && path.starts_with("/v1/workspaces") && !path.ends_with("/login-links");
    let key = match key(request.headers()) {
        Ok(Some(key)) if covered => key,
        Ok(_) => return next.run(request).await,
        Err(problem) => return problem.into_response(),
    };
    // A task of its own: who sends a change with a key may hang up and ask again for how it ended.
    match tokio::spawn(keyed(app, key, request, next)).await {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => Problem::new(Kind::Internal, "a bug in orbitd ended the change; its log says more").into_response(),
    }
}

async fn keyed(app: App, key: Digest, request: Request, next: Next) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_CATALOG_BODY)
        .await
        .map_err(|_| Problem::new(Kind::TooLarge, "the body is over 16 MiB, or was cut short"))?;
    let said = [parts.uri.to_string().as_bytes(), b"\n", &body].concat();
    let turn = app.under_way.turn(key)?;
    let held = turn.lock().await;
    let answer = match app.workspaces.begin_operation(key, Digest::of(&said)).await? {
        Begun::Other => Err(Problem::new(
            Kind::KeyReused,
            "this Idempotency-Key was sent with another request; a new request needs a new key",
        )),
        Begun::Done(reply) => Ok(replayed(reply)),
        Begun::ToDo(operation) => {
            let done = Operation::within(Some(operation), next.run(Request::from_parts(parts, Body::from(body)))).await;
            remembered(&app, key, done).await
        }
    };
    drop(held);
    app.under_way.leave(key, &turn);
    answer
}

/// Keeps what there is to keep of an answer, and passes it on.
async fn remembered(app: &App, key: Digest, response: Response) -> Result<Response, Problem> {
    let (parts, body) = response.into_parts();
    let status = parts.status;
    let body = to_bytes(body, usize::MAX)
        .await
        .map_err(|_| Problem::new(Kind::Internal, "the answer could not be made; orbitd's log says more"))?;
    let location = parts.headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let noted = if status.is_success() {
        let kept = if body.len() <= MAX_REPLY { body.to_vec() } else { Vec::new() };
        let reply = Reply { status: status.as_u16(), location, body: kept };
        // Too long to be kept: asked again, the operation finds its work done and answers with what is there then.
        if body.len() <= MAX_REPLY { app.workspaces.end_operation(key, Some(&reply)).await } else { Ok(()) }
    } else if status.is_client_error() {
        app.workspaces.end_operation(key, None).await
    } else {
        Ok(())
    };
    if let Err(error) = noted {
        // The change stands; asked again, it is found done.
        tracing::warn!(%error, "the answer to a request with a key could not be kept");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn replayed(reply: Reply) -> Response {
    let Reply { status, location, body } = reply;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    if let Some(location) = location.and_then(|location| HeaderValue::from_str(&location).ok()) {
        headers.insert(header::LOCATION, location);
    }
    response
}

/// The key, with or without the quotes that the draft wants.
fn key(headers: &HeaderMap) -> Result<Option<Digest>, Problem> {
    let wrong = |why: &str| Err(Problem::new(Kind::BadRequest, format!("Idempotency-Key: {why}")));
    let mut all = headers.get_all(KEY).iter();
    let Some(first) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return wrong("it is there twice");
    }
    let text = first.as_bytes();
    let bare = text.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(text);
    let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'"' && *byte != b'\\';
    if bare.is_empty() || bare.len() > MAX_KEY || !bare.iter().all(plain) {
        return wrong("send 1 to 255 visible ASCII characters without quotes and backslashes; a random UUID is best");
    }
    Ok(Some(Digest::of(bare)))
}

// === impl UnderWay ===

impl UnderWay {
    fn turn(&self, key: Digest) -> Result<Arc<tokio::sync::Mutex<()>>, Problem> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_UNDER_WAY && !all.contains_key(&key) {
            return Err(Problem::new(Kind::Busy, "too many changes with keys are under way; try again"));
        }
        Ok(all.entry(key).or_default().clone())
    }

    /// Forgets the key if nobody else waits for it.
    fn leave(&self, key: Digest, turn: &Arc<tokio::sync::Mutex<()>>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours and the map's.
        if Arc::strong_count(turn) <= 2 {
            all.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_with_and_without_quotes_and_nothing_else_is() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(KEY, HeaderValue::from_str(value).expect("a value"));
            }
            key(&headers)
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["8e03978e-40d5"]), of(&["\"8e03978e-40d5\""]));
        assert!(matches!(of(&["a"]), Ok(Some(_))) && of(&["a"]) != of(&["b"]));
        for wrong in ["", "\"\"", "a b", "\"a", "a\\b", &"x".repeat(256)] {
            assert!(of(&[wrong]).is_err(), "{wrong}");
        }
        assert!(of(&["a", "a"]).is_err(), "twice");
    }
}
