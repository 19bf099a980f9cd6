//! The login of a workspace's database; its password is sealed.

use sqlx::Row;
use time::OffsetDateTime;

use super::{
    Registry, RegistryError,
    registry::{read_id, write_time},
};
use crate::{
    ids::WorkspaceId,
    model::{Login, Slot},
};

const PURPOSE: &str = "database password";

impl Registry {
    /// The login that new instances of a workspace get; made and stored here where there is none yet.
    pub async fn login_or_new(&self, workspace: WorkspaceId, now: OffsetDateTime) -> Result<Login, RegistryError> {
        if let Some(login) = self.login(workspace).await? {
            return Ok(login);
        }
        let login = Login::generate(Slot::A, 0);
        self.set_login(workspace, &login, now).await?;
        Ok(login)
    }

    /// The login that new instances of a workspace get.
    pub async fn login(&self, workspace: WorkspaceId) -> Result<Option<Login>, RegistryError> {
        let failed = RegistryError::of("read the database login");
        let row = sqlx::query("SELECT slot, sealed, rotation FROM database_logins WHERE workspace_id = $1")
            .bind(workspace.to_string())
            .fetch_optional(&self.reader)
            .await
            .map_err(&failed)?;
        let Some(row) = row else { return Ok(None) };
        let text = |i: usize| row.try_get::<String, _>(i).map_err(&failed);
        let password = self.master_key.open(PURPOSE, &text(1)?)?;
        Ok(Some(Login {
            slot: read_id("login slot", &text(0)?)?,
            password: String::from_utf8(password)
                .map_err(|_| RegistryError::malformed("database password")("not text".to_owned()))?,
            rotation: row.try_get(2).map_err(&failed)?,
        }))
    }

    /// Replaces it. From here on new instances get this one.
    pub async fn set_login(
        &self,
        workspace: WorkspaceId,
        login: &Login,
        now: OffsetDateTime,
    ) -> Result<(), RegistryError> {
        let sealed = self.master_key.seal(PURPOSE, login.password.as_bytes())?;
        sqlx::query(
            "INSERT INTO database_logins (workspace_id, slot, sealed, rotation, created_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (workspace_id) DO UPDATE SET slot = excluded.slot, sealed = excluded.sealed, \
             rotation = excluded.rotation, created_at = excluded.created_at",
        )
        .bind(workspace.to_string())
        .bind(login.slot.as_str())
        .bind(sealed)
        .bind(login.rotation)
        .bind(write_time(now))
        .execute(&self.writer)
        .await
        .map_err(RegistryError::of("store the database login"))?;
        Ok(())
    }
}
