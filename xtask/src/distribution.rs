//! The pinned Backstage, installed once per key into the cache and shared by clones, demo and tests. `distribution/install.sh`
//! does the work; here it is found, locked, and old ones are thrown away.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};

use crate::paths;

/// Installs kept: this one and the one before, for switching branches.
const KEPT: usize = 2;

/// Installs if needed; the path of the tree.
pub fn install() -> Result<PathBuf> {
    let script = paths::root().join("distribution/install.sh");
    let output =
        Command::new(&script).arg("--key").output().with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(output.status.success(), "{} --key failed: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    let key = String::from_utf8(output.stdout)?.trim().to_owned();
    let folder = paths::cache()?.join("distribution");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let target = folder.join(&key);
    if !target.join("distribution.json").is_file() {
        // One at a time, whatever the key: two would fight for network and disk.
        let lock = File::create(folder.join(".lock"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            println!("distribution: another install is running; waiting for it");
            flock(&lock, FlockOperation::LockExclusive)?;
        }
        run_script(&script, &target)?;
    }
    // The newest by use is what pruning keeps.
    let _ = fs::write(folder.join(format!("{key}.used")), "");
    prune(&folder, &key);
    Ok(target)
}

/// The same beside other work; the second value is how long it took.
pub fn install_beside() -> JoinHandle<Result<(PathBuf, Duration)>> {
    std::thread::spawn(|| {
        let began = Instant::now();
        Ok((install()?, began.elapsed()))
    })
}

/// Waits for [`install_beside`].
pub fn join(handle: JoinHandle<Result<(PathBuf, Duration)>>) -> Result<(PathBuf, Duration)> {
    handle.join().map_err(|_| anyhow::anyhow!("installing the distribution panicked"))?
}

fn run_script(script: &Path, target: &Path) -> Result<()> {
    println!("distribution: installing Backstage into the cache (once; about 5 minutes)");
    let mut child = Command::new(script)
        .arg(target)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", script.display()))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            println!("distribution: {line}");
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "{} failed ({status}); what it said is above", script.display());
    Ok(())
}

/// Removes all but the newest installs. Best effort: a leftover costs disk only.
fn prune(folder: &Path, current: &str) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let used = |key: &str| {
        let marker = fs::metadata(folder.join(format!("{key}.used")));
        marker.and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let mut installs: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path().join("distribution.json").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|key| key != current)
        .map(|key| (used(&key), key))
        .collect();
    installs.sort();
    installs.reverse();
    for (_, key) in installs.into_iter().skip(KEPT - 1) {
        println!("distribution: removing an older install ({:.12})", key);
        let _ = fs::remove_dir_all(folder.join(&key));
        for suffix in ["used", "lock"] {
            let _ = fs::remove_file(folder.join(format!("{key}.{suffix}")));
        }
    }
}
