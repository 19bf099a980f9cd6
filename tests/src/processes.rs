//! The process oracle: which processes live in a directory. orbitd starts each instance with its run directory as working
//! directory, so every instance of a daemon, adopted or lost, is found by where it stands.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// Clock ticks per second in /proc, on every architecture that orbitd runs on.
const USER_HZ: u64 = 100;

/// A process found in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Process id.
    pub pid: u32,
    /// Working directory.
    pub cwd: PathBuf,
    /// `argv`, joined by blanks.
    pub command: String,
}

/// Processes whose working directory is below `dir`, by pid. Zombies have none and are not among them.
pub fn living_below(dir: &Path) -> Vec<Found> {
    let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| {
            let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
            if !cwd.starts_with(&dir) {
                return None;
            }
            let argv = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let command = String::from_utf8_lossy(&argv).replace('\0', " ").trim().to_owned();
            Some(Found { pid, cwd, command })
        })
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// Sends a signal to a process of this test.
///
/// # Panics
/// When it is gone or not ours.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid is not 0");
    kill_process(pid, signal).expect("the process is there");
}

/// The same for a process that may be gone.
pub fn signal_if_alive(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _ = kill_process(pid, signal);
    }
}

/// Whether the process lives (a zombie does not).
pub fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])))
}

/// CPU time that a process has used, microseconds (user and system; clock ticks are 10 ms).
pub fn cpu_micros(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks * 1_000_000 / USER_HZ
}

/// Resident memory of a process, KiB.
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}
