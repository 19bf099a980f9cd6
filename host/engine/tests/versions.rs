//! Old versions die (rows R-14 and W-30 of the catalogue). A process of its own: it looks at what the whole process holds.

#[path = "engine/by_hand.rs"]
mod by_hand;

use std::{fs, time::Duration};

use by_hand::{LIMITS, ask, compiler, forward, load, terms};
use orbit_engine::{Limits, Router, RouterDecision};

/// Resident memory (KiB), mappings and open descriptors of this process.
#[derive(Debug, Clone, Copy)]
struct Held {
    resident: u64,
    mappings: usize,
    descriptors: usize,
}

fn held() -> Held {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    Held {
        resident: resident.trim().trim_end_matches(" kB").parse().expect("a number"),
        mappings: fs::read_to_string("/proc/self/maps").expect("maps").lines().count(),
        descriptors: fs::read_dir("/proc/self/fd").expect("fds").count(),
    }
}

#[test]
fn a_thousand_versions_leave_nothing_and_a_call_ends_on_the_code_it_began_with() {
    let compiler = compiler();
    // Each version another module: its answer is its number.
    let version = |n: u32| {
        let route =
            format!("(drop (call $forward)) (i32.store (i32.const 1040) (i32.const {n})) (return (i32.const 1024))");
        load(&compiler, &[("route", &route)], terms(LIMITS))
    };
    let number = |router: &Router| match ask(router).expect("a decision") {
        RouterDecision::Forward { timeout_ms, .. } => timeout_ms,
        other => panic!("{other:?}"),
    };

    // 20 million turns: some tens of milliseconds, in which many versions come and go.
    let slow = "(loop $l (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $n) (i32.const 20000000))))";
    let limits = Limits { budget: Duration::from_secs(5), ..LIMITS };
    let old = load(&compiler, &[("route", slow)], terms(limits));
    let under_way = std::thread::spawn(move || ask(&old).expect("it ends on its own code"));

    for n in 0..100 {
        assert_eq!(number(&version(n)), n);
    }
    assert_eq!(under_way.join().expect("no panic"), forward());

    let before = held();
    for n in 0..1_000 {
        assert_eq!(number(&version(n)), n);
    }
    let after = held();
    println!("before {before:?}, after 1,000 versions {after:?}");
    assert!(after.resident < before.resident + (8 << 10), "{before:?} {after:?}");
    assert!(after.mappings < before.mappings + 20, "{before:?} {after:?}");
    assert!(after.descriptors <= before.descriptors + 2, "{before:?} {after:?}");
}
