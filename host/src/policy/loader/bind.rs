//! From a version to a policy that decides: compiled, asked to describe and configure itself, put in its place.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use orbit_engine::{About, Authorizer, Compiled, Compiler, Limits, LoadError, Renderer, Router, Terms, World};
use time::OffsetDateTime;

use super::{Fault, Loader, version::Version};
use crate::{
    ids::{Digest, TierName},
    policy::{
        binding::{Class, TierFile},
        remembered::Remembered,
        role::{Decides, Loaded, Role},
        rollout::Record,
        set::TierPolicies,
        status::PolicyInfo,
        trust::SignedBinding,
        view,
    },
};

/// One set of inputs: equal keys are the same policy, which is then not loaded again.
///
/// The tier is part of it: what one tier's requests do to a policy (it turns out slow, it takes all of its slots) must not be felt in
/// another.
#[derive(PartialEq, Eq, Hash, Clone)]
pub(super) struct Key {
    tier: TierName,
    world: World,
    digest: Digest,
    settings: Digest,
    limits: Limits,
    class: Class,
    memory: bool,
}

/// Policies that something still uses.
pub(super) type Alive<P> = HashMap<Key, Weak<Loaded<P>>>;

/// Where a binding stands.
pub(super) struct Place<'a> {
    pub tier: &'a TierName,
    /// What the tier's file says.
    pub file: &'a TierFile,
    pub previous: Option<&'a Arc<TierPolicies>>,
    pub set_version: u64,
    pub now: OffsetDateTime,
    /// What this load has compiled already.
    pub compiled: &'a mut HashMap<(Digest, Class), Compiled>,
    /// What the ledger is to know if the whole tier loads.
    pub outcomes: Vec<Outcome>,
    /// What the tier is to have accepted then.
    pub signed: Vec<SignedBinding>,
}

/// What became of one binding.
pub(super) struct Outcome {
    pub binding: String,
    pub record: Record,
    /// To be kept for a rollback.
    pub modules: Vec<(Digest, Arc<[u8]>)>,
}

/// What the loader needs of each world's policy.
pub(super) trait Kind: Decides + Sized {
    const WORLD: World;
    fn load(compiler: &Compiler, code: &Compiled, terms: Terms<'_>) -> Result<Self, LoadError>;
    fn alive(loader: &mut Loader) -> &mut Alive<Self>;
    fn about(policy: &Self) -> &About;
    fn inputs(policy: &Self) -> Vec<String>;
    fn roles(tier: &TierPolicies) -> &[Role<Self>];
}

macro_rules! kind {
    ($policy:ty, $world:expr, $field:ident, $roles:expr) => {
        impl Kind for $policy {
            const WORLD: World = $world;
            fn load(compiler: &Compiler, code: &Compiled, terms: Terms<'_>) -> Result<Self, LoadError> {
                <$policy>::load(compiler, code, terms)
            }
            fn alive(loader: &mut Loader) -> &mut Alive<Self> {
                &mut loader.$field
            }
            fn about(policy: &Self) -> &About {
                policy.about()
            }
            fn inputs(policy: &Self) -> Vec<String> {
                view::declared(policy.inputs())
            }
            fn roles(tier: &TierPolicies) -> &[Role<Self>] {
                let roles: fn(&TierPolicies) -> &[Role<Self>] = $roles;
                roles(tier)
            }
        }
    };
}
kind!(Router, World::Router, routers, |tier| std::slice::from_ref(&tier.router));
kind!(Authorizer, World::Authorizer, authorizers, |tier| &tier.authorizers);
kind!(Renderer, World::Renderer, renderers, |tier| std::slice::from_ref(&tier.renderer));

impl Loader {
    /// A version in its place, with what the status shows of it.
    pub(super) fn bind<P: Kind>(
        &mut self,
        binding: &str,
        version: &Version,
        since: OffsetDateTime,
        place: &mut Place<'_>,
    ) -> Result<(Arc<Loaded<P>>, PolicyInfo), Fault> {
        let policy = self.loaded::<P>(version, place)?;
        let settings_digest = version.settings_digest();
        // What already serves this tier in this role keeps its number.
        let same = |info: &&Arc<PolicyInfo>| info.digest == version.digest && info.settings_digest == settings_digest;
        let before = place.previous.into_iter().flat_map(|tier| P::roles(tier)).map(|role| &role.active.info);
        let set_version = before.filter(|info| info.binding == binding).find(same).map(|info| info.set_version);
        let about = P::about(&policy.policy);
        if let Some(signed) = &version.signed {
            let known = signed.statement.check_name(&about.name);
            let newest = || match version.settings_at {
                Some(_) => {
                    let signed = SignedBinding { binding: binding.to_owned(), statement: signed.statement.clone() };
                    self.accepted.check(place.tier, &signed)
                }
                // It served before: going back to it is the operator's own word.
                None => Ok(()),
            };
            known.and_then(|()| newest()).map_err(|reason| {
                let reason = format!("module {} ({}): {reason}", version.module, version.digest.short());
                Fault::of(P::WORLD, Some(version.digest), reason)
            })?;
        }
        let info = PolicyInfo {
            binding: binding.to_owned(),
            world: P::WORLD.name(),
            policy: about.name.clone(),
            version: about.version.clone(),
            digest: version.digest,
            module: version.module.clone(),
            settings_digest,
            active_since: since,
            set_version: set_version.unwrap_or(place.set_version),
            signed: version.signed.as_ref().map(Into::into),
        };
        tracing::debug!(tier = %place.tier, binding, policy = info.policy, digest = %info.digest, "policy bound");
        Ok((policy, info))
    }

    /// The policy itself: the one that lives already, or a new one.
    fn loaded<P: Kind>(&mut self, version: &Version, place: &mut Place<'_>) -> Result<Arc<Loaded<P>>, Fault> {
        let key = Key {
            tier: place.tier.clone(),
            world: P::WORLD,
            digest: version.digest,
            settings: version.settings_digest(),
            limits: version.limits,
            class: version.class,
            memory: version.memory,
        };
        if let Some(policy) = P::alive(self).get(&key).and_then(Weak::upgrade) {
            return Ok(policy);
        }
        let named = |error: LoadError| {
            let reason = format!("module {} ({}): {error}", version.module, version.digest.short());
            Fault::of(P::WORLD, Some(version.digest), reason)
        };
        // By class, too: what one binding's class allows, another's may not.
        let code = match place.compiled.get(&(version.digest, version.class)) {
            Some(code) => code.clone(),
            None => {
                let code = self.compiler.compile_as(&version.bytes, version.class.shape()).map_err(named)?;
                place.compiled.insert((version.digest, version.class), code.clone());
                code
            }
        };
        let slots = self.slots.of(place.tier);
        let terms = Terms { settings: &version.settings, limits: version.limits, slots };
        let about = orbit_engine::describe(&self.compiler, &code, P::WORLD, &terms).map_err(named)?;
        // Before it sees its settings: this complaint knows key and line.
        self.fits(P::WORLD, version, &about.settings_schema, place)?;
        let policy = P::load(&self.compiler, &code, terms).map_err(named)?;
        let policy = Arc::new(Loaded { policy, remembered: version.memory.then(Remembered::new) });
        P::alive(self).insert(key, Arc::downgrade(&policy));
        Ok(policy)
    }
}
