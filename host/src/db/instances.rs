//! Rows of started processes. A row is written before its process starts and removed after it is seen gone.

use sqlx::{Row, any::AnyRow};
use time::OffsetDateTime;

use super::{
    Registry, RegistryError,
    registry::{read_id, read_time, write_time},
};
use crate::{
    ids::{InstanceId, WorkspaceId},
    model::Instance,
};

/// An instance's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRow {
    /// As everyone sees it; its boot secret is opened.
    pub instance: Instance,
    /// `http://127.0.0.1:<port>`.
    pub url: String,
    /// Its workspace's database.
    pub database_name: String,
    /// Database connections that it may open; 0 where nobody counts them.
    pub connections: u32,
    /// How far it is.
    pub state: InstanceState,
    /// The kernel's boot id when it was started: process ids mean nothing across a boot.
    pub kernel_boot: Option<String>,
}

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceState {
    /// Started or about to be.
    Starting,
    /// Proven once; its revision is good.
    Running,
    /// Told to end.
    Stopping,
}

impl InstanceState {
    /// As it is in the `status` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
        }
    }
}

impl std::str::FromStr for InstanceState {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Starting, Self::Running, Self::Stopping]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not an instance's status"))
    }
}

impl Registry {
    /// A row for an instance that is about to be started, without pid.
    pub async fn insert_instance(&self, row: &InstanceRow) -> Result<(), RegistryError> {
        let instance = &row.instance;
        let secret = self.master_key.seal("boot secret", instance.boot_secret.as_bytes())?;
        sqlx::query(
            "INSERT INTO backstage_instances (id, workspace_id, instance_url, database_name, status, created_at, updated_at, \
             revision, port, boot_secret, restarts, connections) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(instance.id.to_string())
        .bind(instance.workspace.to_string())
        .bind(&row.url)
        .bind(&row.database_name)
        .bind(row.state.as_str())
        .bind(write_time(instance.started_at))
        .bind(write_time(instance.started_at))
        .bind(instance.revision.to_string())
        .bind(i64::from(instance.port))
        .bind(secret)
        .bind(instance.restarts)
        .bind(i64::from(row.connections))
        .execute(&self.writer)
        .await
        .map_err(RegistryError::of("store the instance"))?;
        Ok(())
    }

    /// Records the process of an instance, right after it was started.
    pub async fn record_process(
        &self,
        id: InstanceId,
        pid: u32,
        start_ticks: u64,
        kernel_boot: &str,
        now: OffsetDateTime,
    ) -> Result<(), RegistryError> {
        sqlx::query(
            "UPDATE backstage_instances SET pid = $1, start_ticks = $2, kernel_boot = $3, updated_at = $4 WHERE id = $5",
        )
        .bind(i64::from(pid))
        .bind(i64::try_from(start_ticks).unwrap_or(i64::MAX))
        .bind(kernel_boot)
        .bind(write_time(now))
        .bind(id.to_string())
        .execute(&self.writer)
        .await
        .map_err(RegistryError::of("record the instance's process"))?;
        Ok(())
    }

    /// Records how far an instance is.
    pub async fn set_instance_state(
        &self,
        id: InstanceId,
        state: InstanceState,
        now: OffsetDateTime,
    ) -> Result<(), RegistryError> {
        sqlx::query("UPDATE backstage_instances SET status = $1, updated_at = $2 WHERE id = $3")
            .bind(state.as_str())
            .bind(write_time(now))
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .map_err(RegistryError::of("record the instance's state"))?;
        Ok(())
    }

    /// Forgets an instance whose process is gone.
    pub async fn delete_instance(&self, id: InstanceId) -> Result<(), RegistryError> {
        sqlx::query("DELETE FROM backstage_instances WHERE id = $1")
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .map_err(RegistryError::of("forget the instance"))?;
        Ok(())
    }

    /// Instances of one workspace, oldest first.
    pub async fn instances_of(&self, workspace: WorkspaceId) -> Result<Vec<InstanceRow>, RegistryError> {
        let rows = sqlx::query("SELECT * FROM backstage_instances WHERE workspace_id = $1 ORDER BY id")
            .bind(workspace.to_string())
            .fetch_all(&self.reader)
            .await
            .map_err(RegistryError::of("read the instances"))?;
        rows.iter().map(|row| self.instance_row(row)).collect()
    }

    /// Ports that rows hold.
    pub async fn ports_in_use(&self) -> Result<std::collections::HashSet<u16>, RegistryError> {
        let ports: Vec<i64> = sqlx::query_scalar("SELECT port FROM backstage_instances")
            .fetch_all(&self.reader)
            .await
            .map_err(RegistryError::of("read the ports in use"))?;
        Ok(ports.into_iter().filter_map(|port| u16::try_from(port).ok()).collect())
    }

    /// Database connections that all instances together may open.
    pub async fn connections_in_use(&self) -> Result<u64, RegistryError> {
        let sum: Option<i64> = sqlx::query_scalar("SELECT CAST(SUM(connections) AS BIGINT) FROM backstage_instances")
            .fetch_one(&self.reader)
            .await
            .map_err(RegistryError::of("count the database connections in use"))?;
        Ok(sum.and_then(|sum| u64::try_from(sum).ok()).unwrap_or_default())
    }

    fn instance_row(&self, row: &AnyRow) -> Result<InstanceRow, RegistryError> {
        const OPERATION: &str = "read an instance";
        let text = |name: &'static str| row.try_get::<String, _>(name).map_err(RegistryError::of(OPERATION));
        let number = |name: &'static str| row.try_get::<Option<i64>, _>(name).map_err(RegistryError::of(OPERATION));
        let secret = self.master_key.open("boot secret", &text("boot_secret")?)?;
        let out_of_range = |what| move |_| RegistryError::malformed(what)("out of range".to_owned());
        let port = u16::try_from(number("port")?.unwrap_or_default()).map_err(out_of_range("port"))?;
        let pid = number("pid")?.map(u32::try_from).transpose().map_err(out_of_range("pid"))?;
        let start_ticks = number("start_ticks")?.map(u64::try_from).transpose().map_err(out_of_range("start time"))?;
        Ok(InstanceRow {
            instance: Instance {
                id: read_id("instance id", &text("id")?)?,
                workspace: read_id("workspace id", &text("workspace_id")?)?,
                revision: read_id("revision", &text("revision")?)?,
                port,
                pid,
                start_ticks,
                boot_secret: String::from_utf8(secret)
                    .map_err(|_| RegistryError::malformed("boot secret")("not text".to_owned()))?,
                restarts: number("restarts")?.unwrap_or_default(),
                started_at: read_time(&text("created_at")?)?,
            },
            url: text("instance_url")?,
            database_name: text("database_name")?,
            connections: u32::try_from(number("connections")?.unwrap_or_default())
                .map_err(out_of_range("connections"))?,
            state: read_id("instance status", &text("status")?)?,
            kernel_boot: row.try_get("kernel_boot").map_err(RegistryError::of(OPERATION))?,
        })
    }
}
