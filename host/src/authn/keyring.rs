//! One issuer's keys and where they come from: a file, read again when it changes, or a URL, fetched again every
//! [`REFRESH`]. There is no task: requests notice that it is time, so an idle daemon asks nobody.
//!
//! ```text
//! no keys ──load──▶ fresh ──REFRESH──▶ due (serves, one refresh at a time behind the requests' back)
//!    ▲                                   │ fails: the old keys go on, until
//!    └────────────── MAX_STALE ──────────┘    then 503, never 401 and never open
//! ```
//!
//! At most one load per [`COOLDOWN`] whatever the tokens say: a flood of unknown key ids costs the issuer nothing.

use std::{
    io::Read,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use super::keys::KeySet;
use crate::ids::Digest;

/// Seconds after which keys from a URL are fetched again.
const REFRESH: i64 = 300;
/// Seconds between looks at a key file.
const FILE_REFRESH: i64 = 1;
/// Shortest time between two loads that tokens cause.
const COOLDOWN: Duration = Duration::from_secs(10);
/// The same for a file: a look at it costs microseconds.
const FILE_COOLDOWN: Duration = Duration::from_secs(1);
/// Seconds that keys are believed after the last time their source confirmed them.
const MAX_STALE: i64 = 24 * 3600;
/// Bytes of a key document.
const MAX_DOCUMENT: u64 = 256 << 10;
/// Longest wait for a key document.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Where an issuer's keys come from.
pub(super) enum KeySource {
    /// A JWKS file.
    File(PathBuf),
    /// A JWKS URL and the client that asks it (no redirects, with a timeout).
    Url(String, reqwest::Client),
}

/// An issuer's keys, kept current.
pub(super) struct Keyring {
    issuer: String,
    source: KeySource,
    keys: ArcSwap<KeySet>,
    /// Grows with each change of `keys`.
    generation: AtomicU64,
    /// When the source last confirmed the keys, seconds since the epoch; 0 for never.
    confirmed: AtomicI64,
    /// When a background refresh is due, seconds since the epoch.
    due: AtomicI64,
    loading: Mutex<Loading>,
}

/// What only the one who loads may touch.
#[derive(Default)]
struct Loading {
    attempted: Option<Instant>,
    digest: Option<Digest>,
    file: Option<(SystemTime, u64)>,
    complained: Option<String>,
}

impl KeySource {
    /// The client for key URLs.
    pub fn client() -> Result<reqwest::Client, reqwest::Error> {
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(FETCH_TIMEOUT).no_proxy().build()
    }
}

// === impl Keyring ===

impl Keyring {
    /// A ring without keys yet.
    pub fn new(issuer: String, source: KeySource) -> Self {
        Self {
            issuer,
            source,
            keys: ArcSwap::default(),
            generation: AtomicU64::new(0),
            confirmed: AtomicI64::new(0),
            due: AtomicI64::new(0),
            loading: Mutex::default(),
        }
    }

    /// First load of a key file, at start. A URL is first asked when the first token comes: an issuer that is down must not
    /// keep the daemon from starting, and without keys every token is refused.
    pub fn load_file(&self, now: i64) -> Result<(), String> {
        match (&self.source, self.loading.try_lock()) {
            (KeySource::File(path), Ok(mut loading)) => self.read_file(&mut loading, now).map_err(|reason| {
                format!("cannot use the keys of issuer {} in {}: {reason}", self.issuer, path.display())
            }),
            _ => Ok(()),
        }
    }

    /// Which keys these are; a token verified with an older generation must be verified again.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The keys, unless there are none or their source has been silent for too long.
    pub fn current(&self, now: i64) -> Option<Arc<KeySet>> {
        let confirmed = self.confirmed.load(Ordering::Acquire);
        (confirmed != 0 && now - confirmed <= MAX_STALE).then(|| self.keys.load_full())
    }

    /// Starts a refresh if one is due; never waits. One atomic load where none is.
    pub fn refresh_if_due(self: &Arc<Self>, now: i64) {
        let due = self.due.load(Ordering::Relaxed);
        if now < due {
            return;
        }
        let interval = if matches!(self.source, KeySource::File(_)) { FILE_REFRESH } else { REFRESH };
        // One caller wins the next turn.
        if self.due.compare_exchange(due, now + interval, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        match &self.source {
            KeySource::File(_) => {
                if let Ok(mut loading) = self.loading.try_lock() {
                    let outcome = self.read_file(&mut loading, now);
                    self.complain(&mut loading, outcome);
                }
            }
            KeySource::Url(..) => {
                let ring = self.clone();
                tokio::spawn(async move { ring.load(now).await });
            }
        }
    }

    /// Loads now and waits for it, unless that was tried within the cooldown. Concurrent callers share one load. Cancel-safe.
    pub async fn load(&self, now: i64) {
        let mut loading = self.loading.lock().await;
        let cooldown = if matches!(self.source, KeySource::File(_)) { FILE_COOLDOWN } else { COOLDOWN };
        if loading.attempted.is_some_and(|at| at.elapsed() < cooldown) {
            return;
        }
        // Before the attempt, so that one that fails or is cancelled counts too.
        loading.attempted = Some(Instant::now());
        let outcome = match &self.source {
            KeySource::File(_) => self.read_file(&mut loading, now),
            KeySource::Url(url, client) => match fetch(url, client).await {
                Ok(document) => self.take(&mut loading, &document, now),
                Err(reason) => Err(reason),
            },
        };
        self.complain(&mut loading, outcome);
    }

    /// Reads the key file if its time or size is another than last time.
    fn read_file(&self, loading: &mut Loading, now: i64) -> Result<(), String> {
        let KeySource::File(path) = &self.source else { return Ok(()) };
        let failed = |error: std::io::Error| error.to_string();
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        let stamp = (about.modified().map_err(failed)?, about.len());
        if loading.file == Some(stamp) && self.confirmed.load(Ordering::Relaxed) != 0 {
            self.confirmed.store(now, Ordering::Release);
            return Ok(());
        }
        let mut document = Vec::new();
        file.by_ref().take(MAX_DOCUMENT + 1).read_to_end(&mut document).map_err(failed)?;
        self.take(loading, &document, now)?;
        loading.file = Some(stamp);
        Ok(())
    }

    /// Makes a document's keys the current ones.
    fn take(&self, loading: &mut Loading, document: &[u8], now: i64) -> Result<(), String> {
        if document.len() as u64 > MAX_DOCUMENT {
            return Err(format!("the document is larger than {MAX_DOCUMENT} bytes"));
        }
        let digest = Digest::of(document);
        if loading.digest != Some(digest) || self.generation() == 0 {
            let keys = KeySet::parse(document)?;
            if keys.is_empty() {
                let why = keys.notices.join("; ");
                return Err(format!("it holds no usable key{}{why}", if why.is_empty() { "" } else { ": " }));
            }
            for notice in &keys.notices {
                tracing::warn!(issuer = %self.issuer, "{notice}");
            }
            self.keys.store(Arc::new(keys));
            self.generation.fetch_add(1, Ordering::Release);
            loading.digest = Some(digest);
            tracing::info!(issuer = %self.issuer, "loaded the issuer's keys");
        }
        self.confirmed.store(now, Ordering::Release);
        Ok(())
    }

    /// Logs a failure once, and its end once.
    fn complain(&self, loading: &mut Loading, outcome: Result<(), String>) {
        match outcome {
            Ok(()) if loading.complained.take().is_some() => {
                tracing::info!(issuer = %self.issuer, "the issuer's keys can be loaded again");
            }
            Ok(()) => {}
            Err(reason) => {
                if loading.complained.as_ref() != Some(&reason) {
                    tracing::warn!(issuer = %self.issuer, %reason, "cannot load the issuer's keys; the last good ones go on");
                }
                loading.complained = Some(reason);
            }
        }
    }
}

async fn fetch(url: &str, client: &reqwest::Client) -> Result<Vec<u8>, String> {
    let failed = |error: reqwest::Error| error.without_url().to_string();
    let mut answer = client.get(url).header("accept", "application/json").send().await.map_err(failed)?;
    if answer.status() != reqwest::StatusCode::OK {
        return Err(format!("the issuer answered {}", answer.status()));
    }
    let mut document = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        document.extend_from_slice(&chunk);
        if document.len() as u64 > MAX_DOCUMENT {
            return Err(format!("the document is larger than {MAX_DOCUMENT} bytes"));
        }
    }
    Ok(document)
}
