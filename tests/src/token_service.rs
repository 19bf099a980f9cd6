//! A token service as registries send their clients to: who shows the right name and password gets a short-lived token for what
//! was asked, signed with a key that the registry believes.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    authority::{Authority, Certificate},
    tokens::{Issuer, now},
};

/// Who the registry must be told to believe: `issuer` of its configuration.
pub const ISSUER: &str = "orbitd-test-tokens";
/// `service` of its configuration.
pub const SERVICE: &str = "orbitd-test-registry";
/// Seconds that a token is good for.
const LIFETIME: i64 = 2;
/// Bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;

/// A service that runs until it is dropped.
pub struct TokenService {
    /// Where it listens; plain http.
    pub address: SocketAddr,
    /// Of its key.
    pub certificate: Certificate,
    issued: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl TokenService {
    /// Starts one that knows one account. `authority` vouches for its key.
    pub async fn start(authority: &Authority, username: &str, password: &str) -> Self {
        let certificate = authority.issue("tokens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let key = Issuer::from_pem("tokens", &fs::read_to_string(&certificate.key).expect("a key"));
        let chain = body(&fs::read_to_string(&certificate.file).expect("a certificate"));
        let welcome = format!("Basic {}", STANDARD.encode(format!("{username}:{password}")));
        let issued = Arc::new(AtomicUsize::new(0));
        let count = issued.clone();
        let task = tokio::spawn(async move {
            // One after the other: a registry's clients ask seldom.
            while let Ok((stream, _)) = listener.accept().await {
                let token = |query: &BTreeMap<String, String>| {
                    let n = count.fetch_add(1, Ordering::SeqCst);
                    sign(&key, &chain, query, n)
                };
                let _ = answer(stream, &welcome, token).await;
            }
        });
        Self { address, certificate, issued, task }
    }

    /// Tokens so far.
    pub fn issued(&self) -> usize {
        self.issued.load(Ordering::SeqCst)
    }
}

impl Drop for TokenService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Text between a PEM's first markers, as one line.
fn body(pem: &str) -> String {
    pem.lines()
        .skip_while(|line| !line.starts_with("-----BEGIN"))
        .skip(1)
        .take_while(|line| !line.starts_with('-'))
        .collect()
}

async fn answer(
    mut stream: TcpStream,
    welcome: &str,
    token: impl FnOnce(&BTreeMap<String, String>) -> String,
) -> std::io::Result<()> {
    let (mut head, mut part) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MAX_HEAD {
        match stream.read(&mut part).await? {
            0 => return Ok(()),
            length => head.extend_from_slice(&part[..length]),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let shown = head
        .lines()
        .find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("authorization")));
    let (status, body) = match shown {
        Some((_, shown)) if shown.trim() == welcome => {
            let target = head.split(' ').nth(1).unwrap_or_default();
            let query = target.split_once('?').map_or("", |(_, query)| query);
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let plain = |text: &str| text.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
            ("200 OK", token(&pairs.map(|(key, value)| (key.to_owned(), plain(value))).collect()))
        }
        _ => ("401 Unauthorized", r#"{"details": "incorrect username or password"}"#.to_owned()),
    };
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// Everything that was asked for is granted.
fn sign(key: &Issuer, chain: &str, query: &BTreeMap<String, String>, n: usize) -> String {
    let scope = query.get("scope").map_or("", String::as_str);
    let access: Vec<_> = match scope.split(':').collect::<Vec<_>>().as_slice() {
        [kind, name, actions] => {
            vec![json!({"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()})]
        }
        _ => Vec::new(),
    };
    let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [chain]});
    let claims = json!({
        "iss": ISSUER, "aud": SERVICE, "sub": "ci", "jti": n.to_string(), "access": access,
        "iat": now(), "nbf": now() - 60, "exp": now() + LIFETIME,
    });
    json!({"token": key.sign(&header, &claims)}).to_string()
}
