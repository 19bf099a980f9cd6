//! The registry on PostgreSQL. The writing session holds an advisory lock for as long as it lives: a daemon that lost it (the server was
//! restarted, someone ended the session) can't write before it has it again, and a second daemon never gets it. That a session is
//! really our own is tried out at the start, because a pooler in transaction mode would share it, lock and all.
//!
//! `registry.url` may name several servers (`postgres://orbitd:…@a,b/orbitd`, as libpq has it): the one that takes changes is the
//! registry. A session on one that stops to (a standby after a failover, though the connection lives on) is closed, and the next one
//! looks for the primary again. The lock is the primary's own: whoever writes holds it there.

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use sqlx::{AnyConnection, Connection, any::AnyConnectOptions};
use tokio::time::{Instant, sleep, timeout};

use super::{
    RegistryError,
    registry::open_error,
    sessions::{Kept, Makeshift, NoSession, Sessions, Source},
};
use crate::settings::PostgresUrl;

/// The lock's number in the registry's database: "orbitd" and a version, as bytes.
const LOCK: i64 = i64::from_be_bytes(*b"\0orbitd\x01");
/// Nothing of ours runs long; a server that hangs must not hold the controller. Dead peers are noticed within a minute, on both sides.
const SESSION: &str = "SET synchronous_commit = on; SET statement_timeout = '20s'; SET lock_timeout = '10s'; \
                       SET idle_in_transaction_session_timeout = '30s'; SET tcp_keepalives_idle = 20; \
                       SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 4;";
/// How long a start waits for the lock: a killed predecessor's session ends within moments.
const PATIENCE: Duration = Duration::from_secs(8);
const LOCK_PAUSE: Duration = Duration::from_millis(400);
/// Longest time for one server to let us in.
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
/// For how long one reads from a server that takes no changes before another one is looked for.
const MAKESHIFT: Duration = Duration::from_secs(3);
const READERS: u32 = 4;
const SHARED_SESSION_TRIES: usize = 3;

/// Opens sessions on whichever server is the primary.
pub(super) struct Servers {
    hosts: Vec<AnyConnectOptions>,
    /// Of `hosts`, the one that was the primary last.
    primary: AtomicUsize,
    kind: Kind,
    place: String,
    /// How often a session that writes was opened; shared by those that write and those that read.
    writers: Arc<AtomicU64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Holds the lock.
    Writer,
    Reader,
    /// Looks at the server at the start, and leaves nothing on a session that may be shared.
    Trial,
}

/// Writer (with the lock) and readers.
pub(super) async fn open(url: &PostgresUrl) -> Result<(Sessions, Sessions), RegistryError> {
    let place = url.shown();
    let failed = |source| open_error(&place, source);
    let hosts = url.hosts().iter().map(|url| AnyConnectOptions::from_str(url)).collect::<Result<Vec<_>, _>>();
    let hosts = hosts.map_err(failed)?;
    let writers = Arc::new(AtomicU64::new(0));
    let servers = |kind| Servers {
        hosts: hosts.clone(),
        primary: AtomicUsize::new(0),
        kind,
        place: place.clone(),
        writers: writers.clone(),
    };
    // Before the lock is taken: on a shared session it would stay when we are gone.
    let trial = servers(Kind::Trial);
    let mut one = trial.open().await.map_err(failed)?.connection;
    assert_durable(&mut one).await?;
    let mut other = trial.open().await.map_err(failed)?.connection;
    if is_shared(&mut one, &mut other).await.map_err(failed)? {
        return Err(RegistryError::Pooled { place });
    }
    one.close().await.map_err(failed)?;
    other.close().await.map_err(failed)?;

    let writer = Sessions::new(Source::Servers(servers(Kind::Writer)), 1);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match writer.first().await {
            Ok(()) => return Ok((writer, Sessions::new(Source::Servers(servers(Kind::Reader)), READERS))),
            Err(error) if is_held(&error) && Instant::now() < deadline => sleep(LOCK_PAUSE).await,
            Err(error) if is_held(&error) => return Err(RegistryError::Held { place }),
            Err(error) => return Err(failed(error)),
        }
    }
}

fn is_held(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if super::error::is(error, |reason| matches!(reason, NoSession::Held)))
}

// === impl Servers ===

impl Servers {
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// A session on the primary. Where none takes changes a reader is content with one that does not, for a while.
    pub(super) async fn open(&self) -> Result<Kept, sqlx::Error> {
        let first = self.primary.load(Ordering::Relaxed);
        let writers = self.writers.load(Ordering::SeqCst);
        let mut makeshift = None;
        let mut trouble: Option<sqlx::Error> = None;
        for position in (0..self.hosts.len()).map(|i| (first + i) % self.hosts.len()) {
            let Some(options) = self.hosts.get(position) else { continue };
            let tried = timeout(CONNECT_LIMIT, self.open_at(options)).await;
            match tried.unwrap_or_else(|_| Err(NoSession::Slow(CONNECT_LIMIT).into())) {
                Ok((connection, true)) => {
                    self.primary.store(position, Ordering::Relaxed);
                    if self.kind == Kind::Writer {
                        self.writers.fetch_add(1, Ordering::SeqCst);
                    }
                    return Ok(Kept { connection, makeshift: None });
                }
                Ok((connection, false)) => {
                    makeshift.get_or_insert(connection);
                }
                // That one takes changes, and another daemon's: there is no use in looking further.
                Err(error) if is_held(&error) => return Err(error),
                Err(error) => {
                    trouble.get_or_insert(error);
                }
            }
        }
        match (makeshift, trouble) {
            (Some(connection), _) if self.kind == Kind::Reader => {
                let makeshift = Makeshift { until: Instant::now() + MAKESHIFT, writers };
                Ok(Kept { connection, makeshift: Some(makeshift) })
            }
            (Some(_), _) | (None, None) => Err(NoSession::ReadOnly.into()),
            (None, Some(error)) => Err(error),
        }
    }

    /// A session at this server, and whether it takes changes; the writer's has the lock then.
    async fn open_at(&self, options: &AnyConnectOptions) -> Result<(AnyConnection, bool), sqlx::Error> {
        let mut connection = AnyConnection::connect_with(options).await?;
        if self.kind != Kind::Trial {
            sqlx::raw_sql(SESSION).execute(&mut connection).await?;
        }
        if is_read_only(&mut connection).await? {
            return Ok((connection, false));
        }
        if self.kind == Kind::Writer && !lock(&mut connection).await? {
            return Err(NoSession::Held.into());
        }
        Ok((connection, true))
    }

    /// Whether a kept session is alive, and still on a server that takes changes. One round trip.
    pub(super) async fn is_good(&self, kept: &mut Kept) -> bool {
        let serves = |makeshift: Makeshift| {
            Instant::now() < makeshift.until && self.writers.load(Ordering::SeqCst) == makeshift.writers
        };
        match is_read_only(&mut kept.connection).await {
            Ok(false) => kept.makeshift.is_none(),
            Ok(true) => kept.makeshift.is_some_and(serves),
            Err(_) => false,
        }
    }
}

/// A standby, or a server whose administrator made it read-only: what 25006 would say to a change.
async fn is_read_only(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    let row = sqlx::raw_sql("SELECT current_setting('transaction_read_only')").fetch_one(connection).await?;
    let found: String = sqlx::Row::try_get(&row, 0)?;
    Ok(found == "on")
}

async fn lock(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    // The number is a constant: simple statements work through any pooler, so that it is the check below which refuses it.
    let statement = sqlx::AssertSqlSafe(format!("SELECT pg_try_advisory_lock({LOCK})"));
    let row = sqlx::raw_sql(statement).fetch_one(connection).await?;
    sqlx::Row::try_get(&row, 0)
}

/// Whether two connections are served by one session in turn, or one by several.
async fn is_shared(one: &mut AnyConnection, other: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    for _ in 0..SHARED_SESSION_TRIES {
        let before = session(one).await?;
        // Keeps the other's session busy: a pooler must give the first another one now.
        sqlx::raw_sql("BEGIN").execute(&mut *other).await?;
        let others = session(other).await?;
        let after = session(one).await?;
        sqlx::raw_sql("ROLLBACK").execute(&mut *other).await?;
        if before == others || before != after {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn session(connection: &mut AnyConnection) -> Result<i64, sqlx::Error> {
    let row = sqlx::raw_sql("SELECT CAST(pg_backend_pid() AS BIGINT)").fetch_one(connection).await?;
    sqlx::Row::try_get(&row, 0)
}

async fn assert_durable(connection: &mut AnyConnection) -> Result<(), RegistryError> {
    for (setting, wanted) in [("fsync", "on"), ("full_page_writes", "on"), ("server_encoding", "UTF8")] {
        let statement = sqlx::AssertSqlSafe(format!("SELECT current_setting('{setting}')"));
        let row = sqlx::raw_sql(statement).fetch_one(&mut *connection).await;
        let found: Result<String, _> = row.and_then(|row| sqlx::Row::try_get(&row, 0));
        let found = found.map_err(RegistryError::of("read the registry's durability"))?;
        if found != wanted {
            return Err(RegistryError::NotDurable { setting, found, wanted });
        }
    }
    Ok(())
}
