//! A fresh sandbox for one call, and what became of the call.

use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, ResourceLimiter, Store, Trap, UpdateDeadline};

use crate::{
    CallError, CallErrorKind, Runtime,
    runtime::{MAX_MEMORY, MAX_TABLE_ELEMENTS},
    ticker::{MAX_BUDGET, MAX_WALL_TICKS, TICK},
};

/// Halves of a budget that may pass by the wall clock while the guest is hardly scheduled: twenty budgets.
const MAX_HALVES: u64 = 40;

/// What one call of a policy may use. Values beyond the engine's own limits are cut to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Longest run, in CPU time of the calling thread (about: in halves of it, plus 1 ms); 1 ms to 5 s. Past it: [`CallErrorKind::Timeout`].
    pub budget: Duration,
    /// Linear memory, bytes, at most 64 MiB. Past it: [`CallErrorKind::Memory`].
    pub memory_bytes: usize,
    /// Everything in an answer together, bytes. Past it: [`CallErrorKind::Contract`].
    pub result_bytes: usize,
}

/// What a store knows of its call.
pub struct State {
    memory_bytes: usize,
    /// How often the deadline came, and the thread's CPU time when it came first.
    deadlines: u32,
    first: Option<Duration>,
    /// The guest was refused memory or table space: its trap, if one follows, came of that.
    starved: bool,
}

impl State {
    /// The clock ticks by wall time, and a busy machine may leave this thread waiting for many ticks while the guest does
    /// nothing wrong. So half a budget is given again and again, until the thread has *used* half of it since the first time:
    /// a guest that spins ends at its budget, one that was not scheduled gets its time, up to [`MAX_HALVES`].
    fn at_deadline(&mut self, half: u64) -> Result<UpdateDeadline, Trap> {
        self.deadlines += 1;
        let spent = u64::from(self.deadlines) * half;
        let (Some(now), true) = (thread_cpu_time(), spent < MAX_WALL_TICKS.min(half * MAX_HALVES)) else {
            return Err(Trap::Interrupt);
        };
        let first = *self.first.get_or_insert(now);
        let allowed = TICK * u32::try_from(half).unwrap_or(u32::MAX);
        let used = now.saturating_sub(first);
        if self.deadlines > 1 && used + TICK >= allowed {
            Err(Trap::Interrupt)
        } else {
            Ok(UpdateDeadline::Continue(half))
        }
    }
}

/// CPU time of this thread. Read only when a deadline came: it opens a file.
fn thread_cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, _current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        self.starved |= desired > self.memory_bytes;
        Ok(desired <= self.memory_bytes)
    }
    fn table_growing(&mut self, _current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        self.starved |= desired > MAX_TABLE_ELEMENTS;
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}

/// Runs `call` in a store of its own. `call` instantiates; its deadline is already running then.
pub(crate) fn run<R>(
    runtime: &Runtime,
    limits: &Limits,
    call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
) -> Result<R, CallError> {
    let state = State { memory_bytes: limits.memory_bytes.min(MAX_MEMORY), deadlines: 0, first: None, starved: false };
    let mut store = Store::new(&runtime.engine, state);
    store.limiter(|state| state);
    // Bounds what the host copies out of the guest: one string that stands a million times in a list costs a guest nothing.
    store.set_hostcall_fuel(limits.result_bytes);
    runtime.ticker.wake();
    let budget = limits.budget.clamp(TICK, MAX_BUDGET);
    let half = (budget.as_millis() / TICK.as_millis() / 2).max(1) as u64;
    store.epoch_deadline_callback(move |mut context| Ok(context.data_mut().at_deadline(half)?));
    // One more: the tick under way is partly over.
    store.set_epoch_deadline(half + 1);
    call(&mut store).map_err(|error| classify(&error, store.data(), budget))
}

fn classify(error: &wasmtime::Error, state: &State, budget: Duration) -> CallError {
    use CallErrorKind::{Contract, Memory, Timeout, Trap as Trapped, Unavailable};
    let starved = || {
        let message =
            format!("it asked for more than its {} KiB of memory, or for too large a table", state.memory_bytes >> 10);
        CallError::new(Memory, message)
    };
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => CallError::new(Timeout, format!("it ran longer than {} ms", budget.as_millis())),
        _ if state.starved => starved(),
        // The canonical ABI's own traps: the answer points outside the guest's memory or is malformed.
        Some(Trap::StringOutOfBounds | Trap::ListOutOfBounds | Trap::InvalidChar | Trap::InvalidDiscriminant) => {
            CallError::new(Contract, format!("its answer can't be read: {error}"))
        }
        Some(trap) => CallError::new(Trapped, trap.to_string()),
        None if error.is::<PoolConcurrencyLimitError>() => CallError::new(Unavailable, "no sandbox is free"),
        None => CallError::new(Contract, format!("its answer can't be read or is too large: {}", error.root_cause())),
    }
}
