//! Swap for what suspends instances: the machine's own where there is enough of it, else, as root, a file that goes again with
//! this process: not earlier, because another test may have found it and count on it.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use crate::wait::{self, seconds};

const CLEAN_UP: &str = r#"cat >/dev/null; swapoff "$1"; rm -f "$1""#;

/// Swap that is there while this is held.
pub struct Swap {
    // Held: dropping it takes the file away.
    _file: Option<File>,
}

struct File(Child);

impl Swap {
    /// At least so many MiB free; shared by all tests of this process. The error says why there is none.
    pub fn of(mib: u64) -> Result<Arc<Self>, String> {
        static SHARED: Mutex<Option<Arc<Swap>>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(swap) = shared.as_ref()
            && free_mib() >= mib
        {
            return Ok(swap.clone());
        }
        let swap =
            Arc::new(if free_mib() >= mib { Self { _file: None } } else { Self { _file: Some(File::make(mib)?) } });
        *shared = Some(swap.clone());
        Ok(swap)
    }
}

impl File {
    fn make(mib: u64) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("no swap, and only root can add some".to_owned());
        }
        let path = PathBuf::from(format!("/var/tmp/orbitd-test-swap-{}", std::process::id()));
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
        Ok(Self(keeper))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = wait::until_blocking(seconds(60), || self.0.try_wait().ok().flatten());
    }
}

fn free_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("SwapFree:"));
    line.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) >> 10
}
