//! What one call of a policy may use.

use std::time::Duration;

use crate::World;

/// A budget is at least ten ticks of the clock, so that its end is never more than a tenth off.
pub const MIN_BUDGET: Duration = Duration::from_millis(10);
/// No call may be given more.
pub const MAX_BUDGET: Duration = Duration::from_secs(5);
/// No policy may be given more memory than this, bytes.
pub const MAX_MEMORY: usize = 64 << 20;
/// Entries of a table; a policy's table holds its functions.
pub const MAX_TABLE_ELEMENTS: usize = 20_000;
/// Core modules that one component may instantiate: Python is forty. Only counted, nothing is set aside for them.
pub const MAX_INSTANCES: u32 = 64;

/// What one call of a policy may use. Values beyond the engine's own limits are cut to them. The native stack is the engine's: 256 KiB
/// for every call, and past it the guest traps ([`crate::CallErrorKind::Trap`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Longest run, in CPU time of the thread that runs it (to a tenth, and for the longest bulk operation); 10 ms to 5 s. `start`
    /// functions, allocation of the arguments and post-return are in it. Past it: [`crate::CallErrorKind::Timeout`].
    pub budget: Duration,
    /// Linear memory, bytes, at most 64 MiB. Past it: [`crate::CallErrorKind::Memory`].
    pub memory_bytes: usize,
    /// Entries of each table, at most 20,000. Past it: [`crate::CallErrorKind::Memory`].
    pub table_elements: usize,
    /// Everything in an answer together, bytes as the host holds it; counted before the host allocates. Past it:
    /// [`crate::CallErrorKind::Contract`].
    pub result_bytes: usize,
}

impl Limits {
    /// What a binding that says nothing gets.
    pub const fn of(world: World) -> Self {
        let (budget_ms, memory_bytes, result_bytes) = match world {
            World::Router | World::Authorizer => (20, 8 << 20, 64 << 10),
            World::Renderer => (500, 32 << 20, 4 << 20),
        };
        Self {
            budget: Duration::from_millis(budget_ms),
            memory_bytes,
            table_elements: MAX_TABLE_ELEMENTS,
            result_bytes,
        }
    }

    /// Cut to what the engine allows.
    pub(crate) fn within_the_engines(self) -> Self {
        Self {
            budget: self.budget.clamp(MIN_BUDGET, MAX_BUDGET),
            memory_bytes: self.memory_bytes.min(MAX_MEMORY),
            table_elements: self.table_elements.min(MAX_TABLE_ELEMENTS),
            result_bytes: self.result_bytes,
        }
    }
}
