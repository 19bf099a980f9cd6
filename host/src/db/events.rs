//! Events: what an operator may want to read of one workspace's past. Bounded per workspace.

use sqlx::{AnyConnection, Row};
use time::OffsetDateTime;

use super::{
    Registry, RegistryError,
    registry::{read_id, read_time, write_time},
};
use crate::{ids::WorkspaceId, model::Event};

/// Events kept per workspace; older ones go.
pub const MAX_EVENTS: i64 = 500;
/// Characters of one event's message; the rest is cut.
const MAX_MESSAGE: usize = 2_000;
const OPERATION: &str = "store the event";

/// An event that has no number yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// CamelCase, from a closed set.
    pub reason: &'static str,
    /// One sentence for a person; never a secret.
    pub message: String,
}

pub(super) async fn insert(
    connection: &mut AnyConnection,
    workspace: WorkspaceId,
    event: &NewEvent,
    now: OffsetDateTime,
) -> Result<(), RegistryError> {
    let sequence: i64 =
        sqlx::query_scalar("UPDATE counters SET value = value + 1 WHERE name = 'events' RETURNING value")
            .fetch_one(&mut *connection)
            .await
            .map_err(RegistryError::of(OPERATION))?;
    // PostgreSQL's text holds no NUL.
    let message: String = event.message.chars().filter(|c| *c != '\0').take(MAX_MESSAGE).collect();
    sqlx::query("INSERT INTO events (sequence, workspace_id, reason, message, at) VALUES ($1, $2, $3, $4, $5)")
        .bind(sequence)
        .bind(workspace.to_string())
        .bind(event.reason)
        .bind(message)
        .bind(write_time(now))
        .execute(&mut *connection)
        .await
        .map_err(RegistryError::of(OPERATION))?;
    sqlx::query(
        "DELETE FROM events WHERE workspace_id = $1 AND sequence <= \
         (SELECT sequence FROM events WHERE workspace_id = $1 ORDER BY sequence DESC LIMIT 1 OFFSET $2)",
    )
    .bind(workspace.to_string())
    .bind(MAX_EVENTS)
    .execute(&mut *connection)
    .await
    .map_err(RegistryError::of(OPERATION))?;
    Ok(())
}

impl Registry {
    /// Stores one event outside a step.
    pub async fn insert_event(
        &self,
        workspace: WorkspaceId,
        event: &NewEvent,
        now: OffsetDateTime,
    ) -> Result<(), RegistryError> {
        let work = async |connection: &mut AnyConnection| insert(connection, workspace, event, now).await;
        self.writer.transaction(OPERATION, work).await
    }

    /// Events with a sequence above `after`, oldest first.
    pub async fn events(&self, workspace: WorkspaceId, after: i64, limit: u32) -> Result<Vec<Event>, RegistryError> {
        const OPERATION: &str = "read the events";
        let rows = sqlx::query(
            "SELECT sequence, reason, message, at FROM events WHERE workspace_id = $1 AND sequence > $2 \
             ORDER BY sequence LIMIT $3",
        )
        .bind(workspace.to_string())
        .bind(after)
        .bind(i64::from(limit).min(MAX_EVENTS))
        .fetch_all(&self.reader)
        .await
        .map_err(RegistryError::of(OPERATION))?;
        rows.iter()
            .map(|row| {
                let text = |i: usize| row.try_get::<String, _>(i).map_err(RegistryError::of(OPERATION));
                Ok(Event {
                    sequence: row.try_get(0).map_err(RegistryError::of(OPERATION))?,
                    workspace,
                    reason: read_id("event", &text(1)?)?,
                    message: text(2)?,
                    at: read_time(&text(3)?)?,
                })
            })
            .collect()
    }
}
