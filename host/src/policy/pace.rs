//! How fast a policy answers one question, asked again and again: fresh (a new sandbox each time, as on the request path) and
//! remembered (as the second time on the request path). For `orbitd policy bench`.

use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use orbit_engine::{Compiled, Compiler, Limits, World};
use serde::Serialize;

use super::{
    Single,
    ask::{as_renderer_request, render_once},
    cases::Case,
    remembered::Remembered,
    role::{Failed, PerRequest},
    view::View,
};
use crate::ids::TierName;

/// Calls of one thread; past it a measurement ends before its time.
const MAX_CALLS: usize = 500_000;
/// Bytes of a Wasm page.
const PAGE: usize = 64 << 10;

/// What a decision is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// In a fresh sandbox.
    Fresh,
    /// Looked up among answers that were given before; no renderer has any.
    Remembered,
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Pace {
    /// What was measured.
    pub how: How,
    /// Threads that asked at the same time.
    pub threads: usize,
    /// Calls of all threads together.
    pub calls: usize,
    /// Calls of all threads together per second of wall time.
    pub per_second: f64,
    /// Microseconds of a call, by share of the calls.
    pub p50_us: f64,
    /// The same.
    pub p90_us: f64,
    /// The same.
    pub p99_us: f64,
    /// The slowest.
    pub max_us: f64,
}

/// Asks for `span` on so many threads at once.
///
/// # Errors
/// It gives no answer to this question: why.
pub fn measure(
    policy: &Single,
    case: &Case,
    tier: &TierName,
    how: How,
    threads: usize,
    span: Duration,
) -> Result<Pace, String> {
    let barrier = Barrier::new(threads);
    let worker = || {
        let mut times: Vec<u64> = Vec::with_capacity(MAX_CALLS);
        let mut wall = Duration::ZERO;
        let outcome = repeat(policy, case, tier, how, |call| {
            // Caches, branch predictors and the pool's slots are warm in a daemon too.
            for _ in 0..100 {
                call()?;
            }
            barrier.wait();
            let began = Instant::now();
            while began.elapsed() < span && times.len() < MAX_CALLS {
                let before = Instant::now();
                call()?;
                times.push(before.elapsed().as_nanos() as u64);
            }
            wall = began.elapsed();
            Ok(())
        });
        outcome.map(|()| (times, wall))
    };
    // Asked once alone first: a question without an answer must not leave threads waiting for each other.
    repeat(policy, case, tier, how, |call| call())?;
    let results: Vec<Result<(Vec<u64>, Duration), String>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut times = Vec::new();
    let mut per_second = 0.0;
    for result in results {
        let (own, wall) = result?;
        per_second += own.len() as f64 / wall.as_secs_f64().max(f64::EPSILON);
        times.extend(own);
    }
    times.sort_unstable();
    let at = |share: f64| {
        let place = (times.len().saturating_sub(1) as f64 * share) as usize;
        times.get(place).map_or(0.0, |nanos| *nanos as f64 / 1e3)
    };
    Ok(Pace {
        how,
        threads,
        calls: times.len(),
        per_second,
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        max_us: at(1.0),
    })
}

type Call<'a> = dyn FnMut() -> Result<(), String> + 'a;

/// Gives `use_it` a function that asks once: nothing but the call is in it.
fn repeat(
    policy: &Single,
    case: &Case,
    tier: &TierName,
    how: How,
    use_it: impl FnOnce(&mut Call<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let facts = case.facts(tier);
    match policy {
        Single::Router(policy) => repeat_request(policy, &View::of(policy.inputs(), &facts, None), how, use_it),
        Single::Authorizer(policy) => {
            repeat_request(policy, &View::of(policy.inputs(), &facts, Some(case.caller())), how, use_it)
        }
        Single::Renderer(policy) => as_renderer_request(&case.config(tier), |asked| {
            use_it(&mut || render_once(policy, asked).map(|answer| drop(black_box(answer))).map_err(said))
        }),
    }
}

fn repeat_request<P: PerRequest>(
    policy: &P,
    view: &View<'_>,
    how: How,
    use_it: impl FnOnce(&mut Call<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let memory = Remembered::new();
    use_it(&mut || {
        if how == How::Remembered
            && let Some(answer) = memory.recall(&view.key())
        {
            black_box(answer);
            return Ok(());
        }
        let answer = black_box(policy.ask(view).map_err(said)?);
        if how == How::Remembered {
            memory.keep(view.key(), answer);
        }
        Ok(())
    })
}

fn said(failed: Failed) -> String {
    format!("{}: {}", failed.kind.as_str(), failed.message)
}

/// The smallest `memory_bytes` with which the policy still loads and answers this question: found by trying, in pages of 64 KiB.
/// `None` if it does not even with `limits`.
pub fn least_memory(
    compiler: &Compiler,
    compiled: &Compiled,
    world: World,
    settings: &str,
    limits: Limits,
    case: &Case,
    tier: &TierName,
) -> Option<usize> {
    let works = |pages: usize| {
        let limits = Limits { memory_bytes: pages * PAGE, ..limits };
        Single::load(compiler, compiled, world, settings, limits)
            .is_ok_and(|policy| repeat(&policy, case, tier, How::Fresh, |call| call()).is_ok())
    };
    let (mut fails, mut holds) = (0, limits.memory_bytes / PAGE);
    if !works(holds) {
        return None;
    }
    while holds - fails > 1 {
        let middle = fails + (holds - fails) / 2;
        if works(middle) { holds = middle } else { fails = middle }
    }
    Some(holds * PAGE)
}
