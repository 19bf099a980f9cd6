//! How a command talks to an OCI registry: flags first, then what `docker login` left.

use std::{
    env, fs,
    io::{self, Read},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use docker_credential::{CredentialRetrievalError, DockerCredential};

use super::{
    Global,
    output::{self, Progress},
};
use crate::{
    policy::remote::{Access, Account, Asker, OciReference, Password, Registries},
    settings::{OciSettings, PasswordPlace},
};

/// A transfer that is over sooner says nothing.
const QUIET: Duration = Duration::from_secs(2);
/// Bytes of docker's config.json.
const MAX_DOCKER_CONFIG_BYTES: u64 = 1 << 20;

/// Appended to the help of commands that have [`RegistryFlags`].
pub const REGISTRY_HELP: &str = "\
https is spoken, and plain http with registries on this machine unless --ca-file is given. Without --username the account is the one that
`docker login` left in $DOCKER_CONFIG/config.json (~/.docker), credential helpers included; without one the registry is asked
anonymously. A password is never an argument: others can read those.";

/// Flags of commands that ask a registry.
#[derive(Debug, Args)]
pub struct RegistryFlags {
    /// Who to be to the registry [default: as `docker login` left it]
    #[arg(long, value_name = "NAME", requires = "password")]
    username: Option<String>,
    /// File with the password or token
    #[arg(long, value_name = "FILE", requires = "username", group = "password")]
    password_file: Option<PathBuf>,
    /// Variable of the environment with the password or token
    #[arg(long, value_name = "NAME", requires = "username", group = "password")]
    password_env: Option<String>,
    /// PEM file of the authority that signed the registry's certificate; no other is believed then
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl RegistryFlags {
    /// Ready to ask the registry of `reference`.
    pub fn open(self, global: &Global, reference: &OciReference) -> Registries {
        let registry = reference.registry().to_owned();
        let place = self.password_file.map(PasswordPlace::File).or(self.password_env.map(PasswordPlace::Variable));
        let account = match (self.username, place) {
            (Some(username), Some(place)) => Some(Account { username, password: Password::At(place) }),
            _ => docker_account(global, &registry),
        };
        Registries::new(Access {
            accounts: account.map(|account| (registry.clone(), account)).into_iter().collect(),
            ca_files: self.ca_file.map(|file| (registry, file)).into_iter().collect(),
            timeout: Duration::from_secs(OciSettings::default().timeout_s),
            asker: Asker::Command,
        })
    }
}

/// What `docker login` left for a registry. What can't be used is said, and the registry asked anonymously: it may want no account.
fn docker_account(global: &Global, registry: &str) -> Option<Account> {
    let folder = env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".docker")))?;
    let path = folder.join("config.json");
    let unusable = |why: String| {
        if !global.json {
            output::note(format!(
                "note: the account that {} has for {registry} is not used: {why}; pass --username with --password-file or --password-env",
                path.display()
            ));
        }
        None
    };
    let file = match fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return unusable(error.to_string()),
    };
    use CredentialRetrievalError as No;
    match docker_credential::get_credential_from_reader(file.take(MAX_DOCKER_CONFIG_BYTES), registry) {
        Ok(DockerCredential::UsernamePassword(username, password)) => {
            Some(Account { username, password: Password::Known(password) })
        }
        Ok(DockerCredential::IdentityToken(_)) => {
            unusable("it is an identity token, which is not spoken here".to_owned())
        }
        Err(No::NoCredentialConfigured) => None,
        // A helper for all registries that knows nothing of this one says so, and fails.
        Err(No::HelperFailure { stdout, .. }) if stdout.contains("credentials not found") => None,
        Err(No::HelperFailure { helper, stderr, .. }) => {
            unusable(format!("its helper {helper} failed: {}", output::clean(stderr.trim())))
        }
        Err(error) => unusable(error.to_string()),
    }
}

/// Waits for a transfer; past two seconds what it does is shown.
pub async fn with_progress<R>(global: &Global, what: &str, transfer: impl Future<Output = R>) -> R {
    tokio::pin!(transfer);
    let (began, mut progress) = (Instant::now(), Progress::new(global.json));
    let done = loop {
        // Cancel-safe: the transfer itself is never dropped here.
        tokio::select! {
            done = &mut transfer => break done,
            () = tokio::time::sleep(Duration::from_millis(200)) => {
                if began.elapsed() > QUIET {
                    progress.update(what, began.elapsed());
                }
            }
        }
    };
    progress.clear();
    done
}
