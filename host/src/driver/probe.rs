//! Asks an instance: is it the one we started, is it ready, does a plugin really answer? Every question is a connection of
//! its own through its door, with a deadline and a limit on the answer.

use std::{io, path::Path, time::Duration};

use aws_lc_rs::{constant_time, digest, hmac};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use crate::{door::Door, ids::InstanceId};

const DEADLINE: Duration = Duration::from_secs(5);
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Why an answer is not the wanted one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Nobody listens, or the connection broke.
    #[error("it does not answer: {reason}")]
    NoAnswer {
        /// What the system said.
        reason: String,
    },
    /// Nothing came in time.
    #[error("it did not answer {path} within 5 s")]
    Slow {
        /// What was asked for.
        path: &'static str,
    },
    /// Another status.
    #[error("it answered {path} with {status}")]
    Status {
        /// What was asked for.
        path: &'static str,
        /// The answer.
        status: StatusCode,
    },
    /// The right status with the wrong body.
    #[error("it answered {path} with 200, but not with {wanted}")]
    Body {
        /// What was asked for.
        path: &'static str,
        /// What should have come.
        wanted: &'static str,
    },
    /// Whoever listens there is another process, or does not know the boot secret.
    #[error("another process listens in its place")]
    Impostor,
}

const BOOT: &str = "/.orbit/v1/boot";
const READINESS: &str = "/.backstage/health/v1/readiness";
const REFRESH: &str = "/api/catalog/refresh";
const ENTITIES: &str = "/api/catalog/entities?limit=1";

/// Whether the process behind the door holds the boot secret (64 hex digits): it answers a random challenge.
pub async fn prove(door: &Door, id: InstanceId, boot_secret: &str) -> Result<(), ProbeError> {
    #[derive(Deserialize)]
    struct Answer {
        boot_id: String,
        proof: String,
    }
    let challenge: [u8; 32] = rand::random();
    let path = format!("{BOOT}?challenge={}", hex::encode(challenge));
    let body = get(door, BOOT, &path, None).await?;
    let impostor = || ProbeError::Impostor;
    let answer: Answer = serde_json::from_slice(&body).map_err(|_| impostor())?;
    let proof = hex::decode(&answer.proof).map_err(|_| impostor())?;
    let key = hex::decode(boot_secret).map_err(|_| impostor())?;
    let wanted = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &challenge);
    let proven = constant_time::verify_slices_are_equal(wanted.as_ref(), &proof).is_ok();
    if proven && answer.boot_id == id.to_string() { Ok(()) } else { Err(impostor()) }
}

/// Whether Backstage says that it is ready.
pub async fn ready(door: &Door) -> Result<(), ProbeError> {
    get(door, READINESS, READINESS, None).await.map(|_| ())
}

/// Whether the catalogue answers with what a catalogue answers: Backstage can be ready while a plugin is not, and a 200 can
/// be empty.
pub async fn catalog(door: &Door, token: &str) -> Result<(), ProbeError> {
    let body = get(door, ENTITIES, ENTITIES, Some(token)).await?;
    match serde_json::from_slice::<Vec<serde_json::Value>>(&body) {
        Ok(_) => Ok(()),
        Err(_) => Err(ProbeError::Body { path: ENTITIES, wanted: "a list of entities" }),
    }
}

/// Has the catalogue read a file of its configured locations again now, and not when it next would (Backstage: within minutes).
pub async fn read_again(door: &Door, token: &str, file: &Path) -> Result<(), ProbeError> {
    // The name that the catalogue gives to a location, by `<type>:<target>`.
    let target = format!("file:{}", file.display());
    let name = hex::encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, target.as_bytes()));
    let body = serde_json::json!({"entityRef": format!("location:default/generated-{name}")}).to_string();
    let question = Question { path: REFRESH, token: Some(token), body: Some(body) };
    answered(REFRESH, ask(door, question)).await.map(|_| ())
}

/// `hex(HMAC-SHA256(boot secret, purpose))`: tokens that both sides can make from the one secret they share.
pub fn derived(boot_secret: &str, purpose: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &hex::decode(boot_secret).unwrap_or_default());
    hex::encode(hmac::sign(&key, purpose.as_bytes()))
}

/// What is asked; with a body it is a POST of JSON.
struct Question<'a> {
    path: &'a str,
    token: Option<&'a str>,
    body: Option<String>,
}

async fn get(door: &Door, name: &'static str, path: &str, token: Option<&str>) -> Result<Bytes, ProbeError> {
    answered(name, ask(door, Question { path, token, body: None })).await
}

async fn answered(
    name: &'static str,
    exchange: impl Future<Output = io::Result<(StatusCode, Bytes)>>,
) -> Result<Bytes, ProbeError> {
    match tokio::time::timeout(DEADLINE, exchange).await {
        Err(_) => Err(ProbeError::Slow { path: name }),
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => Err(ProbeError::Impostor),
        Ok(Err(error)) => Err(ProbeError::NoAnswer { reason: error.to_string() }),
        Ok(Ok((StatusCode::OK, body))) => Ok(body),
        Ok(Ok((status, _))) => Err(ProbeError::Status { path: name, status }),
    }
}

async fn ask(door: &Door, question: Question<'_>) -> io::Result<(StatusCode, Bytes)> {
    let stream = door.connect().await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let method = if question.body.is_some() { Method::POST } else { Method::GET };
    let mut request = Request::builder()
        .method(method)
        .uri(question.path)
        .header(header::HOST, "127.0.0.1")
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, "orbitd-probe");
    if let Some(token) = question.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if question.body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = question.body.unwrap_or_default();
    let request = request.body(Full::new(Bytes::from(body))).map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(io::Error::other)?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(exchange, connection);
    let mut open = true;
    loop {
        tokio::select! {
            result = &mut exchange => return result,
            // The connection is only driven here; its end shows in the exchange.
            _ = &mut connection, if open => open = false,
        }
    }
}
