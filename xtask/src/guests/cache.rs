//! Built modules in the cache that outlives clones: a folder per group and key.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result};

use super::Group;
use crate::paths;

/// Keys kept of each group; a key of JavaScript is 12 MB.
const KEPT: usize = 4;

/// The modules of one key.
pub struct Kept {
    group: PathBuf,
    path: PathBuf,
}

/// Where a group's modules of its key are, or go.
pub fn folder(group: &Group) -> Result<Kept> {
    let folder = paths::cache()?.join("guests").join(group.name);
    Ok(Kept { path: folder.join(&group.key), group: folder })
}

impl Kept {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether all of them are there.
    pub fn is_complete(&self, modules: &[String]) -> bool {
        modules.iter().all(|module| self.path.join(module).is_file())
    }

    /// Lets `build` write into a new folder and puts that in place; older keys go.
    pub fn fill(&self, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let named = |action: &str| format!("cannot {action} {}", self.path.display());
        fs::create_dir_all(&self.group).with_context(|| named("make"))?;
        let partial =
            tempfile::Builder::new().prefix(".partial-").tempdir_in(&self.group).with_context(|| named("make"))?;
        build(partial.path())?;
        let _ = fs::remove_dir_all(&self.path);
        fs::rename(partial.keep(), &self.path).with_context(|| named("put in place"))?;
        self.prune();
        Ok(())
    }

    /// Best effort: a leftover costs disk only.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.group) else { return };
        let mut keys: Vec<(SystemTime, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        keys.sort();
        for (_, key) in keys.iter().rev().skip(KEPT) {
            let _ = fs::remove_dir_all(key);
        }
    }
}
