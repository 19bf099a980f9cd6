//! Load with honest counting: no retries, kept and fresh connections both, and every answer checked. A refused connection, a
//! reset, a cut body, a wrong status and a wrong answer are all failures.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    Reply,
    http::{self, Connection},
};

/// Failure texts kept; all are counted.
const KEPT_FAILURES: usize = 10;
/// A pause between two requests of one worker: the machine's two cores are for the instances.
const PAUSE: Duration = Duration::from_millis(5);

/// What was asked again and again.
#[derive(Clone)]
pub struct Ask {
    /// The proxy.
    pub address: SocketAddr,
    /// `acme.localhost:7080`.
    pub host: String,
    /// Origin form.
    pub target: String,
    /// Bearer.
    pub token: String,
}

/// Names the version that answered, or says what is wrong with the answer.
pub type Check = Arc<dyn Fn(&Reply) -> Result<String, String> + Send + Sync>;

/// What came of it.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Good answers by version.
    pub versions: BTreeMap<String, u64>,
    /// All failures.
    pub failed: u64,
    /// The first few of them.
    pub failures: Vec<String>,
    /// All of them by the start of their text, up to a colon.
    pub kinds: BTreeMap<String, u64>,
    /// Longest exchange.
    pub slowest: Duration,
}

/// A running load.
pub struct Load {
    stop: Arc<AtomicBool>,
    report: Arc<Mutex<Report>>,
    workers: JoinSet<()>,
}

// === impl Report ===

impl Report {
    /// Good answers.
    pub fn good(&self) -> u64 {
        self.versions.values().sum()
    }
}

// === impl Load ===

impl Load {
    /// Starts this many workers, every second one with a new connection per request.
    pub fn start(ask: &Ask, workers: usize, check: Check) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let report = Arc::new(Mutex::new(Report::default()));
        let mut set = JoinSet::new();
        for n in 0..workers {
            set.spawn(work(ask.clone(), n % 2 == 0, check.clone(), stop.clone(), report.clone()));
        }
        Self { stop, report, workers: set }
    }

    /// An open model: one request each time its time has come, however the ones before it fare, in turn of each kind; every second
    /// one with a new connection.
    pub fn steady(kinds: Vec<(Ask, Check)>, per_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let report = Arc::new(Mutex::new(Report::default()));
        let mut workers = JoinSet::new();
        workers.spawn(ask_steadily(kinds, per_second, stop.clone(), report.clone()));
        Self { stop, report, workers }
    }

    /// Counts up to now.
    pub fn so_far(&self) -> Report {
        self.report.lock().map(|report| report.clone()).unwrap_or_default()
    }

    /// Waits until at least this many more good answers came.
    pub async fn more(&self, answers: u64) {
        let wanted = self.so_far().good() + answers;
        crate::wait::until("more answers under load", Duration::from_secs(120), || async {
            let report = self.so_far();
            if report.good() >= wanted { Ok(()) } else { Err(format!("{report:?}")) }
        })
        .await;
    }

    /// Ends the load; requests under way are finished and counted.
    pub async fn stop(mut self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        while self.workers.join_next().await.is_some() {}
        self.so_far()
    }
}

async fn work(ask: Ask, keep: bool, check: Check, stop: Arc<AtomicBool>, report: Arc<Mutex<Report>>) {
    let mut kept: Option<Connection> = None;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let outcome = exchange(&ask, keep, &mut kept).await.map_err(|error| format!("{error:#}"));
        let outcome = outcome.and_then(|reply| check(&reply));
        note(&report, outcome, began);
        tokio::time::sleep(PAUSE).await;
    }
}

fn note(report: &Mutex<Report>, outcome: Result<String, String>, began: Instant) {
    let Ok(mut report) = report.lock() else { return };
    report.slowest = report.slowest.max(began.elapsed());
    match outcome {
        Ok(version) => *report.versions.entry(version).or_default() += 1,
        Err(reason) => {
            report.failed += 1;
            let kind: String = reason.chars().take_while(|c| *c != ':').take(60).collect();
            *report.kinds.entry(kind).or_default() += 1;
            if report.failures.len() < KEPT_FAILURES {
                report.failures.push(reason);
            }
        }
    }
}

async fn ask_steadily(kinds: Vec<(Ask, Check)>, per_second: u32, stop: Arc<AtomicBool>, report: Arc<Mutex<Report>>) {
    let kept: Arc<Mutex<Vec<Connection>>> = Arc::default();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / per_second.max(1));
    let mut under_way = JoinSet::new();
    for n in 0_usize.. {
        tick.tick().await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (ask, check) = kinds[n % kinds.len()].clone();
        let keep = (n / kinds.len()).is_multiple_of(2);
        let (kept, report) = (kept.clone(), report.clone());
        under_way.spawn(async move {
            let began = Instant::now();
            let mut connection = if keep { kept.lock().ok().and_then(|mut kept| kept.pop()) } else { None };
            let outcome = exchange(&ask, keep, &mut connection).await.map_err(|error| format!("{error:#}"));
            note(&report, outcome.and_then(|reply| check(&reply)), began);
            if keep && let (Some(connection), Ok(mut kept)) = (connection, kept.lock()) {
                kept.push(connection);
            }
        });
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
}

async fn exchange(ask: &Ask, keep: bool, kept: &mut Option<Connection>) -> anyhow::Result<Reply> {
    // A kept connection that the server has closed between two requests is no failure, one closed under a request is.
    let reusable = match kept.take() {
        Some(mut connection) if keep => connection.ready().await.is_ok().then_some(connection),
        _ => None,
    };
    let mut connection = match reusable {
        Some(connection) => connection,
        None => Connection::open(ask.address).await?,
    };
    connection.ready().await?;
    let request = http::request("GET", &ask.host, &ask.target, Some(&ask.token), &[], "");
    let reply = connection.send(request).await?;
    *kept = Some(connection);
    Ok(reply)
}
