//! Commands about versions: promote, roll back, resume; and what a spent error budget does.

use std::sync::{Arc, PoisonError};

use time::OffsetDateTime;

use super::{
    Policies,
    rollout::{Record, Refusal, RolloutEvent, Which, Why},
    store::{Loading, blocking},
};
use crate::ids::Digest;

/// Why a command about a version did nothing, or not yet.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// There is no such tier or binding.
    #[error("{0}")]
    NotFound(String),
    /// There is nothing that it could do.
    #[error("{0}")]
    Conflict(String),
    /// The tier's files can't be loaded.
    #[error("{0}")]
    Refused(String),
}

/// What to do with a binding's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Promote,
    RollBack(Which),
    Resume,
}

impl Policies {
    /// The version that is rolled out becomes the one that serves. Returns when it does.
    pub async fn promote(self: &Arc<Self>, tier: &str, binding: &str) -> Result<RolloutEvent, RolloutError> {
        self.command(tier, binding, Command::Promote, "by command".to_owned()).await
    }

    /// The version that is rolled out is over; if none is, the one that served before the present one serves again.
    pub async fn roll_back(
        self: &Arc<Self>,
        tier: &str,
        binding: &str,
        reason: Option<String>,
    ) -> Result<RolloutEvent, RolloutError> {
        let reason = reason.unwrap_or_else(|| "by command".to_owned());
        self.command(tier, binding, Command::RollBack(Which::Newest), reason).await
    }

    /// Forgets what was promoted and rolled back: the tier's file decides.
    pub async fn resume(self: &Arc<Self>, tier: &str, binding: &str) -> Result<RolloutEvent, RolloutError> {
        self.command(tier, binding, Command::Resume, "by command".to_owned()).await
    }

    async fn command(
        self: &Arc<Self>,
        tier: &str,
        binding: &str,
        command: Command,
        reason: String,
    ) -> Result<RolloutEvent, RolloutError> {
        let (policies, tier, binding) = (self.clone(), tier.to_owned(), binding.to_owned());
        blocking(move || {
            let Some(loading) = &policies.loading else { return Err(not_found(&policies, &tier, &binding)) };
            let mut loading = loading.lock().unwrap_or_else(PoisonError::into_inner);
            policies.decide(&mut loading, &tier, &binding, command, Why::Operator, reason)
        })
        .await
    }

    /// Ends what has spent its error budget. Blocks.
    pub(super) fn enforce_budgets(&self) {
        let Some(loading) = &self.loading else { return };
        let mut loading = loading.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: nobody publishes another set meanwhile.
        let set = self.snapshot();
        for (tier, policies) in &set.tiers {
            for spent in policies.spent() {
                let tier = tier.as_str();
                if spent.rolls_back {
                    let which = if spent.next { Which::Newest } else { Which::Serving };
                    let command = Command::RollBack(which);
                    if let Err(error) =
                        self.decide(&mut loading, tier, &spent.binding, command, Why::ErrorBudget, spent.reason)
                    {
                        tracing::error!(tier, binding = spent.binding, %error, "a version whose error budget is spent stays");
                    }
                } else {
                    tracing::warn!(
                        tier,
                        binding = spent.binding,
                        reason = spent.reason,
                        "the error budget of a new version is spent; it stays, as its binding says: `orbitd policy rollback` ends it"
                    );
                }
            }
        }
    }

    fn decide(
        &self,
        loading: &mut Loading,
        tier: &str,
        binding: &str,
        command: Command,
        by: Why,
        reason: String,
    ) -> Result<RolloutEvent, RolloutError> {
        let known = self.snapshot();
        if !known
            .tiers
            .get(tier)
            .is_some_and(|policies| policies.bindings().iter().any(|b| b.active.binding == binding))
        {
            return Err(not_found(self, tier, binding));
        }
        let at = OffsetDateTime::now_utc();
        let before = loading.loader.ledger().record(tier, binding).cloned().unwrap_or_default();
        let mut record = before.clone();
        let conflict = |Refusal(why): Refusal| RolloutError::Conflict(format!("{tier} {binding}: {why}"));
        let (what, digest): (&'static str, Option<Digest>) = match command {
            Command::Promote => ("promoted", Some(record.promote().map_err(conflict)?.digest)),
            Command::RollBack(which) => {
                ("rolled-back", Some(record.roll_back(which, by, &reason, at).map_err(conflict)?.0.digest))
            }
            Command::Resume => {
                record.resume().map_err(conflict)?;
                ("resumed", None)
            }
        };
        // Before it is noted: a note that no load can follow would keep the tier from loading at all.
        let back = |record: &Record| record.instead().map(|kept| kept.id);
        if let Some(kept) = record.instead().filter(|_| back(&record) != back(&before)) {
            let checked = loading.loader.may_come_back(tier, binding, kept);
            checked.map_err(|why| RolloutError::Refused(format!("{tier} {binding}: nothing is changed: {why}")))?;
        }
        loading.loader.ledger().set(tier, binding, record);
        let event = RolloutEvent {
            at,
            tier: tier.to_owned(),
            binding: binding.to_owned(),
            what: what.to_owned(),
            digest,
            by,
            reason,
        };
        loading.loader.ledger().note(event.clone());
        let reloaded = self.load_locked(loading, false).map_err(|error| RolloutError::Refused(error.to_string()))?;
        if let Some((_, why)) = reloaded.refused.iter().find(|(refused, _)| refused == tier) {
            // A rollback is remembered: it is what an emergency needs, and takes effect with the next load that works. The rest is not.
            if !matches!(command, Command::RollBack(_)) {
                loading.loader.ledger().set(tier, binding, before);
                return Err(RolloutError::Refused(format!(
                    "nothing is changed, because the tier can't be loaded: {why}"
                )));
            }
            return Err(RolloutError::Refused(format!(
                "it is noted, and takes effect when the tier can be loaded again, which now fails: {why}"
            )));
        }
        let word = match by {
            Why::Operator => "operator",
            Why::ErrorBudget => "error-budget",
        };
        self.metrics().rolled(tier, binding, what, word);
        let digest = event.digest.map(|digest| digest.to_string());
        match by {
            Why::Operator => tracing::info!(tier, binding, digest, reason = event.reason, "a policy is {what}"),
            Why::ErrorBudget => tracing::warn!(tier, binding, digest, reason = event.reason, "a policy is {what}"),
        }
        Ok(event)
    }
}

fn not_found(policies: &Policies, tier: &str, binding: &str) -> RolloutError {
    let set = policies.snapshot();
    RolloutError::NotFound(match set.tiers.get(tier) {
        None => {
            let tiers: Vec<&str> = set.tiers.keys().map(|tier| tier.as_str()).collect();
            format!("no tier {tier:?} is loaded; there are {}", tiers.join(", "))
        }
        Some(policies) => {
            let bindings: Vec<String> = policies.bindings().into_iter().map(|known| known.active.binding).collect();
            format!("tier {tier} has no binding {binding:?}; it has {}", bindings.join(", "))
        }
    })
}
