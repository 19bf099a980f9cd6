//! PostgreSQL: a database per workspace, a schema per plugin in it (facts: Backstage's `pluginDivisionMode: schema`).
//!
//! ```text
//! backstage_acme_1a2b3c4d      role, NOLOGIN: owns the database and everything in it
//! backstage_acme_1a2b3c4d      database, no right for PUBLIC
//! backstage_acme_1a2b3c4d_a    role, LOGIN, member of the first and of nothing else; its sessions become the first (SET role)
//! backstage_acme_1a2b3c4d_b    the same; used in turn, one per rotation of the password
//! ```
//!
//! What is ours? A role carries the workspace's id as its comment, written in the transaction that made it. A database can't be
//! made in a transaction; it is ours if its owner is our marked role. Anything else of the name is refused and left alone.
//!
//! Every call opens a connection of its own and closes it: calls are rare, so nothing goes stale over a failover, and none is
//! held from the workspaces.

mod budget;
mod database;
mod dump;
mod names;
mod role;
mod scram;
mod server;
mod survey;
mod wire_config;

#[cfg(test)]
mod tests;

pub use server::PostgresError;
pub use survey::PostgresSurvey;

use std::path::Path;

use sqlx::PgConnection;

use self::{names::Names, server::Server};
use super::{Access, ProvisionCause, ProvisionError, Provisioner, Site, Stage, Writers};
use crate::{
    ids::WorkspaceId,
    model::{Login, Slot},
    settings::PostgresSettings,
};

/// Sessions of a workspace's login that are ours: a dump, a restore.
const OWN_SESSIONS: u32 = 2;

/// A database per workspace on one server.
pub struct PostgresProvisioner {
    server: Server,
    settings: PostgresSettings,
}

impl PostgresProvisioner {
    /// Reads the settings; asks no server.
    pub fn new(settings: PostgresSettings) -> Result<Self, PostgresError> {
        let server = Server::new(&settings)?;
        Ok(Self { server, settings })
    }

    async fn make(
        &self,
        names: &Names,
        site: &Site<'_>,
        login: &Login,
        reached: &(dyn Fn(Stage) + Sync),
    ) -> Result<(), ProvisionCause> {
        let mut session = self.server.session().await?;
        let limit = self.settings.connection_limit.saturating_add(OWN_SESSIONS);
        let work = async {
            role::ensure_owner(&mut session.connection, names, site.workspace).await?;
            reached(Stage::Owner);
            database::ensure(&mut session.connection, names, site.workspace, limit, reached).await?;
            reached(Stage::Database);
            role::ensure_login(&mut session.connection, names, site.workspace, login, limit).await?;
            reached(Stage::Login);
            Ok(())
        };
        let done = self.server.in_time(work).await;
        session.close().await;
        done
    }
}

/// What a call was about, for its error.
fn failed(operation: &'static str, database: &str) -> impl Fn(ProvisionCause) -> ProvisionError {
    let database = database.to_owned();
    move |cause| ProvisionError { operation, database: database.clone(), cause }
}

#[async_trait::async_trait]
impl Provisioner for PostgresProvisioner {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn writers(&self) -> Writers {
        Writers::Many
    }

    fn needs_login(&self) -> bool {
        true
    }

    async fn capacity(&self) -> Result<Option<u64>, ProvisionError> {
        let connections = self.server.connections().await.map_err(failed("share out the connections to", "server"))?;
        Ok(Some(u64::from(connections.saturating_sub(self.settings.reserve))))
    }

    async fn ensure(
        &self,
        site: &Site<'_>,
        login: Option<&Login>,
        reached: &(dyn Fn(Stage) + Sync),
    ) -> Result<(), ProvisionError> {
        let failed = failed("make", site.database);
        let names = Names::of(site.database).map_err(&failed)?;
        let login = login.ok_or(ProvisionCause::NoLogin).map_err(&failed)?;
        self.make(&names, site, login, reached).await.map_err(failed)
    }

    fn access(&self, site: &Site<'_>, login: Option<&Login>, plugins: usize) -> Result<Access, ProvisionError> {
        let failed = failed("reach", site.database);
        let names = Names::of(site.database).map_err(&failed)?;
        let login = login.ok_or(ProvisionCause::NoLogin).map_err(&failed)?;
        let pool = budget::pool(plugins, &self.settings).map_err(ProvisionCause::Budget).map_err(&failed)?;
        Ok(wire_config::access(self.server.address().map_err(&failed)?, &names, login, pool))
    }

    async fn retire(&self, site: &Site<'_>, slot: Slot) -> Result<(), ProvisionError> {
        let names = Names::of(site.database).map_err(failed("close the old login of", site.database))?;
        self.with(async |connection| role::retire(connection, &names, site.workspace, slot).await)
            .await
            .map_err(failed("close the old login of", site.database))
    }

    async fn keep(&self, site: &Site<'_>) -> Result<String, ProvisionError> {
        let names = Names::of(site.database).map_err(failed("keep", site.database))?;
        let closed = self.with(async |connection| {
            for slot in [Slot::A, Slot::B] {
                role::retire(connection, &names, site.workspace, slot).await?;
            }
            Ok(())
        });
        closed.await.map_err(failed("keep", site.database))?;
        Ok(format!("the database {} on {}", site.database, self.server.shown()))
    }

    async fn dump(&self, site: &Site<'_>, login: Option<&Login>, into: &Path) -> Result<(), ProvisionError> {
        let failed = failed("dump", site.database);
        let names = Names::of(site.database).map_err(&failed)?;
        let login = login.ok_or(ProvisionCause::NoLogin).map_err(&failed)?;
        let target = dump::Target { address: self.server.address().map_err(&failed)?, names: &names, login };
        target.dump(into).await.map_err(failed)
    }

    async fn load(&self, site: &Site<'_>, login: Option<&Login>, from: &Path) -> Result<(), ProvisionError> {
        let failed = failed("load", site.database);
        let names = Names::of(site.database).map_err(&failed)?;
        let login = login.ok_or(ProvisionCause::NoLogin).map_err(&failed)?;
        // What is in its place must be ours, and the login must work.
        self.make(&names, site, login, &|_| {}).await.map_err(&failed)?;
        let target = dump::Target { address: self.server.address().map_err(&failed)?, names: &names, login };
        let mut session = self.server.session().await.map_err(&failed)?;
        let loaded = target.load(&mut session.connection, from).await;
        session.close().await;
        loaded.map_err(&failed)?;
        // Limit and mark of the new database.
        self.make(&names, site, login, &|_| {}).await.map_err(failed)
    }

    async fn remove(&self, site: &Site<'_>) -> Result<(), ProvisionError> {
        let names = Names::of(site.database).map_err(failed("remove", site.database))?;
        self.with(async |connection| remove(connection, &names, site.workspace).await)
            .await
            .map_err(failed("remove", site.database))
    }
}

impl PostgresProvisioner {
    async fn with(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<(), ProvisionCause> + Send,
    ) -> Result<(), ProvisionCause> {
        let mut session = self.server.session().await?;
        let done = self.server.in_time(work(&mut session.connection)).await;
        session.close().await;
        done
    }
}

/// The database first; the role that shows whose it is last.
async fn remove(connection: &mut PgConnection, names: &Names, workspace: WorkspaceId) -> Result<(), ProvisionCause> {
    if !role::is_ours(connection, &names.owner, workspace).await? {
        // Never made, or someone else's: either way nothing of ours is left.
        return Ok(());
    }
    database::remove(connection, names).await?;
    for slot in [Slot::A, Slot::B] {
        role::remove(connection, &names.login(slot), workspace).await?;
    }
    role::remove(connection, &names.owner, workspace).await
}
