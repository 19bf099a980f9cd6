//! The daemon that leaves.

use std::{
    ffi::OsString,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};

use super::{PREPARE_DEADLINE, SERVE_DEADLINE, Word, channel};

/// The program that runs now, whatever lies at its path meanwhile.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// The hidden flag of `serve`.
const TAKEOVER: &str = "--takeover";
/// After SIGTERM, before a failed successor is killed.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// A program that is ready to take over. Dropped, it ends: its channel closes.
pub struct Successor {
    child: Option<Child>,
    channel: Arc<OwnedFd>,
}

/// Starts the program at `path` with this process' own arguments and waits until it is prepared (2 minutes at most).
///
/// # Errors
/// It can't be started, or ended, or took too long. What it said is in the log: it writes to the same.
pub async fn prepare(path: PathBuf, listeners: Arc<Vec<OwnedFd>>) -> anyhow::Result<Successor> {
    let begun = tokio::task::spawn_blocking(move || {
        let successor = start(&path, &listeners)?;
        successor.hear(Word::Prepared, PREPARE_DEADLINE).map_err(|why| {
            anyhow::anyhow!("{} did not get ready to take over: {why}; this daemon serves on", path.display())
        })
    });
    begun.await.context("starting the successor")?
}

/// Puts this process' own program in the place of a successor that failed, without a program at a path: everything it needs was
/// good a moment ago.
pub async fn take_back(listeners: Arc<Vec<OwnedFd>>) -> anyhow::Result<Successor> {
    prepare(OWN_PROGRAM.into(), listeners).await
}

fn start(path: &Path, listeners: &[OwnedFd]) -> anyhow::Result<Successor> {
    let (own, theirs) = channel::pair().context("making the channel")?;
    let mut args: Vec<OsString> = std::env::args_os().skip(1).filter(|arg| arg != TAKEOVER).collect();
    args.push(TAKEOVER.into());
    let mut command = Command::new(path);
    command.args(args).stdin(theirs);
    let child = command.spawn().with_context(|| format!("cannot start {}", path.display()))?;
    // The command still holds the successor's end: without this its end would never be noticed.
    drop(command);
    let successor = Successor { child: Some(child), channel: Arc::new(own) };
    let borrowed: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
    match channel::say(&successor.channel, Word::Listeners, &borrowed) {
        // It has ended already: how, is heard from it next.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(successor),
        said => said.map(|()| successor).context("handing over the listeners"),
    }
}

impl Successor {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Lets it begin and waits until it serves (30 s at most). The data directory must be free.
    ///
    /// # Errors
    /// It did not come to serve, and is ended.
    pub async fn go(self) -> anyhow::Result<u32> {
        let gone = tokio::task::spawn_blocking(move || {
            channel::say(&self.channel, Word::Go, &[]).context("telling the successor to begin")?;
            match self.hear(Word::Serving, SERVE_DEADLINE) {
                Ok(mut successor) => {
                    // It outlives this process: whoever reaps orphans reaps it.
                    let pid = successor.pid();
                    successor.child = None;
                    Ok(pid)
                }
                Err(why) => bail!("the successor did not come to serve: {why}"),
            }
        });
        gone.await.context("waiting for the successor")?
    }

    /// Itself again, or why not, after it was ended.
    fn hear(self, word: Word, deadline: Duration) -> Result<Self, String> {
        match channel::hear(&self.channel, word, deadline) {
            Ok(_) => Ok(self),
            Err(error) => {
                let mut why = error.to_string();
                if let Some(status) = self.end() {
                    why = format!("{why} ({status})");
                }
                Err(why)
            }
        }
    }

    /// Ends it for good: two daemons must never be on one data directory.
    fn end(mut self) -> Option<std::process::ExitStatus> {
        let mut child = self.child.take()?;
        let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw)?;
        // A child that was not waited for keeps its pid.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let deadline = std::time::Instant::now() + END_PATIENCE;
        while std::time::Instant::now() < deadline {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let _ = child.kill();
        child.wait().ok()
    }
}
