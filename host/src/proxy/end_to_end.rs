//! The front on a real socket before a small instance: what only shows on the wire.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64URL};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream, UnixListener},
    time::timeout,
};

use super::*;
use crate::{
    directory::{Availability, Endpoint, Entry, Upstream},
    door::{Door, SOCKET},
    identity::{BackstageUser, SigningKey},
    ids::{Digest, InstanceId, WorkspaceId},
    policy::{Authorization, Refusal, RequestFacts},
    settings::{AuthSettings, IssuerSettings},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// What the instance saw: request line and fields, in order.
type Seen = Arc<Mutex<Vec<String>>>;

struct Rig {
    proxy: Arc<Proxy>,
    entry: Arc<Entry>,
    address: SocketAddr,
    key: EcdsaKeyPair,
    seen: Seen,
    cancel: CancellationToken,
    _dir: tempfile::TempDir,
}

/// The rule of these tests: a member of the workspace may, under the name in `sub`.
fn members(facts: &RequestFacts<'_>, claims: &Map<String, Value>) -> Authorization {
    assert!(!facts.headers.contains_key("authorization"), "no policy sees a token");
    let name = claims["sub"].as_str().unwrap_or_default();
    if claims.get("workspaces").and_then(|list| list.get(facts.workspace.as_str())).is_none() {
        return Authorization::Deny(Refusal { status: 403, reason: "not a member".into() });
    }
    let entity_ref = format!("user:default/{name}");
    Authorization::Allow(BackstageUser { ownership: vec![entity_ref.clone()], entity_ref })
}

/// A small instance: echoes what it saw; a few paths misbehave.
async fn echo(seen: Seen, mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    let fields = request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")));
    let saw = [line].into_iter().chain(fields).collect::<Vec<_>>().join("\n");
    seen.lock().expect("no panic").push(saw.clone());
    let path = request.uri().path().to_owned();
    if path == "/ws" {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.expect("upgraded")));
            let _ = copy(&mut read, &mut write).await;
        });
        let switch = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
        return Ok(switch.header("sec-websocket-accept", "x").body(Full::default()).expect("a response"));
    }
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let mut response = Response::new(Full::from(format!("{saw}\n\n{}", String::from_utf8_lossy(&body))));
    if path == "/cookies" {
        for cookie in ["a=1; Domain=.localhost; Path=/", "b=2"] {
            response.headers_mut().append("set-cookie", cookie.parse().expect("a value"));
        }
    }
    Ok(response)
}

/// A run directory with a listener in it.
fn listen() -> (UnixListener, Door, tempfile::TempDir) {
    let run = tempfile::tempdir().expect("a directory");
    let listener = UnixListener::bind(run.path().join(SOCKET)).expect("bound");
    let door = Door::new(run.path(), std::process::id());
    (listener, door, run)
}

fn start_echo(seen: Seen) -> Door {
    let (listener, door, run) = listen();
    tokio::spawn(async move {
        let _run = run;
        while let Ok((stream, _)) = listener.accept().await {
            let seen = seen.clone();
            let service = service_fn(move |request| echo(seen.clone(), request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());
        }
    });
    door
}

fn serving(door: Door) -> Availability {
    let endpoint = Endpoint { door, boot: InstanceId::generate(), revision: Digest::of(b""), resumed: 0 };
    Availability::Serving(Upstream::new(endpoint))
}

/// The instance that is offered now.
fn upstream(entry: &Entry) -> Arc<Upstream> {
    let Availability::Serving(upstream) = entry.availability() else { panic!("serving") };
    upstream
}

impl Rig {
    async fn start(change: impl FnOnce(&mut ProxySettings)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let point = key.public_key().as_ref();
        let jwk =
            json!({"kty": "EC", "crv": "P-256", "x": B64URL.encode(&point[1..33]), "y": B64URL.encode(&point[33..])});
        let jwks_file = dir.path().join("jwks.json");
        std::fs::write(&jwks_file, json!({"keys": [jwk]}).to_string()).expect("written");
        let issuer: IssuerSettings = serde_json::from_value(
            json!({"issuer": "https://idp.example", "audience": "orbitd", "jwks_file": jwks_file}),
        )
        .expect("settings");
        let authenticator = Authenticator::open(&AuthSettings { issuers: vec![issuer] }).expect("opened");
        let (directory, _hints) = Directory::new();
        let (signing, _) = SigningKey::generate("http://acme.localhost".into()).expect("a key");
        let (slug, tier) = ("acme".parse().expect("a slug"), "pro".parse().expect("a tier"));
        let entry = Entry::new(WorkspaceId::generate(), slug, tier, Arc::new(signing));
        directory.insert([entry.clone()]);
        let seen = Seen::default();
        entry.publish(serving(start_echo(seen.clone())));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut settings = ProxySettings::default();
        change(&mut settings);
        let parts = ProxyParts {
            settings,
            bound_port: address.port(),
            directory,
            policies: Arc::default(),
            authenticator,
            logins: Arc::default(),
        };
        let proxy = Proxy::build(parts, Decisions::Fixed(members), &mut Registry::default());
        let cancel = CancellationToken::new();
        tokio::spawn(proxy.clone().serve(listener, cancel.clone()));
        Self { proxy, entry, address, key, seen, cancel, _dir: dir }
    }

    fn token(&self, user: &str, workspace: &str) -> String {
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        let claims = json!({"iss": "https://idp.example", "aud": "orbitd", "sub": user, "iat": now, "exp": now + 600,
            "workspaces": {workspace: ["developer"]}});
        let signed = format!("{}.{}", B64URL.encode(r#"{"alg":"ES256"}"#), B64URL.encode(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).expect("signed");
        format!("{signed}.{}", B64URL.encode(signature.as_ref()))
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    /// Sends bytes as they are, closes the sending side and reads all that comes.
    async fn raw(&self, bytes: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("half closed");
        let mut answer = Vec::new();
        // A reset after the answer is an end too.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A request of acme's alice, `more` fields, on a connection of its own.
    async fn get(&self, target: &str, more: &str) -> String {
        let token = self.token("alice", "acme");
        self.raw(&format!(
            "GET {target} HTTP/1.1\r\nhost: acme.localhost\r\nauthorization: Bearer {token}\r\n{more}\r\n"
        ))
        .await
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").clone()
    }
}

fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

#[tokio::test]
async fn an_instance_sees_our_word_on_who_asks_and_the_request_unchanged() {
    let rig = Rig::start(|_| {}).await;
    let spoofed = "x-forwarded-for: 6.6.6.6\r\nx-orbit-user: root\r\nX_Workspace: b\r\nforwarded: for=6.6.6.6\r\n\
        connection: keep-alive, x-hop\r\nx-hop: 1\r\ncookie: a=1; backstage-auth=x\r\nx-fine: yes\r\nte: trailers\r\n";
    let answer = rig.get("/api/catalog/entities/by-name/a%20b?x=%2F&y", spoofed).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.contains("x-request-id: "), "{answer}");
    let seen = rig.seen().remove(0);
    assert!(seen.starts_with("GET /api/catalog/entities/by-name/a%20b?x=%2F&y\n"), "{seen}");
    for line in ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "x-fine: yes", "cookie: a=1"] {
        assert!(seen.lines().any(|seen| seen == line), "{line} in {seen}");
    }
    assert!(seen.contains(&format!("host: acme.localhost:{}\n", rig.address.port())), "{seen}");
    for gone in ["6.6.6.6", "x-orbit", "x_workspace", "x-hop", "backstage-auth", "trailers", "forwarded: "] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    let bearer = seen.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).expect("a bearer");
    let user = rig.entry.signing.verify(bearer, time::OffsetDateTime::now_utc()).expect("our token");
    assert_eq!(user.entity_ref, "user:default/alice");
}

#[tokio::test]
async fn who_may_not_is_told_so_and_the_instance_hears_nothing() {
    let rig = Rig::start(|_| {}).await;
    let anonymous = |host: &str| format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let known = rig.raw(&anonymous("acme.localhost")).await;
    let unknown = rig.raw(&anonymous("nobody.localhost")).await;
    assert_eq!(status(&known), 401);
    let without_id = |answer: &str| {
        let lines = answer.lines().filter(|line| !line.contains("request") && !line.starts_with("date"));
        lines.map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(without_id(&known), without_id(&unknown), "no oracle");
    assert_eq!(status(&rig.raw(&anonymous("elsewhere.example")).await), 421);
    let as_bob =
        |host: &str, token: &str| format!("GET / HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\r\n");
    let bob = rig.token("bob", "globex");
    assert_eq!(status(&rig.raw(&as_bob("acme.localhost", &bob)).await), 403);
    assert_eq!(status(&rig.raw(&as_bob("nobody.localhost", &bob)).await), 404);
    let forged = format!("{}AAAA", &bob[..bob.len() - 4]);
    assert_eq!(status(&rig.raw(&as_bob("acme.localhost", &forged)).await), 401);
    let browser = rig.raw("GET / HTTP/1.1\r\nhost: acme.localhost\r\naccept: text/html,*/*\r\n\r\n").await;
    assert!(browser.contains("text/html") && browser.contains("login link"), "{browser}");
    assert_eq!(rig.seen(), [""; 0]);
}

#[tokio::test]
async fn a_rejected_request_ends_the_connection_and_what_follows_it_is_not_served() {
    let rig = Rig::start(|settings| settings.max_body_bytes = 1000).await;
    let token = rig.token("alice", "acme");
    let auth = format!("host: acme.localhost\r\nauthorization: Bearer {token}\r\n");
    let long = "x".repeat(1001);
    let follower = format!("GET /second HTTP/1.1\r\n{auth}\r\n");
    for (first, expected) in [
        (format!("POST / HTTP/1.1\r\n{auth}transfer-encoding: ,chunked\r\n\r\n0\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\n{auth}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400),
        (format!("GET /a/../b HTTP/1.1\r\n{auth}\r\n"), 400),
        (format!("GET / HTTP/1.1\r\n{auth}host: acme.localhost\r\n\r\n"), 400),
        (format!("TRACE / HTTP/1.1\r\n{auth}\r\n"), 405),
        (format!("POST / HTTP/1.1\r\n{auth}content-length: 1001\r\n\r\n{long}"), 413),
        (format!("POST / HTTP/1.1\r\n{auth}transfer-encoding: chunked\r\n\r\n3e9\r\n{long}\r\n0\r\n\r\n"), 413),
        // Denied with a body that looks like a request (P-19).
        (format!("POST / HTTP/1.1\r\nhost: acme.localhost\r\ncontent-length: {}\r\n\r\n", follower.len()), 401),
    ] {
        let answer = rig.raw(&format!("{first}{follower}")).await;
        assert_eq!(status(&answer), expected, "{first}\n{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{first}\n{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    let seen = rig.seen();
    assert!(seen.iter().all(|seen| !seen.contains("/second")), "{seen:?}");
}

#[tokio::test]
async fn requests_on_one_connection_are_answered_in_order_over_one_connection_to_the_instance() {
    let rig = Rig::start(|_| {}).await;
    let token = rig.token("alice", "acme");
    let auth = format!("host: acme.localhost\r\nauthorization: Bearer {token}\r\n");
    let mut all = String::new();
    for n in 0..20 {
        all += &format!("POST /{n} HTTP/1.1\r\n{auth}content-length: 3\r\n\r\nb{n:02}");
        all +=
            &format!("PUT /{n} HTTP/1.1\r\n{auth}transfer-encoding: Chunked\r\n\r\n2;x=y\r\nc{}\r\n0\r\n\r\n", n % 10);
    }
    let answer = rig.raw(&all).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 40, "{answer}");
    let seen = rig.seen();
    assert!(seen[0].contains("content-length: 3") && !seen[0].contains("transfer-encoding"), "{}", seen[0]);
    assert!(seen[1].contains("transfer-encoding: chunked") && !seen[1].contains("content-length"), "{}", seen[1]);
    let order: Vec<_> = seen.iter().map(|seen| seen.lines().next().expect("a line").to_owned()).collect();
    let expected: Vec<_> = (0..20).flat_map(|n| [format!("POST /{n}"), format!("PUT /{n}")]).collect();
    assert_eq!(order, expected);
    assert_eq!(rig.proxy.metrics.connects.get(), 1, "one connection is enough");
    assert!(upstream(&rig.entry).is_idle());
}

#[tokio::test]
async fn an_upgrade_that_is_not_taken_up_tunnels_nothing() {
    let rig = Rig::start(|_| {}).await;
    let token = rig.token("alice", "acme");
    let auth = format!("host: acme.localhost\r\nauthorization: Bearer {token}\r\n");
    for upgrade in ["foo", "h2c"] {
        let settings = "http2-settings: AAMAAABkAAQAAP__\r\n";
        let first = format!(
            "GET /one HTTP/1.1\r\n{auth}connection: Upgrade, HTTP2-Settings\r\nupgrade: {upgrade}\r\n{settings}\r\n"
        );
        let second = "GET /two HTTP/1.1\r\nhost: acme.localhost\r\n\r\n";
        let answer = rig.raw(&format!("{first}{second}")).await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 401").count(), 1, "the second is judged by itself: {answer}");
    }
    let seen = rig.seen();
    assert!(
        seen.iter().all(|seen| seen.starts_with("GET /one") && !seen.contains("upgrade") && !seen.contains("http2")),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_large_body_streams_both_ways() {
    let rig = Rig::start(|_| {}).await;
    let token = rig.token("alice", "acme");
    let body = "0123456789abcdef".repeat(1 << 16);
    let head = format!("POST /big HTTP/1.1\r\nhost: acme.localhost\r\nauthorization: Bearer {token}\r\n");
    let answer = rig.raw(&format!("{head}content-length: {}\r\nexpect: 100-continue\r\n\r\n{body}", body.len())).await;
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"), "{}", &answer[..100.min(answer.len())]);
    assert!(answer.ends_with(&body), "all of it came back");
    upstream(&rig.entry).idle().await;
}

#[tokio::test]
async fn a_held_request_is_answered_by_the_instance_that_comes() {
    let rig = Rig::start(|_| {}).await;
    let instance = upstream(&rig.entry);
    rig.entry.publish(Availability::Held("new configuration"));
    let held = rig.get("/held", "");
    let release = async {
        while rig.proxy.metrics.held.get() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(instance.is_idle(), "what waits does not count");
        assert_eq!(rig.seen(), [""; 0]);
        rig.entry.publish(Availability::Serving(instance.clone()));
    };
    let (answer, ()) = tokio::join!(held, release);
    assert_eq!(status(&answer), 200, "{answer}");
    // Gone a moment ago: its directory went with it.
    rig.entry.publish(serving(listen().1));
    let held = rig.get("/after", "");
    let release = async {
        while rig.proxy.metrics.held.get() == 0 {
            tokio::task::yield_now().await;
        }
        rig.entry.publish(Availability::Serving(instance));
    };
    let (answer, ()) = tokio::join!(held, release);
    assert_eq!(status(&answer), 200, "{answer}");
    rig.entry.publish(Availability::Stopped);
    assert_eq!(status(&rig.get("/", "").await), 503);
    let unavailable = Availability::Unavailable { reason: "it crashed".into(), retry_after: 7 };
    rig.entry.publish(unavailable);
    let answer = rig.get("/", "").await;
    assert!(answer.contains("retry-after: 7") && answer.contains("it crashed"), "{answer}");
}

#[tokio::test]
async fn a_browser_signs_in_asks_who_it_is_and_speaks_for_itself_only() {
    let rig = Rig::start(|_| {}).await;
    let token = rig.token("alice", "acme");
    let code = rig.proxy.logins.issue(rig.entry.id, token.clone(), Duration::from_secs(60));
    let login = format!("GET /.orbit/login?code={code} HTTP/1.1\r\nhost: acme.localhost\r\n\r\n");
    let answer = rig.raw(&login).await;
    assert_eq!(status(&answer), 303, "{answer}");
    assert!(
        answer.contains("location: /\r\n")
            && answer.contains(&format!("orbit_session={token}; Path=/; HttpOnly; SameSite=Lax"))
    );
    assert_eq!(status(&rig.raw(&login).await), 403, "once");

    let ask = |line: &str, more: String| format!("{line} HTTP/1.1\r\nhost: acme.localhost\r\n{more}\r\n");
    let cookie = format!("cookie: orbit_session={token}\r\n");
    let answer = rig.raw(&ask("GET /api/auth/orbitd/refresh", cookie.clone())).await;
    assert_eq!(status(&answer), 200, "{answer}");
    let json: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON");
    assert_eq!(json["backstageIdentity"]["identity"]["userEntityRef"], "user:default/alice");
    let backstage = json["backstageIdentity"]["token"].as_str().expect("a token").to_owned();
    assert_eq!(status(&rig.raw(&ask("GET /api/auth/orbitd/refresh", String::new())).await), 401);

    let bearer = format!("authorization: Bearer {backstage}\r\n");
    assert_eq!(status(&rig.raw(&ask("GET /api/catalog", format!("{bearer}{cookie}"))).await), 200);
    assert_eq!(status(&rig.raw(&ask("GET /api/catalog", bearer.clone())).await), 401, "without its session");
    let carol = format!("cookie: orbit_session={}\r\n", rig.token("carol", "acme"));
    assert_eq!(status(&rig.raw(&ask("GET /api/catalog", format!("{bearer}{carol}"))).await), 401, "another's session");
    let both = format!("authorization: Bearer {token}\r\n{carol}");
    assert_eq!(status(&rig.raw(&ask("GET /api/catalog", both)).await), 400, "two identities");

    let origin = "origin: http://globex.localhost:7080\r\n";
    let forged = rig.raw(&ask("POST /api/catalog", format!("{cookie}{origin}content-length: 0\r\n"))).await;
    assert_eq!(status(&forged), 403, "a sibling's page");
    let out = rig.raw(&ask("GET /.orbit/logout", cookie)).await;
    assert!(out.contains("orbit_session=; ") && out.contains("Max-Age=0"), "{out}");
    assert_eq!(status(&rig.raw(&ask("GET /.orbit/v1/boot?challenge=00", String::new())).await), 404);
}

#[tokio::test]
async fn a_websocket_is_a_tunnel_that_a_restart_does_not_wait_for() {
    let rig = Rig::start(|_| {}).await;
    let token = rig.token("alice", "acme");
    let handshake = |origin: &str| {
        format!(
            "GET /ws HTTP/1.1\r\nhost: acme.localhost\r\nauthorization: Bearer {token}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             {origin}sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        )
    };
    assert_eq!(status(&rig.raw(&handshake("origin: http://evil.example\r\n")).await), 403);
    let mut stream = rig.connect().await;
    stream.write_all(handshake("").as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("a byte"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    let long = [&[0x82, 127][..], &100_000_u64.to_be_bytes(), &[7; 100_000]].concat();
    for piece in [&b"\x81\x05hello"[..], &long] {
        let (mut read, mut write) = stream.split();
        let mut back = vec![0; piece.len()];
        let (sent, came) = tokio::join!(write.write_all(piece), timeout(PATIENCE, read.read_exact(&mut back)));
        sent.expect("sent");
        came.expect("in time").expect("all");
        assert_eq!(back, piece);
    }
    let blue = upstream(&rig.entry);
    assert_eq!((blue.in_flight(), blue.streams(), rig.proxy.metrics.tunnels.get()), (0, 1, 1), "no request, a stream");
    rig.entry.publish(Availability::Held("new configuration"));
    stream.write_all(b"\x81\x05again").await.expect("sent");
    let mut again = [0; 7];
    timeout(PATIENCE, stream.read_exact(&mut again)).await.expect("in time").expect("it lives on the old instance");
    blue.cut();
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it ends when it is cut").expect("a clean end");
    assert_eq!(rest, crate::proxy::frames::SERVICE_RESTART, "told why");
    drop(stream);
    timeout(PATIENCE, blue.idle()).await.expect("nothing is on it");
    assert_eq!(rig.proxy.metrics.tunnels.get(), 0);
}

/// An instance that answers with these bytes, whatever it is asked, and then closes.
fn answers_with(bytes: &'static str) -> Door {
    let (listener, door, run) = listen();
    tokio::spawn(async move {
        let _run = run;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(bytes.as_bytes()).await;
        }
    });
    door
}

#[tokio::test]
async fn an_instance_that_breaks_http_is_a_502_and_a_cut_answer_stays_cut() {
    let rig = Rig::start(|settings| settings.idle_timeout_s = 1).await;
    for bytes in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad header: x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n",
        "nonsense\r\n\r\n",
        "",
    ] {
        rig.entry.publish(serving(answers_with(bytes)));
        let answer = rig.get("/", "").await;
        assert_eq!(status(&answer), 502, "{bytes}\n{answer}");
        assert!(upstream(&rig.entry).is_idle());
    }
    rig.entry.publish(serving(answers_with("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort")));
    let answer = rig.get("/", "").await;
    assert!(answer.contains("content-length: 10") && answer.ends_with("short"), "{answer}");
    rig.entry.publish(serving(answers_with("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n")));
    let answer = rig.get("/", "").await;
    assert!(!answer.contains("0\r\n\r\n"), "no end was sent: {answer}");
    rig.entry
        .publish(serving(answers_with("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n\r\npoison")));
    let answer = rig.get("/", "").await;
    assert!(answer.ends_with("\r\n\r\nx"), "{answer}");
    let (_silent, door, _run) = listen();
    rig.entry.publish(serving(door));
    assert_eq!(status(&rig.get("/", "").await), 504);
}

#[tokio::test]
async fn a_shutdown_finishes_what_is_under_way_and_closes_the_rest() {
    let rig = Rig::start(|_| {}).await;
    let mut idle = rig.connect().await;
    let token = rig.token("alice", "acme");
    let head = format!("GET /x HTTP/1.1\r\nhost: acme.localhost\r\nauthorization: Bearer {token}\r\n\r\n");
    idle.write_all(head.as_bytes()).await.expect("sent");
    assert_eq!(idle.read_u8().await.expect("an answer"), b'H');
    rig.entry.publish(Availability::Held("starting"));
    let Availability::Held(_) = rig.entry.availability() else { panic!("held") };
    let held = rig.get("/held", "");
    let stop = async {
        while rig.proxy.metrics.held.get() == 0 {
            tokio::task::yield_now().await;
        }
        rig.cancel.cancel();
        let mut rest = Vec::new();
        timeout(PATIENCE, idle.read_to_end(&mut rest)).await.expect("closed").expect("gently");
        rig.entry.publish(serving(start_echo(rig.seen.clone())));
    };
    let (answer, ()) = tokio::join!(held, stop);
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(TcpStream::connect(rig.address).await.is_err(), "nothing more is accepted");
}

#[tokio::test]
async fn cookies_of_an_instance_stay_with_its_host_and_the_bare_domain_takes_a_header() {
    let rig = Rig::start(|_| {}).await;
    let answer = rig.get("/cookies", "").await;
    assert!(answer.contains("set-cookie: a=1; Path=/\r\nset-cookie: b=2\r\n"), "{answer}");
    let token = rig.token("alice", "acme");
    let bare = |more: &str| format!("GET / HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{more}\r\n");
    assert_eq!(status(&rig.raw(&bare("x-orbit-workspace: acme\r\n")).await), 200);
    assert_eq!(status(&rig.raw(&bare("x-orbit-workspace: Acme\r\n")).await), 400);
    assert_eq!(status(&rig.raw(&bare("")).await), 421);
    let last = rig.seen().pop().expect("seen");
    assert!(
        last.contains(&format!("host: acme.localhost:{}", rig.address.port())) && !last.contains("x-orbit-"),
        "{last}"
    );
}
