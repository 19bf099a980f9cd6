//! A process that is watched through its pidfd: our own child, or one adopted from another life of the daemon.

use std::{
    io::Write,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{Child, ChildStdin, ExitStatus},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
};

use crate::door::Door;

use super::{
    DriverError, Exit, Launch, Process, ProcessIdentity, confine::Leash, pageout, procfs, session, suspend,
    working_set::WorkingSet,
};

/// A pipe holds 64 KiB before a write waits.
const MAX_MESSAGE_BYTES: usize = 60 << 10;
const RELEASE_DEADLINE: Duration = Duration::from_secs(5);
/// Rounds and pause of a kill: a process in the kernel's hands (a slow disk) takes a while to go.
const KILL_ROUNDS: usize = 20;
const KILL_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Watched {
    identity: ProcessIdentity,
    pidfd: Arc<OwnedFd>,
    door: Door,
    pipe: Mutex<Option<ChildStdin>>,
    /// Whom it becomes when it is released.
    user: OnceLock<u32>,
    needs: Arc<WorkingSet>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Watched {
    /// Watches a process. `child` is `None` for an adopted one: its parent is then the system's first process, which reaps it.
    pub(super) fn watch(
        identity: ProcessIdentity,
        pidfd: OwnedFd,
        door: Door,
        leash: Leash,
        mut child: Option<Child>,
    ) -> std::io::Result<Arc<Self>> {
        let pidfd = Arc::new(pidfd);
        #[expect(deprecated, reason = "its replacement is unsafe; an `Arc<OwnedFd>` stays the same open descriptor")]
        let readiness = AsyncFd::with_interest(pidfd.clone(), Interest::READABLE)?;
        let pipe = Mutex::new(child.as_mut().and_then(|child| child.stdin.take()));
        let (ended, exit) = watch::channel(None);
        let (pid, start_ticks) = (identity.pid, identity.start_ticks);
        tokio::spawn(async move {
            // A pidfd becomes readable when its process ends. An error here can only mean the runtime is going down.
            if readiness.readable().await.is_err() {
                return;
            }
            let exit = tokio::task::spawn_blocking(move || {
                // What it started goes with it, however it ended: its port and its database must be free.
                let left = session::end(pid, start_ticks).max(leash.end());
                if left > 0 {
                    tracing::warn!(pid, left, "processes of an ended instance are still there");
                }
                match child.as_mut().map(Child::wait) {
                    Some(Ok(status)) => exit_of(status),
                    Some(Err(_)) | None => Exit::Unknown,
                }
            })
            .await;
            let _ = ended.send(Some(exit.unwrap_or(Exit::Unknown)));
        });
        Ok(Arc::new(Self { identity, pidfd, door, pipe, user: OnceLock::new(), needs: Arc::default(), exit }))
    }

    /// nice(2) of all its threads. Raising it back takes CAP_SYS_NICE: without it nothing is changed, either way.
    pub(super) fn set_priority(&self, nice: i32) {
        if !suspend::may_set_priorities() {
            return;
        }
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.identity.pid)) else { return };
        for thread in threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
            let _ = rustix::process::setpriority_process(Pid::from_raw(thread), nice);
        }
    }

    /// Whom it becomes when it is released: it was started before that was known.
    pub(super) fn becomes(&self, user: u32) {
        let _ = self.user.set(user);
    }

    /// Opens a pidfd; `None` if the process is gone.
    pub(super) fn pidfd(pid: u32) -> Option<OwnedFd> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        pidfd_open(pid, PidfdFlags::empty()).ok()
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
}

#[async_trait::async_trait]
impl Process for Watched {
    fn identity(&self) -> ProcessIdentity {
        self.identity.clone()
    }

    fn door(&self) -> Door {
        self.door.clone()
    }

    async fn release(&self, launch: &Launch) -> Result<(), DriverError> {
        let failed = |reason: &str| DriverError::Message(std::io::Error::other(reason.to_owned()));
        let pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut pipe = pipe.ok_or_else(|| failed("it was handed over already"))?;
        let message = launch.message(self.user.get().copied());
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(failed("it is too long (too many plugins or secrets)"));
        }
        // The message fits the empty pipe, so this does not wait; the deadline is for what nobody thought of.
        let write = tokio::task::spawn_blocking(move || pipe.write_all(message.as_bytes()));
        match tokio::time::timeout(RELEASE_DEADLINE, write).await {
            Ok(Ok(result)) => result.map_err(DriverError::Message),
            Ok(Err(_)) | Err(_) => Err(failed("it was not taken")),
        }
    }

    fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    async fn ended(&self) {
        let mut exit = self.exit.clone();
        // An error means that the watching task is gone with its runtime: nothing will ever be told.
        if exit.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn is_suspended(&self) -> bool {
        let ProcessIdentity { pid, start_ticks, .. } = self.identity;
        procfs::stat(pid).is_some_and(|stat| stat.start_ticks == start_ticks && stat.is_stopped())
    }

    fn resident_bytes(&self) -> u64 {
        if self.exit().is_some() { 0 } else { procfs::resident(self.identity.pid) }
    }

    async fn suspend(&self) -> Result<(), DriverError> {
        let (pidfd, ProcessIdentity { pid, start_ticks, .. }) = (self.pidfd.clone(), self.identity.clone());
        let work = tokio::task::spawn_blocking(move || suspend::suspend(&pidfd, pid, start_ticks));
        work.await.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(DriverError::Suspend)
    }

    async fn learn_needs(&self) -> u64 {
        let (needs, pid) = (self.needs.clone(), self.identity.pid);
        match tokio::task::spawn_blocking(move || needs.learn(pid)).await {
            Ok(Ok(bytes)) => bytes,
            failed => {
                tracing::debug!(pid, ?failed, "what it needs first is not known");
                0
            }
        }
    }

    fn resume(&self) {
        let ProcessIdentity { pid, start_ticks, .. } = self.identity;
        // The leader answers requests; its children are looked for meanwhile.
        let _ = pidfd_send_signal(&self.pidfd, Signal::CONT);
        let (pidfd, needs) = (self.pidfd.clone(), self.needs.clone());
        tokio::task::spawn_blocking(move || {
            // While it runs already, ahead of it. Only advice: what is not fetched comes when it is touched.
            let _ = pageout::page_in(&pidfd, &needs.ranges());
            suspend::resume(&pidfd, pid, start_ticks);
        });
    }

    fn terminate(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::TERM);
        // A stopped process would sleep through it.
        self.resume();
    }

    async fn kill(&self) {
        let ProcessIdentity { pid, start_ticks, .. } = self.identity;
        for _ in 0..KILL_ROUNDS {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            let left = tokio::task::spawn_blocking(move || session::end(pid, start_ticks)).await.unwrap_or(0);
            if left == 0 {
                return;
            }
            tokio::time::sleep(KILL_PAUSE).await;
        }
        tracing::warn!(pid, "an instance's processes do not go away");
    }
}
