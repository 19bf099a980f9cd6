//! The one engine of the process.
//!
//! Every number here was measured (facts: 3.7 µs for store and instance, 16 µs with the defaults): the pool keeps the pages a
//! decision touches, `PAGEMAP_SCAN` finds them without an `mprotect`, and nothing of the component model's async is set up.

use std::sync::Arc;

use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, component::Linker,
};

use crate::{
    LoadError,
    limits::{MAX_INSTANCES, MAX_MEMORY, MAX_TABLE_ELEMENTS},
    sandbox::State,
    ticker::Ticker,
};

/// Calls that can run at the same time; one more is [`crate::CallErrorKind::Unavailable`]. Calls run on the caller's thread,
/// so this is a bound on threads.
const POOL: u32 = 256;
/// Pages of one memory that stay mapped between calls, bytes: the whole memory of a policy whose binding says nothing. What is more goes
/// back to the system after each call, and each of its pages comes with a fault at the next one and, if it is read first and written
/// then, with an interrupt of every processor that runs another call (measured: a neighbour's p99 × 2.7).
const KEEP_RESIDENT: usize = 8 << 20;
/// The same of a table: all of it.
const KEEP_TABLE: usize = MAX_TABLE_ELEMENTS * size_of::<usize>();
/// Native stack of a guest, bytes. Callers' threads have 2 MiB.
const MAX_WASM_STACK: usize = 256 << 10;
/// Memories kept warm though no call uses them, each for its policy; each holds what its policy touched, [`KEEP_RESIDENT`] at most
/// (some 100 KiB for a usual one). Where there are more policies than this, they take each other's, which changes the address space
/// and holds up every call of the process while it does.
const WARM_SLOTS: u32 = 64;

/// The engine and its clock. One per process; share it by `Arc`.
pub struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
    pub(crate) ticker: Ticker,
}

impl Runtime {
    /// Starts the engine and its clock. Needs some 2 TiB of address space (not memory); where a limit forbids that
    /// (`ulimit -v`), the error says so.
    pub fn start() -> Result<Arc<Self>, LoadError> {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(POOL)
            .total_core_instances(POOL * MAX_INSTANCES)
            .total_memories(POOL)
            .total_tables(POOL * 2)
            .max_core_instances_per_component(MAX_INSTANCES)
            .max_memories_per_component(1)
            .max_tables_per_component(4)
            .table_elements(MAX_TABLE_ELEMENTS)
            .max_memory_size(MAX_MEMORY)
            .linear_memory_keep_resident(KEEP_RESIDENT)
            .table_keep_resident(KEEP_TABLE)
            .max_unused_warm_slots(WARM_SLOTS)
            .pagemap_scan(Enabled::Auto);
        let mut config = compile_config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).map_err(|error| {
            LoadError::Engine(format!("{error:#}; is there a limit on address space (`ulimit -v`)?"))
        })?;
        let ticker = Ticker::start(&engine).map_err(|error| LoadError::Engine(error.to_string()))?;
        Ok(Arc::new(Self { linker: Linker::new(&engine), engine, ticker }))
    }
}

/// What compiled code depends on; the compiling child uses the same without the pool.
pub(crate) fn compile_config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_relaxed_simd(false)
        .epoch_interruption(true)
        .memory_init_cow(true)
        .max_wasm_stack(MAX_WASM_STACK)
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        // The same answer on every machine: processors disagree about a NaN's bits.
        .cranelift_nan_canonicalization(true)
        .cranelift_opt_level(OptLevel::Speed);
    config
}
