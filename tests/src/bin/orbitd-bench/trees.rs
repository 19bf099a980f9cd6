//! The installed distribution twice, for starts with and without V8's compiled code.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use orbitd_tests::paths;

/// The distribution where instances' own users can reach it, with and without its compile cache.
pub struct Trees {
    _dir: tempfile::TempDir,
    /// With its compile cache.
    pub warm: PathBuf,
    /// Without.
    pub cold: PathBuf,
}

impl Trees {
    /// Makes both, and the compile cache.
    pub fn make() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("orbitd-bench-").tempdir_in("/var/tmp")?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let (warm, cold) = (dir.path().join("warm"), dir.path().join("cold"));
        for tree in [&warm, &cold] {
            link_tree(paths::backstage(), tree)?;
        }
        // The cache is keyed by absolute file names: it is made anew where the tree is now.
        for tree in [&warm, &cold] {
            let _ = fs::remove_dir_all(tree.join(".compile-cache"));
        }
        let about: serde_json::Value = serde_json::from_slice(&fs::read(warm.join("distribution.json"))?)?;
        let node = warm.join(about["node"].as_str().context("the distribution names its node")?);
        let made = std::process::Command::new(node)
            .arg("install/try-start.js")
            .arg(warm.join(".compile-cache"))
            .current_dir(&warm)
            .output()?;
        ensure!(made.status.success(), "no compile cache: {}", String::from_utf8_lossy(&made.stderr));
        let readable =
            std::process::Command::new("chmod").args(["-R", "a+rX"]).arg(warm.join(".compile-cache")).status()?;
        ensure!(readable.success(), "the compile cache can't be made readable");
        Ok(Self { _dir: dir, warm, cold })
    }
}

/// Hard links: 540 MB are not copied.
fn link_tree(from: &Path, to: &Path) -> Result<()> {
    let done = std::process::Command::new("cp").arg("-al").arg(from).arg(to).output()?;
    if done.status.success() {
        return Ok(());
    }
    let _ = fs::remove_dir_all(to);
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).output()?;
    ensure!(done.status.success(), "cp: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
