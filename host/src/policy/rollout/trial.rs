//! A new version on trial: its decisions are counted against an error budget, and when that is spent, it is over.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::window::Window;
use crate::{model::Share, policy::FailureKind};

/// `[<binding>.budget]`: what a new version may fail before it is rolled back. Refusals and denials are no failures.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::policy) struct Budget {
    /// More than this share of its decisions of `window_s` failing spends it.
    pub failures: Share,
    /// Seconds, 1 to 86,400.
    window_s: u64,
    /// Decisions within the window before it is judged at all.
    pub min_decisions: u64,
    /// Seconds for which a version is new after it became active.
    bake_s: u64,
    /// Whether a spent budget rolls back, or only says so.
    pub rollback: Rollback,
}

/// What follows a spent budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::policy) enum Rollback {
    /// The version before it serves again.
    Auto,
    /// A warning in log and status.
    Manual,
}

/// One version's trial in one tier.
#[derive(Debug)]
pub(in crate::policy) struct Trial {
    budget: Budget,
    ends: Option<Instant>,
    window: Window,
    decisions: AtomicU64,
    failures: AtomicU64,
    over: AtomicBool,
    verdict: OnceLock<String>,
    wake: Arc<Notify>,
}

// === impl Budget ===

impl Default for Budget {
    fn default() -> Self {
        Self { failures: Share::percent(5), window_s: 60, min_decisions: 20, bake_s: 3_600, rollback: Rollback::Auto }
    }
}

impl Budget {
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        for (key, value, most) in
            [("window_s", self.window_s, 86_400), ("min_decisions", self.min_decisions, 1_000_000)]
        {
            if !(1..=most).contains(&value) {
                return Err(format!("budget.{key} is {value}: it must be 1 to {most}"));
            }
        }
        Ok(())
    }

    /// For how long a version is new.
    pub fn bake(&self) -> Duration {
        Duration::from_secs(self.bake_s)
    }
}

// === impl Trial ===

impl Trial {
    /// Until `ends`, or until somebody decides. `wake` is told when the budget is spent.
    pub fn new(budget: Budget, ends: Option<Instant>, wake: Arc<Notify>) -> Self {
        let window = Window::new(Duration::from_secs(budget.window_s));
        Self {
            budget,
            ends,
            window,
            decisions: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            over: AtomicBool::new(false),
            verdict: OnceLock::new(),
            wake,
        }
    }

    /// One decision more. The second call after the budget is spent and later ones count only.
    pub fn decided(&self, now: Instant, failed: Option<FailureKind>) {
        self.decisions.fetch_add(1, Relaxed);
        if failed.is_some() {
            self.failures.fetch_add(1, Relaxed);
        }
        if self.ends.is_some_and(|ends| now >= ends) {
            return;
        }
        self.window.count(now, 0, failed.is_some());
        let Some(kind) = failed else { return };
        let sum = self.window.sum(now);
        if sum.all >= self.budget.min_decisions
            && self.budget.failures.exceeded_by(sum.bad, sum.all)
            && !self.over.load(Relaxed)
        {
            let verdict = format!(
                "its error budget is spent: {} of {} decisions in {} s failed ({} allowed), the last one with {}",
                sum.bad,
                sum.all,
                self.budget.window_s,
                self.budget.failures,
                kind.as_str()
            );
            if self.verdict.set(verdict).is_ok() {
                self.over.store(true, Relaxed);
                self.wake.notify_one();
            }
        }
    }

    /// Whether its budget is spent and that ends it. One load: asked for each request of a canary.
    pub fn is_over(&self) -> bool {
        self.over.load(Relaxed) && self.budget.rollback == Rollback::Auto
    }

    /// Why its budget is spent, if it is.
    pub fn verdict(&self) -> Option<&str> {
        self.verdict.get().map(String::as_str)
    }

    /// Decisions and failures since it began.
    pub fn counts(&self) -> (u64, u64) {
        (self.decisions.load(Relaxed), self.failures.load(Relaxed))
    }

    /// What it is measured by.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(rollback: Rollback, ends: Option<Instant>) -> Trial {
        Trial::new(Budget { min_decisions: 10, rollback, ..Budget::default() }, ends, Arc::default())
    }

    #[test]
    fn a_spent_budget_ends_the_trial_and_says_why() {
        let trial = trial(Rollback::Auto, None);
        let now = Instant::now();
        for _ in 0..95 {
            trial.decided(now, None);
        }
        for _ in 0..5 {
            trial.decided(now, Some(FailureKind::Trap));
        }
        assert!(!trial.is_over(), "5 of 100 are allowed");
        trial.decided(now, Some(FailureKind::Timeout));
        assert!(trial.is_over());
        let verdict = trial.verdict().expect("said");
        assert!(verdict.contains("6 of 101") && verdict.contains("timeout"), "{verdict}");
    }

    #[test]
    fn too_few_decisions_prove_nothing_and_an_old_version_is_not_on_trial() {
        let now = Instant::now();
        let few = trial(Rollback::Auto, None);
        (0..9).for_each(|_| few.decided(now, Some(FailureKind::Trap)));
        assert!(!few.is_over());
        let old = trial(Rollback::Auto, Some(now));
        (0..100).for_each(|_| old.decided(now, Some(FailureKind::Trap)));
        assert!(!old.is_over() && old.counts() == (100, 100));
        let manual = trial(Rollback::Manual, None);
        (0..100).for_each(|_| manual.decided(now, Some(FailureKind::Trap)));
        assert!(!manual.is_over() && manual.verdict().is_some());
    }
}
