//! The warm pool: launchers that have loaded the distribution's code and wait for a start message. Two thirds of a start are
//! over then.
//!
//! A warm process stands in a directory of its own:
//!
//! ```text
//! <data_dir>/pool/<random name>/      its working directory: report.jsonl, instance.log
//!        │ prepare: the directory is *moved*, and its process with it
//!        ▼
//! <home>/run/<instance id>/
//! ```
//!
//! So everything that holds for a process that was started for its workspace (the working directory that proves it ours, the
//! search for orphans, what a confinement allows it) holds for this one too, and nothing is handed to it that it has to be
//! trusted with: it gets the same start message down the same pipe. A process is given away once, and never comes back. If the daemon
//! ends, their pipes close and they end by themselves.

use std::{
    collections::{HashMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Process, watched::Watched};
use crate::ids::InstanceId;

/// Longest time between the choice of a warm process and its start: past it the start was given up.
const RESERVED_FOR: Duration = Duration::from_secs(60);

/// The waiting processes.
pub struct WarmPool {
    dir: PathBuf,
    slots: Mutex<Slots>,
}

/// How warm it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Warmth {
    /// Processes that wait.
    pub waiting: usize,
    /// Their resident memory, bytes.
    pub resident_bytes: u64,
}

#[derive(Default)]
struct Slots {
    /// Oldest first: the likeliest to have loaded everything.
    waiting: VecDeque<Warm>,
    /// Chosen for the start of an instance that is under way.
    reserved: HashMap<InstanceId, Warm>,
}

/// One waiting process.
struct Warm {
    process: Arc<Watched>,
    /// Where it stands.
    dir: PathBuf,
    /// The loopback port that it may listen on.
    port: u16,
    since: Instant,
}

impl WarmPool {
    /// An empty pool in `dir`, which is emptied: what an earlier daemon left there ends by itself, its pipe is closed.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        Ok(Self { dir, slots: Mutex::default() })
    }

    /// Where a new process stands.
    pub(super) fn slot(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The folder of all slots.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn add(&self, dir: PathBuf, port: u16, process: Arc<Watched>) {
        self.lock().waiting.push_back(Warm { process, dir, port, since: Instant::now() });
    }

    /// Ports of all of them.
    pub(super) fn ports(&self) -> Vec<u16> {
        let slots = self.lock();
        slots.waiting.iter().chain(slots.reserved.values()).map(|warm| warm.port).collect()
    }

    /// Chooses a process for this instance; its port.
    pub(super) fn reserve(&self, id: InstanceId) -> Option<u16> {
        let mut slots = self.lock();
        while let Some(mut warm) = slots.waiting.pop_front() {
            if warm.process.exit().is_none() {
                let port = warm.port;
                warm.since = Instant::now();
                slots.reserved.insert(id, warm);
                return Some(port);
            }
            remove(&warm.dir);
        }
        None
    }

    /// Where the process chosen for this instance stands.
    pub(super) fn reserved_dir(&self, id: InstanceId) -> Option<PathBuf> {
        self.lock().reserved.get(&id).map(|warm| warm.dir.clone())
    }

    /// The chosen process, given away for good.
    pub(super) fn take(&self, id: InstanceId) -> Option<Arc<Watched>> {
        self.lock().reserved.remove(&id).map(|warm| warm.process)
    }

    /// Lets a chosen process go whose start was given up: dropped, its pipe closes and it ends.
    pub(super) fn give_up(&self, id: InstanceId) {
        let warm = self.lock().reserved.remove(&id);
        if let Some(warm) = warm {
            remove(&warm.dir);
        }
    }

    /// Forgets what has ended or was chosen in vain, and ends what is more than `want`. What is left.
    pub(super) fn tidy(&self, want: usize) -> Warmth {
        let mut slots = self.lock();
        let (mut kept, mut gone): (VecDeque<_>, Vec<_>) = Default::default();
        for warm in std::mem::take(&mut slots.waiting) {
            if warm.process.exit().is_none() && kept.len() < want {
                kept.push_back(warm);
            } else {
                gone.push(warm);
            }
        }
        slots.waiting = kept;
        let stale: Vec<InstanceId> =
            slots.reserved.iter().filter(|(_, warm)| warm.since.elapsed() > RESERVED_FOR).map(|(id, _)| *id).collect();
        gone.extend(stale.into_iter().filter_map(|id| slots.reserved.remove(&id)));
        let resident_bytes = slots.waiting.iter().map(|warm| warm.process.resident_bytes()).sum();
        let warmth = Warmth { waiting: slots.waiting.len(), resident_bytes };
        drop(slots);
        for warm in gone {
            remove(&warm.dir);
        }
        warmth
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(dir: &Path) {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, dir = %dir.display(), "cannot remove a warm process's directory");
        }
        _ => {}
    }
}
