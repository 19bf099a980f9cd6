//! Puts a process to sleep where it is: stops its session, then has the kernel write its memory to swap. It keeps its port, its
//! connections and its place in every table; SIGCONT brings it back, its pages come as they are touched (measured on a
//! real Backstage: 250 MB out in 0.25 s, first answer after 0.05 s, or 0.18 s where nobody knew which pages it takes).
//!
//! Pages of files that several processes map (Node's own code, 56 MB of it) are not the kernel's to take out of one of them. So a launcher
//! may catch [`PARK`]: its handler lets go of these pages itself, then stops the process. One that does not catch the signal
//! is stopped from outside, and counts the shared pages as resident.

use std::{
    fs, io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::process::{Signal, pidfd_send_signal};

use super::{pageout, procfs, session};

/// The signal that asks a launcher to let go of shared pages and stop. Nobody else uses it, and without a handler it does
/// nothing.
const PARK: Signal = Signal::URG;
/// How long a launcher may take to stop itself.
const PARK_DEADLINE: Duration = Duration::from_millis(500);
const PARK_PAUSE: Duration = Duration::from_millis(2);
/// Free swap that one more instance needs, bytes.
const MIN_FREE_SWAP: u64 = 400 << 20;
/// `CAP_SYS_NICE`, bit number.
const CAP_SYS_NICE: u32 = 23;

/// Why instances can't be suspended on this machine: for `doctor` and the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSuspension {
    /// Nowhere to put the memory.
    #[error("there is no swap: add zram or a swap file")]
    NoSwap,
    /// Not enough of it is left.
    #[error("only {0} MiB of swap are free, an instance needs 400: add swap")]
    SwapFull(u64),
    /// The kernel would refuse.
    #[error("orbitd may not page out other processes: run it as root or give it CAP_SYS_NICE")]
    NoRight,
    /// The kernel did refuse.
    #[error("the kernel refused to page out an instance: {0}")]
    Refused(String),
}

/// Whether suspending can work here, from `/proc/meminfo` and the daemon's own capabilities. Cheap; swap comes and goes.
pub fn can_suspend() -> Result<(), NoSuspension> {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    judge(&memory, &status)
}

/// Whether the daemon may raise priorities, its own or others'.
pub(super) fn may_set_priorities() -> bool {
    has_sys_nice(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn has_sys_nice(status: &str) -> bool {
    let capabilities = procfs::field(status, "CapEff").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    capabilities >> CAP_SYS_NICE & 1 == 1
}

fn judge(memory: &str, status: &str) -> Result<(), NoSuspension> {
    let kib = |name: &str| procfs::field(memory, name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    if kib("SwapTotal") == 0 {
        return Err(NoSuspension::NoSwap);
    }
    let free = kib("SwapFree") << 10;
    if free < MIN_FREE_SWAP {
        return Err(NoSuspension::SwapFull(free >> 20));
    }
    if has_sys_nice(status) { Ok(()) } else { Err(NoSuspension::NoRight) }
}

/// Stops the session that `leader` leads and pages its members out. Blocks. On an error everything runs again.
pub(super) fn suspend(pidfd: &OwnedFd, leader: u32, start_ticks: u64) -> io::Result<()> {
    park(pidfd, leader);
    session::stop(leader, start_ticks);
    let paged_out = page_out(pidfd, leader).and_then(|()| {
        for (pid, pidfd) in session::others(leader, start_ticks) {
            page_out(&pidfd, pid)?;
        }
        Ok(())
    });
    if paged_out.is_err() {
        resume(pidfd, leader, start_ticks);
    }
    paged_out
}

/// Lets the session run. The leader first: it is the one that is waited for.
pub(super) fn resume(pidfd: &OwnedFd, leader: u32, start_ticks: u64) {
    let _ = pidfd_send_signal(pidfd, Signal::CONT);
    for (_, pidfd) in session::others(leader, start_ticks) {
        let _ = pidfd_send_signal(&pidfd, Signal::CONT);
    }
}

/// Has a launcher that knows how let go of its shared pages and stop itself.
fn park(pidfd: &OwnedFd, leader: u32) {
    if !procfs::catches(leader, PARK.as_raw()) || pidfd_send_signal(pidfd, PARK).is_err() {
        return;
    }
    let deadline = Instant::now() + PARK_DEADLINE;
    while Instant::now() < deadline && procfs::stat(leader).is_some_and(|stat| !stat.is_stopped() && !stat.is_over()) {
        std::thread::park_timeout(PARK_PAUSE);
    }
}

fn page_out(pidfd: &OwnedFd, pid: u32) -> io::Result<()> {
    pageout::page_out(pidfd, &procfs::mappings(pid)?).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let memory = |total: u64, free: u64| format!("MemTotal: 1 kB\nSwapTotal:   {total} kB\nSwapFree: {free} kB\n");
        let root = "Name:\tx\nCapEff:\t000001ffffffffff\n";
        assert_eq!(judge(&memory(0, 0), root), Err(NoSuspension::NoSwap));
        assert_eq!(judge(&memory(1 << 20, 102_400), root), Err(NoSuspension::SwapFull(100)));
        assert_eq!(judge(&memory(1 << 20, 1 << 20), "CapEff:\t0000000000000000\n"), Err(NoSuspension::NoRight));
        assert_eq!(judge(&memory(1 << 20, 1 << 20), root), Ok(()));
    }
}
