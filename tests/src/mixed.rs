//! An open-model load of everything that users do at the same time: short requests over kept and fresh connections, uploads, slow
//! answers, event streams, WebSockets. A request is sent when its time has come, however the ones before it fare, so that a
//! pause shows as what it is. Nothing is sent twice; whatever is not a whole, right answer is a failure.
//!
//! Streams may be ended by the daemon, but only cleanly: an event stream by its last chunk, a WebSocket by a close frame. Then they
//! are opened again, as a browser would.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{
    Reply,
    http::{self, Connection},
    load::Ask,
};

/// Failure texts kept; all are counted.
const KEPT_FAILURES: usize = 10;
/// Bytes of an upload.
const UPLOAD: usize = 256 << 10;
/// Longest silence of a stream that has something to say every 50 ms.
const STREAM_SILENCE: Duration = Duration::from_secs(20);
const WEBSOCKETS: usize = 2;
const EVENT_STREAMS: usize = 2;

/// What is mixed.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Requests per second, all kinds together.
    pub per_second: u32,
    /// How long the slow ones take, milliseconds; 0: there are none. One in 20 is slow.
    pub slow_ms: u32,
}

/// What came of it.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Good answers by version (the instance's title).
    pub versions: BTreeMap<String, u64>,
    /// Uploads among them.
    pub uploads: u64,
    /// Event streams that ended cleanly.
    pub event_streams: u64,
    /// WebSockets that ended cleanly.
    pub websockets: u64,
    /// All failures.
    pub failed: u64,
    /// The first few of them.
    pub failures: Vec<String>,
    /// Longest exchange of a request that is not slow by wish.
    pub slowest: Duration,
}

/// A running load.
pub struct MixedLoad {
    stop: Arc<AtomicBool>,
    report: Arc<Mutex<Report>>,
    tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Client {
    ask: Ask,
    stop: Arc<AtomicBool>,
    report: Arc<Mutex<Report>>,
    kept: Arc<Mutex<Vec<Connection>>>,
}

impl Report {
    /// Good answers.
    pub fn good(&self) -> u64 {
        self.versions.values().sum()
    }
}

impl MixedLoad {
    /// Starts it. `ask.target` is not used.
    pub fn start(ask: &Ask, mix: Mix) -> Self {
        let (stop, report) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Report::default())));
        let client = Client { ask: ask.clone(), stop: stop.clone(), report: report.clone(), kept: Arc::default() };
        let mut tasks = JoinSet::new();
        tasks.spawn(requests(client.clone(), mix));
        for _ in 0..EVENT_STREAMS {
            tasks.spawn(client.clone().event_streams());
        }
        for _ in 0..WEBSOCKETS {
            tasks.spawn(client.clone().websockets());
        }
        Self { stop, report, tasks }
    }

    /// Counts up to now.
    pub fn so_far(&self) -> Report {
        self.report.lock().map(|report| report.clone()).unwrap_or_default()
    }

    /// Waits until this version has given this many answers.
    pub async fn answers_of(&self, version: &str, answers: u64) {
        crate::wait::until(&format!("answers of {version}"), Duration::from_secs(90), || async {
            let report = self.so_far();
            if report.versions.get(version).is_some_and(|count| *count >= answers) {
                return Ok(());
            }
            Err(format!("{report:?}"))
        })
        .await;
    }

    /// Ends it; requests under way are finished and counted.
    pub async fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        self.so_far()
    }
}

async fn requests(client: Client, mix: Mix) {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / mix.per_second.max(1));
    let mut under_way = JoinSet::new();
    let mut n = 0_u64;
    while !client.stopped() {
        tick.tick().await;
        n += 1;
        let client = client.clone();
        under_way.spawn(async move {
            let began = Instant::now();
            let slow = mix.slow_ms > 0 && n.is_multiple_of(20);
            let outcome = match n % 10 {
                0 if slow => client.get(&format!("/slow?mode=slow&ms={}", mix.slow_ms), true).await,
                1 | 2 => client.upload().await,
                3 | 4 => client.get("/fresh", false).await,
                _ => client.get("/kept", true).await,
            };
            client.note(|report| match outcome {
                Ok(version) => {
                    *report.versions.entry(version).or_default() += 1;
                    report.uploads += u64::from(matches!(n % 10, 1 | 2));
                    if !slow {
                        report.slowest = report.slowest.max(began.elapsed());
                    }
                }
                Err(error) => report.fail(format!("request {n}: {error:#}")),
            });
        });
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
}

impl Report {
    fn fail(&mut self, reason: String) {
        self.failed += 1;
        if self.failures.len() < KEPT_FAILURES {
            self.failures.push(reason);
        }
    }
}

impl Client {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn note(&self, change: impl FnOnce(&mut Report)) {
        if let Ok(mut report) = self.report.lock() {
            change(&mut report);
        }
    }

    async fn get(&self, target: &str, keep: bool) -> Result<String> {
        let request = http::request("GET", &self.ask.host, target, Some(&self.ask.token), &[], "");
        version(&self.send(request, keep).await?)
    }

    async fn upload(&self) -> Result<String> {
        let body: Vec<u8> = (0..UPLOAD).map(|i| (i * 31 % 251) as u8).collect();
        let wanted = hex::encode(digest(&SHA256, &body));
        let request = http::request("POST", &self.ask.host, "/upload", Some(&self.ask.token), &[], body);
        let reply = self.send(request, false).await?;
        let account = reply.json();
        ensure!(
            account["body_bytes"] == UPLOAD && account["body_sha256"] == wanted.as_str(),
            "a cut upload: {account}"
        );
        version(&reply)
    }

    async fn send(&self, request: ::http::Request<http_body_util::Full<bytes::Bytes>>, keep: bool) -> Result<Reply> {
        // A kept connection that the server has closed between two requests is no failure, one closed under a request is.
        let next = || if keep { self.kept.lock().ok().and_then(|mut kept| kept.pop()) } else { None };
        let mut connection = loop {
            match next() {
                Some(mut kept) => {
                    if kept.ready().await.is_ok() {
                        break kept;
                    }
                }
                None => break Connection::open(self.ask.address).await?,
            }
        };
        connection.ready().await?;
        let reply = connection.send(request).await?;
        if keep && let Ok(mut kept) = self.kept.lock() {
            kept.push(connection);
        }
        Ok(reply)
    }

    async fn event_streams(self) {
        while !self.stopped() {
            match self.event_stream().await {
                Ok(()) => self.note(|report| report.event_streams += 1),
                Err(error) => self.note(|report| report.fail(format!("event stream: {error:#}"))),
            }
        }
    }

    /// One, to its clean end or ours.
    async fn event_stream(&self) -> Result<()> {
        let mut stream = TcpStream::connect(self.ask.address).await?;
        let head = format!(
            "GET /events?mode=events&n=1000000&ms=50 HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            self.ask.host, self.ask.token
        );
        stream.write_all(head.as_bytes()).await?;
        let mut tail = Vec::new();
        let mut first = true;
        loop {
            if self.stopped() {
                return Ok(());
            }
            let mut piece = [0; 4096];
            let read = timeout(STREAM_SILENCE, stream.read(&mut piece)).await.context("it is silent")??;
            ensure!(read > 0, "cut after {:?}", String::from_utf8_lossy(&tail));
            if first {
                ensure!(piece.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&piece[..read]));
                first = false;
            }
            tail.extend(&piece[..read]);
            tail.drain(..tail.len().saturating_sub(64));
            if tail.ends_with(b"\r\n0\r\n\r\n") {
                return Ok(());
            }
        }
    }

    async fn websockets(self) {
        while !self.stopped() {
            match self.websocket().await {
                Ok(()) => self.note(|report| report.websockets += 1),
                Err(error) => self.note(|report| report.fail(format!("websocket: {error:#}"))),
            }
        }
    }

    /// One, to its close frame or our end. The stand-in sends back what it gets, so every frame has to return.
    async fn websocket(&self) -> Result<()> {
        const FRAME: [u8; 7] = *b"\x81\x05hello";
        const CLOSE: [u8; 4] = [0x88, 0x02, 0x03, 0xf4];
        let mut stream = TcpStream::connect(self.ask.address).await?;
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            self.ask.host, self.ask.token
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let byte = timeout(STREAM_SILENCE, stream.read_u8()).await.context("no handshake")?;
            answer.push(byte.with_context(|| format!("cut in {:?}", String::from_utf8_lossy(&answer)))?);
        }
        ensure!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        while !self.stopped() {
            // A close frame may be under way while this is written: what it says counts, not whether this arrives.
            let sent = stream.write_all(&FRAME).await;
            let mut back = [0; 2];
            let read = timeout(STREAM_SILENCE, stream.read_exact(&mut back)).await.context("it is silent")?;
            read.with_context(|| format!("ended without a close frame ({sent:?})"))?;
            let mut rest = [0; 5];
            if back == CLOSE[..2] {
                stream.read_exact(&mut rest[..2]).await?;
                ensure!(rest[..2] == CLOSE[2..], "closed with {rest:?}");
                return Ok(());
            }
            stream.read_exact(&mut rest).await?;
            if back != FRAME[..2] || rest != FRAME[2..] {
                bail!("{back:?} {rest:?} came back");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

fn version(reply: &Reply) -> Result<String> {
    ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    reply.json()["title"].as_str().map(str::to_owned).with_context(|| format!("no account: {}", reply.text()))
}
