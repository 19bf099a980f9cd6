//! Ends everything in an instance's session: the instance is its leader, so whatever it started, however deep, carries the
//! leader's pid as its session id, unless it took care to leave.

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

fn members(leader: u32, start_ticks: u64) -> impl Iterator<Item = u32> {
    procfs::pids().into_iter().filter(move |pid| is_member(*pid, leader, start_ticks))
}

fn is_member(pid: u32, leader: u32, start_ticks: u64) -> bool {
    procfs::stat(pid).is_some_and(|s| s.session == leader && s.start_ticks >= start_ticks && !s.is_over())
}

/// Whether there was something to kill.
fn kill(pid: u32, leader: u32, start_ticks: u64) -> bool {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(pidfd) = pidfd_open(id, PidfdFlags::empty()) else { return false };
    // Looked at again through the pidfd's lifetime: it can't have become another's since.
    if !is_member(pid, leader, start_ticks) {
        return false;
    }
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    true
}
