//! The clock that ends guests which run too long: a thread that moves the engine's epoch every millisecond.
//!
//! It goes by the wall clock: a thread that comes late makes up for the ticks it owes. A second thread watches the first and
//! ticks in its place while it stalls. Both rest after [`IDLE_TICKS`] without a call, for a thousand wake-ups a second are no way
//! to idle. Invariant: a rest never begins while a guest runs, because no call outlives [`MAX_WALL_TICKS`], which are fewer than
//! the idle ones.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::{self, JoinHandle, Thread},
    time::{Duration, Instant},
};

use rustix::{process::setpriority_process, thread::gettid};
use wasmtime::{Engine, EngineWeak};

/// The epoch's unit.
pub const TICK: Duration = Duration::from_millis(1);
/// By the wall clock no call runs longer, ticks.
pub const MAX_WALL_TICKS: u64 = 8_000;
const IDLE_TICKS: u64 = 10_000;
/// Ticks that are made up for at once. After a longer sleep (a suspended machine) it is nobody's fault.
const MAX_OWED: u64 = 100;
/// How often the watch looks.
const LOOK: Duration = Duration::from_millis(25);
/// Ticks of the watch after which it says so, about a second.
const WORTH_TELLING: u64 = 1_000;
/// The clock's niceness where the system allows it: a busy machine must not slow the clock.
const NICE: i32 = -10;

/// Owns the threads; they end when this is dropped.
pub struct Ticker {
    shared: Arc<Shared>,
    clock: Option<JoinHandle<()>>,
    watch: Option<JoinHandle<()>>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    /// Set by each call, cleared by each tick.
    called: AtomicBool,
    resting: AtomicBool,
    stop: AtomicBool,
    /// Times that the clock moved the epoch.
    beats: AtomicU64,
    /// Times that the watch found it still.
    stalls: AtomicU64,
    /// Makes the clock's thread hang.
    #[cfg(test)]
    hang: AtomicBool,
}

impl Ticker {
    /// Starts the threads.
    pub fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        // Weak: the clock must not keep the engine alive.
        let (engine_of_watch, watched) = (engine.weak(), shared.clone());
        let watch =
            thread::Builder::new().name("policy-watch".into()).spawn(move || watched.watch(&engine_of_watch))?;
        let (engine, theirs, watch_thread) = (engine.weak(), shared.clone(), watch.thread().clone());
        let clock =
            thread::Builder::new().name("policy-epoch".into()).spawn(move || theirs.tick(&engine, &watch_thread))?;
        let thread = clock.thread().clone();
        Ok(Self { shared, clock: Some(clock), watch: Some(watch), thread })
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
    fn tick(&self, engine: &EngineWeak, watch: &Thread) {
        let _ = setpriority_process(Some(gettid()), NICE);
        let (mut began, mut ticks, mut idle) = (Instant::now(), 0, 0);
        while !self.stop.load(SeqCst) {
            thread::park_timeout(TICK);
            #[cfg(test)]
            while self.hang.load(SeqCst) && !self.stop.load(SeqCst) {
                thread::yield_now();
            }
            let due = (began.elapsed().as_nanos() / TICK.as_nanos()) as u64;
            let owed = due.saturating_sub(ticks);
            ticks = due;
            let Some(engine) = engine.upgrade() else { return };
            for _ in 0..owed.min(MAX_OWED) {
                engine.increment_epoch();
            }
            drop(engine);
            self.beats.fetch_add(1, SeqCst);
            idle = if self.called.swap(false, SeqCst) { 0 } else { idle + owed.min(MAX_OWED) };
            if idle >= IDLE_TICKS {
                self.rest();
                watch.unpark();
                (began, ticks, idle) = (Instant::now(), 0, 0);
            }
        }
    }

    fn rest(&self) {
        self.resting.store(true, SeqCst);
        while !self.called.load(SeqCst) && !self.stop.load(SeqCst) {
            thread::park();
        }
        self.resting.store(false, SeqCst);
    }

    fn watch(&self, engine: &EngineWeak) {
        let mut last = self.beats.load(SeqCst);
        while !self.stop.load(SeqCst) {
            if self.resting.load(SeqCst) {
                thread::park();
                last = self.beats.load(SeqCst);
                continue;
            }
            thread::park_timeout(LOOK);
            if self.resting.load(SeqCst) || self.beats.load(SeqCst) != last {
                last = self.beats.load(SeqCst);
                continue;
            }
            self.stalls.fetch_add(1, SeqCst);
            let mut ticked = 0_u64;
            while self.beats.load(SeqCst) == last && !self.resting.load(SeqCst) && !self.stop.load(SeqCst) {
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
                drop(engine);
                ticked += 1;
                // On a busy machine a thread may be late for some time, which is nothing to tell.
                if ticked == WORTH_TELLING {
                    tracing::warn!("the clock of the policy engine stands still: its watch ticks in its place");
                }
                thread::park_timeout(TICK);
            }
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.thread.unpark();
        if let Some(clock) = self.clock.take() {
            let _ = clock.join();
        }
        if let Some(watch) = self.watch.take() {
            watch.thread().unpark();
            let _ = watch.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Config, Instance, Module, Store, Trap};

    use super::*;

    /// Runs a loop that only the epoch can end.
    fn spin(engine: &Engine, ticker: &Ticker, ticks: u64) -> Duration {
        let module = wat::parse_str("(module (func $s (loop $l (br $l))) (start $s))").expect("well-formed text");
        let module = Module::new(engine, module).expect("a module");
        let mut store = Store::new(engine, ());
        ticker.wake();
        store.set_epoch_deadline(ticks);
        let began = Instant::now();
        let error = Instance::new(&mut store, &module, &[]).expect_err("it is ended");
        assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::Interrupt));
        began.elapsed()
    }

    #[test]
    fn a_guest_is_ended_though_the_clock_hangs() {
        let engine = Engine::new(Config::new().epoch_interruption(true)).expect("an engine");
        let ticker = Ticker::start(&engine).expect("threads");
        // More than a clock that comes late makes up for at once.
        assert!(spin(&engine, &ticker, MAX_OWED * 3) >= TICK * 5);
        let before = ticker.shared.stalls.load(SeqCst);
        ticker.shared.hang.store(true, SeqCst);
        // Sixty-four busy guests on however many cores there are.
        thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| spin(&engine, &ticker, 20));
            }
        });
        // On a slow machine the clock's last ticks may have ended them all.
        let deadline = Instant::now() + Duration::from_secs(60);
        while ticker.shared.stalls.load(SeqCst) == before {
            assert!(Instant::now() < deadline, "the watch never saw it stand still");
            thread::yield_now();
        }
        ticker.shared.hang.store(false, SeqCst);
        spin(&engine, &ticker, 20);
    }
}
