//! The zoo: each guest of `guests/hostile/zoo` ends as its header says, at the cost that it says, and the next call of a good
//! policy is right.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    by_hand::{LIMITS, ask, compiler, forward, hostile, load, terms},
    guest::Guest,
};
use orbit_engine::{CallError, Compiler, LoadError, Router, RouterDecision, Slots, Terms};

/// The two calls at load have a second.
const LOAD_BUDGET: Duration = Duration::from_secs(1);
/// What a guest that is stopped by something else than its budget may use, CPU time.
const QUICK: Duration = Duration::from_millis(100);
/// Budgets after which a guest that its budget should have stopped was not stopped by it. What it took is printed beside; a machine
/// whose processors are lent to others counts their time in.
const LATE: u32 = 5;
/// Compiling, loading and calling, on a machine as busy as may be.
const MAX_WALL: Duration = Duration::from_secs(20);
/// Guests may not leave more behind in this process, KiB.
const LEFT_KIB: u64 = 16 << 10;

/// Measures of this process mean nothing while another test makes it work.
pub static ALONE: Mutex<()> = Mutex::new(());

/// Where a guest was stopped, and how.
enum Ended {
    Refused(LoadError),
    Load(CallError),
    Call(CallError),
    Answered(RouterDecision),
}

impl Guest {
    /// What became of it, and the CPU time of the call if it came to one.
    fn run(&self, compiler: &Compiler, slots: &Arc<Slots>) -> (Ended, Duration) {
        let terms = Terms { settings: "{}", limits: self.limits, slots: slots.clone() };
        let router = compiler.compile(&self.module).and_then(|compiled| Router::load(compiler, &compiled, terms));
        let before = thread_cpu();
        let ended = match router {
            Err(LoadError::Call { error, .. }) => Ended::Load(error),
            Err(error) => Ended::Refused(error),
            Ok(router) => ask(&router).map_or_else(Ended::Call, Ended::Answered),
        };
        (ended, thread_cpu() - before)
    }

    fn allowed(&self) -> Duration {
        match self.cost.as_str() {
            "quick" => QUICK,
            // Also where one bulk operation follows, which is not interrupted: 25 ms over 8 MiB.
            "budget" | "budget and one operation" => LATE * self.limits.budget,
            "load" => LATE * LOAD_BUDGET,
            other => panic!("{}: cost {other:?}", self.name),
        }
    }
}

impl Ended {
    /// As the headers write it.
    fn outcome(&self) -> String {
        match self {
            Self::Refused(_) => "refused".to_owned(),
            Self::Load(error) => format!("load {}", error.kind.as_str()),
            Self::Call(error) => format!("call {}", error.kind.as_str()),
            Self::Answered(RouterDecision::Forward { timeout_ms, .. }) => format!("forward {timeout_ms}"),
            Self::Answered(RouterDecision::Refuse { status, .. }) => format!("refuse {status}"),
        }
    }
    fn says(&self) -> String {
        match self {
            Self::Refused(error) => error.to_string(),
            Self::Load(error) | Self::Call(error) => error.to_string(),
            Self::Answered(_) => String::new(),
        }
    }
}

/// CPU time of this thread so far. A policy's first call is made on the caller's thread.
fn thread_cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    Duration::from_nanos(text.split(' ').next().and_then(|used| used.parse().ok()).expect("a number"))
}

pub fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn each_guest_ends_as_its_header_says() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let compiler = compiler();
    let good = load(&compiler, &[], terms(LIMITS));
    let slots = Arc::new(Slots::unshared());
    let mut wrong = Vec::new();
    for guest in Guest::all() {
        let (resident, began) = (resident_kib(), Instant::now());
        let (ended, used) = guest.run(&compiler, &slots);
        let (took, left) = (began.elapsed(), resident_kib().saturating_sub(resident));
        let (outcome, says) = (ended.outcome(), ended.says());
        println!(
            "{:<26} {outcome:<16} {:>6.1} ms of CPU, {:>6.1} ms {left:>6} KiB  {says:.90}",
            guest.name,
            used.as_secs_f64() * 1e3,
            took.as_secs_f64() * 1e3
        );
        if outcome != guest.outcome || !says.contains(&guest.says) {
            wrong.push(format!("{}: {outcome} ({says}) instead of {} ({})", guest.name, guest.outcome, guest.says));
        }
        if used > guest.allowed() || took > MAX_WALL {
            wrong.push(format!("{}: {used:?} of CPU, {took:?} in all; {:?} are allowed", guest.name, guest.allowed()));
        }
        if says.chars().count() > 1_000 || says.contains(char::is_control) {
            wrong.push(format!("{}: {says:?} is no line for a log", guest.name));
        }
        if left > LEFT_KIB {
            wrong.push(format!("{}: {left} KiB are left behind", guest.name));
        }
        if ask(&good).expect("the next decision") != forward() {
            wrong.push(format!("{}: the next decision of a good policy is wrong", guest.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Row W-18. Hundreds of times, so that slots are used again, with and without another guest's traces.
#[test]
fn nothing_is_left_for_the_next_guest() {
    let compiler = compiler();
    let load = |name: &str| {
        let guest = Guest::named(name);
        let compiled = compiler.compile(&guest.module).expect("compiled");
        Router::load(&compiler, &compiled, terms(guest.limits)).expect("a router")
    };
    let (writes, reads) = (load("18-writes-everything"), load("18-reads-everything"));
    for _ in 0..300 {
        assert_eq!(ask(&writes).expect("written"), forward());
        assert_eq!(ask(&reads).expect("nothing found"), forward());
    }
}

/// The table in `guests/hostile/README.md` speaks of each row of the catalogue, and names no guest that is not there.
#[test]
fn every_row_has_a_guest_a_test_or_a_reason() {
    let table = fs::read_to_string(hostile().join("README.md")).expect("the table");
    let missing: Vec<String> =
        (1..=32).map(|n| format!("W-{n:02}")).filter(|row| !table.contains(&format!("| {row} |"))).collect();
    assert!(missing.is_empty(), "no line for {missing:?}");
    let guests = Guest::all();
    for guest in &guests {
        for row in guest.rows.split(", ") {
            let line = table.lines().find(|line| line.starts_with(&format!("| {row} |"))).expect("checked above");
            let start = guest.name.split('-').next().expect("a number");
            assert!(line.contains(&format!("`zoo/{start}-*`")), "{line} does not name {}", guest.name);
        }
    }
}
