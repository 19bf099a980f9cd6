//! WebSockets: a tunnel that changes no byte, for the own origin only, and no other kind of upgrade (rows U-01…U-08).

use std::time::Duration;

use orbitd_tests::{
    Daemon,
    wire::{Heard, Wire},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixtures;

const QUIET: Duration = Duration::from_millis(1500);

async fn handshake(daemon: &Daemon, slug: &str, target: &str, fields: &str, token: &str) -> (Wire, Heard) {
    let mut wire = Wire::open(daemon.proxy).await.expect("connected");
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n{fields}\r\n",
        daemon.host(slug)
    );
    wire.say(head.as_bytes()).await;
    let heard = wire.hear_until(QUIET, |bytes| bytes.windows(4).any(|four| four == b"\r\n\r\n")).await;
    (wire, heard)
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

#[tokio::test]
async fn a_websocket_is_a_tunnel_that_changes_no_byte() {
    let daemon = fixtures::echo().await;
    let origin = format!("{UPGRADE}Origin: http://{}\r\n", daemon.host("acme"));
    let (wire, heard) = handshake(daemon, "acme", "/api/signals/ws", &origin, &daemon.token(&["acme"])).await;
    assert_eq!(heard.statuses(), [101], "{}", heard.text());
    assert!(
        heard.text().to_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{}",
        heard.text()
    );
    assert!(heard.text().contains("acme"), "{}", heard.text());
    let sent: Vec<u8> = (0..400_000_u32).map(|n| (n * 7 % 256) as u8).collect();
    let (mut reader, mut writer) = wire.into_stream().into_split();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        for piece in sent.chunks(7_001) {
            writer.write_all(piece).await.expect("written");
        }
        writer
    });
    let mut back = vec![0; expected.len()];
    let read = tokio::time::timeout(Duration::from_secs(20), reader.read_exact(&mut back)).await;
    assert!(read.is_ok_and(|outcome| outcome.is_ok()), "the tunnel ended early");
    assert!(back == expected, "bytes were changed");
    drop(writing.await);
}

#[tokio::test]
async fn a_websocket_from_another_origin_is_refused() {
    let daemon = fixtures::echo().await;
    let token = daemon.token(&["acme"]);
    for origin in ["http://evil.test", "null", "http://globex.localhost"] {
        let fields = format!("{UPGRADE}Origin: {origin}\r\n");
        let (_, heard) = handshake(daemon, "acme", "/ws", &fields, &token).await;
        assert_eq!(heard.statuses().first(), Some(&403), "{origin}: {}", heard.text());
    }
}

#[tokio::test]
async fn only_websockets_are_upgraded() {
    let daemon = fixtures::echo().await;
    let token = daemon.token(&["acme"]);
    for token_name in ["h2c", "foo", "TLS/1.0", "websocket, h2c"] {
        let fields = format!("Connection: Upgrade\r\nUpgrade: {token_name}\r\n");
        let (_, heard) = handshake(daemon, "acme", "/plain", &fields, &token).await;
        assert_ne!(heard.statuses().first(), Some(&101), "{token_name}: {}", heard.text());
    }
}

#[tokio::test]
async fn an_upgrade_that_the_instance_refuses_opens_no_tunnel() {
    let daemon = fixtures::echo().await;
    let (mut wire, heard) =
        handshake(daemon, "acme", "/ws?mode=refuse-upgrade", UPGRADE, &daemon.token(&["acme"])).await;
    assert_eq!(heard.statuses().first(), Some(&200), "{}", heard.text());
    wire.say(b"GET /in-the-tunnel HTTP/1.1\r\nHost: globex\r\n\r\n").await;
    let rest = wire.hear(QUIET).await;
    assert!(!rest.text().contains("in-the-tunnel"), "{}", rest.text());
}

#[tokio::test]
async fn a_websocket_needs_a_token_like_everything_else() {
    let daemon = fixtures::echo().await;
    let (_, heard) = handshake(daemon, "acme", "/ws", UPGRADE, &daemon.token(&["globex"])).await;
    assert_eq!(heard.statuses(), [403], "{}", heard.text());
    let (_, heard) = handshake(daemon, "acme", "/ws", UPGRADE, "none").await;
    assert_eq!(heard.statuses(), [401], "{}", heard.text());
}
