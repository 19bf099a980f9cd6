//! A fresh sandbox for one call, and what became of the call.

use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, ResourceLimiter, Store, Trap};

use crate::{
    CallError, CallErrorKind, Runtime,
    runtime::{MAX_MEMORY, MAX_TABLE_ELEMENTS},
    ticker::{MAX_BUDGET, TICK},
};

/// What one call of a policy may use. Values beyond the engine's own limits are cut to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Longest run; 1 ms to 5 s, in steps of 1 ms. Past it: [`CallErrorKind::Timeout`].
    pub budget: Duration,
    /// Linear memory, bytes, at most 64 MiB. Past it: [`CallErrorKind::Memory`].
    pub memory_bytes: usize,
    /// Everything in an answer together, bytes. Past it: [`CallErrorKind::Contract`].
    pub result_bytes: usize,
}

/// What a store knows of its call.
pub(crate) struct State {
    memory_bytes: usize,
    /// The guest was refused memory or table space: its trap, if one follows, came of that.
    starved: bool,
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
    let state = State { memory_bytes: limits.memory_bytes.min(MAX_MEMORY), starved: false };
    let mut store = Store::new(&runtime.engine, state);
    store.limiter(|state| state);
    // Bounds what the host copies out of the guest: one string that stands a million times in a list costs a guest nothing.
    store.set_hostcall_fuel(limits.result_bytes);
    runtime.ticker.wake();
    let budget = limits.budget.clamp(TICK, MAX_BUDGET);
    // One more: the tick under way is partly over.
    store.set_epoch_deadline((budget.as_millis() / TICK.as_millis()) as u64 + 1);
    call(&mut store).map_err(|error| classify(&error, store.data(), budget))
}

fn classify(error: &wasmtime::Error, state: &State, budget: Duration) -> CallError {
    use CallErrorKind::{Contract, Memory, Timeout, Trap as Trapped, Unavailable};
    let starved = || {
        let message = format!("it asked for more than its {} KiB of memory, or for too large a table", state.memory_bytes >> 10);
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
