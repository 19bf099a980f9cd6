//! Swap for what suspends instances: the machine's own where there is enough of it, else, as root, a file that goes again with
//! this process: not earlier, because another test may have found it and count on it.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::wait::{self, seconds};

const CLEAN_UP: &str = r#"cat >/dev/null; swapoff "$1"; rm -f "$1""#;

/// What all tests of a process share.
const SHARED_MIB: u64 = 2048;
/// Files of tests are named so.
const NAME: &str = "orbitd-test-swap-";

/// Swap that is there while this is held.
pub struct Swap {
    /// None: the machine's own.
    file: Option<File>,
}

/// Its name in `/proc/swaps`, and who takes it away.
struct File(String, Child);

impl Swap {
    /// At least so many MiB (2,048 where it has to be made); shared by all tests of this process. The error says why there is none.
    pub fn of(mib: u64) -> Result<Arc<Self>, String> {
        static SHARED: Mutex<Option<Arc<Swap>>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(swap) = shared.as_ref().filter(|swap| swap.is_on()) {
            return Ok(swap.clone());
        }
        let mib = mib.max(SHARED_MIB);
        let file = if machine_free_mib() >= mib { None } else { Some(File::make(mib)?) };
        let swap = Arc::new(Self { file });
        *shared = Some(swap.clone());
        Ok(swap)
    }
}

impl Swap {
    /// Whatever else happens on this machine may turn it off.
    fn is_on(&self) -> bool {
        let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
        self.file.as_ref().is_none_or(|File(name, _)| swaps.contains(name.as_str()))
    }
}

impl File {
    fn make(mib: u64) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("no swap, and only root can add some".to_owned());
        }
        static MADE: AtomicU32 = AtomicU32::new(0);
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/var/tmp/{NAME}{}-{n}", std::process::id()));
        let shown = path.display().to_string();
        let size = format!("{mib}M");
        let steps: [(&str, &[&str]); 4] = [
            ("fallocate", &["-l", &size, &shown]),
            ("chmod", &["600", &shown]),
            ("mkswap", &[&shown]),
            ("swapon", &[&shown]),
        ];
        for (program, arguments) in steps {
            let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"));
            let failed = match output {
                Ok(output) if output.status.success() => continue,
                Ok(output) => format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()),
                Err(error) => error,
            };
            let _ = fs::remove_file(&path);
            return Err(format!("no swap: {failed}"));
        }
        let mut keeper = Command::new("sh");
        keeper.args(["-c", CLEAN_UP, "swap"]).arg(&path).current_dir("/").stdin(Stdio::piped());
        let keeper = keeper.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| error.to_string())?;
        Ok(Self(shown, keeper))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(self.1.stdin.take());
        let _ = wait::until_blocking(seconds(60), || self.1.try_wait().ok().flatten());
    }
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
