//! The server: its address, and sessions on it, with a limit on everything that could wait.

use std::{
    path::PathBuf,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    provisioner::ProvisionCause,
    settings::{PostgresSettings, UrlError},
};

/// Sessions of ours at the same time; the others wait their turn.
const SESSIONS: usize = 3;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longest call; a large database takes a while to be dropped.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// After the server could not be reached, callers are told so without another try for this long.
const QUIET: Duration = Duration::from_secs(3);
/// Rights on the schema `public` are what we rely on from this version on.
const OLDEST: i32 = 150_000;
const SESSION: &str = "SET statement_timeout = '50s'; SET lock_timeout = '15s'; SET client_min_messages = warning;";

/// Why the settings of the server can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// There is no address.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The address can't be read.
    #[error("provisioner.postgres.url is no address of a PostgreSQL server: {0}")]
    Malformed(String),
    /// The certificate authority's file can't be read.
    #[error("cannot read {} (sslrootcert of provisioner.postgres.url): {source}", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Where the server is, for instances and people.
pub(super) struct Address {
    /// Host name, address, or the socket's directory.
    pub host: String,
    pub port: u16,
    pub ssl_mode: PgSslMode,
    /// PEM of the authority that signs the server's certificate.
    pub authority: Option<String>,
}

pub(super) struct Server {
    /// Those that the address names; one of them is the primary.
    hosts: Vec<Host>,
    /// Of `hosts`, the one that was the primary last.
    primary: AtomicUsize,
    /// Without the passwords.
    shown: String,
    turns: Arc<Semaphore>,
    unreachable: Mutex<Option<(Instant, String)>>,
    /// Connections for everybody, once known. A change needs a restart of the server, and that is found out with each session.
    connections: Mutex<Option<u32>>,
    /// The warning about databases that are open to everybody was given.
    warned: AtomicBool,
}

struct Host {
    options: PgConnectOptions,
    address: Address,
}

/// A session of ours, and its turn.
pub(super) struct Session {
    pub connection: PgConnection,
    _turn: OwnedSemaphorePermit,
}

// === impl Server ===

impl Server {
    pub(super) fn new(settings: &PostgresSettings) -> Result<Self, PostgresError> {
        let url = settings.server()?;
        let malformed = |error: sqlx::Error| PostgresError::Malformed(error.to_string());
        let authority = authority(url.expose())?;
        let shown = url.shown();
        let host = |url: &String| -> Result<Host, PostgresError> {
            let options = PgConnectOptions::from_str(url).map_err(malformed)?;
            let host = match options.get_socket() {
                Some(directory) => directory.display().to_string(),
                None => options.get_host().to_owned(),
            };
            let (port, ssl_mode, authority) = (options.get_port(), options.get_ssl_mode(), authority.clone());
            let address = Address { host, port, ssl_mode, authority };
            Ok(Host { options: options.application_name("orbitd").disable_statement_logging(), address })
        };
        Ok(Self {
            hosts: url.hosts().iter().map(host).collect::<Result<_, _>>()?,
            primary: AtomicUsize::new(0),
            shown,
            turns: Arc::new(Semaphore::new(SESSIONS)),
            unreachable: Mutex::default(),
            connections: Mutex::default(),
            warned: AtomicBool::new(false),
        })
    }

    /// Its address for people.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Of the primary, as far as it is known.
    pub(super) fn address(&self) -> Result<&Address, ProvisionCause> {
        let found = self.hosts.get(self.primary.load(Ordering::Relaxed)).or(self.hosts.first());
        found.map(|host| &host.address).ok_or_else(|| ProvisionCause::Failed("the address names no server".to_owned()))
    }

    /// A session, as soon as it is its turn.
    pub(super) async fn session(&self) -> Result<Session, ProvisionCause> {
        let waited = timeout(CALL_LIMIT, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = waited else { return Err(self.slow(CALL_LIMIT)) };
        if let Some((at, detail)) = lock(&self.unreachable).clone()
            && at.elapsed() < QUIET
        {
            return Err(ProvisionCause::Unreachable { server: self.shown.clone(), detail });
        }
        let opened = self.open().await;
        *lock(&self.unreachable) = match &opened {
            Err(ProvisionCause::Unreachable { detail, .. }) => Some((Instant::now(), detail.clone())),
            Err(slow @ ProvisionCause::Slow { .. }) => Some((Instant::now(), slow.to_string())),
            _ => None,
        };
        Ok(Session { connection: opened?, _turn: turn })
    }

    /// A session on the primary: the first that takes changes, beginning with the one that did last.
    async fn open(&self) -> Result<PgConnection, ProvisionCause> {
        let first = self.primary.load(Ordering::Relaxed);
        let mut trouble = None;
        for position in (0..self.hosts.len()).map(|i| (first + i) % self.hosts.len()) {
            let Some(host) = self.hosts.get(position) else { continue };
            let tried = timeout(CONNECT_LIMIT, self.open_at(&host.options)).await;
            match tried.unwrap_or_else(|_| Err(self.slow(CONNECT_LIMIT))) {
                Ok(connection) => {
                    self.primary.store(position, Ordering::Relaxed);
                    return Ok(connection);
                }
                // What a person must mend is not passed over for what may pass.
                Err(cause) if trouble.as_ref().is_none_or(ProvisionCause::may_pass) => trouble = Some(cause),
                Err(_) => {}
            }
        }
        Err(trouble.unwrap_or_else(|| ProvisionCause::Failed("the address names no server".to_owned())))
    }

    async fn open_at(&self, options: &PgConnectOptions) -> Result<PgConnection, ProvisionCause> {
        let mut connection = options.connect().await.map_err(|error| self.cause(error))?;
        sqlx::raw_sql(SESSION).execute(&mut connection).await.map_err(|error| self.cause(error))?;
        let (version, shown, read_only, connections): (i32, String, bool, i32) = sqlx::query_as(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
             current_setting('transaction_read_only')::bool, \
             current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int \
             - coalesce(current_setting('reserved_connections', true)::int, 0)",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(|error| self.cause(error))?;
        if version < OLDEST {
            return Err(ProvisionCause::TooOld(shown));
        }
        if read_only {
            return Err(ProvisionCause::ReadOnly);
        }
        *lock(&self.connections) = Some(u32::try_from(connections).unwrap_or_default());
        if !self.warned.swap(true, Ordering::Relaxed) {
            self.warn_of_open_databases(&mut connection).await;
        }
        Ok(connection)
    }

    /// PostgreSQL lets every role into every database that nobody closed: those of others are not ours to close.
    async fn warn_of_open_databases(&self, connection: &mut PgConnection) {
        let open: Result<Vec<String>, _> = sqlx::query_scalar(
            "SELECT datname::text FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) \
             WHERE datallowconn AND grantee = 0 AND privilege_type = 'CONNECT' ORDER BY 1 LIMIT 20",
        )
        .fetch_all(connection)
        .await;
        match open {
            Ok(open) if !open.is_empty() => tracing::warn!(
                databases = open.join(", "),
                "every workspace's role may connect to these databases of the PostgreSQL server: \
                 REVOKE CONNECT ON DATABASE … FROM PUBLIC"
            ),
            _ => {}
        }
    }

    /// Connections that the server has for everybody but superusers.
    pub(super) async fn connections(&self) -> Result<u32, ProvisionCause> {
        if let Some(known) = *lock(&self.connections) {
            return Ok(known);
        }
        self.session().await?.close().await;
        Ok(lock(&self.connections).unwrap_or_default())
    }

    /// Work on a session, cut off where it takes too long.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, ProvisionCause>>,
    ) -> Result<T, ProvisionCause> {
        let done = timeout(CALL_LIMIT, work).await.unwrap_or_else(|_| Err(self.slow(CALL_LIMIT)));
        // What cut a session is the server's trouble: the address is ours to add.
        done.map_err(|cause| match cause {
            ProvisionCause::Unreachable { detail, .. } => {
                ProvisionCause::Unreachable { server: self.shown.clone(), detail }
            }
            other => other,
        })
    }

    fn slow(&self, limit: Duration) -> ProvisionCause {
        ProvisionCause::Slow { server: self.shown.clone(), seconds: limit.as_secs() }
    }

    fn cause(&self, error: sqlx::Error) -> ProvisionCause {
        match cause(error) {
            ProvisionCause::Unreachable { detail, .. } => {
                ProvisionCause::Unreachable { server: self.shown.clone(), detail }
            }
            other => other,
        }
    }
}

impl Session {
    /// Says goodbye, so that the server does not log a lost client.
    pub(super) async fn close(self) {
        let _ = timeout(CONNECT_LIMIT, self.connection.close()).await;
    }
}

/// Gives an error of the server its name (the codes: PostgreSQL's manual, appendix A).
pub(super) fn cause(error: sqlx::Error) -> ProvisionCause {
    let unreachable = |detail: String| ProvisionCause::Unreachable { server: String::new(), detail };
    let Some(database) = error.as_database_error() else {
        return match error {
            sqlx::Error::Io(error) if is_of_tls(&error) => ProvisionCause::Tls(error.to_string()),
            sqlx::Error::Io(error) => unreachable(error.to_string()),
            sqlx::Error::Tls(error) => ProvisionCause::Tls(error.to_string()),
            other => ProvisionCause::Failed(other.to_string()),
        };
    };
    let text = database.message().to_owned();
    match database.code().as_deref() {
        Some("28P01" | "28000") => ProvisionCause::LoginRefused(text),
        Some("53300") => ProvisionCause::Connections(text),
        Some("53100") => ProvisionCause::Full,
        Some("25006") => ProvisionCause::ReadOnly,
        Some("42501") => ProvisionCause::NotAllowed(text),
        Some("57P01" | "57P02" | "57P03" | "57P05") => unreachable(text),
        Some(code) if code.starts_with("08") => unreachable(text),
        Some(code) => ProvisionCause::Failed(format!("{text} ({code})")),
        None => ProvisionCause::Failed(text),
    }
}

/// rustls reports what it refuses as malformed input.
fn is_of_tls(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::InvalidData && error.to_string().contains("certificate")
}

/// The text of the file that `sslrootcert` names: instances get it in their config.
fn authority(url: &str) -> Result<Option<String>, PostgresError> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let named = query.split('&').find_map(|pair| pair.strip_prefix("sslrootcert="));
    let Some(path) = named.map(PathBuf::from) else { return Ok(None) };
    let text = std::fs::read_to_string(&path).map_err(|source| PostgresError::Authority { path, source })?;
    Ok(Some(text))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
