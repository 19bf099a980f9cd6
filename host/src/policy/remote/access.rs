//! What it takes to talk to a registry: who to be there, whose certificates to believe, how long to wait. Files are read at each use, so
//! that a password or an authority can be changed while orbitd runs.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use oci_client::secrets::RegistryAuth;

use super::{OciReference, RegistryError, advice::Asker};
use crate::settings::{OciAccount, OciSettings, PasswordPlace};

/// Bytes of a password file.
const MAX_PASSWORD_BYTES: u64 = 64 << 10;
/// Bytes of a file of authorities; a machine's whole list has some 200 KiB.
const MAX_CA_BYTES: u64 = 1 << 20;

/// For all registries, by their names.
#[derive(Debug, Clone)]
pub struct Access {
    /// Others are asked anonymously.
    pub accounts: BTreeMap<String, Account>,
    /// PEM files of authorities.
    pub ca_files: BTreeMap<String, PathBuf>,
    /// Longest silence.
    pub timeout: Duration,
    /// In whose words errors say what to do.
    pub asker: Asker,
}

/// Who to be.
#[derive(Debug, Clone)]
pub struct Account {
    /// The user's name.
    pub username: String,
    /// Where the password is.
    pub password: Password,
}

/// A password, or where it is.
#[derive(Clone)]
pub enum Password {
    /// As settings and flags name it.
    At(PasswordPlace),
    /// Out of another program's file.
    Known(String),
}

/// Why something that is needed on this machine is not there.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The password's file can't be read.
    #[error("cannot read the password file {}: {source}", path.display())]
    PasswordFile {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The password's variable is not set, or not text.
    #[error(
        "the environment has no variable {name} with the password: set it for this process, or use a password file"
    )]
    PasswordVariable {
        /// Its name.
        name: String,
    },
    /// There is a place, and nothing in it.
    #[error("the password in {place} is empty")]
    EmptyPassword {
        /// File or variable.
        place: String,
    },
    /// The file of authorities can't be read.
    #[error("cannot read the CA file {}: {source}", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file of authorities holds something else.
    #[error("the CA file {} can't be used: {reason}; it holds the authorities' certificates in PEM (-----BEGIN CERTIFICATE-----)", path.display())]
    CaContent {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// This machine can't make the client: its own list of authorities is missing or damaged.
    #[error(
        "this machine can't speak https: {reason}; install its list of authorities (Debian: ca-certificates), or name a CA file"
    )]
    NoClient {
        /// What the library said.
        reason: String,
    },
}

/// What one client is made of; another, and a new client is made.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Material {
    pub auth: RegistryAuth,
    /// PEM.
    pub authorities: Option<Vec<u8>>,
    pub https: bool,
}

// === impl Access ===

impl Access {
    /// As the daemon's settings say.
    pub fn of_settings(settings: &OciSettings) -> Self {
        let accounts = settings.accounts.iter();
        let ca_files = settings.ca_files.iter();
        Self {
            accounts: accounts.map(|(name, account)| (name.to_string(), account.clone().into())).collect(),
            ca_files: ca_files.map(|(name, file)| (name.to_string(), file.clone())).collect(),
            timeout: Duration::from_secs(settings.timeout_s.max(1)),
            asker: Asker::Daemon,
        }
    }

    /// Whether plain http is spoken: with this machine, unless an authority is named.
    pub(super) fn is_plain(&self, reference: &OciReference) -> bool {
        reference.is_loopback() && !self.ca_files.contains_key(reference.registry())
    }

    /// Reads what a client is made of.
    pub(super) fn material(&self, reference: &OciReference) -> Result<Material, RegistryError> {
        let registry = reference.registry();
        let of = |source| RegistryError::Access { registry: registry.to_owned(), source };
        let auth = match self.accounts.get(registry) {
            Some(account) => RegistryAuth::Basic(account.username.clone(), account.password.read().map_err(of)?),
            None => RegistryAuth::Anonymous,
        };
        let authorities = self.ca_files.get(registry).map(|path| read_authorities(path)).transpose().map_err(of)?;
        Ok(Material { auth, authorities, https: !self.is_plain(reference) })
    }

    /// Why no client can be made: it is the authorities, if there are any.
    pub(super) fn unusable(&self, registry: &str, error: &dyn std::error::Error) -> AccessError {
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        match self.ca_files.get(registry) {
            Some(path) => AccessError::CaContent { path: path.clone(), reason },
            None => AccessError::NoClient { reason },
        }
    }
}

/// The file's text, if it holds at least one certificate; whether these are good is seen when a client is made of them.
fn read_authorities(path: &Path) -> Result<Vec<u8>, AccessError> {
    let failed = |source| AccessError::CaFile { path: path.to_owned(), source };
    let wrong = |reason: &str| AccessError::CaContent { path: path.to_owned(), reason: reason.to_owned() };
    let mut pem = Vec::new();
    fs::File::open(path).map_err(failed)?.take(MAX_CA_BYTES + 1).read_to_end(&mut pem).map_err(failed)?;
    if pem.len() as u64 > MAX_CA_BYTES {
        return Err(wrong("it is longer than 1 MiB"));
    }
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(wrong("there is no certificate in it"));
    }
    Ok(pem)
}

// === impl Password ===

impl Password {
    fn read(&self) -> Result<String, AccessError> {
        let (password, place) = match self {
            Self::Known(password) => return Ok(password.clone()),
            Self::At(PasswordPlace::File(path)) => {
                let failed = |source| AccessError::PasswordFile { path: path.clone(), source };
                let mut password = String::new();
                let file = fs::File::open(path).map_err(failed)?;
                file.take(MAX_PASSWORD_BYTES).read_to_string(&mut password).map_err(failed)?;
                (password, path.display().to_string())
            }
            Self::At(PasswordPlace::Variable(name)) => {
                let password = std::env::var(name).map_err(|_| AccessError::PasswordVariable { name: name.clone() })?;
                (password, format!("the variable {name}"))
            }
        };
        match password.trim_end() {
            "" => Err(AccessError::EmptyPassword { place }),
            password => Ok(password.to_owned()),
        }
    }
}

/// Says where it is, never what it is.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(place) => write!(f, "{place:?}"),
            Self::Known(_) => f.write_str("Known(…)"),
        }
    }
}

impl From<OciAccount> for Account {
    fn from(account: OciAccount) -> Self {
        Self { username: account.username, password: Password::At(account.password) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_here_is_named_and_no_password_is_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            fs::write(dir.path().join(name), text).expect("written");
            dir.path().join(name)
        };
        let reference: OciReference = "oci://r.example.org/team/p:1".parse().expect("good");
        let access = |password: Password, ca: Option<PathBuf>| Access {
            accounts: BTreeMap::from([("r.example.org".into(), Account { username: "me".into(), password })]),
            ca_files: ca.map(|ca| ("r.example.org".to_owned(), ca)).into_iter().collect(),
            timeout: Duration::from_secs(1),
            asker: Asker::Daemon,
        };
        let file = |path: PathBuf| Password::At(PasswordPlace::File(path));
        let good = access(file(write("good", "s3cret\n")), None);
        let auth = good.material(&reference).map(|material| material.auth).map_err(|error| error.to_string());
        assert_eq!(auth, Ok(RegistryAuth::Basic("me".into(), "s3cret".into())));
        let known = access(Password::Known("s3cret".into()), None);
        assert!(!format!("{good:?} {known:?}").contains("s3cret"));

        let unset = Password::At(PasswordPlace::Variable("NOT_SET_ANYWHERE".into()));
        for (what, ca, named) in [
            (file(dir.path().join("none")), None, "none"),
            (file(write("empty", " \n")), None, "empty"),
            (unset, None, "NOT_SET_ANYWHERE"),
            (Password::Known("p".into()), Some(dir.path().join("none.pem")), "none.pem"),
            (Password::Known("p".into()), Some(write("no.pem", "hello")), "no certificate"),
        ] {
            let error = access(what, ca).material(&reference).err().expect("refused").to_string();
            assert!(error.contains(named) && error.contains("r.example.org"), "{error}");
        }
    }

    #[test]
    fn who_names_an_authority_wants_https() {
        let mut access = Access::of_settings(&OciSettings::default());
        let parse = |text: &str| text.parse::<OciReference>().expect("good");
        let (here, there) = (parse("oci://localhost:5000/p:1"), parse("oci://r.example.org/p:1"));
        assert!(access.is_plain(&here) && !access.is_plain(&there));
        access.ca_files.insert("localhost:5000".into(), "ca.pem".into());
        assert!(!access.is_plain(&here));
    }
}
