//! Which files there are, and what they look like.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use orbit_engine::MAX_MODULE_BYTES;

/// Files a policies folder may hold at its top; past it the rest is not looked at.
const MAX_FILES: usize = 1_000;

/// Size, times and place of every file that a set depends on: a change of any may change the set.
pub(in crate::policy) type Fingerprint = BTreeMap<PathBuf, Option<Stat>>;

/// Length, inode, modification (seconds, nanoseconds) and change (nanoseconds) of a file.
pub(in crate::policy) type Stat = (u64, u64, i64, i64, i64);

/// What these files look like now; one that is not there is part of it, so that its coming is a change.
pub(super) fn fingerprint(paths: impl Iterator<Item = PathBuf>) -> Fingerprint {
    let look = |path: PathBuf| {
        let seen = fs::metadata(&path)
            .ok()
            .map(|meta| (meta.len(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.ctime_nsec()));
        (path, seen)
    };
    paths.map(look).collect()
}

/// `<stem>.toml` at the top of the folder, by name.
pub(super) fn tier_files(folder: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let entries = fs::read_dir(folder).map_err(|error| {
        format!(
            "cannot read the policies folder {}: {error}; set policies_dir to the folder of <tier>.toml",
            folder.display()
        )
    })?;
    let mut files: Vec<_> = entries
        .flatten()
        .take(MAX_FILES)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
        // Editors' scratch files, and cases beside their modules.
        .filter(|(stem, _)| !stem.starts_with('.') && !stem.ends_with(".test"))
        .collect();
    files.sort();
    Ok(files)
}

/// A module's bytes, of one that is too long only so many that the engine's own check sees it.
pub(super) fn read_module(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| format!("can't be read: {error}"))?;
    file.take(MAX_MODULE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("can't be read: {error}"))?;
    Ok(bytes)
}
