//! A small HTTP/1.1 client: one connection per request, or one kept connection. No retries, no redirects, no cookies:
//! what came back is what the daemon sent.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Longest wait for one whole exchange: longer than the daemon's own hold, so that its answer is what we see.
pub const EXCHANGE_LIMIT: Duration = Duration::from_secs(150);

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// A kept connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

// === impl Reply ===

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
    /// One header field as text; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
    /// Itself, if the status is this one.
    ///
    /// # Panics
    /// With status and body, if it is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{} {:?}", self.text(), self.headers);
        self
    }
}

// === impl Connection ===

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the connection; an error shows in the exchange that meets it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender })
    }

    /// Whether the other side closed it.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until it can take a request; an error when it was closed meanwhile (which is no failed request).
    pub async fn ready(&mut self) -> Result<()> {
        Ok(self.sender.ready().await?)
    }

    /// One exchange, body and all.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply> {
        let exchange = async {
            let response = self.sender.send_request(request).await.context("no answer")?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.context("the answer was cut short")?.to_bytes();
            Ok(Reply { status: parts.status, headers: parts.headers, body })
        };
        tokio::time::timeout(EXCHANGE_LIMIT, exchange).await.context("no whole answer in time")?
    }
}

/// One request on a connection of its own.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<Reply> {
    let mut connection = Connection::open(address).await?;
    connection.ready().await?;
    connection.send(request).await
}

/// A request for `host`; `target` in origin form. A token becomes the Authorization field.
pub fn request(
    method: &str,
    host: &str,
    target: &str,
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(target).header("host", host);
    if let Some(token) = token {
        builder = builder.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name of the test");
        builder = builder.header(name, HeaderValue::from_str(value).expect("a header value of the test"));
    }
    builder.body(Full::new(body.into())).expect("a request of the test")
}
