//! Starts and stops the controller. `app` is the only caller.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{
    Metrics, Workspaces,
    backup::Backups,
    controller, database,
    shared::{Ingredients, Shared},
};
use crate::{
    alerts::Alerts,
    backup::{BackupError, BackupStore},
    db::{DataDir, DataDirError, Registry, RegistryError},
    directory::{Availability, Directory, Entry, InternalPaths},
    driver::{Adoption, ConfineError, Confinement, Distribution, Process, ProcessDriver, ProcessIdentity, Sought},
    identity::{SigningKey, SigningKeyError},
    ids::{Slug, WorkspaceId},
    model::DesiredState,
    policy::Policies,
    provisioner::{PostgresError, Site},
    settings::Settings,
};

/// How long a shutdown waits for reconciles under way.
const WORKERS_DEADLINE: Duration = Duration::from_secs(20);
/// After SIGKILL, before a process that does not go is given up.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// What the controller is made of.
pub struct Parts {
    /// All settings.
    pub settings: Arc<Settings>,
    /// Opened.
    pub registry: Registry,
    /// Opened and locked.
    pub data_dir: Arc<DataDir>,
    /// Empty; filled here.
    pub directory: Arc<Directory>,
    /// The other end of the directory's hints.
    pub hints: mpsc::Receiver<WorkspaceId>,
    /// What the internal listener answers from.
    pub internal_paths: Arc<InternalPaths>,
    /// Loaded, if possible: a workspace whose tier is not there keeps its last revision and is tried again.
    pub policies: Arc<Policies>,
    /// Told what waits for a person.
    pub alerts: Arc<Alerts>,
    /// Opened.
    pub distribution: Distribution,
    /// The port that the proxy is bound to: part of every public URL.
    pub proxy_port: u16,
    /// The port that the internal listener is bound to. It must be the same in each life of the daemon.
    pub internal_port: u16,
}

/// Why the controller can't be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The registry can't be read.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A workspace's signing key can't be used.
    #[error("the signing key of workspace {slug} can't be used: {source}; restore the registry from a backup")]
    SigningKey {
        /// Whose.
        slug: Slug,
        /// Why not.
        source: SigningKeyError,
    },
    /// The settings ask for more than the machine can do.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The data directory can't be opened to the instances' users.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database server's settings can't be used.
    #[error(transparent)]
    Provisioner(#[from] PostgresError),
    /// The place of the backups can't be used.
    #[error(transparent)]
    Backups(#[from] BackupError),
    /// The directory that backups are made in can't be emptied.
    #[error("cannot empty the directory for unfinished backups in data_dir: {0}")]
    Scratch(std::io::Error),
    /// `/proc` can't be read.
    #[error("cannot read /proc ({0}): orbitd needs it to know its processes again")]
    Proc(std::io::Error),
}

/// The running controller.
pub struct ControllerHandle {
    shared: Arc<Shared>,
    tracker: TaskTracker,
}

/// Loads all workspaces into the directory and starts the controller. Instances of an earlier daemon are taken over by its first
/// looks, within moments.
pub async fn start(parts: Parts) -> Result<(Workspaces, ControllerHandle), StartError> {
    let mut parts = parts;
    let (_, unused) = mpsc::channel(1);
    let hints = std::mem::replace(&mut parts.hints, unused);
    let confinement = Confinement::new(&parts.settings.confine, &parts.distribution, parts.data_dir.path())?;
    if confinement.has_own_users() {
        parts.data_dir.let_users_through()?;
    }
    for measure in confinement.measures() {
        match measure.active {
            true => tracing::info!(measure = measure.name, "{}", measure.text),
            false => tracing::warn!(measure = measure.name, "instances are not confined by it: {}", measure.text),
        }
    }
    let max_log_bytes = parts.settings.instances.max_log_bytes;
    let driver = ProcessDriver::new(
        parts.distribution.clone(),
        confinement,
        max_log_bytes,
        parts.data_dir.path().join("workspaces"),
    )
    .map_err(StartError::Proc)?;
    let provisioner = Arc::from(database::provisioner(&parts.settings, &parts.data_dir, &parts.distribution)?);
    let store = BackupStore::open(&parts.settings.backups, &parts.data_dir.backups())?;
    let backups = Backups::new(store, parts.data_dir.backup_scratch()).map_err(StartError::Scratch)?;
    let shared = Arc::new(Shared::new(Ingredients { parts, driver: Arc::new(driver), provisioner, backups }));
    load(&shared).await?;
    let tracker = TaskTracker::new();
    controller::run(&shared, hints, &tracker);
    Ok((Workspaces::new(shared.clone()), ControllerHandle { shared, tracker }))
}

async fn load(shared: &Shared) -> Result<(), StartError> {
    let rows = shared.registry.directory_rows().await?;
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let issuer = format!("{}/api/auth", shared.public_url(&row.slug));
        let key = SigningKey::from_pkcs8(&row.signing_key, issuer)
            .map_err(|source| StartError::SigningKey { slug: row.slug.clone(), source })?;
        let entry = Entry::new(row.id, row.slug, row.tier, Arc::new(key));
        if row.desired == DesiredState::Stopped {
            entry.publish(Availability::Stopped);
        } else if row.asleep {
            entry.publish(Availability::Asleep);
        }
        entries.push(entry);
    }
    shared.directory.insert(entries);
    Ok(())
}

impl ControllerHandle {
    /// What the controller counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.shared.metrics.clone()
    }

    /// Stops the controller. Instances run on for the next daemon, or are stopped: SIGTERM, after `stop_timeout_s` SIGKILL.
    pub async fn shutdown(self, stop_instances: bool) {
        self.shared.stopping.cancel();
        self.tracker.close();
        if tokio::time::timeout(WORKERS_DEADLINE, self.tracker.wait()).await.is_err() {
            tracing::warn!("some reconciles were still under way at the end");
        }
        if stop_instances && let Err(error) = self.stop_all().await {
            tracing::error!(%error, "the instances could not all be stopped");
        }
    }

    async fn stop_all(&self) -> Result<(), RegistryError> {
        let tasks = TaskTracker::new();
        for id in self.shared.registry.workspaces_to_look_at().await? {
            let Some(row) = self.shared.registry.workspace(id).await? else { continue };
            for instance in self.shared.registry.instances_of(id).await? {
                let shared = self.shared.clone();
                let slug = row.workspace.slug.clone();
                let home = shared.home(&slug, id);
                tasks.spawn(async move {
                    let live = shared.live(id);
                    let known = live.lock().await.instances.get(&instance.instance.id).and_then(|l| l.process.clone());
                    let process = match known {
                        Some(process) => Some(process),
                        None => {
                            let found = &instance.instance;
                            let identity = found.pid.zip(found.start_ticks).zip(instance.kernel_boot.clone()).map(
                                |((pid, start_ticks), kernel_boot)| ProcessIdentity { pid, start_ticks, kernel_boot },
                            );
                            match shared.driver.adopt(&Sought { home: home.clone(), id: found.id, identity }).await {
                                Adoption::Found(process) => Some(process),
                                Adoption::Gone => None,
                            }
                        }
                    };
                    if let Some(process) = process {
                        stop(process.as_ref(), shared.stop_timeout()).await;
                    }
                    shared.driver.discard(&home, instance.instance.id).await;
                    let copy = Site { workspace: id, database: &instance.database_name, home: &home };
                    let trial = instance.database_name != DataDir::database_name(&slug, id);
                    if trial && let Err(error) = shared.provisioner.remove(&copy).await {
                        tracing::warn!(%error, "a trial's copy of the database could not be removed");
                        return;
                    }
                    if let Err(error) = shared.registry.delete_instance(instance.instance.id).await {
                        tracing::warn!(%error, "a stopped instance could not be forgotten");
                    }
                });
            }
        }
        tasks.close();
        tasks.wait().await;
        Ok(())
    }
}

async fn stop(process: &dyn Process, patience: Duration) {
    process.terminate();
    if tokio::time::timeout(patience, process.ended()).await.is_ok() {
        return;
    }
    process.kill().await;
    if tokio::time::timeout(KILL_DEADLINE, process.ended()).await.is_err() {
        tracing::warn!(pid = process.identity().pid, "an instance does not end");
    }
}
