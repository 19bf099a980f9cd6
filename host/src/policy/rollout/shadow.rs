//! A new version in the shadow: asked what the active one was asked, off the request's way, and compared.
//!
//! One thread of low priority for all tiers, behind a queue of [`MAX_WAITING`]. A request adds to it what the version needs to see, or,
//! when it is full, a count: it never waits.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use time::OffsetDateTime;

use crate::policy::decision_log::{Decision, Seen};

/// Comparisons that may wait, of all tiers together; past it they are dropped and counted.
const MAX_WAITING: usize = 256;
/// Kinds of differences that are kept with an example; past it they are only counted.
const MAX_SAMPLES: usize = 20;
/// While comparisons come, the thread looks this often, rather than be woken for each by a request.
const PAUSE: Duration = Duration::from_millis(2);
/// How much less important than a request a comparison is.
const NICE: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// The thread that asks shadows.
pub(in crate::policy) struct Worker {
    jobs: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
}

/// What became of one version's comparisons.
pub(in crate::policy) struct Shadow {
    worker: Arc<Worker>,
    counts: [AtomicU64; 4],
    metrics: [Counter; 4],
    samples: Mutex<Vec<Sample>>,
}

/// What a comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) enum Compared {
    Same,
    Different,
    /// The new version gave no answer, and the active one did.
    Failed,
    /// The queue was full.
    Dropped,
}

/// One kind of difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// How often.
    pub count: u64,
    /// What the active version said, the first time.
    pub active: Decision,
    /// What the new version said.
    pub next: Decision,
    /// Whose request it was.
    pub workspace: String,
    /// What the new version saw, masked as in the decision log.
    pub seen: Seen,
    /// When it was first seen (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// The numbers of a shadow.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ShadowStatus {
    /// Comparisons with the same answer.
    pub same: u64,
    /// With another answer.
    pub different: u64,
    /// To which the new version gave no answer, and the active one did.
    pub failed: u64,
    /// Left out because the queue was full.
    pub dropped: u64,
    /// Examples, one for each kind of difference, at most 20.
    pub samples: Vec<Sample>,
}

// === impl Worker ===

impl Worker {
    /// Starts the thread; it ends with its last user.
    pub fn start() -> std::io::Result<Arc<Self>> {
        let (jobs, queue) = sync_channel::<Job>(MAX_WAITING);
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = waiting.clone();
        thread::Builder::new().name("policy-shadow".into()).spawn(move || {
            // Without it the comparisons would only be less polite.
            let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
            while let Ok(job) = queue.recv() {
                let mut next = Some(job);
                while let Some(job) = next {
                    left.fetch_sub(1, Relaxed);
                    // A panic is a bug of ours, which has printed itself; the next comparison is another one.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                    next = queue.try_recv().ok().or_else(|| {
                        thread::park_timeout(PAUSE);
                        queue.try_recv().ok()
                    });
                }
            }
        })?;
        Ok(Arc::new(Self { jobs, waiting }))
    }

    /// Gives it what `job` makes, unless it has enough to do: then nothing is made, and it says false.
    fn offer(&self, job: impl FnOnce() -> Job) -> bool {
        if self.waiting.fetch_add(1, Relaxed) < MAX_WAITING && self.jobs.try_send(job()).is_ok() {
            return true;
        }
        self.waiting.fetch_sub(1, Relaxed);
        false
    }
}

// === impl Shadow ===

impl Shadow {
    /// Nothing compared yet. `metrics` in the order of [`Compared`].
    pub fn new(worker: Arc<Worker>, metrics: [Counter; 4]) -> Self {
        Self { worker, counts: Default::default(), metrics, samples: Mutex::default() }
    }

    /// Has the thread do what `job` makes.
    pub fn compare(&self, job: impl FnOnce() -> Job) {
        if !self.worker.offer(job) {
            self.count(Compared::Dropped);
        }
    }

    /// One comparison came to this.
    pub fn count(&self, compared: Compared) {
        self.counts[compared as usize].fetch_add(1, Relaxed);
        self.metrics[compared as usize].inc();
    }

    /// One more of its kind; a new kind is kept, while there is room.
    pub fn sample(&self, sample: Sample) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let known = samples.iter_mut().find(|known| known.active == sample.active && known.next == sample.next);
        if let Some(known) = known {
            known.count += 1;
        } else if samples.len() < MAX_SAMPLES {
            samples.push(sample);
        }
    }

    /// The numbers so far.
    pub fn status(&self) -> ShadowStatus {
        let [same, different, failed, dropped] = [0, 1, 2, 3].map(|at: usize| self.counts[at].load(Relaxed));
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ShadowStatus { same, different, failed, dropped, samples }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_at_once_and_counts() {
        let worker = Worker::start().expect("a thread");
        let shadow = Shadow::new(worker, Default::default());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (running, runs) = std::sync::mpsc::channel::<()>();
        shadow.compare(|| {
            Box::new(move || {
                running.send(()).expect("waited for");
                held.recv().expect("released");
            })
        });
        runs.recv().expect("it runs");
        // That this ends shows that nobody waits: what runs is held until it did.
        for _ in 0..MAX_WAITING + 1_000 {
            shadow.compare(|| Box::new(|| {}));
        }
        assert_eq!(shadow.status().dropped, 1_000);
        release.send(()).expect("it waits");
    }

    #[test]
    fn a_panic_in_one_comparison_does_not_end_the_others() {
        let shadow = Shadow::new(Worker::start().expect("a thread"), Default::default());
        let (done, waits) = std::sync::mpsc::channel::<()>();
        shadow.compare(|| Box::new(|| std::panic::resume_unwind(Box::new("as asked"))));
        shadow.compare(|| Box::new(move || done.send(()).expect("waited for")));
        waits.recv_timeout(std::time::Duration::from_secs(60)).expect("the second one ran");
    }
}
