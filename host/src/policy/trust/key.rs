//! Keys that sign policies: ed25519. A public key is written `ed25519:<base64 of its 32 bytes>`; a private one is a PEM file.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "ed25519:";
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// A file that is longer holds no such key.
const MAX_FILE_BYTES: u64 = 4 << 10;

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not the text of a public key.
    #[error("{0:?} is no public key: it is written ed25519:<base64 of 32 bytes>, as `orbitd policy keygen` prints it")]
    Text(String),
    /// The file can't be read or written.
    #[error("cannot {action} the key {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else, or others may read it.
    #[error("the key {} can't be used: {reason}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// The system has no randomness.
    #[error("cannot make a key: the system's random generator failed")]
    Random,
}

/// Who may sign.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

/// Who signs.
pub struct PrivateKey(Ed25519KeyPair);

// === impl PublicKey ===

impl PublicKey {
    /// Whether `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }

    /// The first 16 hex digits of the key's SHA-256: tells keys apart in a status, and finds the right one faster.
    pub fn id(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.0);
        hex::encode(digest.as_ref().get(..8).unwrap_or_default())
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = text.strip_prefix(PREFIX).and_then(|body| STANDARD.decode(body).ok());
        let raw = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        raw.map(Self).ok_or_else(|| KeyError::Text(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

// === impl PrivateKey ===

impl PrivateKey {
    /// Makes a key and writes it to a new file, mode 0600. An existing file is never overwritten.
    pub fn generate(path: &Path) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::Random)?;
        let document = pair.to_pkcs8v1().map_err(|_| KeyError::Random)?;
        let body = STANDARD.encode(document.as_ref());
        let text = format!("{PEM_BEGIN}\n{body}\n{PEM_END}\n");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .map_err(|source| KeyError::File { action: "write", path: path.to_owned(), source })?;
        Ok(Self(pair))
    }

    /// Reads a file that nobody else may read.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { action: "read", path: path.to_owned(), source };
        let wrong = |reason| KeyError::Content { path: path.to_owned(), reason };
        let file = fs::File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            return Err(wrong("others may read it; chmod 600 it, and make another if they did"));
        }
        let mut text = String::new();
        file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
        let body: String = text.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
        let pkcs8 = STANDARD.decode(body).ok().filter(|_| text.contains(PEM_BEGIN));
        let pair = pkcs8.and_then(|pkcs8| Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).ok());
        pair.map(Self).ok_or_else(|| wrong("it is no ed25519 key in PKCS#8 PEM; make one with `orbitd policy keygen`"))
    }

    /// Its other half.
    pub fn public(&self) -> PublicKey {
        let mut raw = [0; 32];
        raw.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(raw)
    }

    /// 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_private_and_signs_what_only_its_other_half_verifies() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("policy.key");
        let key = PrivateKey::generate(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(matches!(PrivateKey::generate(&path), Err(KeyError::File { .. })), "never overwritten");
        let signature = PrivateKey::read(&path).expect("read").sign(b"text");
        let public: PublicKey = key.public().to_string().parse().expect("its own text");
        assert!(public.verifies(b"text", &signature) && !public.verifies(b"texu", &signature));
        let other = PrivateKey::generate(&dir.path().join("other.key")).expect("made").public();
        assert!(!other.verifies(b"text", &signature) && other.id() != public.id());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(PrivateKey::read(&path).err().expect("refused").to_string().contains("chmod 600"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA", "ed25519:!!"] {
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
        }
    }
}
