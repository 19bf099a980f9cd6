//! What a good policy feels of the whole zoo next door: its p99 in windows with the zoo and without it, in turns, so that whatever else
//! the machine does falls on both; the median of the pairs' ratios. For `cargo xtask bench policy`; prints one JSON object.
//!
//! The neighbour asks on one thread and is never idle. Next door one thread asks all guests that pass the load, one after the other, as the
//! daemon's other thread would; on as many as the tier has places those are asked that use up their budget, which run aside.
//!
//! `cargo run --release -p orbit-engine --example neighbour [PAIRS] [WINDOW_MS] [CLIENTS] [GUEST_PREFIX]`

#[allow(dead_code)]
#[path = "../tests/engine/by_hand.rs"]
mod by_hand;
#[allow(dead_code)]
#[path = "../tests/engine/guest.rs"]
mod guest;

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use by_hand::{LIMITS, ask, compiler, load, terms};
use guest::Guest;
use orbit_engine::{Router, Slots, Terms};

/// One pair of windows.
struct Pair {
    alone: Quantiles,
    among: Quantiles,
}

/// Microseconds.
#[derive(Clone, Copy)]
struct Quantiles {
    p50: f64,
    p99: f64,
    /// Decisions.
    per_second: f64,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: u64| arguments.next().map_or(usual, |text| text.parse().unwrap_or(usual));
    let (pairs, window) = (number(40), Duration::from_millis(number(200)));
    let clients = number(16);
    let prefix = arguments.next().unwrap_or_default();
    let compiler = compiler();
    let good = load(&compiler, &[], terms(LIMITS));
    let slots = Arc::new(Slots::unshared());
    let zoo: Vec<(Router, bool)> = Guest::all()
        .iter()
        .filter(|guest| guest.name.starts_with(&prefix))
        .filter_map(|guest| {
            let compiled = compiler.compile(&guest.module).ok()?;
            let terms = Terms { settings: "{}", limits: guest.limits, slots: slots.clone() };
            Some((Router::load(&compiler, &compiled, terms).ok()?, guest.cost != "quick"))
        })
        .collect();
    let (open, end) = (AtomicBool::new(false), AtomicBool::new(false));
    let (calls, running) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let measured: Vec<Pair> = thread::scope(|scope| {
        for client in 0..clients as usize {
            let (open, end, calls, running, zoo) = (&open, &end, &calls, &running, &zoo);
            scope.spawn(move || {
                let begin = client * zoo.len() / clients as usize;
                let guests = zoo.iter().filter(|(_, slow)| *slow || client == 0);
                for (guest, _) in guests.cycle().skip(begin) {
                    while !open.load(Relaxed) && !end.load(Relaxed) {
                        thread::park_timeout(Duration::from_millis(1));
                    }
                    if end.load(Relaxed) {
                        break;
                    }
                    running.fetch_add(1, Relaxed);
                    let _ = black_box(ask(guest).is_ok());
                    running.fetch_sub(1, Relaxed);
                    calls.fetch_add(1, Relaxed);
                }
            });
        }
        // Once with everything, so that what is made once is made and the slow ones are known as such.
        open.store(true, Relaxed);
        while calls.load(Relaxed) < 2 * zoo.len() {
            black_box(ask(&good).is_ok());
        }
        let pair = |n: u64| {
            // Which half comes first changes: what drifts falls on both.
            let half = |zoo: bool| {
                open.store(zoo, Relaxed);
                let settle = Instant::now() + window / 4;
                // The zoo's last calls belong to no window without it.
                while Instant::now() < settle || (!zoo && running.load(Relaxed) > 0) {
                    black_box(ask(&good).is_ok());
                }
                latencies(&good, window)
            };
            if n.is_multiple_of(2) {
                let alone = half(false);
                Pair { alone, among: half(true) }
            } else {
                let among = half(true);
                Pair { alone: half(false), among }
            }
        };
        let measured = (0..pairs).map(pair).collect();
        end.store(true, Relaxed);
        measured
    });
    let of = |value: fn(&Pair) -> f64| median(measured.iter().map(value).collect());
    println!(
        "{{\"guests\": {}, \"calls_of_the_zoo\": {}, \"pairs\": {pairs}, \"alone_p50_us\": {:.2}, \"among_p50_us\": {:.2}, \
         \"alone_p99_us\": {:.2}, \"among_p99_us\": {:.2}, \"p50_ratio\": {:.3}, \"p99_ratio\": {:.3}, \"rate_ratio\": {:.3}}}",
        zoo.len(),
        calls.load(Relaxed),
        of(|pair| pair.alone.p50),
        of(|pair| pair.among.p50),
        of(|pair| pair.alone.p99),
        of(|pair| pair.among.p99),
        of(|pair| pair.among.p50 / pair.alone.p50),
        of(|pair| pair.among.p99 / pair.alone.p99),
        of(|pair| pair.among.per_second / pair.alone.per_second),
    );
}

fn latencies(policy: &Router, window: Duration) -> Quantiles {
    let mut nanos = Vec::with_capacity(200_000);
    let until = Instant::now() + window;
    while Instant::now() < until {
        let began = Instant::now();
        black_box(ask(policy).is_ok());
        nanos.push(began.elapsed().as_nanos() as u64);
    }
    nanos.sort_unstable();
    let at = |share: usize| nanos[(nanos.len() - 1) * share / 100] as f64 / 1e3;
    Quantiles { p50: at(50), p99: at(99), per_second: nanos.len() as f64 / window.as_secs_f64() }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
