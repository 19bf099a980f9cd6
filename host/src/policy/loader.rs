//! From files to policies. Everything here blocks (reading, compiling): the callers in `store.rs` keep it off the request path.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use orbit_engine::{
    About, Authorizer, Compiled, Compiler, Limits, LoadError, MAX_MODULE_BYTES, Renderer, Router, Slots, Terms, World,
};
use time::OffsetDateTime;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};

use super::{
    binding::{Binding, TierFile},
    metrics::PolicyMetrics,
    remembered::Remembered,
    set::{Bound, Decides, Loaded, PolicySet, TierOutcomes, TierPolicies},
    status::{PolicyInfo, Refused},
};
use crate::ids::{Digest, TierName};

/// Files a policies folder may hold at its top; past it the rest is not looked at.
const MAX_FILES: usize = 1_000;

/// What a look at the folder came to.
pub(super) struct Look {
    pub tiers: BTreeMap<TierName, Arc<TierPolicies>>,
    /// By tier, or by the stem of a file that names none.
    pub refused: BTreeMap<String, Refused>,
}

/// One set of inputs: equal keys are the same policy, which is then not loaded again.
///
/// The tier is part of it: what one tier's requests do to a policy (it turns out slow, it takes all of its slots) must not be felt in
/// another.
#[derive(PartialEq, Eq, Hash, Clone)]
struct Key {
    tier: TierName,
    world: World,
    digest: Digest,
    settings: Digest,
    limits: Limits,
}

/// Size, times and place of every file that the set depends on: a change of any may change the set.
pub(super) type Fingerprint = BTreeMap<PathBuf, Option<Stat>>;

/// Length, inode, modification (seconds, nanoseconds) and change (nanoseconds) of a file.
pub(super) type Stat = (u64, u64, i64, i64, i64);

/// Loads, and remembers what is alive.
pub(super) struct Loader {
    folder: PathBuf,
    compiler: Compiler,
    metrics: PolicyMetrics,
    /// Each tier's share of the sandboxes, for as long as the tier is known: its policies of all versions draw from it.
    slots: HashMap<TierName, Arc<Slots>>,
    routers: HashMap<Key, Weak<Loaded<Router>>>,
    authorizers: HashMap<Key, Weak<Loaded<Authorizer>>>,
    renderers: HashMap<Key, Weak<Loaded<Renderer>>>,
    modules: Vec<PathBuf>,
}

/// A binding that can't be used.
struct Fault {
    world: Option<&'static str>,
    digest: Option<Digest>,
    reason: String,
}

impl Loader {
    pub fn new(folder: PathBuf, compiler: Compiler, metrics: PolicyMetrics) -> Self {
        Self {
            folder,
            compiler,
            metrics,
            slots: HashMap::new(),
            routers: HashMap::new(),
            authorizers: HashMap::new(),
            renderers: HashMap::new(),
            modules: Vec::new(),
        }
    }

    /// Loads every tier. A tier that can't be loaded keeps what `old` has; one whose file is gone too, unless `drop_missing`.
    pub fn load(&mut self, old: &PolicySet, drop_missing: bool) -> Result<Look, String> {
        let now = OffsetDateTime::now_utc();
        let mut loaded = Look { tiers: BTreeMap::new(), refused: BTreeMap::new() };
        self.modules.clear();
        let mut compiled = HashMap::new();
        for (stem, path) in tier_files(&self.folder)? {
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
        self.slots.retain(|tier, _| loaded.tiers.contains_key(tier));
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
        compiled: &mut HashMap<Digest, Compiled>,
    ) -> Result<Arc<TierPolicies>, Fault> {
        let file = TierFile::read(path).map_err(|reason| Fault { world: None, digest: None, reason })?;
        let mut place = Place { tier, previous, set_version, now, compiled };
        let router = self.bind(World::Router, &file.router, &mut place)?;
        let authorizers = file
            .authorizer
            .iter()
            .map(|binding| self.bind(World::Authorizer, binding, &mut place))
            .collect::<Result<Vec<Bound<Authorizer>>, Fault>>()?;
        let renderer = self.bind(World::Renderer, &file.renderer, &mut place)?;
        let rules = file.rules();
        // The very same policies: the tier did not change, and whoever compares sees that.
        if let Some(previous) = previous
            && previous.rules == rules
            && Arc::ptr_eq(&previous.router.policy, &router.policy)
            && Arc::ptr_eq(&previous.renderer.policy, &renderer.policy)
            && previous.authorizers.len() == authorizers.len()
            && previous.authorizers.iter().zip(&authorizers).all(|(a, b)| Arc::ptr_eq(&a.policy, &b.policy))
        {
            return Ok(previous.clone());
        }
        let outcomes = TierOutcomes {
            router: self.metrics.outcomes(tier.as_str(), World::Router.name()),
            authorizer: self.metrics.outcomes(tier.as_str(), World::Authorizer.name()),
            renderer: self.metrics.outcomes(tier.as_str(), World::Renderer.name()),
        };
        Ok(Arc::new(TierPolicies { router, authorizers, renderer, rules, outcomes }))
    }

    fn bind<P: Kind>(&mut self, world: World, binding: &Binding, place: &mut Place<'_>) -> Result<Bound<P>, Fault> {
        let module = binding.module.display().to_string();
        let fault = |digest, reason: String| Fault {
            world: Some(world.name()),
            digest,
            reason: format!("[{}] {reason}", world.name()),
        };
        let path = binding.module_path(&self.folder).map_err(|reason| {
            self.modules.push(self.folder.join(&binding.module));
            fault(None, reason)
        })?;
        self.modules.push(path.clone());
        let bytes = read_module(&path).map_err(|reason| fault(None, format!("module {module} {reason}")))?;
        let digest = Digest::of(&bytes);
        let bad = |reason: String| fault(Some(digest), reason);
        let settings = binding.settings_json().map_err(bad)?;
        let limits = binding.limits(world).map_err(bad)?;
        let key = Key { tier: place.tier.clone(), world, digest, settings: Digest::of(settings.as_bytes()), limits };
        let alive = P::alive(self).get(&key).and_then(Weak::upgrade);
        let policy = match alive {
            Some(policy) => policy,
            None => {
                let named = |error: LoadError| bad(format!("module {module} ({}): {error}", digest.short()));
                let code = match place.compiled.get(&digest) {
                    Some(code) => code.clone(),
                    None => {
                        let code = self.compiler.compile(&bytes).map_err(named)?;
                        place.compiled.insert(digest, code.clone());
                        code
                    }
                };
                let slots = self.slots.entry(place.tier.clone()).or_insert_with(|| Arc::new(Slots::new(stand_aside)));
                let terms = Terms { settings: &settings, limits, slots: slots.clone() };
                let policy = P::load(&self.compiler, &code, terms).map_err(named)?;
                let policy = Arc::new(Loaded { policy, remembered: Remembered::new() });
                P::alive(self).insert(key.clone(), Arc::downgrade(&policy));
                policy
            }
        };
        // What already serves this tier in this role keeps its date.
        let same = |info: &PolicyInfo| {
            info.world == world.name() && info.digest == digest && info.settings_digest == key.settings
        };
        let before = place.previous.and_then(|previous| previous.infos().into_iter().find(same));
        let about = P::about(&policy.policy);
        let info = PolicyInfo {
            world: world.name(),
            policy: about.name.clone(),
            version: about.version.clone(),
            digest,
            module,
            settings_digest: key.settings,
            active_since: before.as_ref().map_or(place.now, |info| info.active_since),
            set_version: before.as_ref().map_or(place.set_version, |info| info.set_version),
        };
        tracing::debug!(tier = %place.tier, world = world.name(), policy = info.policy, digest = %digest, "policy bound");
        Ok(Bound { policy, info })
    }

    /// What the last load depended on, as it is now.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut print = Fingerprint::new();
        let files = tier_files(&self.folder).unwrap_or_default().into_iter().map(|(_, path)| path);
        for path in files.chain(self.modules.iter().cloned()) {
            let seen = fs::metadata(&path)
                .ok()
                .map(|meta| (meta.len(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.ctime_nsec()));
            print.insert(path, seen);
        }
        print
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Where a binding stands.
struct Place<'a> {
    tier: &'a TierName,
    previous: Option<&'a Arc<TierPolicies>>,
    set_version: u64,
    now: OffsetDateTime,
    compiled: &'a mut HashMap<Digest, Compiled>,
}

/// What the loader needs of each world's policy.
trait Kind: Decides + Sized {
    fn load(compiler: &Compiler, code: &Compiled, terms: Terms<'_>) -> Result<Self, LoadError>;
    fn alive(loader: &mut Loader) -> &mut HashMap<Key, Weak<Loaded<Self>>>;
    fn about(policy: &Self) -> &About;
}

macro_rules! kind {
    ($policy:ty, $field:ident) => {
        impl Kind for $policy {
            fn load(compiler: &Compiler, code: &Compiled, terms: Terms<'_>) -> Result<Self, LoadError> {
                <$policy>::load(compiler, code, terms)
            }
            fn alive(loader: &mut Loader) -> &mut HashMap<Key, Weak<Loaded<Self>>> {
                &mut loader.$field
            }
            fn about(policy: &Self) -> &About {
                policy.about()
            }
        }
    };
}
kind!(Router, routers);
kind!(Authorizer, authorizers);
kind!(Renderer, renderers);

/// `<stem>.toml` at the top of the folder, by name.
fn tier_files(folder: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let entries = fs::read_dir(folder).map_err(|error| {
        format!(
            "cannot read the policies folder {}: {error}; set policies_dir to the folder of <tier>.toml",
            folder.display()
        )
    })?;
    let mut files: Vec<_> = entries
        .flatten()
        .take(MAX_FILES)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
        // Editors' scratch files.
        .filter(|(stem, _)| !stem.starts_with('.'))
        .collect();
    files.sort();
    Ok(files)
}

/// A slow policy's call must not hold up the requests that its thread would serve next.
fn stand_aside(work: &mut dyn FnMut()) {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        // A tool or a test: nothing else waits for this thread.
        _ => work(),
    }
}

fn read_module(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| format!("can't be read: {error}"))?;
    // One byte more than allowed, so that the engine's own check sees that it is too long.
    file.take(MAX_MODULE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("can't be read: {error}"))?;
    Ok(bytes)
}
