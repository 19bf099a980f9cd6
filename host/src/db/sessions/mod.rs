//! The registry's sessions: a few connections that are opened when needed, kept while they are good, and closed at the first doubt.
//! sqlx's own pool hides why it has no connection and tries alone for each caller; here
//!
//! * one opens at a time, with a pause that doubles: however many wait, a server that is down meets [`LONGEST_PAUSE`] between two tries;
//! * who waited in vain is told the reason of the last try;
//! * a session that failed in a way that may be its own (cut, read-only, a disk error, no answer in time, a caller that went away in the
//!   middle) is closed: what comes next is opened anew, on whichever server is the primary then, with its lock and its checks.
//!
//! Statements run on it as on a pool: [`Sessions`] is an [`sqlx::Executor`]. Transactions: [`Sessions::transaction`].

mod executor;
mod reason;
mod settling;
mod source;

pub(super) use self::{
    reason::{NoSession, leaves_session_whole},
    settling::Settling,
    source::{Kept, Makeshift, Source},
};

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{
    AnyConnection, Connection as _,
    migrate::{MigrateError, Migrator},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use self::reason::said;
use super::RegistryError;

/// How long a caller waits for a session: a restarted server is back, a killed predecessor's lock is free.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a caller waits for its turn: a slow disk has a queue.
const QUEUE_LIMIT: Duration = Duration::from_secs(15);
/// Time for a try when the turn came late.
const LAST_TRY: Duration = Duration::from_secs(1);
/// Longest statement or transaction. A server's own limit is shorter; this one is for a server that is not heard of any more.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);
/// Longest look whether a kept session is still good.
const LOOK_LIMIT: Duration = Duration::from_secs(3);
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// Between two warnings about one trouble.
const SAY_AGAIN: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Sessions of one kind: the one that writes, or those that read. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sessions(Arc<Inner>);

struct Inner {
    source: Source,
    most: u32,
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Kept>>,
    /// Held by who opens one.
    opening: tokio::sync::Mutex<Pause>,
    /// Why there is none, while there is none.
    trouble: Mutex<Option<Trouble>>,
}

/// The right to a session.
struct Turn {
    /// When it was asked for.
    began: Instant,
    _permit: OwnedSemaphorePermit,
}

/// One that is lent. Closed when dropped, unless it was [`Session::keep`]ed.
struct Session {
    kept: Kept,
    of: Sessions,
    turn: Turn,
}

/// How a transaction ended.
enum End<T> {
    /// Committed, or undone.
    Known(Result<T, RegistryError>),
    /// With its session. `committing`: in the middle of its COMMIT, so that it may stand.
    Broken { error: RegistryError, committing: bool, turn: Turn },
}

/// What went wrong last.
struct Trouble {
    text: String,
    at: Instant,
    /// When the log said so last.
    said: Instant,
}

/// Before the next try.
#[derive(Default)]
struct Pause {
    length: Duration,
    until: Option<Instant>,
}

// === impl Sessions ===

impl Sessions {
    /// At most `most` at a time; none is opened yet.
    pub(super) fn new(source: Source, most: u32) -> Self {
        let turns = Arc::new(Semaphore::new(most as usize));
        Self(Arc::new(Inner {
            source,
            most,
            turns,
            idle: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            trouble: Mutex::default(),
        }))
    }

    /// Opens one now, and says why not after one try.
    pub(super) async fn first(&self) -> Result<(), sqlx::Error> {
        let kept = self.0.source.open(false).await?;
        lock(&self.0.idle).push(kept);
        Ok(())
    }

    /// Brings the schema up to date.
    pub(super) async fn migrate(&self, migrations: &Migrator) -> Result<(), MigrateError> {
        let mut session = self.lend(self.turn().await?).await?;
        // Some take long, on a large registry; a server ends what hangs.
        let done = migrations.run(&mut session.kept.connection).await;
        if done.is_ok() {
            _ = session.keep();
        }
        done
    }

    /// Runs `work` in a transaction: committed if it is good, else undone. [`RegistryError::Unsettled`]: no answer came to its COMMIT.
    pub(super) async fn transaction<T>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let turn = self.turn().await.map_err(RegistryError::of(operation))?;
        match self.within(turn, operation, work).await {
            End::Known(outcome) => outcome,
            End::Broken { error, committing, .. } => Err(if committing { unsettled(operation, error) } else { error }),
        }
    }

    /// The same for what a client waits for: see [`Settling`].
    pub(super) async fn settling(&self, operation: &'static str) -> Result<Settling, RegistryError> {
        let turn = self.turn().await.map_err(RegistryError::of(operation))?;
        Ok(Settling { of: self.clone(), operation, turn: Some(turn), again: false, lost: false })
    }

    /// A transaction in this turn.
    async fn within<T>(
        &self,
        turn: Turn,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, RegistryError>,
    ) -> End<T> {
        let failed = RegistryError::of(operation);
        let mut session = match self.lend(turn).await {
            Ok(session) => session,
            Err(error) => return End::Known(Err(failed(error))),
        };
        let mut committing = false;
        let done = timeout(STATEMENT_LIMIT, async {
            let mut transaction = session.kept.connection.begin().await.map_err(&failed)?;
            match work(&mut transaction).await {
                Ok(value) => {
                    committing = true;
                    transaction.commit().await.map_err(&failed).map(|()| (Ok(value), true))
                }
                Err(error) => {
                    let undone = transaction.rollback().await.is_ok();
                    let whole = undone && error.leaves_session_whole();
                    Ok((Err(error), whole))
                }
            }
        });
        let (outcome, whole) = match done.await {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) => (Err(error), false),
            Err(_) => (Err(failed(NoSession::Slow(STATEMENT_LIMIT).into())), false),
        };
        match outcome {
            Err(error) if !whole => {
                self.note(error.to_string());
                let turn = session.close();
                if error.is_of_the_session() { End::Broken { error, committing, turn } } else { End::Known(Err(error)) }
            }
            known => {
                _ = session.keep();
                End::Known(known)
            }
        }
    }

    /// Closes all, once those that are lent are back. Nothing is lent after that.
    pub(super) async fn close(&self) {
        let _all = timeout(CLOSE_LIMIT, self.0.turns.acquire_many(self.0.most)).await;
        self.0.turns.close();
        let idle = std::mem::take(&mut *lock(&self.0.idle));
        for kept in idle {
            let _ = timeout(CLOSE_LIMIT, kept.connection.close()).await;
        }
    }

    /// The right to one of them, as soon as it is the caller's turn.
    async fn turn(&self) -> Result<Turn, sqlx::Error> {
        let began = Instant::now();
        match timeout(QUEUE_LIMIT, self.0.turns.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn { began, _permit: permit }),
            Ok(Err(_)) => Err(NoSession::Closed.into()),
            Err(_) => Err(self.why_none(began)),
        }
    }

    /// One of them.
    async fn lend(&self, turn: Turn) -> Result<Session, sqlx::Error> {
        let began = turn.began;
        // Those who queued behind one that waited in vain do not wait as long once more, each.
        let deadline = (began + PATIENCE).max(Instant::now() + LAST_TRY);
        loop {
            let idle = lock(&self.0.idle).pop();
            let kept = match idle {
                Some(mut kept) => match timeout(LOOK_LIMIT, self.0.source.is_good(&mut kept)).await {
                    Ok(true) => kept,
                    _ => continue,
                },
                None => match timeout_at(deadline, self.open()).await {
                    Ok(Some(kept)) => kept,
                    Ok(None) => continue,
                    Err(_) => return Err(self.why_none(began)),
                },
            };
            return Ok(Session { kept, of: self.clone(), turn });
        }
    }

    /// One try, after the pause that the last one left. `None`: it failed.
    async fn open(&self) -> Option<Kept> {
        let mut pause = self.0.opening.lock().await;
        if let Some(until) = pause.until {
            tokio::time::sleep_until(until).await;
        }
        // Whoever is cut off in the middle of it leaves a pause, too.
        pause.grow();
        let after_trouble = lock(&self.0.trouble).is_some();
        match self.0.source.open(after_trouble).await {
            Ok(kept) => {
                *pause = Pause::default();
                if lock(&self.0.trouble).take().is_some() {
                    tracing::info!(place = self.0.source.place(), "the registry can be used again");
                }
                Some(kept)
            }
            Err(error) => {
                pause.grow_from_now();
                self.note(said(&error));
                None
            }
        }
    }

    /// Remembers why, and says so now and then.
    fn note(&self, text: String) {
        let now = Instant::now();
        let mut trouble = lock(&self.0.trouble);
        let said = trouble.as_ref().map(|trouble| trouble.said).filter(|said| now - *said < SAY_AGAIN);
        if said.is_none() {
            tracing::warn!(
                place = self.0.source.place(),
                error = text,
                "the registry fails; what runs is served meanwhile"
            );
        }
        *trouble = Some(Trouble { text, at: now, said: said.unwrap_or(now) });
    }

    /// What is said to who has waited since `began`.
    fn why_none(&self, began: Instant) -> sqlx::Error {
        let slow = NoSession::Slow(PATIENCE);
        let text = match &*lock(&self.0.trouble) {
            Some(trouble) if trouble.at >= began => trouble.text.clone(),
            Some(trouble) => format!("{slow}; before that: {}", trouble.text),
            None => slow.to_string(),
        };
        NoSession::LastTry(text).into()
    }

    /// Runs one statement on a session, and keeps that if it still can be trusted.
    async fn run<T>(
        &self,
        statement: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut session = self.lend(self.turn().await?).await?;
        let done = timeout(STATEMENT_LIMIT, statement(&mut session.kept.connection)).await;
        let done = done.unwrap_or_else(|_| Err(NoSession::Slow(STATEMENT_LIMIT).into()));
        match &done {
            Err(error) if !leaves_session_whole(error) => self.note(said(error)),
            _ => _ = session.keep(),
        }
        done
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sessions").field(&self.0.source.place()).finish()
    }
}

// === impl Session ===

impl Session {
    fn keep(self) -> Turn {
        lock(&self.of.0.idle).push(self.kept);
        self.turn
    }

    /// Gives it up, but not the turn: whoever had it waits anew.
    fn close(self) -> Turn {
        Turn { began: Instant::now(), ..self.turn }
    }
}

// === impl Pause ===

impl Pause {
    fn grow(&mut self) {
        self.length = (self.length * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.grow_from_now();
    }

    fn grow_from_now(&mut self) {
        self.until = Some(Instant::now() + self.length);
    }
}

fn unsettled(operation: &'static str, error: RegistryError) -> RegistryError {
    RegistryError::Unsettled { operation, source: Box::new(error) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
