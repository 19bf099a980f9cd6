//! Compiled code on disk, under a MAC.
//!
//! A file is `HMAC-SHA256(key, "orbit-compiled-1" ‖ engine hash ‖ module digest ‖ code) ‖ code`. Native code runs with the
//! daemon's rights, so a file that fails is deleted, never loaded. The folder is 0700 and its files are 0600.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use aws_lc_rs::hmac;

use crate::{LoadError, trusted::TrustedCode};

const MAC_BYTES: usize = 32;
/// Native code of one module, bytes; it is about 5 times the module.
pub const MAX_CODE_BYTES: usize = 128 << 20;
/// Files kept; past it the longest unused go.
const MAX_FILES: usize = 256;
const NO_LINK: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

/// The key of the MAC. Never leaves the daemon.
#[derive(Clone)]
pub struct CacheKey(hmac::Key);

/// The folder.
pub struct Cache {
    folder: PathBuf,
    key: CacheKey,
    engine: [u8; 8],
}

// === impl CacheKey ===

impl CacheKey {
    /// From 32 secret bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }
}

// === impl Cache ===

impl Cache {
    /// Opens the folder, or makes it. `engine` tells compilers and settings apart.
    pub fn open(folder: &Path, key: CacheKey, engine: u64) -> Result<Self, LoadError> {
        let failed = |reason: String| LoadError::Cache { path: folder.to_owned(), reason };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| failed(error.to_string()))?;
        let meta = fs::metadata(folder).map_err(|error| failed(error.to_string()))?;
        if meta.mode() & 0o077 != 0 {
            return Err(failed("others may read or write it; chmod 700 it".to_owned()));
        }
        if meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(failed(format!("it belongs to user {}, not to the one that orbitd runs as", meta.uid())));
        }
        let cache = Self { folder: folder.to_owned(), key, engine: engine.to_be_bytes() };
        cache.prune();
        Ok(cache)
    }

    /// The code of a module, if a good file holds it.
    pub fn get(&self, digest: &[u8; 32]) -> Option<TrustedCode> {
        let path = self.path(digest);
        let mut bytes = Vec::new();
        // A link is no file of ours, wherever it leads.
        let file = match OpenOptions::new().read(true).custom_flags(NO_LINK).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(_) => return self.refuse(&path),
        };
        let read = file.take((MAX_CODE_BYTES + MAC_BYTES) as u64).read_to_end(&mut bytes);
        if read.is_ok() && bytes.len() > MAC_BYTES {
            let code = bytes.split_off(MAC_BYTES);
            // Constant time.
            if hmac::verify(&self.key.0, &self.message(digest, &code), &bytes).is_ok() {
                // Last use, for `prune`.
                let _ = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
                return Some(TrustedCode(code));
            }
        }
        self.refuse(&path)
    }

    fn refuse(&self, path: &Path) -> Option<TrustedCode> {
        tracing::warn!(path = %path.display(), "a compiled policy in the cache is damaged or not ours: deleted");
        let _ = fs::remove_file(path);
        None
    }

    /// Keeps code. A failure costs a compilation next time and nothing else.
    pub fn put(&self, digest: &[u8; 32], code: &TrustedCode) {
        let path = self.path(digest);
        let partial = path.with_extension(format!("{}.partial", std::process::id()));
        let written = (|| -> io::Result<()> {
            // What a crash left under this name goes; a link is not followed.
            let _ = fs::remove_file(&partial);
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(NO_LINK).open(&partial)?;
            file.write_all(hmac::sign(&self.key.0, &self.message(digest, &code.0)).as_ref())?;
            file.write_all(&code.0)?;
            fs::rename(&partial, &path)
        })();
        if let Err(error) = written {
            let _ = fs::remove_file(&partial);
            tracing::warn!(path = %path.display(), %error, "cannot keep a compiled policy; it is compiled again next time");
        }
    }

    /// Forgets code that turned out to be unusable.
    pub fn remove(&self, digest: &[u8; 32]) {
        let _ = fs::remove_file(self.path(digest));
    }

    fn message(&self, digest: &[u8; 32], code: &[u8]) -> Vec<u8> {
        [b"orbit-compiled-1".as_slice(), &self.engine, digest, code].concat()
    }

    fn path(&self, digest: &[u8; 32]) -> PathBuf {
        self.folder.join(format!("{}-{}.code", hex::encode(digest), hex::encode(self.engine)))
    }

    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<_> = entries
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .filter(|(_, path)| path.extension().is_some_and(|e| e == "code" || e == "partial"))
            .collect();
        files.sort();
        let excess = files.len().saturating_sub(MAX_FILES);
        for (_, path) in files.into_iter().take(excess) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_deleted_and_never_given_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("cache");
        let cache = Cache::open(&folder, CacheKey::new(&[7; 32]), 1).expect("opened");
        let digest = [1; 32];
        cache.put(&digest, &TrustedCode(b"native code".to_vec()));
        assert_eq!(cache.get(&digest).expect("kept").0, b"native code");
        // Another key, another engine, another module: not theirs.
        assert!(Cache::open(&folder, CacheKey::new(&[7; 32]), 2).expect("opened").get(&digest).is_none());
        fs::copy(cache.path(&digest), cache.path(&[2; 32])).expect("copied");
        assert!(cache.get(&[2; 32]).is_none(), "the digest is part of what is signed");
        let mut bytes = fs::read(cache.path(&digest)).expect("read");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(cache.path(&digest), bytes).expect("written");
        assert!(cache.get(&digest).is_none());
        assert!(!cache.path(&digest).exists(), "deleted");
    }

    /// Row W-22: good code at a place where it does not belong.
    #[test]
    fn a_link_is_deleted_and_never_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("cache");
        let cache = Cache::open(&folder, CacheKey::new(&[7; 32]), 1).expect("opened");
        let (digest, elsewhere) = ([1; 32], dir.path().join("elsewhere"));
        cache.put(&digest, &TrustedCode(b"native code".to_vec()));
        fs::rename(cache.path(&digest), &elsewhere).expect("moved");
        std::os::unix::fs::symlink(&elsewhere, cache.path(&digest)).expect("linked");
        assert!(cache.get(&digest).is_none() && elsewhere.exists(), "the link goes, its target stays");
        assert!(fs::symlink_metadata(cache.path(&digest)).is_err());
        // Nor is one written through.
        let partial = cache.path(&digest).with_extension(format!("{}.partial", std::process::id()));
        fs::write(&elsewhere, b"somebody's").expect("written");
        std::os::unix::fs::symlink(&elsewhere, &partial).expect("linked");
        cache.put(&digest, &TrustedCode(b"native code".to_vec()));
        assert_eq!(fs::read(&elsewhere).expect("read"), b"somebody's");
        assert!(cache.get(&digest).is_some());
    }

    /// Row W-22: the cache of another version of the engine or of orbitd, or of a key that is gone.
    #[test]
    fn code_of_another_engine_or_key_is_not_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join("cache");
        let open = |key, engine| Cache::open(&folder, CacheKey::new(&[key; 32]), engine).expect("opened");
        let ours = open(7, 1);
        ours.put(&[1; 32], &TrustedCode(b"native code".to_vec()));
        // Even under the name that the other engine would look for.
        fs::copy(ours.path(&[1; 32]), open(7, 2).path(&[1; 32])).expect("copied");
        assert!(open(7, 2).get(&[1; 32]).is_none());
        assert!(open(8, 1).get(&[1; 32]).is_none(), "another key");
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        assert!(matches!(Cache::open(dir.path(), CacheKey::new(&[0; 32]), 1), Err(LoadError::Cache { .. })));
    }
}
