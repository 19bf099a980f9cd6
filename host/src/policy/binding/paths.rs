//! Files that a binding names.

use std::path::{Component, Path, PathBuf};

/// A file that a binding names (as `key`): it must lie in the policies folder, symbolic links followed.
pub fn inside(folder: &Path, key: &str, file: &Path, advice: &str) -> Result<PathBuf, String> {
    let named = file.display();
    if !file.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("{key} {named} must be a path inside the policies folder"));
    }
    let path = folder.join(file);
    let real = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{key} {named} does not exist; {advice}"),
        _ => format!("{key} {named} can't be read: {error}"),
    })?;
    let root = folder.canonicalize().map_err(|error| format!("the policies folder can't be read: {error}"))?;
    if real.starts_with(root) { Ok(path) } else { Err(format!("{key} {named} leads out of the policies folder")) }
}
