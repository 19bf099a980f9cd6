//! The zoo: each guest of `guests/hostile/zoo` ends as its header says, at the cost that it says, and the next call of a good
//! policy is right.

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use orbit_engine::{CallError, Compiler, Limits, LoadError, Router, RouterDecision, Slots, Terms};
use wit_component::StringEncoding;

use crate::by_hand::{LIMITS, Parts, ask, assemble, compiler, forward, hostile, load, terms};

/// The two calls at load have a second.
const LOAD_BUDGET: Duration = Duration::from_secs(1);
/// What a guest that is stopped by something else than its budget may use, CPU time.
const QUICK: Duration = Duration::from_millis(10);
/// Compiling, loading and calling, on a machine as busy as may be.
const MAX_WALL: Duration = Duration::from_secs(20);
/// Guests may not leave more behind in this process, KiB.
const LEFT_KIB: u64 = 16 << 10;

/// Measures of this process mean nothing while another test makes it work.
pub static ALONE: Mutex<()> = Mutex::new(());

/// A guest and what must become of it.
pub struct Guest {
    pub name: String,
    pub rows: String,
    outcome: String,
    says: String,
    cost: String,
    pub limits: Limits,
    pub module: Vec<u8>,
}

/// Where a guest was stopped, and how.
enum Ended {
    Refused(LoadError),
    Load(CallError),
    Call(CallError),
    Answered(RouterDecision),
}

impl Guest {
    pub fn all() -> Vec<Self> {
        let mut files: Vec<_> = fs::read_dir(hostile().join("zoo")).expect("the zoo").flatten().collect();
        files.sort_by_key(fs::DirEntry::path);
        files.iter().map(|file| Self::read(&file.path())).collect()
    }

    pub fn named(name: &str) -> Self {
        Self::read(&hostile().join("zoo").join(format!("{name}.wat")))
    }

    fn read(path: &std::path::Path) -> Self {
        let text = fs::read_to_string(path).expect("a guest");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let (mut header, mut parts, mut part) = (Parts::new(), Parts::new(), None::<String>);
        for line in text.lines() {
            if let Some(times) = line.strip_prefix(";;@times ") {
                let (count, text) = times.split_once(' ').expect("a count and a text");
                let count: usize = count.parse().expect("a count");
                let text: String = (1..=count).map(|n| format!("{}\n", text.replace("{n}", &n.to_string()))).collect();
                parts.entry(part.clone().expect("inside a part")).or_default().push_str(&text);
            } else if let Some(next) = line.strip_prefix(";;@") {
                part = Some(next.to_owned());
            } else if let Some(part) = &part {
                parts.entry(part.clone()).or_default().extend([line, "\n"]);
            } else if let Some((key, value)) = line.strip_prefix(";; ").and_then(|line| line.split_once(": ")) {
                header.insert(
                    if key.starts_with("W-") { "rows" } else { key }.to_owned(),
                    match key {
                        rows if rows.starts_with("W-") => rows.to_owned(),
                        _ => value.to_owned(),
                    },
                );
            }
        }
        let encoding = match header.get("encoding").map(String::as_str) {
            Some("utf16") => StringEncoding::UTF16,
            _ => StringEncoding::UTF8,
        };
        let memory = header.get("memory").and_then(|text| text.strip_suffix(" MiB")?.parse::<usize>().ok());
        let field = |key: &str| header.get(key).cloned().unwrap_or_default();
        Self {
            rows: field("rows"),
            outcome: field("outcome"),
            says: field("says"),
            cost: field("cost"),
            limits: Limits { memory_bytes: memory.map_or(LIMITS.memory_bytes, |mib| mib << 20), ..LIMITS },
            module: assemble(&parts, encoding),
            name,
        }
    }

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
        let budget = |budget: Duration| budget + budget / 5;
        match self.cost.as_str() {
            "quick" => QUICK,
            "budget" => budget(self.limits.budget),
            "load" => budget(LOAD_BUDGET),
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
