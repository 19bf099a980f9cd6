//! The few calls that the demo makes of the admin API: HTTP/1.0 over loopback, one connection each. xtask is compiled before
//! everything else; a client library would be what a first `make` waits for.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(10);
/// Answers are small; past it something is wrong.
const MAX_ANSWER: u64 = 4 << 20;

/// Status and JSON body (null where it is none).
pub fn call(address: SocketAddr, method: &str, path: &str, bearer: &str, body: Option<&Value>) -> Result<(u16, Value)> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {bearer}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// The body of a 2xx.
pub fn expect(address: SocketAddr, method: &str, path: &str, bearer: &str, body: Option<&Value>) -> Result<Value> {
    let (status, answer) = call(address, method, path, bearer, body).with_context(|| format!("{method} {path}"))?;
    ensure!((200..300).contains(&status), "{method} {path}: {status} {}", answer["detail"]);
    Ok(answer)
}
