//! Swap for what suspends instances: the machine's own where there is enough of it, else, as root, a file that goes again with
//! this process: not earlier, because another test may have found it and count on it.
//!
//! Who takes it away: a *keeper*, a shell of a session of its own, so that neither Ctrl-C nor a terminal that is closed ends it with the tests.
//! It reads from a pipe of ours and notices our end. Where it was killed too, the next process that makes swap finds the file: its maker holds
//! a lock on it while it lives, whatever its pid is worth by then.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::wait::{self, seconds};

/// `$1`, once standard input is at its end. A file that is in use is not removed: its swap would stay without a name.
const CLEAN_UP: &str = r#"cat >/dev/null; swapoff "$1" 2>/dev/null; grep -qF "$1 " /proc/swaps || rm -f "$1""#;

/// What all tests of a process share.
const SHARED_MIB: u64 = 2048;
const FOLDER: &str = "/var/tmp";
/// Files of tests are named so.
const NAME: &str = "orbitd-test-swap-";

/// Swap that is there while this is held.
pub struct Swap {
    /// None: the machine's own.
    file: Option<File>,
}

struct File {
    /// Its name in `/proc/swaps`.
    path: PathBuf,
    /// Who takes it away.
    keeper: Child,
    /// Says that we live.
    _lock: fs::File,
}

impl Swap {
    /// At least so many MiB (2,048 where it has to be made); shared by all tests of this process. The error says why there is none.
    pub fn of(mib: u64) -> Result<Arc<Self>, String> {
        static SHARED: Mutex<Option<Arc<Swap>>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(swap) = shared.as_ref().filter(|swap| swap.is_on()) {
            return Ok(swap.clone());
        }
        let mib = mib.max(SHARED_MIB);
        remove_leftovers();
        let file = if machine_free_mib() >= mib { None } else { Some(File::make(mib)?) };
        let swap = Arc::new(Self { file });
        *shared = Some(swap.clone());
        Ok(swap)
    }

    /// Whatever else happens on this machine may turn it off.
    fn is_on(&self) -> bool {
        self.file.as_ref().is_none_or(|file| is_in_use(&file.path))
    }
}

impl File {
    fn make(mib: u64) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("no swap, and only root can add some".to_owned());
        }
        static MADE: AtomicU32 = AtomicU32::new(0);
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("{FOLDER}/{NAME}{}-{n}", std::process::id()));
        let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let lock = lock.map_err(|error| format!("no swap: {}: {error}", path.display()))?;
        // Before anything that a keeper has to undo.
        let keeper = keeper(&path).map_err(|error| error.to_string())?;
        let file = Self { path, keeper, _lock: lock };
        file._lock.try_lock().map_err(|error| format!("no swap: {}: {error}", file.path.display()))?;
        let (size, shown) = (format!("{mib}M"), file.path.display().to_string());
        let steps: [(&str, &[&str]); 3] =
            [("fallocate", &["-l", &size, &shown]), ("mkswap", &[&shown]), ("swapon", &[&shown])];
        for (program, arguments) in steps {
            let output = Command::new(program).args(arguments).output();
            let output = output.map_err(|error| format!("no swap: {program}: {error}"))?;
            if !output.status.success() {
                return Err(format!("no swap: {program}: {}", String::from_utf8_lossy(&output.stderr).trim()));
            }
        }
        Ok(file)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = wait::until_blocking(seconds(60), || self.keeper.try_wait().ok().flatten());
    }
}

fn keeper(path: &Path) -> std::io::Result<Child> {
    // As a child of ours it leads no group, so this does not fork: what we wait for is the shell.
    let mut keeper = Command::new("setsid");
    keeper.args(["sh", "-c", CLEAN_UP, "swap"]).arg(path).current_dir("/");
    keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

/// Takes away what processes left that are gone, with their keepers.
fn remove_leftovers() {
    for path in fs::read_dir(FOLDER).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(NAME));
        let Some(file) = ours.then(|| fs::File::open(&path).ok()).flatten() else { continue };
        // Held: its maker lives.
        if file.try_lock().is_err() {
            continue;
        }
        if let Ok(mut keeper) = keeper(&path) {
            drop(keeper.stdin.take());
            let _ = wait::until_blocking(seconds(60), || keeper.try_wait().ok().flatten());
            println!("swap that another process left: {}, taken away: {}", path.display(), !path.exists());
        }
    }
}

fn is_in_use(path: &Path) -> bool {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    swaps.lines().any(|line| line.split(' ').next() == path.to_str())
}

/// Free swap of the machine itself: none while another process's tests have added some, because that goes when they end.
fn machine_free_mib() -> u64 {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    if read("/proc/swaps").contains(NAME) {
        return 0;
    }
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix("SwapFree:"));
    line.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) >> 10
}
