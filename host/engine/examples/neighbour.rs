//! What a good policy feels of the zoo next door: its quantiles in windows with the zoo and without it, in turns, so that whatever else
//! the machine does falls on both; the median of the pairs' ratios. For `cargo xtask bench policy`; prints one JSON object: the whole zoo
//! and, below `each`, one guest alone, asked again and again.
//!
//! The neighbour asks on one thread and is never idle. Next door one thread asks all guests that pass the load, one after the other, as
//! the daemon's other thread would; as many clients as are asked for ask those that are slow, which run aside.
//!
//! `cargo run --release -p orbit-engine --example neighbour [PAIRS] [WINDOW_MS] [CLIENTS] [PAIRS_OF_EACH] [GUEST_PREFIX]`

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

/// A call that took longer is one of a slow policy: the engine makes the next ones aside.
const SLOW: Duration = Duration::from_millis(5);

/// One of the zoo, loaded.
struct Inmate {
    name: String,
    router: Router,
    slow: bool,
}

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

/// What the zoo's threads are told.
#[derive(Default)]
struct Gate {
    open: AtomicBool,
    end: AtomicBool,
    calls: AtomicUsize,
    running: AtomicUsize,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: usize| arguments.next().map_or(usual, |text| text.parse().unwrap_or(usual));
    let (pairs, window) = (number(40), Duration::from_millis(number(200) as u64));
    let (clients, pairs_of_each) = (number(16), number(0));
    let prefix = arguments.next().unwrap_or_default();
    let compiler = compiler();
    let good = load(&compiler, &[], terms(LIMITS));
    let slots = Arc::new(Slots::unshared());
    let zoo: Vec<Inmate> = Guest::all()
        .iter()
        .filter(|guest| guest.name.starts_with(&prefix))
        .filter_map(|guest| {
            let compiled = compiler.compile(&guest.module).ok()?;
            let terms = Terms { settings: "{}", limits: guest.limits, slots: slots.clone() };
            let router = Router::load(&compiler, &compiled, terms).ok()?;
            let began = Instant::now();
            let _ = black_box(ask(&router).is_ok());
            Some(Inmate { name: guest.name.clone(), router, slow: began.elapsed() > SLOW })
        })
        .collect();
    let all: Vec<&Inmate> = zoo.iter().collect();
    let each: Vec<String> = zoo
        .iter()
        .filter(|_| pairs_of_each > 0)
        .map(|inmate| {
            let seen = beside(&good, &[inmate], clients, pairs_of_each, window);
            format!("{{\"guest\": \"{}\", {seen}}}", inmate.name)
        })
        .collect();
    println!(
        "{{\"guests\": {}, \"pairs\": {pairs}, {}, \"each\": [{}]}}",
        zoo.len(),
        beside(&good, &all, clients, pairs, window),
        each.join(", ")
    );
}

/// Measures the neighbour beside these; the fields of a JSON object.
fn beside(good: &Router, zoo: &[&Inmate], clients: usize, pairs: usize, window: Duration) -> String {
    let gate = Gate::default();
    let measured: Vec<Pair> = thread::scope(|scope| {
        for client in 0..clients {
            let (gate, first) = (&gate, client * zoo.len() / clients);
            let asked: Vec<&Router> = zoo.iter().filter(|one| one.slow || client == 0).map(|one| &one.router).collect();
            scope.spawn(move || gate.ask_in_turn(&asked, first));
        }
        // Once with everything, so that what is made once is made and the slow ones are known as such.
        gate.open.store(true, Relaxed);
        while gate.calls.load(Relaxed) < 2 * zoo.len() {
            black_box(ask(good).is_ok());
        }
        let half = |open: bool| {
            gate.open.store(open, Relaxed);
            let settle = Instant::now() + window / 4;
            // The zoo's last calls belong to no window without it.
            while Instant::now() < settle || (!open && gate.running.load(Relaxed) > 0) {
                black_box(ask(good).is_ok());
            }
            latencies(good, window)
        };
        // Which half comes first changes: what drifts falls on both.
        let pair = |n: usize| {
            if n.is_multiple_of(2) {
                let alone = half(false);
                Pair { alone, among: half(true) }
            } else {
                let among = half(true);
                Pair { alone: half(false), among }
            }
        };
        let measured = (0..pairs).map(pair).collect();
        gate.end.store(true, Relaxed);
        measured
    });
    let of = |value: fn(&Pair) -> f64| median(measured.iter().map(value).collect());
    format!(
        "\"calls_of_the_zoo\": {}, \"alone_p50_us\": {:.2}, \"among_p50_us\": {:.2}, \"alone_p99_us\": {:.2}, \
         \"among_p99_us\": {:.2}, \"p50_ratio\": {:.3}, \"p99_ratio\": {:.3}, \"rate_ratio\": {:.3}",
        gate.calls.load(Relaxed),
        of(|pair| pair.alone.p50),
        of(|pair| pair.among.p50),
        of(|pair| pair.alone.p99),
        of(|pair| pair.among.p99),
        of(|pair| pair.among.p50 / pair.alone.p50),
        of(|pair| pair.among.p99 / pair.alone.p99),
        of(|pair| pair.among.per_second / pair.alone.per_second),
    )
}

impl Gate {
    /// One client of the zoo: while the gate is open, from the `first` on, until the end.
    fn ask_in_turn(&self, zoo: &[&Router], first: usize) {
        for router in zoo.iter().cycle().skip(first) {
            while !self.open.load(Relaxed) && !self.end.load(Relaxed) {
                thread::park_timeout(Duration::from_millis(1));
            }
            if self.end.load(Relaxed) {
                break;
            }
            self.running.fetch_add(1, Relaxed);
            let _ = black_box(ask(router).is_ok());
            self.running.fetch_sub(1, Relaxed);
            self.calls.fetch_add(1, Relaxed);
        }
    }
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
