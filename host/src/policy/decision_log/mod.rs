//! The decision log: who was let through where, by which version of which policy, and why.
//!
//! ```text
//! a decision ─ Tap (on? sampled?) ─ bounded queue ─ one thread: mask, write ─┬─ file (rotated)
//!                  │ off: one branch      │ full: counted                     ├─ the last few hundred, for a look
//!                                                                             └─ followers (each bounded, lag is counted)
//! ```
//!
//! Invariants: a request never waits for it; what left out of it is counted, in a metric and in the log itself; no value that a mask hides
//! leaves the thread's memory.

mod mask;
mod record;
mod sink;
mod writer;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{SyncSender, sync_channel},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::broadcast;

use crate::{model::Share, policy::view::OwnedView, settings::DecisionLogSettings};

use super::{metrics::LogMetrics, status::PolicyInfo};

pub(super) use mask::{DECISION, Masks};
pub use record::{Decision, Record, Seen};
pub use writer::Line;

/// Lines that a follower may be behind; past it the oldest are skipped and counted.
const MAX_BEHIND: usize = 1_024;
/// Followers at the same time.
const MAX_FOLLOWERS: usize = 32;

/// Takes decisions in, and gives lines out. One per daemon.
pub(super) struct Recorder {
    /// There is a file, or somebody follows.
    on: AtomicBool,
    to_file: bool,
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    masks: Arc<Masks>,
    sample: Share,
    tiers: std::collections::BTreeMap<String, Share>,
    lines: broadcast::Sender<Arc<Line>>,
    recent: Arc<Mutex<writer::Recent>>,
    followers: Mutex<usize>,
    metrics: LogMetrics,
    /// Entries on their way.
    waiting: Arc<AtomicUsize>,
    room: usize,
}

enum Message {
    Entry(Box<Entry>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// One decision on its way to the thread.
pub(super) struct Entry {
    pub at: SystemTime,
    pub info: Arc<PolicyInfo>,
    pub inputs: Arc<[String]>,
    pub mode: &'static str,
    pub remembered: bool,
    pub view: OwnedView,
    pub decision: Decision,
    pub took: Duration,
}

/// A tier's way into the log.
#[derive(Clone)]
pub(super) struct Tap {
    recorder: Arc<Recorder>,
    sample: Share,
}

/// Somebody who follows. Dropping it ends that.
pub struct Follower {
    lines: broadcast::Receiver<Arc<Line>>,
    recorder: Arc<Recorder>,
}

/// What a follower gets.
#[derive(Debug, Clone)]
pub enum Followed {
    /// A decision.
    Line(Arc<Line>),
    /// It was too slow: so many lines are gone.
    Missed(u64),
}

// === impl Recorder ===

impl Recorder {
    /// Starts the thread. Relative paths are the caller's business.
    pub fn start(settings: &DecisionLogSettings, metrics: LogMetrics) -> Result<Arc<Self>, String> {
        if !(1..=1 << 20).contains(&settings.queue) {
            return Err(format!("decision_log.queue is {}: it must be 1 to 1048576", settings.queue));
        }
        if settings.max_file_bytes < 1 << 10 || settings.keep > 1_000 {
            return Err("decision_log.max_file_bytes must be at least 1024, and keep at most 1000".to_owned());
        }
        let masks = Arc::new(Masks::new(&settings.mask)?);
        let (queue, entries) = sync_channel(settings.queue);
        let (lines, _) = broadcast::channel(MAX_BEHIND);
        let dropped = Arc::new(AtomicU64::new(0));
        let recent = Arc::new(Mutex::new(writer::Recent::default()));
        let waiting = Arc::new(AtomicUsize::new(0));
        let sink = settings.file.clone().map(|file| sink::Sink::new(file, settings.max_file_bytes, settings.keep));
        let writer = writer::Writer {
            entries,
            waiting: waiting.clone(),
            sink,
            masks: masks.clone(),
            lines: lines.clone(),
            recent: recent.clone(),
            dropped: dropped.clone(),
            metrics: metrics.clone(),
        };
        std::thread::Builder::new()
            .name("decision-log".into())
            .spawn(move || writer.run())
            .map_err(|error| format!("the decision log's thread can't be started: {error}"))?;
        Ok(Arc::new(Self {
            on: AtomicBool::new(settings.file.is_some()),
            to_file: settings.file.is_some(),
            queue,
            dropped,
            masks,
            sample: settings.sample,
            tiers: settings.tiers.clone(),
            lines,
            recent,
            followers: Mutex::new(0),
            metrics,
            waiting,
            room: settings.queue,
        }))
    }

    /// A tier's way in.
    pub fn tap(self: &Arc<Self>, tier: &str) -> Tap {
        Tap { sample: self.tiers.get(tier).copied().unwrap_or(self.sample), recorder: self.clone() }
    }

    /// What hides secrets.
    pub fn masks(&self) -> &Masks {
        &self.masks
    }

    /// The newest lines, oldest first; empty while nothing is logged.
    pub fn recent(&self) -> Vec<Arc<Line>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).lines()
    }

    /// Whether decisions are logged without a follower, too.
    pub fn to_file(&self) -> bool {
        self.to_file
    }

    /// One who follows from now on; none if there are too many.
    pub fn follow(self: &Arc<Self>) -> Option<Follower> {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        if *followers >= MAX_FOLLOWERS {
            return None;
        }
        *followers += 1;
        let lines = self.lines.subscribe();
        self.on.store(true, Relaxed);
        Some(Follower { lines, recorder: self.clone() })
    }

    /// Waits until everything so far is written, at most `limit`. Blocks.
    pub fn flush(&self, limit: Duration) {
        let (done, waits) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = waits.recv_timeout(limit);
        }
    }

    fn unfollow(&self) {
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        *followers -= 1;
        if *followers == 0 && !self.to_file {
            self.on.store(false, Relaxed);
        }
    }
}

// === impl Tap ===

impl Tap {
    /// When the decision began, if it is to be logged: one branch while the log is off.
    pub fn begin(&self) -> Option<Instant> {
        if !self.recorder.on.load(Relaxed) || self.sample == Share::NONE {
            return None;
        }
        (self.sample == Share::ALL || self.sample.holds(rand::random())).then(Instant::now)
    }

    /// Passes a decision on; without room nothing is made and the drop is counted.
    pub fn record(&self, entry: impl FnOnce() -> Entry) {
        let recorder = &*self.recorder;
        if recorder.waiting.fetch_add(1, Relaxed) < recorder.room
            && recorder.queue.try_send(Message::Entry(Box::new(entry()))).is_ok()
        {
            return;
        }
        recorder.waiting.fetch_sub(1, Relaxed);
        recorder.dropped.fetch_add(1, Relaxed);
        recorder.metrics.dropped("queue", 1);
    }

    /// What hides secrets.
    pub fn masks(&self) -> &Masks {
        self.recorder.masks()
    }
}

// === impl Follower ===

impl Follower {
    /// The next one; none when the daemon ends. Cancel-safe.
    pub async fn next(&mut self) -> Option<Followed> {
        match self.lines.recv().await {
            Ok(line) => Some(Followed::Line(line)),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                self.recorder.metrics.dropped("follower", missed);
                Some(Followed::Missed(missed))
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.recorder.unfollow();
    }
}

#[cfg(test)]
mod tests;
