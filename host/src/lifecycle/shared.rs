//! What all parts of the controller share.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    backup::Backups,
    clock::Clock,
    live::LiveState,
    memory::{Awake, Usage},
    metrics::Metrics,
    queue::Queue,
    starters::Starters,
    turns::Turns,
    warm::Starts,
    wishes::Wishes,
};
use crate::{
    alerts::Alerts,
    db::{DataDir, Registry, RegistryError},
    directory::{Directory, InternalPaths},
    driver::{Distribution, Driver, NoFreePort, NoSuspension, can_suspend, pick_port},
    ids::{Slug, WorkspaceId},
    policy::Policies,
    provisioner::Provisioner,
    settings::Settings,
};

/// How old the knowledge may become that instances can be suspended.
const SUSPENSION_LOOK: Duration = Duration::from_secs(5);

pub(super) struct Shared {
    pub settings: Arc<Settings>,
    pub registry: Registry,
    pub data_dir: Arc<DataDir>,
    pub directory: Arc<Directory>,
    pub internal_paths: Arc<InternalPaths>,
    pub policies: Arc<Policies>,
    pub distribution: Distribution,
    pub driver: Arc<dyn Driver>,
    pub provisioner: Arc<dyn Provisioner>,
    pub proxy_port: u16,
    pub internal_port: u16,
    pub clock: Clock,
    pub queue: Queue,
    pub metrics: Arc<Metrics>,
    pub alerts: Arc<Alerts>,
    /// Who may start an instance now.
    pub starting: Starters,
    pub backups: Backups,
    /// Who is rolled out, and who waits for that.
    pub turns: Turns,
    /// What was asked of sleeping and waking.
    pub wishes: Wishes,
    /// When instances were started: the warm pool learns from it.
    pub starts: Starts,
    /// Held while an instance is let on its database: what is left is counted and taken in one go.
    pub admission: Arc<tokio::sync::Mutex<()>>,
    pub stopping: CancellationToken,
    usage: Mutex<Usage>,
    suspension: Mutex<Suspension>,
    live: Mutex<HashMap<WorkspaceId, Arc<tokio::sync::Mutex<LiveState>>>>,
    /// Why a source's newest entry of a workspace can't be used. Not stored: the source is read again soon.
    rejections: Mutex<HashMap<WorkspaceId, String>>,
    /// The same for workspaces that don't exist, and entries of someone else's workspaces.
    problems: Mutex<BTreeMap<Slug, String>>,
}

/// Whether instances can be suspended here, and when that was last looked at. The kernel's refusal counts for good.
#[derive(Default)]
struct Suspension {
    looked: Option<(Instant, Result<(), NoSuspension>)>,
    refused: Option<NoSuspension>,
}

/// The parts of [`Shared`] that have no default.
pub(super) struct Ingredients {
    pub parts: super::Parts,
    pub driver: Arc<dyn Driver>,
    pub provisioner: Arc<dyn Provisioner>,
    pub backups: Backups,
}

impl Shared {
    pub(super) fn new(from: Ingredients) -> Self {
        let Ingredients { parts, driver, provisioner, backups } = from;
        Self {
            starting: Starters::new(parts.settings.instances.max_starting),
            alerts: parts.alerts,
            turns: Turns::new(parts.settings.instances.max_rollouts),
            settings: parts.settings,
            registry: parts.registry,
            data_dir: parts.data_dir,
            directory: parts.directory,
            internal_paths: parts.internal_paths,
            policies: parts.policies,
            distribution: parts.distribution,
            driver,
            provisioner,
            proxy_port: parts.proxy_port,
            internal_port: parts.internal_port,
            clock: Clock::start(),
            queue: Queue::default(),
            metrics: Arc::default(),
            wishes: Wishes::default(),
            starts: Starts::default(),
            backups,
            admission: Arc::default(),
            stopping: CancellationToken::new(),
            usage: Mutex::default(),
            suspension: Mutex::default(),
            live: Mutex::default(),
            rejections: Mutex::default(),
            problems: Mutex::default(),
        }
    }

    /// Asks for a look at a workspace now.
    pub(super) fn look_at(&self, id: WorkspaceId) {
        self.queue.add(id, Instant::now());
    }

    /// Its rollout is over: the next ones may begin.
    pub(super) fn leave_turn(&self, id: WorkspaceId) {
        self.turns.leave(id).into_iter().for_each(|next| self.look_at(next));
    }

    /// Whether instances can be suspended here; swap comes and goes.
    pub(super) fn can_suspend(&self) -> Result<(), NoSuspension> {
        let mut suspension = lock(&self.suspension);
        if let Some(refused) = &suspension.refused {
            return Err(refused.clone());
        }
        match &suspension.looked {
            Some((at, verdict)) if at.elapsed() < SUSPENSION_LOOK => verdict.clone(),
            _ => {
                let verdict = can_suspend();
                suspension.looked = Some((Instant::now(), verdict.clone()));
                verdict
            }
        }
    }

    /// The kernel refused: nothing is suspended until the daemon's next start.
    pub(super) fn suspension_refused(&self, why: NoSuspension) {
        tracing::warn!(%why, "instances are not suspended any more");
        lock(&self.suspension).refused = Some(why);
    }

    /// A port for an instance, promised to nobody.
    pub(super) async fn free_port(&self) -> Result<Result<u16, NoFreePort>, RegistryError> {
        let mut held = self.registry.ports_in_use().await?;
        held.extend(self.driver.warm_ports());
        Ok(pick_port(self.settings.instances.ports, &held))
    }

    /// Whether no instance is starting.
    pub(super) fn nothing_starts(&self) -> bool {
        self.starting.is_quiet()
    }

    /// What instances use, as it was last looked at.
    pub(super) fn usage(&self) -> MutexGuard<'_, Usage> {
        lock(&self.usage)
    }

    /// All workspaces with a living instance. One that is being worked on right now counts as it did in the last look, `before`.
    pub(super) fn awake(&self, before: &HashMap<WorkspaceId, Awake>) -> HashMap<WorkspaceId, Awake> {
        let all: Vec<_> = lock(&self.live).iter().map(|(id, live)| (*id, live.clone())).collect();
        let now = std::time::Instant::now();
        let set = self.policies.snapshot();
        all.into_iter()
            .filter_map(|(id, live)| {
                let Ok(live) = live.try_lock() else {
                    return before.get(&id).map(|known| (id, Awake { may_sleep: false, ..known.clone() }));
                };
                let entry = live.entries.first()?;
                let processes: Vec<_> = live.instances.values().filter_map(|one| one.process.as_ref()).collect();
                let in_use = live.instances.values().any(|one| !one.is_idle());
                let resident = processes.iter().map(|process| process.resident_bytes()).sum();
                let awake = || Awake {
                    id,
                    tier: entry.tier.clone(),
                    idle_for: if in_use { Duration::ZERO } else { entry.activity.idle_for(now) },
                    resident,
                    starting: live.instances.values().any(|one| one.serving_since.is_none()),
                    may_sleep: set.tier(&entry.tier).is_some_and(|tier| tier.rules().sleep.any()),
                    suspended: processes.iter().all(|process| process.is_suspended()),
                };
                (resident > 0).then(|| (id, awake()))
            })
            .collect()
    }

    pub(super) fn home(&self, slug: &Slug, id: WorkspaceId) -> PathBuf {
        self.data_dir.workspace_home(slug, id)
    }

    pub(super) fn public_url(&self, slug: &Slug) -> String {
        self.settings.proxy.public_url(slug, self.proxy_port)
    }

    pub(super) fn live(&self, id: WorkspaceId) -> Arc<tokio::sync::Mutex<LiveState>> {
        lock(&self.live).entry(id).or_default().clone()
    }

    pub(super) fn forget_live(&self, id: WorkspaceId) {
        lock(&self.live).remove(&id);
    }

    /// Why the source's newest entry can't be used.
    pub(super) fn rejection(&self, id: WorkspaceId) -> Option<String> {
        lock(&self.rejections).get(&id).cloned()
    }

    /// Remembers, or takes back, a rejection; whether that changed anything.
    pub(super) fn set_rejection(&self, id: WorkspaceId, reason: Option<String>) -> bool {
        let mut rejections = lock(&self.rejections);
        let before = match &reason {
            Some(text) => rejections.insert(id, text.clone()),
            None => rejections.remove(&id),
        };
        before != reason
    }

    pub(super) fn problems(&self) -> MutexGuard<'_, BTreeMap<Slug, String>> {
        lock(&self.problems)
    }

    pub(super) fn stop_timeout(&self) -> Duration {
        Duration::from_secs(self.settings.instances.stop_timeout_s)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
