//! Runs instances. `lifecycle` decides, a [`Driver`] does; there is one driver now, [`ProcessDriver`]: processes of this
//! machine.
//!
//! ```text
//! prepare (files) ─▶ spawn (the process waits on its pipe) ─▶ the caller records pid + start time ─▶ release (start message)
//!                                     └─ daemon dies here: the pipe closes, the launcher ends by itself
//! ```
//!
//! Whose process is it? A process is *ours* when the pid, its start time and the kernel's boot id are the recorded ones *and* its
//! working directory is that instance's own run directory, held through a pidfd; only then is it signalled. Whether it
//! may be sent *traffic* is another question, answered by its [`Door`] (which process listens there) and the boot secret
//! ([`probe::prove`]: is it the start we think it is).
//!
//! Invariants: no secret in argv or environment; no file of a workspace's home is opened through a symbolic link; what an
//! instance wrote (log, report) is read with a limit.

mod catalog;
mod confine;
mod distribution;
mod home;
mod launch;
mod logs;
mod pageout;
mod pool;
mod ports;
pub mod probe;
mod process;
mod procfs;
mod report;
mod session;
mod suspend;
mod watched;
mod working_set;

pub use confine::{ConfineError, Confinement, Measure, become_instance};
pub use distribution::{Distribution, DistributionError};
pub use home::Home;
pub use launch::Launch;
pub use logs::{LogPart, MAX_LOG_LINES};
pub use pool::Warmth;
pub use ports::{NoFreePort, pick_port};
pub use process::ProcessDriver;
pub use procfs::kernel_boot_id;
pub use report::{Failure, FailurePhase, Report, Started};
pub use suspend::{NoSuspension, can_suspend};

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{door::Door, ids::InstanceId};

/// Runs instances.
#[async_trait::async_trait]
pub trait Driver: Send + Sync {
    /// Chooses a warm process for an instance that is about to be started, if one waits: the loopback port that it must have then.
    fn reserve_warm(&self, id: InstanceId) -> Option<u16>;
    /// Brings the warm pool nearer to `want` processes: ends what is too many, or starts one if it may (`port`: a free one for it).
    async fn keep_warm(&self, want: usize, port: Option<u16>) -> Result<Warmth, DriverError>;
    /// Ports that are promised to warm processes.
    fn warm_ports(&self) -> Vec<u16>;
    /// Makes the workspace's catalogue files these; names of those that are new or say something else now.
    async fn lay_catalog(&self, home: &Path, files: &BTreeMap<String, String>) -> Result<Vec<String>, DriverError>;
    /// Writes the run directory of a new instance. Fails if there is one already.
    async fn prepare(&self, launch: &Launch) -> Result<(), DriverError>;
    /// Starts the process, which then waits for [`Process::release`].
    async fn spawn(&self, launch: &Launch) -> Result<Arc<dyn Process>, DriverError>;
    /// Looks for the process of an instance that another life of the daemon started.
    async fn adopt(&self, sought: &Sought) -> Adoption;
    /// What the launcher has reported so far.
    async fn report(&self, home: &Path, id: InstanceId) -> Report;
    /// How long its report is, bytes; 0 where there is none. Does not wait for a disk: the file is being written.
    fn report_size(&self, home: &Path, id: InstanceId) -> u64;
    /// The last lines of the workspace's log: at most `lines` and 1 MiB, each line cut at 4,000 characters.
    async fn log_tail(&self, home: &Path, lines: usize) -> Result<Vec<String>, DriverError>;
    /// The workspace's log from a position on, or its last `lines` and the position after them.
    async fn log_part(&self, home: &Path, from: Option<u64>, lines: usize) -> Result<LogPart, DriverError>;
    /// Removes the run directory of an instance that is gone.
    async fn discard(&self, home: &Path, id: InstanceId);
    /// Removes a workspace's home whole. Follows no link. Fine if there is none.
    async fn remove_home(&self, home: &Path) -> Result<(), DriverError>;
}

/// A process of ours.
#[async_trait::async_trait]
pub trait Process: Send + Sync {
    /// Which process it is.
    fn identity(&self) -> ProcessIdentity;
    /// Where it is reached.
    fn door(&self) -> Door;
    /// Hands over the start message. Once.
    async fn release(&self, launch: &Launch) -> Result<(), DriverError>;
    /// How it ended; `None` while it lives. When this is `Some`, nothing of its session lives any more.
    fn exit(&self) -> Option<Exit>;
    /// Waits until it has ended. Cancel-safe.
    async fn ended(&self);
    /// Whether it is stopped: by [`Process::suspend`], in this life of the daemon or an earlier one.
    fn is_suspended(&self) -> bool;
    /// Resident memory of the leader, bytes; 0 once it is gone.
    fn resident_bytes(&self) -> u64;
    /// Stops its session and has its memory written to swap. Takes 0.3–0.6 s. After an error it runs as before.
    async fn suspend(&self) -> Result<(), DriverError>;
    /// Remembers what of its memory is there: what [`Process::resume`] has fetched first. To be called when it was let run after a
    /// suspension and has answered once; how many bytes that took.
    async fn learn_needs(&self) -> u64;
    /// Lets its session run again; fine if it does already.
    fn resume(&self);
    /// SIGTERM to the leader: Backstage finishes what it does, then ends. A suspended one is let run for it.
    fn terminate(&self);
    /// SIGKILL to everything in its session.
    async fn kill(&self);
}

/// What names a process for ever: a pid alone is used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot (`/proc/<pid>/stat` field 22).
    pub start_ticks: u64,
    /// The kernel's boot id.
    pub kernel_boot: String,
}

/// The instance whose process is looked for.
#[derive(Debug, Clone)]
pub struct Sought {
    /// Its workspace's home.
    pub home: PathBuf,
    /// Which instance.
    pub id: InstanceId,
    /// The recorded process; `None` if the daemon died between starting it and recording it.
    pub identity: Option<ProcessIdentity>,
}

/// What became of the process that was looked for.
pub enum Adoption {
    /// It lives, and is ours.
    Found(Arc<dyn Process>),
    /// It is gone.
    Gone,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Not told: it was another daemon's child.
    Unknown,
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(9) => f.write_str("signal 9 (killed: out of memory?)"),
            Self::Signal(11) => f.write_str("signal 11 (segmentation fault)"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("an exit nobody saw"),
        }
    }
}

/// Why the driver did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A file of the workspace's home can't be read or written.
    #[error("cannot {operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process can't be started.
    #[error("cannot start {}: {source}", program.display())]
    Spawn {
        /// Node.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process ended before it was known.
    #[error("the process ended at once ({0})")]
    EndedAtOnce(Exit),
    /// Its memory can't be written to swap.
    #[error("cannot suspend the instance: {0}")]
    Suspend(io::Error),
    /// No warm process can be started here.
    #[error("{0}")]
    NotWarm(&'static str),
    /// The start message can't be handed over.
    #[error("cannot hand the start message to the instance: {0}")]
    Message(io::Error),
}

impl DriverError {
    /// The metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File { source, .. } if source.raw_os_error() == Some(28) => "full",
            Self::File { .. } => "file",
            Self::Spawn { .. } => "spawn",
            Self::EndedAtOnce(_) => "ended",
            Self::Suspend(_) => "suspend",
            Self::NotWarm(_) => "not-warm",
            Self::Message(_) => "message",
        }
    }
}
