//! The clock that ends guests which run too long: a thread that moves the engine's epoch every millisecond.
//!
//! A thousand wake-ups a second are no way to idle, so the thread rests after [`IDLE_TICKS`] without a call. Invariant: a rest
//! never begins while a guest runs, because no call outlives [`MAX_WALL_TICKS`], which are fewer than the idle ones.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, JoinHandle, Thread},
    time::Duration,
};

use wasmtime::Engine;

/// The epoch's unit.
pub const TICK: Duration = Duration::from_millis(1);
/// No call may be given more.
pub const MAX_BUDGET: Duration = Duration::from_secs(5);
/// By the wall clock no call runs longer, ticks.
pub const MAX_WALL_TICKS: u64 = 8_000;
const IDLE_TICKS: u32 = 10_000;

/// Owns the thread; the thread ends when this is dropped.
pub struct Ticker {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    /// Set by each call, cleared by each tick.
    called: AtomicBool,
    resting: AtomicBool,
    stop: AtomicBool,
}

impl Ticker {
    /// Starts the thread.
    pub fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        // Weak: the clock must not keep the engine alive.
        let (engine, theirs) = (engine.weak(), shared.clone());
        let worker = thread::Builder::new().name("policy-epoch".into()).spawn(move || {
            let mut idle = 0;
            while !theirs.stop.load(SeqCst) {
                thread::park_timeout(TICK);
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
                idle = if theirs.called.swap(false, SeqCst) { 0 } else { idle + 1 };
                if idle >= IDLE_TICKS {
                    theirs.rest();
                    idle = 0;
                }
            }
        })?;
        let thread = worker.thread().clone();
        Ok(Self { shared, worker: Some(worker), thread })
    }

    /// Says that a guest is about to run. Call it before its deadline is set.
    pub fn wake(&self) {
        // Store before load, and the thread does the same the other way round: one of the two sees the other.
        if !self.shared.called.load(SeqCst) {
            self.shared.called.store(true, SeqCst);
        }
        if self.shared.resting.load(SeqCst) {
            self.thread.unpark();
        }
    }
}

impl Shared {
    fn rest(&self) {
        self.resting.store(true, SeqCst);
        while !self.called.load(SeqCst) && !self.stop.load(SeqCst) {
            thread::park();
        }
        self.resting.store(false, SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.thread.unpark();
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}
