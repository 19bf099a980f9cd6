//! What all parts of the controller share.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{backup::Backups, live::LiveState, metrics::Metrics, queue::Queue, turns::Turns};
use crate::{
    alerts::Alerts,
    db::{DataDir, Registry},
    directory::{Directory, InternalPaths},
    driver::{Distribution, Driver},
    ids::{Slug, WorkspaceId},
    policy::Policies,
    provisioner::Provisioner,
    settings::Settings,
};

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
    pub queue: Queue,
    pub metrics: Arc<Metrics>,
    pub alerts: Arc<Alerts>,
    /// One permit per instance that is starting.
    pub starting: Arc<Semaphore>,
    pub backups: Backups,
    /// Who is rolled out, and who waits for that.
    pub turns: Turns,
    /// Held while an instance is let on its database: what is left is counted and taken in one go.
    pub admission: Arc<tokio::sync::Mutex<()>>,
    pub stopping: CancellationToken,
    live: Mutex<HashMap<WorkspaceId, Arc<tokio::sync::Mutex<LiveState>>>>,
    /// Why a source's newest entry of a workspace can't be used. Not stored: the source is read again soon.
    rejections: Mutex<HashMap<WorkspaceId, String>>,
    /// The same for workspaces that don't exist, and entries of someone else's workspaces.
    problems: Mutex<BTreeMap<Slug, String>>,
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
            starting: Arc::new(Semaphore::new(parts.settings.instances.max_starting.max(1))),
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
            queue: Queue::default(),
            metrics: Arc::default(),
            backups,
            admission: Arc::default(),
            stopping: CancellationToken::new(),
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
