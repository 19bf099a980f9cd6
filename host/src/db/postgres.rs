//! The registry on a PostgreSQL server. The writing connection holds an advisory lock of its session for as long as it lives: a
//! daemon that lost it (the server was restarted, someone ended the session) can't write before it has it again, and a second
//! daemon never gets it. That a session is really our own is tried out at the start, because a pooler in transaction mode
//! would share it, lock and all.

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    AnyConnection, AnyPool, Connection,
    any::{AnyConnectOptions, AnyPoolOptions},
};

use super::{RegistryError, registry::open_error};
use crate::settings::PostgresUrl;

/// The lock's number in the registry's database: "orbitd" and a version, as bytes.
const LOCK: i64 = i64::from_be_bytes(*b"\0orbitd\x01");
/// Nothing of ours runs long; a server that hangs must not hold the controller. Dead peers are noticed within a minute, on both sides.
const SESSION: &str = "SET synchronous_commit = on; SET statement_timeout = '20s'; SET lock_timeout = '10s'; \
                       SET idle_in_transaction_session_timeout = '30s'; SET tcp_keepalives_idle = 20; \
                       SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 4;";
/// How long a start waits for the lock: a killed predecessor's session ends within moments.
const PATIENCE: Duration = Duration::from_secs(8);
const READERS: u32 = 4;
const SHARED_SESSION_TRIES: usize = 3;

/// Writer (with the lock) and readers.
pub(super) async fn open(url: &PostgresUrl) -> Result<(AnyPool, AnyPool), RegistryError> {
    let place = url.shown();
    let failed = |source| open_error(&place, source);
    let options = AnyConnectOptions::from_str(url.expose()).map_err(failed)?;
    // By themselves: a pool would try again and again, and tell nothing of why. And before the lock is taken: on a shared session
    // it would stay when we are gone.
    let mut one = AnyConnection::connect_with(&options).await.map_err(failed)?;
    assert_durable(&mut one).await?;
    let mut other = AnyConnection::connect_with(&options).await.map_err(failed)?;
    if is_shared(&mut one, &mut other).await.map_err(failed)? {
        return Err(RegistryError::Pooled { place });
    }
    one.close().await.map_err(failed)?;
    other.close().await.map_err(failed)?;

    let held = Arc::new(AtomicBool::new(false));
    let seen = held.clone();
    let writer = AnyPoolOptions::new()
        .max_connections(1)
        .min_connections(1)
        .acquire_timeout(PATIENCE)
        // It is kept: the lock goes with it.
        .max_lifetime(None)
        .idle_timeout(None)
        .after_connect(move |connection, _| {
            let seen = seen.clone();
            Box::pin(async move {
                sqlx::raw_sql(SESSION).execute(&mut *connection).await?;
                let locked = lock(connection).await?;
                seen.store(!locked, Ordering::Relaxed);
                if locked { Ok(()) } else { Err(sqlx::Error::Protocol("another orbitd holds the registry".into())) }
            })
        })
        .connect_with(options.clone())
        .await
        .map_err(|error| match held.load(Ordering::Relaxed) {
            true => RegistryError::Held { place: place.clone() },
            false => open_error(&place, error),
        })?;
    let reader = AnyPoolOptions::new()
        .max_connections(READERS)
        .acquire_timeout(PATIENCE)
        .after_connect(|connection, _| {
            Box::pin(async move { sqlx::raw_sql(SESSION).execute(connection).await.map(|_| ()) })
        })
        .connect_lazy_with(options);
    Ok((writer, reader))
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
