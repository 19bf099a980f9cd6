//! An instance that costs next to nothing: for the bench, where the upstream must not be what is measured. Speaks launcher
//! protocol 1 (a distribution's `node` may be any program), answers everything with 300 bytes of JSON.
//!
//! With `--listen SOCKET` it is that server without orbitd.

use std::{
    convert::Infallible,
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Write},
};

use anyhow::{Context, Result};
use aws_lc_rs::hmac;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use serde_json::{Value, json};
use tokio::net::UnixListener;

/// Bytes of an ordinary answer: what the published numbers of other proxies use.
const ANSWER_BYTES: usize = 300;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // The daemon asks what it takes for Node.
        ["--version" | "-v", ..] => {
            println!("v22.0.0");
            Ok(())
        }
        ["--listen", socket] => serve(socket, None, || Ok(())).await,
        _ => {
            // Taking a descriptor over is not safe, copying it from oneself is. Its name in /proc would not do: the pipe belongs to the
            // daemon's user, and this process may have one of its own.
            let own = pidfd_open(getpid(), PidfdFlags::empty())?;
            let message = pidfd_getfd(&own, 3, PidfdGetfdFlags::empty())?;
            let mut line = String::new();
            BufReader::new(fs::File::from(message)).read_line(&mut line)?;
            let start: Value = serde_json::from_str(&line).context("the start message")?;
            let socket = start["socket"].as_str().context("a socket")?.to_owned();
            let report = start.clone();
            serve(&socket, Some(start), move || announce(&report)).await
        }
    }
}

fn announce(start: &Value) -> Result<()> {
    let plugins: Vec<Value> =
        start["plugins"].as_array().into_iter().flatten().map(|id| json!({"id": id, "outcome": "ready"})).collect();
    let started = json!({
        "event": "started", "boot_id": start["boot_id"], "pid": std::process::id(), "port": start["port"], "ms": 1,
        "plugins": plugins,
    });
    let mut file = OpenOptions::new().append(true).open("/proc/self/fd/4")?;
    writeln!(file, "{}\n{started}", json!({"event": "loaded", "ms": 1}))?;
    Ok(())
}

async fn serve(socket: &str, start: Option<Value>, ready: impl FnOnce() -> Result<()>) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    ready()?;
    let mut body = json!({"workspace": start.as_ref().map(|start| &start["workspace"]), "filler": ""}).to_string();
    let filler = "x".repeat(ANSWER_BYTES.saturating_sub(body.len()));
    body.insert_str(body.len() - 2, &filler);
    let (body, start) = (Bytes::from(body), start.map(std::rc::Rc::new));
    // One thread, one set of tasks: no locks, no hand-over.
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                let (body, start) = (body.clone(), start.clone());
                let service = service_fn(move |request| {
                    let response = answer(&request, start.as_deref(), &body);
                    async move { Ok::<_, Infallible>(response) }
                });
                tokio::task::spawn_local(async move {
                    // A connection that breaks is the client's affair.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        })
        .await
}

fn answer(request: &Request<Incoming>, start: Option<&Value>, ordinary: &Bytes) -> Response<Full<Bytes>> {
    let body = match (request.uri().path(), start) {
        ("/.orbit/v1/boot", Some(start)) => {
            let challenge =
                request.uri().query().and_then(|query| query.strip_prefix("challenge=")).unwrap_or_default();
            let secret = hex::decode(start["boot_secret"].as_str().unwrap_or_default()).unwrap_or_default();
            let message = hex::decode(challenge).unwrap_or_default();
            let proof = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), &message);
            let proof = hex::encode(proof.as_ref());
            Bytes::from(json!({"boot_id": start["boot_id"], "pid": std::process::id(), "proof": proof}).to_string())
        }
        ("/.backstage/health/v1/readiness", _) => Bytes::from_static(b"{\"status\":\"ok\"}"),
        ("/api/catalog/entities", _) => Bytes::from_static(b"[]"),
        _ => ordinary.clone(),
    };
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}
