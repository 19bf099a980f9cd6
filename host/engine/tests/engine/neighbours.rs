//! One tier's misbehaviour is its own: rows W-19, W-27 and W-31 of the zoo, and what a neighbour feels of all the others.

use std::{
    pin::pin,
    sync::{
        Arc, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use orbit_engine::{CallErrorKind, Compiler, Limits, Router, Slots, Terms};

use crate::{
    by_hand::{LIMITS, ask, compiler, forward, load, terms},
    guest::Guest,
    zoo::{ALONE, resident_kib},
};

const LOOP: &[(&str, &str)] = &[("route", "(loop $l (br $l))")];

fn at_once<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

fn limits(budget_ms: u64) -> Limits {
    Limits { budget: Duration::from_millis(budget_ms), ..LIMITS }
}

#[test]
fn a_tier_that_takes_all_its_sandboxes_leaves_the_others_theirs() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let compiler = compiler();
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let slots = Arc::new(Slots::of(4, |work| {
        MOST.fetch_max(RUNNING.fetch_add(1, SeqCst) + 1, SeqCst);
        work();
        RUNNING.fetch_sub(1, SeqCst);
    }));
    let hog = load(&compiler, LOOP, Terms { settings: "{}", limits: limits(50), slots });
    let good = load(&compiler, &[], terms(LIMITS));
    let mut turns: Vec<_> = (0..4).map(|_| at_once(hog.turn()).expect("its share")).collect();
    assert_eq!(ask(&hog).expect_err("all are taken, and none comes free").kind, CallErrorKind::Unavailable);
    for _ in 0..100 {
        assert_eq!(ask(&good).expect("another tier's decision"), forward());
    }
    turns.pop();
    assert_eq!(ask(&hog).expect_err("it loops").kind, CallErrorKind::Timeout);
    drop(turns);
    // A crowd, each on a thread of its own: every call ends.
    let outcomes: Vec<CallErrorKind> = thread::scope(|scope| {
        let crowd: Vec<_> = (0..40).map(|_| scope.spawn(|| ask(&hog).expect_err("it loops").kind)).collect();
        for _ in 0..100 {
            assert_eq!(ask(&good).expect("another tier's decision"), forward());
        }
        crowd.into_iter().map(|one| one.join().expect("no panic")).collect()
    });
    let ends = [CallErrorKind::Timeout, CallErrorKind::Unavailable];
    assert!(outcomes.iter().all(|kind| ends.contains(kind)), "{outcomes:?}");
    // It was known to be slow by then: more at once than there are cores would only take from others.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    assert!((1..=cores).contains(&MOST.load(SeqCst)), "{} slow calls at once on {cores} cores", MOST.load(SeqCst));
}

/// A policy that was slow once does not run on its caller's thread again before it has been quick for a while.
#[test]
fn a_slow_policy_runs_aside() {
    static ASIDE: AtomicBool = AtomicBool::new(false);
    let compiler = compiler();
    let slots = Arc::new(Slots::new(|work| {
        ASIDE.store(true, Relaxed);
        work();
    }));
    // 40 headers make it slow; the request has two.
    let route = "(if (i32.gt_u (local.get 13) (i32.const 2)) (then (loop $l (br $l))))";
    let policy = load(&compiler, &[("route", route)], Terms { settings: "{}", limits: LIMITS, slots });
    let aside = |call: &dyn Fn() -> bool| {
        ASIDE.store(false, Relaxed);
        assert!(call());
        ASIDE.load(Relaxed)
    };
    let quick = || ask(&policy).expect("a decision") == forward();
    let slow = || {
        let headers: Vec<(&str, &str)> = vec![("x-many", "1"); 40];
        let request = orbit_engine::RouterRequest {
            workspace: "acme",
            tier: "pro",
            method: "",
            path: "",
            query: "",
            headers: &headers,
        };
        policy.route(&request).expect_err("it loops").kind == CallErrorKind::Timeout
    };
    assert!(!aside(&slow), "nothing was known of it");
    assert!(aside(&quick));
    let mut probation = 1;
    while aside(&quick) {
        probation += 1;
    }
    // More where a quick call took more than 2 ms of CPU, on a very slow machine: a relapse doubles it.
    assert!((64..=64 << 4).contains(&probation), "{probation} quick calls");
}

/// Latencies of a good policy, one call after the other, until `stop`; sorted.
fn latencies(policy: &Router, stop: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !stop.load(Relaxed) {
        let began = Instant::now();
        assert_eq!(ask(policy).expect("a neighbour's decision"), forward());
        times.push(began.elapsed());
    }
    times.sort();
    times
}

fn p99(times: &[Duration]) -> Duration {
    times[(times.len() - 1) * 99 / 100]
}

#[test]
fn a_neighbour_is_served_rightly_while_the_whole_zoo_runs() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let compiler = compiler();
    let good = load(&compiler, &[], terms(LIMITS));
    let slots = Arc::new(Slots::unshared());
    let zoo: Vec<Router> = Guest::all().iter().filter_map(|guest| bind(&compiler, guest, &slots)).collect();
    let measure = |meanwhile: &dyn Fn()| {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let neighbour = scope.spawn(|| latencies(&good, &stop));
            meanwhile();
            stop.store(true, Relaxed);
            neighbour.join().expect("every decision was right")
        })
    };
    let alone = measure(&|| {
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            thread::park_timeout(Duration::from_millis(10));
        }
    });
    let before = resident_kib();
    let among = measure(&|| {
        for _ in 0..3 {
            for guest in &zoo {
                let _ = ask(guest);
            }
        }
    });
    let grown = resident_kib().saturating_sub(before);
    println!(
        "{} guests three times: a neighbour's p99 {:?} beside {:?} alone ({} and {} calls), {grown} KiB more",
        zoo.len(),
        p99(&among),
        p99(&alone),
        among.len(),
        alone.len()
    );
    // What it costs in time is a bench's row (`policy.neighbour_p99_ratio`), measured where nothing else runs.
    assert!(grown < 64 << 10);
}

fn bind(compiler: &Compiler, guest: &Guest, slots: &Arc<Slots>) -> Option<Router> {
    let compiled = compiler.compile(&guest.module).ok()?;
    Router::load(compiler, &compiled, Terms { settings: "{}", limits: guest.limits, slots: slots.clone() }).ok()
}

/// Pages that the system gave this thread one by one; from `/proc/thread-self/stat`.
fn page_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("procfs");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    fields.split_whitespace().nth(7).and_then(|faults| faults.parse().ok()).expect("the minor faults")
}

/// A page that is given anew is taken from every other processor first, with an interrupt that a neighbour feels.
#[test]
fn who_writes_all_of_its_memory_keeps_its_pages() {
    let compiler = compiler();
    let guest = Guest::named("18-writes-everything");
    let compiled = compiler.compile(&guest.module).expect("compiled");
    let router = Router::load(&compiler, &compiled, terms(guest.limits)).expect("a router");
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..8 {
        ask(&router).expect("a decision");
    }
    let before = page_faults();
    for _ in 0..100 {
        ask(&router).expect("a decision");
    }
    let each = (page_faults() - before) / 100;
    assert!(each < 64, "{each} of its 256 pages were given anew in each call");
}
