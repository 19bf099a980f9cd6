//! The thread behind the decision log: masks, writes, tells the followers.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::{Entry, Message, Record, mask::Masks, sink::Sink};
use crate::policy::{metrics::LogMetrics, view::OwnedView};

/// Entries that are written in one go.
const BATCH: usize = 512;
/// Lines that are kept for a look.
const MAX_RECENT: usize = 500;
/// While decisions come, it looks this often, rather than be woken for each: waking costs the request more than the entry does.
const PAUSE: Duration = Duration::from_millis(20);
/// How often it looks for drops to tell of while nothing comes.
const IDLE: Duration = Duration::from_secs(1);
/// Between two warnings of a file that can't be written.
const WARN: Duration = Duration::from_secs(60);

/// One line, with what a follower may choose by.
#[derive(Debug)]
pub struct Line {
    /// Whose request.
    pub workspace: String,
    /// Which class.
    pub tier: String,
    /// Which role.
    pub binding: String,
    /// `allow`, `deny`…
    pub decision: &'static str,
    /// A [`Record`] as JSON.
    pub text: String,
}

/// The newest lines.
#[derive(Default)]
pub(super) struct Recent(VecDeque<Arc<Line>>);

impl Recent {
    pub fn lines(&self) -> Vec<Arc<Line>> {
        self.0.iter().cloned().collect()
    }
    fn add(&mut self, line: Arc<Line>) {
        if self.0.len() >= MAX_RECENT {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }
}

/// What the thread works with.
pub(super) struct Writer {
    pub entries: Receiver<Message>,
    pub waiting: Arc<AtomicUsize>,
    pub sink: Option<Sink>,
    pub masks: Arc<Masks>,
    pub lines: broadcast::Sender<Arc<Line>>,
    pub recent: Arc<Mutex<Recent>>,
    /// By a full queue, not yet told in the file.
    pub dropped: Arc<AtomicU64>,
    pub metrics: LogMetrics,
}

impl Writer {
    /// Until the last tap is gone, and everything is written.
    pub fn run(mut self) {
        let mut file = FileState::default();
        let mut busy = false;
        loop {
            let first = match self.entries.try_recv() {
                Ok(message) => Some(message),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) if busy => None,
                Err(TryRecvError::Empty) => match self.entries.recv_timeout(IDLE) {
                    Ok(message) => Some(message),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                },
            };
            busy = first.is_some();
            let mut flushed = Vec::new();
            let mut text = String::new();
            let mut count = 0;
            let rest = std::iter::from_fn(|| self.entries.try_recv().ok());
            for message in first.into_iter().chain(rest).take(BATCH) {
                match message {
                    Message::Entry(entry) => {
                        self.waiting.fetch_sub(1, Relaxed);
                        let line = Arc::new(line(*entry, &self.masks));
                        count += 1;
                        if self.sink.is_some() {
                            text.push_str(&line.text);
                            text.push('\n');
                        }
                        self.recent.lock().unwrap_or_else(PoisonError::into_inner).add(line.clone());
                        // Nobody follows: nothing to do.
                        let _ = self.lines.send(line);
                    }
                    Message::Flush(done) => flushed.push(done),
                }
            }
            self.metrics.recorded(count);
            self.write(text, count, &mut file);
            if busy && count < BATCH as u64 && flushed.is_empty() {
                std::thread::park_timeout(PAUSE);
            }
            for done in flushed {
                let _ = done.try_send(());
            }
        }
    }

    fn write(&mut self, mut text: String, count: u64, file: &mut FileState) {
        let Some(sink) = &mut self.sink else { return };
        let queue = self.dropped.swap(0, Relaxed);
        let unwritten = file.lost;
        for (because, dropped) in [("queue", queue), ("file", unwritten)] {
            if dropped > 0 {
                let time = OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339);
                text.push_str(
                    &json!({"dropped": dropped, "because": because, "time": time.unwrap_or_default()}).to_string(),
                );
                text.push('\n');
            }
        }
        if text.is_empty() {
            return;
        }
        let now = Instant::now();
        match sink.add(text.as_bytes(), now) {
            Ok(()) => {
                if file.lost > 0 {
                    tracing::info!(file = %sink.path().display(), lost = file.lost, "the decision log is written again");
                }
                *file = FileState { warned: file.warned, lost: 0 };
            }
            Err(error) => {
                file.lost += count;
                self.metrics.dropped("file", count);
                // Still to be told.
                self.dropped.fetch_add(queue, Relaxed);
                if file.warned.is_none_or(|warned| now.saturating_duration_since(warned) >= WARN) {
                    file.warned = Some(now);
                    tracing::warn!(
                        file = %sink.path().display(), %error, lost = file.lost,
                        "the decision log can't be written; decisions are made all the same, and what is lost is counted"
                    );
                }
            }
        }
    }
}

#[derive(Default)]
struct FileState {
    warned: Option<Instant>,
    /// Records that the file does not have, not yet told in it.
    lost: u64,
}

fn line(entry: Entry, masks: &Masks) -> Line {
    let Entry { at, info, inputs, mode, remembered, view, mut decision, took } = entry;
    let (workspace, tier) = (view.workspace.clone(), view.tier.clone());
    let (seen, masked) =
        masks.apply(OwnedView { workspace: String::new(), tier: String::new(), ..view }, &mut decision);
    let word = decision.word();
    let record = Record {
        id: Uuid::now_v7().to_string(),
        time: at.into(),
        workspace: workspace.clone(),
        tier: tier.clone(),
        binding: info.binding.clone(),
        world: info.world.to_owned(),
        policy: info.policy.clone(),
        version: info.version.clone(),
        digest: info.digest,
        settings_digest: info.settings_digest,
        mode: mode.to_owned(),
        remembered,
        inputs: inputs.to_vec(),
        seen,
        masked,
        decision,
        duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    };
    // A record is strings and numbers: it always has a JSON form.
    let text = serde_json::to_string(&record).unwrap_or_default();
    Line { workspace, tier, binding: record.binding, decision: word, text }
}
