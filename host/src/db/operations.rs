//! Changes that a client gave a key, so that it can send them again when the answer was lost. What has begun is noted before anything is
//! done; that a spec was changed for it is noted in the transaction that changes it; the answer last. Whoever asks again after a kill in
//! between does the same operation again, and finds what it did.

use sqlx::{AnyConnection, Row};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{
    Registry, RegistryError,
    registry::{read_id, write_time},
};
use crate::ids::Digest;

/// How long an answer can be had again.
pub const OPERATION_AGE: Duration = Duration::DAY;
/// Operations that are remembered; the oldest go.
pub const MAX_OPERATIONS: i64 = 10_000;
/// Bytes of an answer that is kept. Of a longer one is only known that its change was made.
pub const MAX_REPLY: usize = 256 << 10;
const PURPOSE: &str = "operation reply";

/// A change that has a key. Its id becomes the id of what it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation(pub Uuid);

tokio::task_local! {
    /// On whose behalf a task writes.
    static CURRENT: Operation;
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Nothing yet, or that it was begun and never answered: it is to be done (again) as this operation.
    ToDo(Operation),
    /// It is done: this was the answer.
    Done(Reply),
    /// The key is another request's.
    Other,
}

/// An answer, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `Location`.
    pub location: Option<String>,
    /// JSON.
    pub body: Vec<u8>,
}

impl Operation {
    /// The one that this task works for.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|operation| *operation).ok()
    }

    /// Has `work` work for `operation`, if there is one.
    pub async fn within<T>(operation: Option<Self>, work: impl Future<Output = T>) -> T {
        match operation {
            Some(operation) => CURRENT.scope(operation, work).await,
            None => work.await,
        }
    }

    /// Notes, in the transaction of its change, that it was made; false if it was before.
    pub(super) async fn apply(self, connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
        let done = sqlx::query("UPDATE operations SET applied = 1 WHERE operation = $1 AND applied = 0")
            .bind(self.0.to_string())
            .execute(connection)
            .await?;
        Ok(done.rows_affected() == 1)
    }
}

impl Registry {
    /// Begins an operation, or finds it. Callers see to it that each key is asked for once at a time.
    pub async fn begin_operation(
        &self,
        key: Digest,
        request: Digest,
        now: OffsetDateTime,
    ) -> Result<Begun, RegistryError> {
        const OPERATION: &str = "note the request's key";
        let failed = RegistryError::of(OPERATION);
        let found =
            sqlx::query("SELECT request, operation, status, location, reply FROM operations WHERE client_key = $1")
                .bind(key.to_string())
                .fetch_optional(&self.reader)
                .await
                .map_err(&failed)?;
        if let Some(row) = found {
            let text = |i: usize| row.try_get::<Option<String>, _>(i).map_err(&failed);
            if text(0)?.unwrap_or_default() != request.to_string() {
                return Ok(Begun::Other);
            }
            let status: Option<i64> = row.try_get(2).map_err(&failed)?;
            let Some((status, reply)) = status.and_then(|status| u16::try_from(status).ok()).zip(text(4)?) else {
                return Ok(Begun::ToDo(Operation(read_id("operation", &text(1)?.unwrap_or_default())?)));
            };
            let body = self.master_key.open(PURPOSE, &reply)?;
            return Ok(Begun::Done(Reply { status, location: text(3)?, body }));
        }
        let operation = Operation(Uuid::now_v7());
        let work = async |connection: &mut AnyConnection| {
            sqlx::query("DELETE FROM operations WHERE created_at < $1")
                .bind(write_time(now - OPERATION_AGE))
                .execute(&mut *connection)
                .await
                .map_err(&failed)?;
            sqlx::query(
                "DELETE FROM operations WHERE created_at <= \
                 (SELECT created_at FROM operations ORDER BY created_at DESC LIMIT 1 OFFSET $1)",
            )
            .bind(MAX_OPERATIONS - 1)
            .execute(&mut *connection)
            .await
            .map_err(&failed)?;
            sqlx::query("INSERT INTO operations (client_key, request, operation, created_at) VALUES ($1, $2, $3, $4)")
                .bind(key.to_string())
                .bind(request.to_string())
                .bind(operation.0.to_string())
                .bind(write_time(now))
                .execute(&mut *connection)
                .await
                .map_err(&failed)?;
            Ok(())
        };
        self.writer.transaction(OPERATION, work).await?;
        Ok(Begun::ToDo(operation))
    }

    /// Keeps its answer; one that is too long is not kept ([`MAX_REPLY`]).
    pub async fn finish_operation(&self, key: Digest, reply: &Reply) -> Result<(), RegistryError> {
        if reply.body.len() > MAX_REPLY {
            return Ok(());
        }
        sqlx::query("UPDATE operations SET status = $1, location = $2, reply = $3 WHERE client_key = $4")
            .bind(i64::from(reply.status))
            .bind(reply.location.clone())
            .bind(self.master_key.seal(PURPOSE, &reply.body)?)
            .bind(key.to_string())
            .execute(&self.writer)
            .await
            .map_err(RegistryError::of("keep the answer for the request's key"))?;
        Ok(())
    }

    /// Forgets one that was refused: it changed nothing, its key is free for a better request.
    pub async fn forget_operation(&self, key: Digest) -> Result<(), RegistryError> {
        sqlx::query("DELETE FROM operations WHERE client_key = $1 AND applied = 0")
            .bind(key.to_string())
            .execute(&self.writer)
            .await
            .map_err(RegistryError::of("forget the request's key"))?;
        Ok(())
    }
}
