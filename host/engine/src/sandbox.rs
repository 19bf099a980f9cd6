//! A fresh sandbox for one call, and what became of the call.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use wasmtime::{PoolConcurrencyLimitError, ResourceLimiter, Store, Trap, UpdateDeadline};

use crate::{
    CallError, CallErrorKind, Limits, Runtime, Slots, Turn,
    conduct::{Conduct, Place},
    lane,
    limits::MAX_INSTANCES,
    ticker::{MAX_WALL_TICKS, TICK},
};

/// Budgets that may pass by the wall clock while the guest is hardly scheduled.
const MAX_BUDGETS: u64 = 20;
/// Handles of resources that a guest may hold. No world has resources; a sealed runtime uses a few of WASI's.
const MAX_HANDLES: usize = 1_000;

/// Where one policy's calls are made.
pub struct Sandboxes {
    runtime: Arc<Runtime>,
    limits: Limits,
    slots: Arc<Slots>,
    conduct: Conduct,
}

impl Sandboxes {
    pub fn new(runtime: Arc<Runtime>, limits: Limits, slots: Arc<Slots>) -> Self {
        Self { runtime, limits: limits.within_the_engines(), slots, conduct: Conduct::default() }
    }

    /// A place for one decision, in the order of coming.
    pub async fn turn(&self) -> Result<Turn<'_>, CallError> {
        self.slots.turn(self.conduct.place(), self.limits.budget).await
    }

    /// The same for callers that block.
    pub fn turn_blocking(&self) -> Result<Turn<'_>, CallError> {
        self.slots.turn_blocking(self.conduct.place(), self.limits.budget)
    }

    /// Makes a decision: on this thread, or, if the policy is known to be slow, on one of its own while this one waits.
    pub fn decide<R: Send>(
        &self,
        _turn: Turn<'_>,
        call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R> + Send,
    ) -> Result<R, CallError> {
        let overran =
            |outcome: &Result<R, CallError>| outcome.as_ref().is_err_and(|error| error.kind == CallErrorKind::Timeout);
        let place = self.conduct.place();
        if place == Place::Aside {
            let (outcome, used) = self.in_lane(&self.limits, call)?;
            self.conduct.saw_in_lane(used, overran(&outcome));
            return outcome;
        }
        let before = if place == Place::Watched { thread_cpu_time() } else { None };
        let began = Instant::now();
        let outcome = run(&self.runtime, &self.limits, call);
        let took = began.elapsed();
        let used = before.and_then(|before| Some(thread_cpu_time()?.saturating_sub(before)));
        self.conduct.saw_on_callers_thread(took, used, overran(&outcome));
        outcome
    }

    /// Asks something at load, when nothing is known of the policy: never on this thread.
    pub fn ask<R: Send>(
        &self,
        limits: &Limits,
        call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R> + Send,
    ) -> Result<R, CallError> {
        self.in_lane(&limits.within_the_engines(), call)?.0
    }

    fn in_lane<R: Send>(
        &self,
        limits: &Limits,
        call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R> + Send,
    ) -> Result<(Result<R, CallError>, Duration), CallError> {
        let (mut call, mut done) = (Some(call), None);
        self.slots.stand_aside(&mut || {
            if let Some(call) = call.take() {
                done = Some(lane::run(|| run(&self.runtime, limits, call)));
            }
        });
        match done {
            Some(Ok(done)) => Ok(done),
            Some(Err(error)) => {
                Err(CallError::new(CallErrorKind::Unavailable, format!("no thread for a slow policy: {error}")))
            }
            None => Err(CallError::new(CallErrorKind::Unavailable, "the call was not made")),
        }
    }
}

/// What a store knows of its call.
pub struct State {
    limits: Limits,
    clock: CallClock,
    /// The guest was refused memory or table space: its trap, if one follows, came of that.
    starved: bool,
    /// Its instances are made: what fails now is the guest's code or its answer.
    entered: bool,
}

impl State {
    fn new(limits: Limits) -> Self {
        Self { limits, clock: CallClock::new(limits.budget), starved: false, entered: false }
    }

    /// To be called between instantiation and call.
    pub fn entered(&mut self) {
        self.entered = true;
    }
}

/// What a call may still use of its budget.
///
/// The engine's clock ticks by wall time, and a busy machine may leave this thread waiting for many ticks while the guest does
/// nothing wrong. So the deadline comes first after a tenth of the budget; from then on the thread's CPU time counts, and what is left
/// is given again until it is used, for twenty budgets of wall time at most. A quick call never comes that far.
struct CallClock {
    /// Ticks.
    budget: u64,
    /// Ticks until the first deadline: they count as used.
    first_slice: u64,
    /// Ticks given so far.
    given: u64,
    /// The thread's CPU time at the first deadline.
    first: Option<Duration>,
}

impl CallClock {
    fn new(budget: Duration) -> Self {
        let budget = (budget.as_millis() / TICK.as_millis()).max(1) as u64;
        let first_slice = (budget / 10).max(1);
        Self { budget, first_slice, given: first_slice, first: None }
    }

    fn at_deadline(&mut self, now: Option<Duration>) -> Result<UpdateDeadline, Trap> {
        // Without a CPU clock, by the wall's.
        let first = *self.first.get_or_insert(now.unwrap_or_default());
        let used = match now {
            Some(now) => self.first_slice + (now.saturating_sub(first).as_nanos() / TICK.as_nanos()) as u64,
            None => self.given,
        };
        let left = self.budget.saturating_sub(used);
        if left == 0 || self.given >= MAX_WALL_TICKS.min(self.budget * MAX_BUDGETS) {
            return Err(Trap::Interrupt);
        }
        self.given += left;
        Ok(UpdateDeadline::Continue(left))
    }
}

/// CPU time of this thread. Read only when a deadline came, or around calls of a policy that was slow: it opens a file.
pub fn thread_cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, _current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        self.starved |= desired > self.limits.memory_bytes;
        Ok(desired <= self.limits.memory_bytes)
    }
    fn table_growing(&mut self, _current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        self.starved |= desired > self.limits.table_elements;
        Ok(desired <= self.limits.table_elements)
    }
    fn instances(&self) -> usize {
        MAX_INSTANCES as usize
    }
}

/// Runs `call` in a store of its own. `call` instantiates; its deadline is already running then.
fn run<R>(
    runtime: &Runtime,
    limits: &Limits,
    call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
) -> Result<R, CallError> {
    let mut store = Store::new(&runtime.engine, State::new(*limits));
    store.limiter(|state| state);
    // Bounds what the host copies out of the guest: one string that stands a million times in a list costs a guest nothing.
    store.set_hostcall_fuel(limits.result_bytes);
    store.set_max_component_handles(MAX_HANDLES);
    runtime.ticker.wake();
    let first_slice = store.data().clock.first_slice;
    store.epoch_deadline_callback(|mut context| Ok(context.data_mut().clock.at_deadline(thread_cpu_time())?));
    // One more: the tick under way is partly over.
    store.set_epoch_deadline(first_slice + 1);
    // Whatever becomes of it, the store is not used again.
    call(&mut store).map_err(|error| classify(&error, store.data()))
}

fn classify(error: &wasmtime::Error, state: &State) -> CallError {
    use CallErrorKind::{Contract, Memory, Timeout, Trap as Trapped, Unavailable};
    let limits = &state.limits;
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            CallError::new(Timeout, format!("it ran longer than {} ms", limits.budget.as_millis()))
        }
        _ if state.starved => CallError::new(
            Memory,
            format!(
                "it asked for more than its {} KiB of memory, or for a table of more than {} elements",
                limits.memory_bytes >> 10,
                limits.table_elements
            ),
        ),
        // The canonical ABI's own traps: the answer points outside the guest's memory or is malformed.
        Some(Trap::StringOutOfBounds | Trap::ListOutOfBounds | Trap::InvalidChar | Trap::InvalidDiscriminant) => {
            CallError::new(Contract, format!("its answer can't be read: {error}"))
        }
        Some(trap) => CallError::new(Trapped, trap.to_string()),
        None if error.is::<PoolConcurrencyLimitError>() => CallError::new(Unavailable, "no sandbox is free"),
        // Functions of other types than the world's, or more instances than it may have.
        None if !state.entered => CallError::new(Contract, format!("it can't be set up: {}", error.root_cause())),
        None => CallError::new(Contract, format!("its answer can't be read or is too large: {}", error.root_cause())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn given(outcome: Result<UpdateDeadline, Trap>) -> Option<u64> {
        match outcome {
            Ok(UpdateDeadline::Continue(ticks)) => Some(ticks),
            Ok(_) => panic!("neither an end nor more time"),
            Err(_) => None,
        }
    }

    #[test]
    fn who_spins_ends_at_the_budget() {
        let mut clock = CallClock::new(MS * 20);
        assert_eq!(given(clock.at_deadline(Some(MS * 100))), Some(18));
        assert_eq!(given(clock.at_deadline(Some(MS * 118))), None);
        let mut blind = CallClock::new(MS * 20);
        assert_eq!(given(blind.at_deadline(None)), Some(18));
        assert_eq!(given(blind.at_deadline(None)), None);
    }

    #[test]
    fn who_was_not_scheduled_gets_the_rest_within_limits() {
        let mut clock = CallClock::new(MS * 20);
        assert_eq!(given(clock.at_deadline(Some(MS * 100))), Some(18));
        assert_eq!(given(clock.at_deadline(Some(MS * 109))), Some(9));
        assert_eq!(given(clock.at_deadline(Some(MS * 109))), Some(9));
        let mut rounds = 0;
        while given(clock.at_deadline(Some(MS * 109))).is_some() {
            rounds += 1;
        }
        assert!((30..50).contains(&rounds), "{rounds}");
    }
}
