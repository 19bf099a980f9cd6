//! The byte rig: raw bytes to the front, and what the origin (the echo stand-in) really received.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD as B64};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::http;

/// What came back on a raw connection.
#[derive(Debug)]
pub struct Heard {
    /// Every byte.
    pub bytes: Vec<u8>,
    /// Whether the other side closed within the limit.
    pub closed: bool,
}

/// A raw client connection.
pub struct Wire(TcpStream);

/// One connection as the origin saw it.
#[derive(Debug)]
pub struct Arrived {
    /// Raw bytes, at most 64 KiB of them.
    pub bytes: Vec<u8>,
    /// Requests that its parser (Node's) saw in them.
    pub requests: Vec<Value>,
    /// What its parser said of bytes it refused.
    pub broken: Option<String>,
}

// === impl Wire ===

impl Wire {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }

    /// Sends; an error (the other side closed already) is left for [`Wire::hear`] to show.
    pub async fn say(&mut self, bytes: &[u8]) {
        let _ = timeout(Duration::from_secs(5), self.0.write_all(bytes)).await;
    }

    /// Reads until the other side closes, or nothing came for `quiet`.
    pub async fn hear(&mut self, quiet: Duration) -> Heard {
        self.hear_until(quiet, |_| false).await
    }

    /// Reads until `enough`, or the other side closes, or nothing came for `quiet`.
    pub async fn hear_until(&mut self, quiet: Duration, enough: impl Fn(&[u8]) -> bool) -> Heard {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 16 << 10];
        while bytes.len() < 4 << 20 && !enough(&bytes) {
            match timeout(quiet, self.0.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return Heard { bytes, closed: true },
                Ok(Ok(n)) => bytes.extend_from_slice(&buffer[..n]),
                Err(_) => break,
            }
        }
        Heard { bytes, closed: false }
    }

    /// The stream itself.
    pub fn into_stream(self) -> TcpStream {
        self.0
    }
}

// === impl Heard ===

impl Heard {
    /// The statuses of all answers in the bytes, in order.
    pub fn statuses(&self) -> Vec<u16> {
        let text = String::from_utf8_lossy(&self.bytes);
        text.match_indices("HTTP/1.1 ").filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok()).collect()
    }
    /// The bytes as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Everything that an echo instance received since it started, by connection; orbitd's own questions are left out.
pub async fn arrived(instance: SocketAddr) -> Vec<Arrived> {
    let request = http::request("GET", "origin", "/.echo/log", None, &[], "");
    let log = http::send(instance, request).await.expect("the echo instance answers").json();
    let connections = log.as_array().cloned().unwrap_or_default();
    connections
        .into_iter()
        .map(|connection| Arrived {
            bytes: B64.decode(connection["wire"].as_str().unwrap_or_default()).unwrap_or_default(),
            requests: connection["requests"].as_array().cloned().unwrap_or_default(),
            broken: connection["broken"].as_str().map(str::to_owned),
        })
        .collect()
}

/// How often `needle` stands in `haystack`.
pub fn count(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).filter(|window| *window == needle).count()
}
