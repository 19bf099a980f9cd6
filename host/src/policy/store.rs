//! Where the current set is, and the only place that replaces it.
//!
//! Called by: `app` (open, watch), `proxy` and `lifecycle` (snapshot), `api` (status, reload). One load at a time, under a lock
//! that no request ever takes; publishing is one atomic store.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use orbit_engine::{CacheKey, Compiler, Isolation, LoadError, Runtime};
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    PolicySet,
    decision_log::{Follower, Line, Recorder},
    loader::{Fingerprint, Loader, LoaderParts},
    metrics::PolicyMetrics,
    remote::{Remote, RemoteOptions},
    rollout::{Ledger, Worker},
    status::{PolicyStatus, Reloaded, TierStatus},
    trust::AcceptedVersions,
};
use crate::settings::DecisionLogSettings;

/// How to open the policies.
pub struct PolicyOptions {
    /// Folder of `<tier>.toml` and modules.
    pub folder: PathBuf,
    /// Folder for compiled code; made 0700 if missing. It must be this daemon's alone.
    pub cache_folder: PathBuf,
    /// 32 secret bytes that sign what is in the cache; see [`super::load_or_create_cache_key`].
    pub cache_key: [u8; 32],
    /// Who compiles: a child process of this very program.
    pub isolation: Isolation,
    /// Folder for what was promoted and rolled back, made 0700 if missing; none forgets it with the process.
    pub rollouts_folder: Option<PathBuf>,
    /// Registries that modules come from.
    pub remote: RemoteOptions,
    /// File with the newest signed versions that were ever accepted; none forgets them with the process.
    pub accepted_versions: Option<PathBuf>,
    /// Which decisions are written down. Its file is as seen from the working directory.
    pub decision_log: DecisionLogSettings,
}

/// Why no policies can be opened at all. A single broken tier is no such error: see [`Policies::status`].
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The folder can't be read.
    #[error("{0}")]
    Folder(String),
    /// What was promoted and rolled back can't be read, or the decision log's settings can't work.
    #[error("{0}")]
    Beside(String),
    /// Engine, compiler or cache can't be set up.
    #[error("cannot set up the policy engine: {0}")]
    Engine(#[from] LoadError),
}

/// Where the current set is; swapped as one.
#[derive(Default)]
pub struct Policies {
    current: ArcSwap<PolicySet>,
    status: ArcSwap<PolicyStatus>,
    metrics: PolicyMetrics,
    versions: watch::Sender<u64>,
    recorder: Option<Arc<Recorder>>,
    remote: Option<Arc<Remote>>,
    /// Told when an error budget is spent.
    pub(super) spent: Arc<Notify>,
    /// `None` for the empty default, which never loads.
    pub(super) loading: Option<Mutex<Loading>>,
}

pub(super) struct Loading {
    pub loader: Loader,
    seen: Fingerprint,
}

impl Policies {
    /// Loads every tier. A tier that can't be loaded is reported in [`Policies::status`] and left out. Blocks: compiling takes
    /// tens of milliseconds a module, cached code one.
    pub fn open(options: PolicyOptions) -> Result<Arc<Self>, PolicyError> {
        let runtime = Runtime::start()?;
        let cache = (options.cache_folder.as_path(), CacheKey::new(&options.cache_key));
        let compiler = Compiler::new(runtime, options.isolation, Some(cache))?;
        let metrics = PolicyMetrics::default();
        let recorder = Recorder::start(&options.decision_log, metrics.log().clone()).map_err(PolicyError::Beside)?;
        let ledger = Ledger::open(options.rollouts_folder).map_err(PolicyError::Beside)?;
        let worker = Worker::start().map_err(|error| {
            PolicyError::Beside(format!("the thread for policies in the shadow can't start: {error}"))
        })?;
        let folder = options.remote.folder.clone();
        let remote = Remote::open(options.remote).map_err(|error| {
            PolicyError::Beside(format!("cannot use {} for modules from registries: {error}", folder.display()))
        })?;
        let spent = Arc::new(Notify::new());
        let loader = Loader::new(LoaderParts {
            folder: options.folder,
            compiler,
            metrics: metrics.clone(),
            ledger,
            worker,
            recorder: recorder.clone(),
            wake: spent.clone(),
            remote: remote.clone(),
            accepted: AcceptedVersions::open(options.accepted_versions),
        });
        let loading = Some(Mutex::new(Loading { loader, seen: Fingerprint::new() }));
        let policies =
            Self { metrics, recorder: Some(recorder), remote: Some(remote), spent, loading, ..Self::default() };
        policies.load(true)?;
        Ok(Arc::new(policies))
    }

    /// The current set; hold it for one request.
    pub fn snapshot(&self) -> Arc<PolicySet> {
        self.current.load_full()
    }

    /// The version of the set that serves; changes with each swap.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.versions.subscribe()
    }

    /// What serves and what was refused, with the numbers of this moment.
    pub fn status(&self) -> PolicyStatus {
        let mut status = PolicyStatus::clone(&self.status.load());
        let set = self.snapshot();
        for tier in &mut status.tiers {
            if let Some(policies) = set.tiers.get(tier.tier.as_str()) {
                tier.policies = policies.bindings();
            }
        }
        status.remote = self.remote.as_ref().map(|remote| remote.modules()).unwrap_or_default();
        status
    }

    /// Follows decisions as they are made; none if nothing is loaded or too many follow already. They are logged meanwhile.
    pub fn follow_decisions(&self) -> Option<Follower> {
        self.recorder.as_ref()?.follow()
    }

    /// The newest decisions, oldest first, and whether they are logged without a follower, too.
    pub fn recent_decisions(&self) -> (Vec<Arc<Line>>, bool) {
        self.recorder.as_ref().map(|recorder| (recorder.recent(), recorder.to_file())).unwrap_or_default()
    }

    /// Waits until all decisions so far are in the log's file, at most `limit`. Blocks.
    pub fn flush_decisions(&self, limit: std::time::Duration) {
        if let Some(recorder) = &self.recorder {
            recorder.flush(limit);
        }
    }

    /// The counters, to be registered once.
    pub fn metrics(&self) -> &PolicyMetrics {
        &self.metrics
    }

    /// Asks the registries and reads everything again, now; tiers whose file is gone are dropped. Returns when the new set
    /// serves.
    pub async fn reload(self: &Arc<Self>) -> Result<Reloaded, PolicyError> {
        if let Some(remote) = &self.remote {
            remote.look_at_all().await;
        }
        let policies = self.clone();
        blocking(move || policies.load(true)).await
    }

    /// Waits for something new from a registry; for ever where none is followed.
    pub(super) async fn registry_news(&self) {
        match &self.remote {
            Some(remote) => remote.news().await,
            None => std::future::pending().await,
        }
    }

    /// Follows registries until `cancel`.
    pub(super) async fn follow_registries(&self, cancel: CancellationToken) {
        if let Some(remote) = &self.remote {
            remote.run(cancel).await;
        }
    }

    /// The files that don't look as they did when they were loaded last, and how they look now.
    pub(super) fn changed(&self) -> Option<Fingerprint> {
        let loading = self.loading.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let now = loading.loader.fingerprint();
        let gone = loading.seen.keys().filter(|path| !now.contains_key(*path)).map(|path| (path.clone(), None));
        let mut changed: Fingerprint = gone.collect();
        changed.extend(now.into_iter().filter(|(path, stat)| loading.seen.get(path) != Some(stat)));
        (!changed.is_empty()).then_some(changed)
    }

    pub(super) fn folder(&self) -> Option<PathBuf> {
        let loading = self.loading.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        Some(loading.loader.folder().to_owned())
    }

    /// Blocks.
    pub(super) fn load(&self, drop_missing: bool) -> Result<Reloaded, PolicyError> {
        let Some(loading) = &self.loading else {
            return Ok(Reloaded { swapped: false, set_version: 0, refused: Vec::new() });
        };
        let mut loading = loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.load_locked(&mut loading, drop_missing)
    }

    pub(super) fn load_locked(&self, loading: &mut Loading, drop_missing: bool) -> Result<Reloaded, PolicyError> {
        let old = self.snapshot();
        // Which modules a tier names is only known after reading it: look before and after, and believe the look before
        // for what it covers, so that a change during the load is seen by the next look.
        let before = loading.loader.fingerprint();
        let loaded = loading.loader.load(&old, drop_missing).map_err(PolicyError::Folder)?;
        loading.seen = loading.loader.fingerprint();
        loading.seen.extend(before);
        let modules = loading.loader.fingerprint();
        loading.seen.retain(|path, _| modules.contains_key(path));

        let same = old.version > 0
            && loaded.tiers.len() == old.tiers.len()
            && loaded.tiers.iter().all(|(tier, new)| old.tiers.get(tier).is_some_and(|old| Arc::ptr_eq(old, new)));
        let now = OffsetDateTime::now_utc();
        let not_saved = loading.loader.ledger().save().err();
        if let Some(error) = &not_saved {
            tracing::error!(error, "what was promoted and rolled back is not safe from a restart");
        }
        let before = self.status.load_full();
        let version = if same { old.version } else { old.version + 1 };
        let mut status = PolicyStatus {
            set_version: version,
            active_since: if same { before.active_since } else { Some(now) },
            tiers: Vec::new(),
            events: loading.loader.ledger().events().cloned().collect(),
            remote: Vec::new(),
            not_saved,
        };
        let names: std::collections::BTreeSet<String> =
            loaded.tiers.keys().map(ToString::to_string).chain(loaded.refused.keys().cloned()).collect();
        for tier in names {
            let serving = loaded.tiers.get(tier.as_str());
            let mut refused = loaded.refused.get(&tier).cloned();
            let known =
                before.tiers.iter().find(|status| status.tier == tier).and_then(|status| status.refused.as_ref());
            if let Some(refused) = &mut refused {
                match known {
                    // The same fault as before: keep its date, and don't say it again.
                    Some(known) if known.reason == refused.reason => refused.at = known.at,
                    _ => {
                        let kept = serving.is_some();
                        tracing::warn!(tier, reason = refused.reason, kept, "a policy change is refused");
                    }
                }
            }
            let policies = serving.map(|policies| policies.bindings()).unwrap_or_default();
            status.tiers.push(TierStatus { tier, serving: serving.is_some(), refused, policies });
        }
        let outcome = match (same, loaded.refused.is_empty()) {
            (false, _) => "swapped",
            (true, true) => "unchanged",
            (true, false) => "refused",
        };
        let refused = loaded.refused.iter().map(|(tier, refused)| (tier.clone(), refused.reason.clone())).collect();
        if !same {
            let set = Arc::new(PolicySet { version, tiers: loaded.tiers });
            let running = set.running();
            self.metrics.running(running.iter().map(|(tier, info, mode)| (tier.as_str(), info, *mode)));
            self.current.store(set);
            self.versions.send_replace(version);
            tracing::info!(
                version,
                tiers = status.tiers.iter().filter(|tier| tier.serving).count(),
                "policies swapped"
            );
        }
        self.status.store(Arc::new(status));
        self.metrics.swapped(outcome, version);
        Ok(Reloaded { swapped: !same, set_version: version, refused })
    }
}

/// Runs blocking work off the async threads. A panic in it is carried on: it is a bug, not a state.
pub(super) async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Only at shutdown, when the runtime drops what waits.
        Err(_) => std::future::pending().await,
    }
}
