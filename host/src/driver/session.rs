//! Ends, stops and finds everything in an instance's session: the instance is its leader, so whatever it started, however deep, carries the
//! leader's pid as its session id, unless it took care to leave.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::procfs;

/// Rounds of looking and killing; a fork bomb gets no further than this many generations without being reported.
const ROUNDS: usize = 50;

/// SIGKILLs every process of the session that `leader` (which started at `start_ticks`) leads or led, and returns how many
/// are left (0, but for a fork bomb). Blocks for some milliseconds.
///
/// Why this can't hit a stranger: the kernel gives no new process a pid that is still some session's id. So either the
/// leader's pid is free or the leader's (all members are ours), or it was used again (no member of ours is left).
pub(super) fn end(leader: u32, start_ticks: u64) -> usize {
    let mut left = 0;
    for _ in 0..ROUNDS {
        if procfs::stat(leader).is_some_and(|stat| stat.start_ticks != start_ticks) {
            return 0;
        }
        left = members(leader, start_ticks).filter(|pid| kill(*pid, leader, start_ticks)).count();
        if left == 0 {
            return 0;
        }
        // Killed processes need a moment to go; the next round looks again.
        std::thread::yield_now();
    }
    left
}

/// SIGSTOPs every process of the session; the leader first. Blocks for some milliseconds.
pub(super) fn stop(leader: u32, start_ticks: u64) {
    for _ in 0..ROUNDS {
        let running: Vec<u32> = members(leader, start_ticks)
            .filter(|pid| procfs::stat(*pid).is_some_and(|stat| !stat.is_stopped() && !stat.is_over()))
            .collect();
        if running.is_empty() {
            return;
        }
        for pid in running {
            if let Some(pidfd) = open(pid).filter(|_| is_member(pid, leader, start_ticks)) {
                let _ = pidfd_send_signal(&pidfd, Signal::STOP);
            }
        }
        // A process that was forked meanwhile is found by the next round.
        std::thread::yield_now();
    }
}

/// The other processes of the leader's session, each held by a pidfd.
pub(super) fn others(leader: u32, start_ticks: u64) -> Vec<(u32, OwnedFd)> {
    members(leader, start_ticks)
        .filter(|pid| *pid != leader)
        .filter_map(|pid| Some((pid, open(pid)?)))
        // Looked at again through the pidfd's lifetime.
        .filter(|(pid, _)| is_member(*pid, leader, start_ticks))
        .collect()
}

fn open(pid: u32) -> Option<OwnedFd> {
    pidfd_open(i32::try_from(pid).ok().and_then(Pid::from_raw)?, PidfdFlags::empty()).ok()
}

fn members(leader: u32, start_ticks: u64) -> impl Iterator<Item = u32> {
    procfs::pids().into_iter().filter(move |pid| is_member(*pid, leader, start_ticks))
}

fn is_member(pid: u32, leader: u32, start_ticks: u64) -> bool {
    procfs::stat(pid).is_some_and(|s| s.session == leader && s.start_ticks >= start_ticks && !s.is_over())
}

/// Whether there was something to kill.
fn kill(pid: u32, leader: u32, start_ticks: u64) -> bool {
    let Some(pidfd) = open(pid) else { return false };
    // Looked at again through the pidfd's lifetime: it can't have become another's since.
    if !is_member(pid, leader, start_ticks) {
        return false;
    }
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    true
}
