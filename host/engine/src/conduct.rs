//! How a policy has behaved, and where its calls therefore run.
//!
//! A quick call is made on the caller's thread, which is one of the few that serve everybody. A policy that was slow there loses
//! that: its calls run on threads of their own with low priority ([`crate::lane`]), where they take time from nobody, until it
//! has been quick for a while again. Each relapse doubles that while.
//!
//! Slow is what used the processor for long. A busy machine stretches a good call by the wall clock, too: that puts a policy under
//! watch (its next calls are measured by the thread's CPU time, still on the caller's thread), not aside.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

/// What a decision may take on a thread that serves everybody. A usual one takes a hundredth of it.
pub const SLOW: Duration = Duration::from_millis(2);
/// Quick calls after which a policy is trusted again, the first time; and calls under watch.
const PROBATION: u32 = 64;
const MAX_RELAPSES: u32 = 14;

/// One policy's record. Races between its calls may lose a count; the record is no less true for that.
#[derive(Debug, Default)]
pub struct Conduct {
    /// Quick calls that it still owes.
    owed: AtomicU32,
    relapses: AtomicU32,
    /// Calls whose CPU time is still to be looked at.
    watched: AtomicU32,
}

/// Where a call runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The caller's thread.
    Here,
    /// The same, with a look at what CPU time it uses.
    Watched,
    /// A thread of its own.
    Aside,
}

impl Conduct {
    /// Where its next call runs.
    pub fn place(&self) -> Place {
        if self.owed.load(Relaxed) > 0 {
            Place::Aside
        } else if self.watched.load(Relaxed) > 0 {
            Place::Watched
        } else {
            Place::Here
        }
    }

    /// After a call on the caller's thread. `took` is wall time; `used` is CPU time, where somebody looked.
    pub fn saw_on_callers_thread(&self, took: Duration, used: Option<Duration>, overran: bool) {
        match used {
            _ if overran => self.relapse(),
            Some(used) if used > SLOW => self.owed.store(self.probation(), Relaxed),
            _ if took > SLOW => self.watched.store(PROBATION, Relaxed),
            Some(_) => less(&self.watched),
            None => {}
        }
    }

    /// After a call on a thread of its own. `used` is CPU time.
    pub fn saw_in_lane(&self, used: Duration, overran: bool) {
        if overran || used > SLOW {
            self.relapse();
        } else {
            less(&self.owed);
        }
    }

    fn relapse(&self) {
        // The store comes second: a policy is not trusted meanwhile by mistake for longer than it takes.
        self.owed.store(self.probation(), Relaxed);
        let _ = self.relapses.fetch_update(Relaxed, Relaxed, |n| (n < MAX_RELAPSES).then_some(n + 1));
    }

    fn probation(&self) -> u32 {
        PROBATION << self.relapses.load(Relaxed)
    }
}

fn less(count: &AtomicU32) {
    let _ = count.fetch_update(Relaxed, Relaxed, |count| count.checked_sub(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(10);

    fn until_trusted(conduct: &Conduct) -> u32 {
        let mut calls = 0;
        while conduct.place() == Place::Aside {
            conduct.saw_in_lane(QUICK, false);
            calls += 1;
        }
        calls
    }

    #[test]
    fn each_relapse_doubles_the_probation() {
        let conduct = Conduct::default();
        conduct.saw_on_callers_thread(QUICK, None, false);
        assert_eq!(conduct.place(), Place::Here);
        conduct.saw_on_callers_thread(SLOW * 10, None, true);
        assert_eq!(until_trusted(&conduct), 64);
        conduct.saw_on_callers_thread(SLOW * 10, None, true);
        conduct.saw_in_lane(SLOW * 2, false);
        assert_eq!(until_trusted(&conduct), 256);
        for _ in 0..100 {
            conduct.saw_on_callers_thread(SLOW * 10, None, true);
        }
        assert_eq!(until_trusted(&conduct), 64 << 14);
    }

    #[test]
    fn a_busy_machine_puts_nobody_aside() {
        let conduct = Conduct::default();
        conduct.saw_on_callers_thread(SLOW * 2, None, false);
        for _ in 0..PROBATION {
            assert_eq!(conduct.place(), Place::Watched);
            conduct.saw_on_callers_thread(QUICK, Some(QUICK), false);
        }
        assert_eq!(conduct.place(), Place::Here);
        // Stretched again and again, and never slow.
        for _ in 0..1_000 {
            conduct.saw_on_callers_thread(SLOW * 10, Some(QUICK), false);
        }
        assert_eq!(conduct.place(), Place::Watched);
        conduct.saw_on_callers_thread(SLOW * 2, Some(SLOW * 2), false);
        assert_eq!(until_trusted(&conduct), 64, "slow it was, and no relapse");
    }
}
