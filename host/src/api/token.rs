//! The admin token: one bearer for whoever may read a file of mode 0600 in the data directory.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::ids::Digest;

const TOKEN_BYTES: usize = 32;
/// Characters; fewer could be guessed.
const MIN_TOKEN: usize = 32;
const MAX_TOKEN: usize = 512;

/// The bearer of the admin API. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct AdminToken {
    text: String,
    digest: Digest,
}

/// Why there is no admin token.
#[derive(Debug, thiserror::Error)]
pub enum AdminTokenError {
    /// The file can't be read or made.
    #[error("cannot use the admin token file {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there and can't be used.
    #[error("{} holds no usable admin token: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: &'static str,
    },
    /// The system has no randomness.
    #[error("the system's random generator failed")]
    NoRandomness,
}

// === impl AdminToken ===

impl AdminToken {
    /// Reads `path`, or makes it (mode 0600) where there is none. Only the daemon makes one.
    pub fn load_or_create(path: &Path) -> Result<Self, AdminTokenError> {
        match Self::load(path) {
            Err(AdminTokenError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Self::create(path),
            other => other,
        }
    }

    /// Reads `path`; the CLI does.
    pub fn load(path: &Path) -> Result<Self, AdminTokenError> {
        let failed = |source| AdminTokenError::File { path: path.to_owned(), source };
        let malformed = |reason| AdminTokenError::Malformed { path: path.to_owned(), reason };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            return Err(malformed("others may read it (chmod 600 it)"));
        }
        let mut text = String::new();
        file.take(MAX_TOKEN as u64 + 2).read_to_string(&mut text).map_err(failed)?;
        let text = text.trim_end_matches(['\r', '\n']);
        if !(MIN_TOKEN..=MAX_TOKEN).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(malformed(
                "it must be one line of 32 to 512 visible ASCII characters; remove it to get a new one",
            ));
        }
        Ok(Self::of(text.to_owned()))
    }

    fn create(path: &Path) -> Result<Self, AdminTokenError> {
        let failed = |source| AdminTokenError::File { path: path.to_owned(), source };
        let mut raw = [0; TOKEN_BYTES];
        aws_lc_rs::rand::fill(&mut raw).map_err(|_| AdminTokenError::NoRandomness)?;
        let token = Self::of(hex::encode(raw));
        // Whole or not at all: the CLI may be reading already.
        let partial = path.with_extension("token.partial");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&partial).map_err(failed)?;
        file.write_all(token.text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&partial, path).map_err(failed)?;
        Ok(token)
    }

    fn of(text: String) -> Self {
        let digest = Digest::of(text.as_bytes());
        Self { text, digest }
    }

    /// The text, for an `Authorization` header.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether `presented` is it, in a time that says nothing about how much of it is right: digests are compared.
    pub fn accepts(&self, presented: &str) -> bool {
        let presented = Digest::of(presented.as_bytes());
        aws_lc_rs::constant_time::verify_slices_are_equal(presented.as_bytes(), self.digest.as_bytes()).is_ok()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn it_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("admin.token");
        assert!(AdminToken::load(&path).is_err(), "only load_or_create makes one");
        let token = AdminToken::load_or_create(&path).expect("made");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).expect("text"), token.expose());
        let again = AdminToken::load(&path).expect("read");
        assert!(again.accepts(token.expose()) && !again.accepts("") && !again.accepts(&token.expose()[1..]));
        assert_eq!(format!("{token:?}"), "AdminToken(…)");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        assert!(matches!(AdminToken::load_or_create(&path), Err(AdminTokenError::Malformed { .. })));
    }

    #[test]
    fn a_file_that_is_no_token_is_refused_not_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("admin.token");
        for text in ["", "short", "a b c d e f g h i j k l m n o p q r s t u v", &"x".repeat(600)] {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
            assert!(AdminToken::load_or_create(&path).is_err(), "{text:?}");
            assert_eq!(fs::read_to_string(&path).expect("text"), text);
        }
        fs::write(&path, format!("{}\n", "x".repeat(40))).expect("written");
        assert_eq!(AdminToken::load(&path).expect("a line end is fine").expose(), "x".repeat(40));
    }
}
