//! How a policy has behaved, and where its calls therefore run.
//!
//! A quick call is made on the caller's thread, which is one of the few that serve everybody. A policy that was slow once loses
//! that: its calls run on threads of their own with low priority ([`crate::lane`]), where they take time from nobody, until it
//! has been quick for a while again. Each relapse doubles that while.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

/// What a decision may take on a thread that serves everybody. A usual one takes a hundredth of it.
pub const SLOW: Duration = Duration::from_millis(2);
/// Quick calls after which a policy is trusted again, the first time.
const PROBATION: u32 = 64;
const MAX_RELAPSES: u32 = 14;

/// One policy's record. Races between its calls may lose a count; the record is no less true for that.
#[derive(Debug, Default)]
pub struct Conduct {
    /// Quick calls that it still owes.
    owed: AtomicU32,
    relapses: AtomicU32,
}

impl Conduct {
    /// Whether its next call may run on the caller's thread.
    pub fn is_trusted(&self) -> bool {
        self.owed.load(Relaxed) == 0
    }

    /// After a call on the caller's thread. `took` is wall time, which a busy machine stretches: that alone costs a probation
    /// (cheap) and is no relapse.
    pub fn saw_on_callers_thread(&self, took: Duration, overran: bool) {
        if overran {
            self.relapse();
        } else if took > SLOW {
            self.owed.store(self.probation(), Relaxed);
        }
    }

    /// After a call on a thread of its own. `used` is CPU time.
    pub fn saw_in_lane(&self, used: Duration, overran: bool) {
        if overran || used > SLOW {
            self.relapse();
        } else {
            let _ = self.owed.fetch_update(Relaxed, Relaxed, |owed| owed.checked_sub(1));
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

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(10);

    fn until_trusted(conduct: &Conduct) -> u32 {
        let mut calls = 0;
        while !conduct.is_trusted() {
            conduct.saw_in_lane(QUICK, false);
            calls += 1;
        }
        calls
    }

    #[test]
    fn each_relapse_doubles_the_probation() {
        let conduct = Conduct::default();
        conduct.saw_on_callers_thread(QUICK, false);
        assert!(conduct.is_trusted());
        conduct.saw_on_callers_thread(SLOW * 2, false);
        assert_eq!(until_trusted(&conduct), 64);
        conduct.saw_on_callers_thread(SLOW * 10, true);
        assert_eq!(until_trusted(&conduct), 64);
        conduct.saw_on_callers_thread(SLOW * 10, true);
        conduct.saw_in_lane(SLOW * 2, false);
        assert_eq!(until_trusted(&conduct), 256);
        for _ in 0..100 {
            conduct.saw_on_callers_thread(SLOW * 10, true);
        }
        assert_eq!(until_trusted(&conduct), 64 << 14);
    }
}
