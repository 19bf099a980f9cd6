//! An S3-compatible server for the tests of backups: pinned by `tests/s3/package-lock.json`, installed once into the cache.

use std::{fs, process::Command};

use anyhow::{Context, Result};

use crate::paths;

/// The version in the lock file; the tests look for it in a folder of this name.
const FOLDER: &str = "s3rver-3.7.1";

/// Installs it where it is missing.
pub fn install() -> Result<()> {
    let folder = paths::cache()?.join("tools").join(FOLDER);
    if folder.join("node_modules/s3rver/bin/s3rver.js").is_file() {
        return Ok(());
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for name in ["package.json", "package-lock.json"] {
        let from = paths::root().join("tests/s3").join(name);
        fs::copy(&from, folder.join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&folder);
    paths::run(&mut npm)
}
