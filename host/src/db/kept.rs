//! Databases of deleted workspaces that are still there.

use sqlx::Row;

use super::{
    Registry, RegistryError,
    registry::{read_id, read_time, write_time},
};
use crate::model::KeptDatabase;

impl Registry {
    /// Notes one; noted again, the first note stays.
    pub async fn insert_kept(&self, kept: &KeptDatabase) -> Result<(), RegistryError> {
        sqlx::query(
            "INSERT INTO kept_databases (database_name, workspace_id, slug, kept_at, drop_after) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (database_name) DO NOTHING",
        )
        .bind(&kept.database)
        .bind(kept.workspace.to_string())
        .bind(kept.slug.as_str())
        .bind(write_time(kept.kept_at))
        .bind(kept.drop_after.map(write_time))
        .execute(&self.writer)
        .await
        .map_err(RegistryError::of("note the kept database"))?;
        Ok(())
    }

    /// All, the oldest first.
    pub async fn kept(&self) -> Result<Vec<KeptDatabase>, RegistryError> {
        let failed = RegistryError::of("list the kept databases");
        let rows = sqlx::query(
            "SELECT database_name, workspace_id, slug, kept_at, drop_after FROM kept_databases ORDER BY kept_at, database_name",
        )
        .fetch_all(&self.reader)
        .await
        .map_err(&failed)?;
        rows.iter()
            .map(|row| {
                let text = |i: usize| row.try_get::<String, _>(i).map_err(&failed);
                let drop_after: Option<String> = row.try_get(4).map_err(&failed)?;
                Ok(KeptDatabase {
                    database: text(0)?,
                    workspace: read_id("workspace id", &text(1)?)?,
                    slug: read_id("slug", &text(2)?)?,
                    kept_at: read_time(&text(3)?)?,
                    drop_after: drop_after.map(|at| read_time(&at)).transpose()?,
                })
            })
            .collect()
    }

    /// Forgets one that is dropped.
    pub async fn delete_kept(&self, database: &str) -> Result<(), RegistryError> {
        sqlx::query("DELETE FROM kept_databases WHERE database_name = $1")
            .bind(database)
            .execute(&self.writer)
            .await
            .map_err(RegistryError::of("forget the kept database"))?;
        Ok(())
    }
}
