//! Small facts about the daemon itself that outlive it: the internal listener's port, for one, which running instances hold in
//! their config.

use super::{Registry, RegistryError};

impl Registry {
    /// The value of a name.
    pub async fn meta(&self, name: &str) -> Result<Option<String>, RegistryError> {
        sqlx::query_scalar("SELECT value FROM meta WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.reader)
            .await
            .map_err(RegistryError::of("read the daemon's own facts"))
    }

    /// Sets the value of a name.
    pub async fn set_meta(&self, name: &str, value: &str) -> Result<(), RegistryError> {
        sqlx::query(
            "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(name)
        .bind(value)
        .execute(&self.writer)
        .await
        .map_err(RegistryError::of("store the daemon's own facts"))?;
        Ok(())
    }
}
