//! What the roles of a set are doing right now, for the status.

use orbit_engine::Renderer;

use super::{
    role::{Bound, Decides, Next, Role},
    rollout::{Mode, Rollback, Trial},
    set::{PolicySet, TierPolicies},
    status::{BindingStatus, BreakerStatus, NextStatus, PolicyInfo, Rolled, TrialStatus},
};

/// A version whose error budget is spent.
pub(super) struct Spent {
    pub binding: String,
    /// Whether it is the one that is rolled out, or the one that serves.
    pub next: bool,
    pub reason: String,
    /// Whether it is to be rolled back for it.
    pub rolls_back: bool,
}

impl TierPolicies {
    /// All bindings: router, authorizers in order, renderer.
    pub(super) fn bindings(&self) -> Vec<BindingStatus> {
        self.each(&mut |role| role.status())
    }

    /// Versions whose error budgets are spent.
    pub(super) fn spent(&self) -> Vec<Spent> {
        self.each(&mut |role| role.spent()).into_iter().flatten().collect()
    }

    fn each<T>(&self, look: &mut dyn FnMut(&dyn Looked) -> T) -> Vec<T> {
        let mut all = vec![look(&self.router)];
        all.extend(self.authorizers.iter().map(|role| look(role)));
        all.push(look(&self.renderer as &Role<Renderer>));
        all
    }
}

impl PolicySet {
    /// Every version that runs, with its tier and mode.
    pub(super) fn running(&self) -> Vec<(String, PolicyInfo, &'static str)> {
        let mut all = Vec::new();
        for (tier, policies) in &self.tiers {
            for binding in policies.bindings() {
                all.push((tier.to_string(), binding.active, "active"));
                match binding.next {
                    Some(NextStatus::Shadow { version, .. }) => all.push((tier.to_string(), version.info, "shadow")),
                    Some(NextStatus::Canary { version }) => all.push((tier.to_string(), version.info, "canary")),
                    _ => {}
                }
            }
        }
        all
    }
}

/// A role of whichever world.
trait Looked {
    fn status(&self) -> BindingStatus;
    fn spent(&self) -> Vec<Spent>;
}

impl<P: Decides> Looked for Role<P> {
    fn status(&self) -> BindingStatus {
        let held_back = self.verdict.next_held_back.clone().map(NextStatus::RolledBack);
        BindingStatus {
            active: (*self.active.info).clone(),
            serves: self.verdict.serves,
            memory: self.active.policy.remembered.is_some(),
            breaker: breaker(&self.active),
            trial: self.active.health.trial.as_ref().map(trial),
            held_back: self.verdict.file_held_back.clone(),
            next: self.next.as_ref().map(next).or(held_back),
        }
    }

    fn spent(&self) -> Vec<Spent> {
        let versions = [(false, Some(&self.active)), (true, self.next.as_ref().map(|next| &next.bound))];
        let spent = |(next, bound): (bool, Option<&std::sync::Arc<Bound<P>>>)| {
            let bound = bound?;
            let trial = bound.health.trial.as_ref()?;
            Some(Spent {
                binding: bound.info.binding.clone(),
                next,
                reason: trial.verdict()?.to_owned(),
                rolls_back: trial.budget().rollback == Rollback::Auto,
            })
        };
        versions.into_iter().filter_map(spent).collect()
    }
}

fn next<P: Decides>(next: &Next<P>) -> NextStatus {
    let version = Rolled {
        info: (*next.bound.info).clone(),
        share: next.audience.share,
        workspaces: next.audience.workspaces.iter().map(ToString::to_string).collect(),
        breaker: breaker(&next.bound),
        trial: next.bound.health.trial.as_ref().map(trial),
    };
    match next.mode {
        Mode::Shadow => NextStatus::Shadow { version, differences: next.shadow.status() },
        Mode::Canary => NextStatus::Canary { version },
    }
}

fn breaker<P: Decides>(bound: &Bound<P>) -> BreakerStatus {
    let breaker = &bound.health.breaker;
    BreakerStatus { open: breaker.is_open(), openings: breaker.openings() }
}

fn trial(trial: &Trial) -> TrialStatus {
    let (decisions, failures) = trial.counts();
    let (allowed, spent) = (trial.budget().failures, trial.verdict().map(str::to_owned));
    TrialStatus { decisions, failures, allowed, spent }
}
