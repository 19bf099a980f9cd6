//! What was pulled, on disk: a file per module, named by its digest, and an entry per reference, which is what the loader reads.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use orbit_engine::MAX_MODULE_BYTES;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{OciReference, registry::Pulled};
use crate::ids::Digest;

/// Entries and modules kept beyond those that a tier names: for going back and forth.
const SPARE: usize = 16;
/// Bytes of an entry.
const MAX_ENTRY_BYTES: u64 = 64 << 10;

/// The folder.
#[derive(Debug, Clone)]
pub struct Kept {
    folder: PathBuf,
}

/// What a reference held when it was pulled last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// As in the tier's file.
    pub reference: String,
    /// Digest of the manifest.
    pub manifest: String,
    /// Digest of the module.
    pub module: Digest,
    /// Text of its envelope.
    pub signature: Option<String>,
}

impl Kept {
    /// Opens the folder, or makes it (0700).
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The file of a reference's entry: it changes when something else was pulled.
    pub fn entry_path(&self, reference: &OciReference) -> PathBuf {
        let name = Digest::of(reference.to_string().as_bytes());
        self.folder.join(format!("{}.ref.json", hex::encode(name.as_bytes())))
    }

    /// The entry of a reference, if it was ever pulled.
    pub fn entry(&self, reference: &OciReference) -> Option<Entry> {
        let mut text = String::new();
        let file = fs::File::open(self.entry_path(reference)).ok()?;
        file.take(MAX_ENTRY_BYTES).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok().filter(|entry: &Entry| entry.reference == reference.to_string())
    }

    /// When a reference was pulled last.
    pub fn pulled_at(&self, reference: &OciReference) -> Option<OffsetDateTime> {
        Some(fs::metadata(self.entry_path(reference)).ok()?.modified().ok()?.into())
    }

    /// A module's bytes, if they are there and are what their digest says. A file that is not is deleted, and so pulled again.
    pub fn module(&self, digest: &Digest) -> Option<Vec<u8>> {
        let path = self.module_path(digest);
        let mut bytes = Vec::new();
        let file = fs::File::open(&path).ok()?;
        file.take(MAX_MODULE_BYTES as u64 + 1).read_to_end(&mut bytes).ok()?;
        if Digest::of(&bytes) == *digest {
            return Some(bytes);
        }
        tracing::warn!(path = %path.display(), "a pulled policy is not what its digest says: deleted");
        let _ = fs::remove_file(&path);
        None
    }

    /// Whether there is a file for a module; its bytes are looked at when it is loaded.
    pub fn has(&self, digest: &Digest) -> bool {
        self.module_path(digest).is_file()
    }

    /// Keeps what was pulled: the module first, then the entry that names it.
    pub fn put(&self, reference: &OciReference, pulled: &Pulled) -> io::Result<Entry> {
        let module = Digest::of(&pulled.module);
        if self.module(&module).is_none() {
            write(&self.module_path(&module), &pulled.module)?;
        }
        let entry = Entry {
            reference: reference.to_string(),
            manifest: pulled.manifest.clone(),
            module,
            signature: pulled.signature.clone(),
        };
        write(&self.entry_path(reference), &serde_json::to_vec(&entry)?)?;
        Ok(entry)
    }

    /// Throws away what no reference in `wanted` needs, but for the newest [`SPARE`] files. Best effort.
    pub fn prune<'r>(&self, wanted: impl IntoIterator<Item = &'r OciReference>) {
        let mut needed = BTreeSet::new();
        for reference in wanted {
            needed.insert(self.entry_path(reference));
            needed.extend(self.entry(reference).map(|entry| self.module_path(&entry.module)));
        }
        let Ok(files) = fs::read_dir(&self.folder) else { return };
        let mut spare: Vec<(SystemTime, PathBuf)> = files
            .flatten()
            .filter(|file| !needed.contains(&file.path()))
            .filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file.path())))
            .collect();
        spare.sort();
        for (_, path) in spare.iter().rev().skip(SPARE) {
            let _ = fs::remove_file(path);
        }
    }

    fn module_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}.wasm", hex::encode(digest.as_bytes())))
    }
}

/// Whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pulled_is_kept_checked_and_bounded() {
        let dir = tempfile::tempdir().expect("a directory");
        let kept = Kept::open(&dir.path().join("modules")).expect("opened");
        let reference = |n: usize| format!("oci://localhost:5000/p:{n}").parse::<OciReference>().expect("good");
        let pulled = |n: usize| Pulled {
            manifest: format!("sha256:{n}"),
            module: format!("module {n}").into_bytes(),
            signature: None,
        };
        assert_eq!(kept.entry(&reference(0)), None);
        let entry = kept.put(&reference(0), &pulled(0)).expect("kept");
        assert_eq!(kept.entry(&reference(0)).as_ref(), Some(&entry));
        assert_eq!(kept.module(&entry.module).as_deref(), Some(b"module 0".as_slice()));
        fs::write(kept.module_path(&entry.module), "changed").expect("written");
        assert_eq!(kept.module(&entry.module), None, "not what its digest says");
        assert!(!kept.has(&entry.module), "deleted");
        kept.put(&reference(0), &pulled(0)).expect("kept again");
        assert!(kept.module(&entry.module).is_some(), "and mended");
        for n in 1..30 {
            kept.put(&reference(n), &pulled(n)).expect("kept");
        }
        kept.prune([&reference(0)]);
        assert_eq!(fs::read_dir(dir.path().join("modules")).expect("there").count(), SPARE + 2);
        assert!(kept.module(&entry.module).is_some(), "what is wanted stays");
    }
}
