//! The key that seals everything secret at rest: AES-256-GCM, a random nonce per seal, and the purpose as associated data,
//! so that a sealed boot secret can't be passed off as a sealed signing key.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as B64};

const KEY_BYTES: usize = 32;

/// 256 bits that never leave the process but through the key file.
pub struct MasterKey(RandomizedNonceKey);

/// Nonce and ciphertext, base64: safe in a TEXT column.
pub type Sealed = String;

/// Why the master key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The file can't be read or made.
    #[error("cannot use the master key file {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there and is not a key.
    #[error("{} is not a master key: {reason}; restore it from a backup (without it the sealed keys are lost)", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The sealed text was made with another key, for another purpose, or was changed.
    #[error(
        "a sealed {purpose} does not open with this master key: is master.key the one this data directory was made with?"
    )]
    DoesNotOpen {
        /// What was to be opened.
        purpose: &'static str,
    },
    /// The system has no randomness.
    #[error("the system's random generator failed")]
    NoRandomness,
}

// === impl MasterKey ===

impl MasterKey {
    /// Reads the key file, or makes it (mode 0600) where there is none.
    pub fn load_or_create(path: &Path) -> Result<Self, MasterKeyError> {
        let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
        match fs::File::open(path) {
            Ok(file) => Self::read(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut raw = [0; KEY_BYTES];
                aws_lc_rs::rand::fill(&mut raw).map_err(|_| MasterKeyError::NoRandomness)?;
                // Whole or not at all: a torn key file would lose every sealed key.
                let partial = path.with_extension("key.partial");
                let mut file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(&partial)
                    .map_err(failed)?;
                file.write_all(hex::encode(raw).as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
                fs::rename(&partial, path).map_err(failed)?;
                Self::from_bytes(&raw)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn read(file: fs::File, path: &Path) -> Result<Self, MasterKeyError> {
        let failed = |source| MasterKeyError::File { path: path.to_owned(), source };
        let malformed = |reason| MasterKeyError::Malformed { path: path.to_owned(), reason };
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            return Err(malformed("others may read it (chmod 600 it)"));
        }
        let mut text = String::new();
        file.take(256).read_to_string(&mut text).map_err(failed)?;
        let mut raw = [0; KEY_BYTES];
        hex::decode_to_slice(text.trim(), &mut raw).map_err(|_| malformed("it must hold 64 hex digits"))?;
        Self::from_bytes(&raw)
    }

    fn from_bytes(raw: &[u8; KEY_BYTES]) -> Result<Self, MasterKeyError> {
        RandomizedNonceKey::new(&AES_256_GCM, raw).map(Self).map_err(|_| MasterKeyError::NoRandomness)
    }

    /// Seals `plain` for one purpose.
    pub fn seal(&self, purpose: &'static str, plain: &[u8]) -> Result<Sealed, MasterKeyError> {
        let mut buffer = plain.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(purpose.as_bytes()), &mut buffer)
            .map_err(|_| MasterKeyError::NoRandomness)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut buffer);
        Ok(B64.encode(sealed))
    }

    /// Opens what [`MasterKey::seal`] sealed for the same purpose.
    pub fn open(&self, purpose: &'static str, sealed: &str) -> Result<Vec<u8>, MasterKeyError> {
        let refused = || MasterKeyError::DoesNotOpen { purpose };
        let mut raw = B64.decode(sealed).map_err(|_| refused())?;
        if raw.len() < aws_lc_rs::aead::NONCE_LEN {
            return Err(refused());
        }
        let mut ciphertext = raw.split_off(aws_lc_rs::aead::NONCE_LEN);
        let nonce = aws_lc_rs::aead::Nonce::try_assume_unique_for_key(&raw).map_err(|_| refused())?;
        let plain =
            self.0.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut ciphertext).map_err(|_| refused())?;
        Ok(plain.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_with_the_same_key_and_purpose() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("master.key");
        let key = MasterKey::load_or_create(&path).expect("made");
        let sealed = key.seal("boot secret", b"hush").expect("sealed");
        let again = MasterKey::load_or_create(&path).expect("read");
        assert_eq!(again.open("boot secret", &sealed).expect("opens"), b"hush");
        assert!(again.open("signing key", &sealed).is_err(), "another purpose");
        let other = MasterKey::load_or_create(&dir.path().join("other.key")).expect("made");
        assert!(other.open("boot secret", &sealed).is_err(), "another key");
    }

    #[test]
    fn a_key_file_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("master.key");
        MasterKey::load_or_create(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(matches!(MasterKey::load_or_create(&path), Err(MasterKeyError::Malformed { .. })));
    }
}
