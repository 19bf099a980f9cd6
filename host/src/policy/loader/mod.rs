//! From files to policies. Everything here blocks (reading, compiling): the callers in `store.rs` keep it off the request path.
//!
//! ```text
//! <tier>.toml ─ binding::Binding ─ version::resolve ─ Version ─ roles::role ─ Role: what serves, what is rolled out
//!               (what it says)     (read the files)    │ rollout::Ledger: what was decided over it
//!                                                      └ bind::bind (compile, describe, configure)
//! ```

mod bind;
mod files;
mod own_cases;
mod roles;
mod settings;
mod shares;
mod sources;
mod version;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use orbit_engine::{Authorizer, Compiler, Renderer, Router, World};
use time::OffsetDateTime;
use tokio::sync::Notify;

use super::{
    binding::{Class, TierFile},
    decision_log::Recorder,
    metrics::PolicyMetrics,
    remote::{OciReference, Remote},
    rollout::{Ledger, Worker},
    set::{PolicySet, TierOutcomes, TierPolicies},
    status::Refused,
    trust::AcceptedVersions,
};
use crate::ids::{Digest, TierName};
use bind::{Alive, Outcome, Place};
use own_cases::Passed;
use shares::Shares;

pub(super) use files::{Fingerprint, Stat};

/// What a look at the folder came to.
pub(super) struct Look {
    pub tiers: BTreeMap<TierName, Arc<TierPolicies>>,
    /// By tier, or by the stem of a file that names none.
    pub refused: BTreeMap<String, Refused>,
}

/// Loads, and remembers what is alive.
pub(super) struct Loader {
    folder: PathBuf,
    compiler: Compiler,
    metrics: PolicyMetrics,
    slots: Shares,
    routers: Alive<Router>,
    authorizers: Alive<Authorizer>,
    renderers: Alive<Renderer>,
    ledger: Ledger,
    worker: Arc<Worker>,
    recorder: Arc<Recorder>,
    /// Told when an error budget is spent.
    wake: Arc<Notify>,
    /// What was pulled from registries.
    remote: Arc<Remote>,
    /// The newest signed versions that were ever accepted.
    accepted: AcceptedVersions,
    /// References that the last load met.
    wanted: Vec<OciReference>,
    /// Files beside the tiers' own that the last load depended on.
    modules: Vec<PathBuf>,
    passed: HashSet<Passed>,
}

/// What a loader is made of.
pub(super) struct LoaderParts {
    pub folder: PathBuf,
    pub compiler: Compiler,
    pub metrics: PolicyMetrics,
    pub ledger: Ledger,
    pub worker: Arc<Worker>,
    pub recorder: Arc<Recorder>,
    pub wake: Arc<Notify>,
    pub remote: Arc<Remote>,
    pub accepted: AcceptedVersions,
}

/// A binding that can't be used.
struct Fault {
    world: Option<&'static str>,
    digest: Option<Digest>,
    reason: String,
}

impl Loader {
    pub fn new(parts: LoaderParts) -> Self {
        let LoaderParts { folder, compiler, metrics, ledger, worker, recorder, wake, remote, accepted } = parts;
        Self {
            folder,
            compiler,
            metrics,
            ledger,
            worker,
            recorder,
            wake,
            remote,
            accepted,
            wanted: Vec::new(),
            slots: Shares::default(),
            routers: HashMap::new(),
            authorizers: HashMap::new(),
            renderers: HashMap::new(),
            modules: Vec::new(),
            passed: HashSet::new(),
        }
    }

    /// Loads every tier. A tier that can't be loaded keeps what `old` has; one whose file is gone too, unless `drop_missing`.
    pub fn load(&mut self, old: &PolicySet, drop_missing: bool) -> Result<Look, String> {
        let now = OffsetDateTime::now_utc();
        let mut loaded = Look { tiers: BTreeMap::new(), refused: BTreeMap::new() };
        self.modules.clear();
        self.wanted.clear();
        let mut compiled = HashMap::new();
        for (stem, path) in files::tier_files(&self.folder)? {
            let refuse = |fault: Fault| Refused {
                world: fault.world,
                digest: fault.digest,
                reason: format!("{}: {}", path.display(), fault.reason),
                at: now,
            };
            let tier: TierName = match stem.parse() {
                Ok(tier) => tier,
                Err(error) => {
                    let reason = format!("{error}; rename the file");
                    loaded.refused.insert(stem, refuse(Fault { world: None, digest: None, reason }));
                    continue;
                }
            };
            let previous = old.tiers.get(&tier);
            match self.load_tier(&tier, &path, previous, old.version + 1, now, &mut compiled) {
                Ok(policies) => {
                    loaded.tiers.insert(tier, policies);
                }
                Err(fault) => {
                    loaded.refused.insert(stem, refuse(fault));
                    if let Some(previous) = previous {
                        loaded.tiers.insert(tier, previous.clone());
                    }
                }
            }
        }
        for (tier, previous) in old.tiers.iter().filter(|_| !drop_missing) {
            if !loaded.tiers.contains_key(tier) && !loaded.refused.contains_key(tier.as_str()) {
                let reason = format!(
                    "{}: the file is gone; its last policies keep serving until `orbitd policy reload`",
                    self.folder.join(format!("{tier}.toml")).display()
                );
                loaded.refused.insert(tier.to_string(), Refused { world: None, digest: None, reason, at: now });
                loaded.tiers.insert(tier.clone(), previous.clone());
            }
        }
        self.remote.want(&self.wanted);
        self.slots.retain(|tier| loaded.tiers.contains_key(tier));
        self.routers.retain(|_, policy| policy.strong_count() > 0);
        self.authorizers.retain(|_, policy| policy.strong_count() > 0);
        self.renderers.retain(|_, policy| policy.strong_count() > 0);
        Ok(loaded)
    }

    fn load_tier(
        &mut self,
        tier: &TierName,
        path: &Path,
        previous: Option<&Arc<TierPolicies>>,
        set_version: u64,
        now: OffsetDateTime,
        compiled: &mut HashMap<(Digest, Class), orbit_engine::Compiled>,
    ) -> Result<Arc<TierPolicies>, Fault> {
        let file = TierFile::read(path).map_err(|reason| Fault { world: None, digest: None, reason })?;
        let (outcomes, signed) = (Vec::new(), Vec::new());
        let mut place = Place { tier, file: &file, previous, set_version, now, compiled, outcomes, signed };
        let router = self.role("router".to_owned(), &file.router, &mut place)?;
        let mut authorizers = Vec::new();
        for (at, binding) in file.authorizer.iter().enumerate() {
            let name = if at == 0 { "authorizer".to_owned() } else { format!("authorizer-{}", at + 1) };
            authorizers.push(self.role(name, binding, &mut place)?);
        }
        let renderer = self.role("renderer".to_owned(), &file.renderer, &mut place)?;
        // On disk before it serves: from here on nothing older does.
        let noted = self.accepted.accept(tier, &place.signed);
        noted.map_err(|reason| Fault { world: None, digest: None, reason })?;
        for Outcome { binding, record, modules } in place.outcomes {
            for (digest, bytes) in modules {
                self.ledger.keep(digest, &bytes).unwrap_or_else(|error| {
                    tracing::warn!(%tier, binding, error, "a rollback to this version will not be possible");
                });
            }
            self.ledger.set(tier.as_str(), &binding, record);
        }
        let rules = file.rules();
        // The very same policies: the tier did not change, and whoever compares sees that.
        if let Some(previous) = previous
            && previous.rules == rules
            && previous.router.is_like(&router)
            && previous.renderer.is_like(&renderer)
            && previous.authorizers.len() == authorizers.len()
            && previous.authorizers.iter().zip(&authorizers).all(|(a, b)| a.is_like(b))
        {
            return Ok(previous.clone());
        }
        let outcomes = TierOutcomes {
            router: self.metrics.outcomes(tier.as_str(), World::Router.name()),
            authorizer: self.metrics.outcomes(tier.as_str(), World::Authorizer.name()),
            renderer: self.metrics.outcomes(tier.as_str(), World::Renderer.name()),
        };
        let tap = self.recorder.tap(tier.as_str());
        Ok(Arc::new(TierPolicies { router, authorizers, renderer, rules, outcomes, tap }))
    }

    /// What the last load depended on, as it is now.
    pub fn fingerprint(&self) -> Fingerprint {
        let tiers = files::tier_files(&self.folder).unwrap_or_default().into_iter().map(|(_, path)| path);
        files::fingerprint(tiers.chain(self.modules.iter().cloned()))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was decided over the tiers' files.
    pub fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}

// === impl Fault ===

impl Fault {
    /// Of a binding.
    fn of(world: World, digest: Option<Digest>, reason: String) -> Self {
        Self { world: Some(world.name()), digest, reason: format!("[{}] {reason}", world.name()) }
    }
}
