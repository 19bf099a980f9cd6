//! The driver for this machine: an instance is a process, the leader of its own session, in its own run directory.
//!
//! ```text
//! <home>/                      0700, <slug>-<8 hex of the workspace's id>
//!   db/                        the sqlite provisioner's
//!   logs/instance.log[.1]      stdout and stderr, O_APPEND
//!   catalog/                   the workspace's catalogue files (see `catalog`)
//!   run/<instance id>/         the working directory
//!     app-config.json host.json secrets/ report.jsonl tmp/ http.sock     catalog/ of a trial
//! ```
//!
//! A process of the warm pool (see `pool`) begins in a slot and is moved here.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use super::{
    Adoption, Confinement, Distribution, Driver, DriverError, Exit, Home, Launch, LogPart, Process, ProcessIdentity,
    Report, Sought, Warmth,
    catalog::{self, CATALOG},
    confine::{Leash, Order, Slot},
    logs,
    pool::WarmPool,
    procfs, report,
    watched::Watched,
};
use crate::{door::Door, ids::InstanceId};

/// This very program, also after its file was replaced by a newer one.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// The hidden verb of [`super::become_instance`].
const BECOME_INSTANCE: &str = "become-instance";
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Passed on if the daemon has them; everything else of its environment stays with it.
const PASSED_ON: [&str; 6] = ["PATH", "LANG", "LC_ALL", "TZ", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"];
/// How long a start whose pid was not recorded may need to show up in `/proc`: fork to exec takes well under a second.
const ORPHAN_GRACE: Duration = Duration::from_secs(2);
/// What the launcher reports to, in its run directory.
const REPORT: &str = "report.jsonl";
/// Where a warm process writes its log until it has a workspace.
const WARM_LOG: &str = "instance.log";
/// A warm process loads after everything else (nice(2)).
const WARM_PRIORITY: i32 = 10;

/// Runs instances as processes of this machine.
pub struct ProcessDriver {
    distribution: Distribution,
    confinement: Confinement,
    max_log_bytes: u64,
    kernel_boot: String,
    born: tokio::time::Instant,
    pool: WarmPool,
    /// The folder of all workspaces' homes.
    homes: PathBuf,
}

impl ProcessDriver {
    /// `max_log_bytes`: a log is rotated past it. `homes`: the folder of all workspaces' homes; the warm pool's folder lies beside
    /// it, so that a slot can be moved.
    pub fn new(
        distribution: Distribution,
        confinement: Confinement,
        max_log_bytes: u64,
        homes: PathBuf,
    ) -> std::io::Result<Self> {
        let kernel_boot = procfs::kernel_boot_id()?;
        let pool = WarmPool::open(homes.with_file_name("pool"))?;
        let born = tokio::time::Instant::now();
        Ok(Self { distribution, confinement, max_log_bytes, kernel_boot, born, pool, homes })
    }

    /// `run`: where it begins.
    fn command(&self, run: &Path, order: &Order, log: std::fs::File) -> std::io::Result<Command> {
        let order = serde_json::to_string(order)?;
        let mut command = Command::new(OWN_PROGRAM);
        command.arg0("orbitd").args([BECOME_INSTANCE, &order]);
        command.current_dir(run).env_clear();
        command.env("PATH", DEFAULT_PATH).env("HOME", run).env("TMPDIR", run.join("tmp")).env("NODE_ENV", "production");
        for name in PASSED_ON {
            if let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    fn start(&self, command: &mut Command, run: &Path, leash: Leash) -> Result<Arc<Watched>, DriverError> {
        let failed = |source| DriverError::Spawn { program: self.distribution.node.clone(), source };
        let child = command.spawn().map_err(failed)?;
        let pid = child.id();
        let door = Door::new(run, pid);
        // Not reaped yet, so the pid can't be another's: a zombie has a stat too.
        let pidfd = Watched::pidfd(pid).ok_or(DriverError::EndedAtOnce(Exit::Unknown))?;
        let stat = procfs::stat(pid).ok_or(DriverError::EndedAtOnce(Exit::Unknown))?;
        let identity = ProcessIdentity { pid, start_ticks: stat.start_ticks, kernel_boot: self.kernel_boot.clone() };
        Watched::watch(identity, pidfd, door, leash, Some(child)).map_err(failed)
    }

    /// Starts a process that waits for a workspace.
    fn start_warm(&self, port: u16) -> Result<(), DriverError> {
        if let Some(why) = self.confinement.forbids_warm() {
            return Err(DriverError::NotWarm(why));
        }
        let name = uuid::Uuid::now_v7();
        std::fs::create_dir_all(self.pool.dir()).map_err(|source| DriverError::File {
            operation: "make",
            path: self.pool.dir().to_owned(),
            source,
        })?;
        let dir = self.pool.slot(&name.to_string());
        let slot = Home::open_or_create(&dir)?;
        slot.create_dir("tmp")?;
        slot.write_new(REPORT, b"")?;
        let log = slot.append(WARM_LOG)?;
        let order = self.confinement.warm_order(&Slot { dir: &dir, homes: &self.homes, port }, &self.distribution);
        let failed = |source| DriverError::Spawn { program: self.distribution.node.clone(), source };
        let process = self.start(&mut self.command(&dir, &order, log).map_err(failed)?, &dir, Leash::default())?;
        process.set_priority(WARM_PRIORITY);
        self.pool.add(dir, port, process);
        Ok(())
    }

    /// Bounds the log while the process lives; whatever writes there ends with it.
    fn keep_log(&self, home: &Path, process: &Arc<dyn Process>) {
        let (home, limit, process) = (home.to_owned(), self.max_log_bytes, process.clone());
        tokio::spawn(async move { logs::keep(home, limit, process.ended()).await });
    }

    /// The process of a recorded identity, if it still is the one.
    fn recorded(&self, identity: &ProcessIdentity, run: &Path) -> Option<ProcessIdentity> {
        let stat = procfs::stat(identity.pid)?;
        let same = identity.kernel_boot == self.kernel_boot
            && stat.start_ticks == identity.start_ticks
            && !stat.is_over()
            && procfs::cwd(identity.pid).is_some_and(|cwd| is_directory(&cwd, run));
        same.then(|| identity.clone())
    }

    /// A process that leads a session from the instance's own run directory: nothing but its launcher does.
    fn orphan(&self, run: &Path) -> Option<ProcessIdentity> {
        let found = procfs::pids()
            .into_iter()
            .filter_map(|pid| Some((pid, procfs::stat(pid)?)))
            .filter(|(pid, stat)| !stat.is_over() && procfs::cwd(*pid).is_some_and(|cwd| is_directory(&cwd, run)));
        // The oldest is the launcher; its children, if any, share its directory.
        let (pid, stat) = found.min_by_key(|(pid, stat)| (stat.session != *pid, stat.start_ticks))?;
        Some(ProcessIdentity { pid, start_ticks: stat.start_ticks, kernel_boot: self.kernel_boot.clone() })
    }
}

/// The kernel marks the name of a removed directory.
fn is_directory(cwd: &Path, run: &Path) -> bool {
    let mut removed = OsString::from(run);
    removed.push(" (deleted)");
    cwd == run || cwd.as_os_str().as_bytes() == removed.as_bytes()
}

/// `slot`: where its process waits already.
fn prepare(launch: &Launch, slot: Option<&Path>, max_log_bytes: u64) -> Result<(), DriverError> {
    let home = Home::open_or_create(&launch.home)?;
    home.create_dir("run")?;
    home.create_dir("logs")?;
    let run = format!("run/{}", launch.id);
    if let Some(slot) = slot {
        home.receive(slot, &run)?;
        logs::take_over(&home, &format!("{run}/{WARM_LOG}"))?;
    }
    for dir in ["", "/secrets", "/tmp"] {
        home.create_dir(&format!("{run}{dir}"))?;
    }
    home.write_new(&format!("{run}/app-config.json"), launch.app_config.as_bytes())?;
    home.write_new(&format!("{run}/host.json"), launch.host_config.as_bytes())?;
    if slot.is_none() {
        home.write_new(&format!("{run}/{REPORT}"), b"")?;
    }
    for (name, value) in &launch.secrets {
        home.write_new(&format!("{run}/secrets/{name}"), value)?;
    }
    if !launch.catalog.is_empty() {
        home.create_dir(&format!("{run}/{CATALOG}"))?;
    }
    for (name, text) in &launch.catalog {
        home.write_new(&format!("{run}/{CATALOG}/{name}"), text.as_bytes())?;
    }
    logs::mark_start(&home, launch.id)?;
    logs::limit(&home, max_log_bytes)
}

/// Runs blocking work; a panic in it is an error like any other.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    let path: PathBuf = path.to_owned();
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(DriverError::File { operation: "work in", path, source: std::io::Error::other(error) })
    })
}

#[async_trait::async_trait]
impl Driver for ProcessDriver {
    fn reserve_warm(&self, id: InstanceId) -> Option<u16> {
        self.pool.reserve(id)
    }

    async fn keep_warm(&self, want: usize, port: Option<u16>) -> Result<Warmth, DriverError> {
        let warmth = self.pool.tidy(want);
        match port {
            Some(port) if warmth.waiting < want => self.start_warm(port)?,
            _ => {}
        }
        Ok(warmth)
    }

    fn warm_ports(&self) -> Vec<u16> {
        self.pool.ports()
    }

    async fn lay_catalog(&self, home: &Path, files: &BTreeMap<String, String>) -> Result<Vec<String>, DriverError> {
        let (path, files) = (home.to_owned(), files.clone());
        blocking(home, move || catalog::lay(&Home::open_or_create(&path)?, &files)).await
    }

    async fn prepare(&self, launch: &Launch) -> Result<(), DriverError> {
        // Borrowed for the duration of a few small writes: `block_in_place` would need a multi-threaded runtime.
        prepare(launch, self.pool.reserved_dir(launch.id).as_deref(), self.max_log_bytes)
    }

    async fn spawn(&self, launch: &Launch) -> Result<Arc<dyn Process>, DriverError> {
        let log = Home::open(&launch.home)?.append(logs::LOG)?;
        let failed = |source| DriverError::Spawn { program: self.distribution.node.clone(), source };
        let home = Home::open(&launch.home)?;
        let user = self.confinement.give(&home, &format!("run/{}", launch.id))?;
        if let Some(warm) = self.pool.take(launch.id) {
            if let Some(exit) = warm.exit() {
                return Err(DriverError::EndedAtOnce(exit));
            }
            user.into_iter().for_each(|user| warm.becomes(user));
            self.confinement.admit(launch.id, warm.identity().pid, &launch.resources);
            warm.set_priority(0);
            let warm: Arc<dyn Process> = warm;
            self.keep_log(&launch.home, &warm);
            return Ok(warm);
        }
        let order = self.confinement.order(launch, &self.distribution, user);
        let (run, leash) = (Launch::run_dir(&launch.home, launch.id), self.confinement.leash(launch.id, None));
        match self.start(&mut self.command(&run, &order, log).map_err(failed)?, &run, leash) {
            Ok(process) => {
                let process: Arc<dyn Process> = process;
                self.keep_log(&launch.home, &process);
                Ok(process)
            }
            Err(error) => {
                self.confinement.leash(launch.id, None).end();
                Err(error)
            }
        }
    }

    async fn adopt(&self, sought: &Sought) -> Adoption {
        let run = Launch::run_dir(&sought.home, sought.id);
        let found = match &sought.identity {
            Some(identity) => self.recorded(identity, &run),
            None => {
                tokio::time::sleep_until(self.born + ORPHAN_GRACE).await;
                self.orphan(&run)
            }
        };
        let Some(identity) = found else { return Adoption::Gone };
        let Some(pidfd) = Watched::pidfd(identity.pid) else { return Adoption::Gone };
        // The pidfd pins whatever has the pid now; looked at again, it is the one.
        if self.recorded(&identity, &run).is_none() {
            return Adoption::Gone;
        }
        let door = Door::new(&run, identity.pid);
        let leash = self.confinement.leash(sought.id, Some(identity.pid));
        match Watched::watch(identity, pidfd, door, leash, None) {
            Ok(process) => {
                let process: Arc<dyn Process> = process;
                self.keep_log(&sought.home, &process);
                Adoption::Found(process)
            }
            Err(error) => {
                tracing::error!(%error, "cannot watch a process");
                Adoption::Gone
            }
        }
    }

    async fn report(&self, home: &Path, id: InstanceId) -> Report {
        let path = home.to_owned();
        let read = blocking(home, move || Ok(report::read(&Home::open(&path)?, id))).await;
        read.unwrap_or_default()
    }

    fn report_size(&self, home: &Path, id: InstanceId) -> u64 {
        Home::open(home).map_or(0, |home| report::size(&home, id))
    }

    async fn log_tail(&self, home: &Path, lines: usize) -> Result<Vec<String>, DriverError> {
        let path = home.to_owned();
        let missing = !home.exists();
        if missing {
            return Ok(Vec::new());
        }
        blocking(home, move || logs::tail(&Home::open(&path)?, lines)).await
    }

    async fn log_part(&self, home: &Path, from: Option<u64>, lines: usize) -> Result<LogPart, DriverError> {
        let path = home.to_owned();
        if !home.exists() {
            return Ok(LogPart::default());
        }
        let read = move |home: Home| match from {
            Some(position) => logs::from(&home, position),
            None => logs::end(&home, lines),
        };
        blocking(home, move || read(Home::open(&path)?)).await
    }

    async fn discard(&self, home: &Path, id: InstanceId) {
        self.pool.give_up(id);
        // What it started may have outlived it while no daemon was there.
        let leash = self.confinement.leash(id, None);
        let run = Launch::run_dir(home, id);
        let path = home.to_owned();
        let removed = blocking(home, move || {
            leash.end();
            // Opened for its check alone: `run` itself must be a directory of ours, not a link.
            let home = Home::open(&path)?;
            home.create_dir("run")?;
            remove_dir(&run)
        });
        if let Err(error) = removed.await {
            tracing::warn!(%error, "cannot remove an instance's run directory");
        }
    }

    async fn remove_home(&self, home: &Path) -> Result<(), DriverError> {
        let path = home.to_owned();
        blocking(home, move || remove_dir(&path)).await
    }
}

/// `remove_dir_all` follows no link, and removes one that is given to it instead of what it points to.
fn remove_dir(path: &Path) -> Result<(), DriverError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(DriverError::File { operation: "remove", path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ConfineMode, ConfineSettings};

    /// Catalogue F-06: a recorded pid that is another process now is never taken for ours, so it is never signalled.
    #[tokio::test]
    async fn a_pid_that_was_used_again_is_nobody_of_ours() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = dir.path().canonicalize().expect("there");
        let id = InstanceId::generate();
        let run = Launch::run_dir(&home, id);
        std::fs::create_dir_all(&run).expect("made");
        let distribution = Distribution {
            root: home.clone(),
            name: String::new(),
            version: String::new(),
            digest: String::new(),
            node: "/bin/sh".into(),
            launcher: home.join("launcher"),
            plugins: Default::default(),
            stateless: false,
            warning: None,
        };
        let settings = ConfineSettings { mode: ConfineMode::Off, ..ConfineSettings::default() };
        let confinement = Confinement::new(&settings, &distribution, &home).expect("off");
        let driver =
            ProcessDriver::new(distribution, confinement, 1 << 20, dir.path().join("workspaces")).expect("/proc");
        let sleep = |cwd: &Path| Command::new("sleep").arg("60").current_dir(cwd).spawn().expect("sleep runs");
        let (mut ours, mut stranger) = (sleep(&run), sleep(&home));
        let found = async |pid: u32, start_ticks: u64, kernel_boot: &str| {
            let identity = Some(ProcessIdentity { pid, start_ticks, kernel_boot: kernel_boot.to_owned() });
            matches!(driver.adopt(&Sought { home: home.clone(), id, identity }).await, Adoption::Found(_))
        };
        let ticks = |pid| procfs::stat(pid).expect("it lives").start_ticks;
        let boot = driver.kernel_boot.clone();
        let (own, other) = (ticks(ours.id()), ticks(stranger.id()));
        assert!(found(ours.id(), own, &boot).await, "the one");
        assert!(!found(ours.id(), own + 1, &boot).await, "the pid of an earlier one");
        assert!(!found(ours.id(), own, "another boot").await, "from before the machine was started");
        assert!(!found(stranger.id(), other, &boot).await, "somewhere else in the machine");
        for child in [&mut ours, &mut stranger] {
            child.kill().and_then(|()| child.wait()).expect("ended by this test alone");
        }
    }
}
