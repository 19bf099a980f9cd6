//! One role of a tier: what its file says, what was decided over that, and what follows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use time::OffsetDateTime;

use super::{
    Fault, Loader,
    bind::{Kind, Outcome, Place},
    version::Version,
};
use crate::policy::{
    binding::Binding,
    role::{Bound, Health, Next, Role},
    rollout::{Breaker, Budget, Record, Serves, Shadow, Trial, Verdict},
    trust::{SignedBinding, Verified},
};

/// Whether a version is on trial, and until when.
#[derive(Clone, Copy)]
enum OnTrial {
    No,
    Until(Instant),
    UntilDecided,
}

impl Loader {
    /// What serves in a role, and what is rolled out beside it.
    pub(super) fn role<P: Kind>(
        &mut self,
        name: String,
        binding: &Binding,
        place: &mut Place<'_>,
    ) -> Result<Role<P>, Fault> {
        let bad = |reason| Fault::of(P::WORLD, None, reason);
        let budget = &binding.budget;
        budget.check().map_err(bad)?;
        let mut file = self.resolve(P::WORLD, binding, place.file.trust.as_ref())?;
        file.settings_at = Some(settings_at(&name, false));
        let mut record = self.ledger.record(place.tier.as_str(), &name).cloned().unwrap_or_default();
        if record.heed(file.id()) {
            tracing::info!(tier = %place.tier, binding = name, "the tier's file was changed: it decides again what serves");
        }
        let serving = match record.instead() {
            Some(kept) => self.restore(P::WORLD, kept, binding, place.file.trust.as_ref())?,
            None => file.clone(),
        };
        let mut verdict = Verdict { serves: record.serves(), ..Verdict::default() };
        if verdict.serves == Serves::RolledBack {
            verdict.file_held_back = record.held_back(file.id()).cloned();
        }
        let since = record.served(serving.kept(place.now));
        let trial = match record.earlier() {
            Some(_) => bake_left(since, budget, place.now),
            None => OnTrial::No,
        };
        let active = self.bound::<P>(&name, &serving, since, trial, budget, place)?;
        if verdict.serves == Serves::File {
            // A version on trial is not accepted yet: it may be rolled back.
            let signed = serving.signed.as_ref();
            let statement = |signed: &Verified| signed.statement.clone();
            place
                .signed
                .extend(signed.map(|signed| SignedBinding { binding: name.clone(), statement: statement(signed) }));
            self.pass_own_cases(P::WORLD, binding, &serving, place)?;
        }
        let mut modules = vec![(serving.digest, serving.bytes.clone())];
        let next = self.next::<P>(&name, binding, &serving, &mut record, &mut verdict, place)?;
        let next = next.map(|(next, version)| {
            modules.push((version.digest, version.bytes));
            next
        });
        place.outcomes.push(Outcome { binding: name, record, modules });
        Ok(Role { active: Arc::new(active), next, verdict, budget: budget.clone() })
    }

    fn next<P: Kind>(
        &mut self,
        name: &str,
        binding: &Binding,
        serving: &Version,
        record: &mut Record,
        verdict: &mut Verdict,
        place: &mut Place<'_>,
    ) -> Result<Option<(Next<P>, Version)>, Fault> {
        let bad = |reason: String| Fault::of(P::WORLD, None, reason);
        let (Some(rules), Some(as_binding)) = (&binding.next, binding.next_binding()) else {
            record.tries(None);
            return Ok(None);
        };
        let audience = rules.audience().map_err(bad)?;
        let mut version = self.resolve(P::WORLD, &as_binding, place.file.trust.as_ref())?;
        version.settings_at = Some(settings_at(name, binding.next_has_settings()));
        if version.id() == serving.id() {
            record.tries(None);
            if verdict.serves == Serves::Promoted {
                return Ok(None);
            }
            return Err(bad(format!(
                "its next version ({}) is what serves already: remove [{name}.next]",
                version.module
            )));
        }
        if let Some(held) = record.held_back(version.id()) {
            verdict.next_held_back = Some(held.clone());
            record.tries(None);
            return Ok(None);
        }
        let since = record.tries(Some(version.kept(place.now))).unwrap_or(place.now);
        let bound = self.bound::<P>(name, &version, since, OnTrial::UntilDecided, &binding.budget, place)?;
        self.pass_own_cases(P::WORLD, &as_binding, &version, place)?;
        let before = previous::<P>(place, name).and_then(|role| role.next.as_ref());
        let shadow =
            before.filter(|next| Arc::ptr_eq(&next.bound.policy, &bound.policy)).map(|next| next.shadow.clone());
        let shadow = shadow.unwrap_or_else(|| {
            let metrics = self.metrics.shadow(place.tier.as_str(), name);
            Arc::new(Shadow::new(self.worker.clone(), metrics))
        });
        Ok(Some((Next { bound: Arc::new(bound), mode: rules.mode, audience, shadow }, version)))
    }

    fn bound<P: Kind>(
        &mut self,
        name: &str,
        version: &Version,
        since: OffsetDateTime,
        trial: OnTrial,
        budget: &Budget,
        place: &mut Place<'_>,
    ) -> Result<Bound<P>, Fault> {
        let (policy, info) = self.bind::<P>(name, version, since, place)?;
        let rolled_out = matches!(trial, OnTrial::UntilDecided);
        // What it did so far is not forgotten because something else was saved.
        let before = previous::<P>(place, name)
            .filter(|role| role.budget == *budget)
            .and_then(|role| if rolled_out { role.next.as_ref().map(|next| &next.bound) } else { Some(&role.active) });
        let health = before.filter(|bound| Arc::ptr_eq(&bound.policy, &policy)).map(|bound| bound.health.clone());
        let health = health.unwrap_or_else(|| {
            let trial = match trial {
                OnTrial::No => None,
                OnTrial::Until(ends) => Some(Trial::new(budget.clone(), Some(ends), self.wake.clone())),
                OnTrial::UntilDecided => Some(Trial::new(budget.clone(), None, self.wake.clone())),
            };
            let tier = place.tier.as_str();
            Arc::new(Health {
                breaker: Breaker::new(),
                trial,
                counters: self.metrics.trial(tier, name),
                openings: self.metrics.breaker(tier, name),
            })
        });
        let inputs = P::inputs(&policy.policy).into();
        Ok(Bound { policy, info: Arc::new(info), inputs, health })
    }
}

fn previous<'a, P: Kind>(place: &Place<'a>, name: &str) -> Option<&'a Role<P>> {
    P::roles(place.previous?).iter().find(|role| role.active.info.binding == name)
}

/// Where the tier's file has a binding's settings.
fn settings_at(name: &str, next: bool) -> Vec<String> {
    let (table, number) =
        name.split_once('-').map_or((name, 1), |(table, number)| (table, number.parse().unwrap_or(1)));
    let mut at = vec![table.to_owned()];
    if table == "authorizer" {
        at.push((number - 1).to_string());
    }
    if next {
        at.push("next".to_owned());
    }
    at.push("settings".to_owned());
    at
}

/// A version is new for a while after it began to serve, also across a restart.
fn bake_left(since: OffsetDateTime, budget: &Budget, now: OffsetDateTime) -> OnTrial {
    let passed = Duration::try_from(now - since).unwrap_or_default();
    match budget.bake().checked_sub(passed) {
        Some(left) if !left.is_zero() => OnTrial::Until(Instant::now() + left),
        _ => OnTrial::No,
    }
}
