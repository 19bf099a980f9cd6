//! A workspace's database, as the steps see it: made, reached, dropped or kept.

use std::path::PathBuf;

use time::OffsetDateTime;
use tokio::sync::OwnedMutexGuard;

use super::{
    StartError,
    reconcile::{Trouble, Work},
};
use crate::{
    crashpoint,
    db::DataDir,
    driver::Distribution,
    model::{ConditionKind, KeptDatabase, Login, Truth},
    provisioner::{
        Access, PostgresProvisioner, ProvisionError, Provisioner, Site, SqliteProvisioner, Stage, StatelessProvisioner,
    },
    settings::{ProvisionerKind, Settings},
};

/// Between two looks whether connections have become free.
const CONNECTIONS_PAUSE: time::Duration = time::Duration::seconds(2);

/// The provisioner that the settings name, unless the distribution keeps nothing.
pub(super) fn provisioner(
    settings: &Settings,
    data_dir: &DataDir,
    distribution: &Distribution,
) -> Result<Box<dyn Provisioner>, StartError> {
    if distribution.stateless {
        return Ok(Box::new(StatelessProvisioner));
    }
    Ok(match settings.provisioner.kind {
        ProvisionerKind::Sqlite => Box::new(SqliteProvisioner::new(data_dir.kept_databases())),
        ProvisionerKind::Postgres => Box::new(PostgresProvisioner::new(settings.provisioner.postgres.clone())?),
    })
}

/// Whether an instance can have its database now.
pub(super) enum Admission {
    /// While the guard is held no other instance takes connections; it goes once this one's row is written.
    Granted(Access, OwnedMutexGuard<()>),
    /// The server's connections are all shared out: it waits for its turn, which is no failure of its own.
    Wait,
    /// It can never have it as things are: says why.
    Refused(String),
}

impl Work<'_> {
    /// The database's name and the workspace's home.
    pub(super) fn database(&self) -> (String, PathBuf) {
        let (slug, id) = (&self.workspace.slug, self.id());
        (DataDir::database_name(slug, id), self.shared.home(slug, id))
    }

    pub(super) async fn provision(&mut self, now: OffsetDateTime) -> Result<(), Trouble> {
        // Before the database: a killed daemon must find that there may be one.
        self.progress.has_database = true;
        self.save(None).await?;
        crashpoint!("provision.before");
        let login = self.login().await?;
        let made = self.ensure_database(login.as_ref()).await;
        crashpoint!("provision.after");
        self.provisioned(made, now)
    }

    /// Makes the database and its login, or finds them as they must be.
    pub(super) async fn ensure_database(&self, login: Option<&Login>) -> Result<(), ProvisionError> {
        let (database, home) = self.database();
        let site = Site { workspace: self.id(), database: &database, home: &home };
        let reached = |stage| match stage {
            Stage::Owner => crashpoint!("postgres.after-owner"),
            Stage::ClosedDatabase => crashpoint!("postgres.after-create"),
            Stage::Database => crashpoint!("postgres.after-database"),
            Stage::Login => crashpoint!("postgres.after-login"),
        };
        self.shared.provisioner.ensure(&site, login, &reached).await
    }

    /// Notes how that went. A failure is tried again by the next looks; what runs goes on.
    pub(super) fn provisioned(&mut self, made: Result<(), ProvisionError>, now: OffsetDateTime) -> Result<(), Trouble> {
        let kind = ConditionKind::Provisioned;
        match made {
            Ok(()) => {
                let database = self.database().0;
                self.status().set_condition(kind, Truth::True, "Provisioned", database, now);
                Ok(())
            }
            Err(error) => {
                let (reason, text) = (error.reason(), error.to_string());
                if self.status().set_condition(kind, Truth::False, reason, text.clone(), now) {
                    self.event(reason, text.clone());
                }
                Err(Trouble::Step(text))
            }
        }
    }

    /// Lets an instance of a revision with this many plugins on `database` (the workspace's own, or the name of a copy), or not. The
    /// workspace's database is looked at first: a server that is down or a role that someone changed is named here, not by an
    /// instance that dies of it.
    pub(super) async fn admit(
        &mut self,
        database: &str,
        plugins: usize,
        now: OffsetDateTime,
    ) -> Result<Admission, Trouble> {
        let login = self.login().await?;
        let made = self.ensure_database(login.as_ref()).await;
        self.provisioned(made, now)?;
        let (_, home) = self.database();
        let site = Site { workspace: self.id(), database, home: &home };
        let access = match self.shared.provisioner.access(&site, login.as_ref(), plugins) {
            Ok(access) => access,
            Err(error) => return Ok(Admission::Refused(error.to_string())),
        };
        let capacity = self.shared.provisioner.capacity().await;
        let guard = self.shared.admission.clone().lock_owned().await;
        let capacity = match capacity {
            Ok(None) => return Ok(Admission::Granted(access, guard)),
            Ok(Some(capacity)) => capacity,
            Err(error) => return Err(Trouble::Step(error.to_string())),
        };
        let needed = u64::from(access.connections);
        if needed > capacity {
            return Ok(Admission::Refused(format!(
                "it needs {needed} database connections and the server has {capacity} for all workspaces together: raise \
                 PostgreSQL's max_connections, or lower provisioner.postgres.max_pool or .reserve"
            )));
        }
        let taken = self.shared.registry.connections_in_use().await?;
        if taken + needed <= capacity {
            self.live.waits_for = None;
            return Ok(Admission::Granted(access, guard));
        }
        let message = format!(
            "it waits for {needed} database connections: {taken} of {capacity} are shared out; stop a workspace, or raise \
             PostgreSQL's max_connections"
        );
        self.status().retry_at = Some(now + CONNECTIONS_PAUSE);
        if self.live.waits_for.is_none() {
            self.event("WaitingForConnections", message.clone());
        }
        self.live.waits_for = Some(message);
        Ok(Admission::Wait)
    }

    /// The login that new instances get; none where the provisioner knows none.
    pub(super) async fn login(&self) -> Result<Option<Login>, Trouble> {
        if !self.shared.provisioner.needs_login() {
            return Ok(None);
        }
        Ok(Some(self.shared.registry.login_or_new(self.id(), OffsetDateTime::now_utc()).await?))
    }

    /// Of a deleted workspace: drops it, or keeps it for a while or for good.
    pub(super) async fn drop_database(&mut self, now: OffsetDateTime) -> Result<(), Trouble> {
        let grace = self.shared.settings.provisioner.drop_grace_s;
        crashpoint!("drop.before");
        let gone = if self.keep_data || grace > 0 {
            self.keep_database(grace, now).await?
        } else {
            self.remove_database().await
        };
        crashpoint!("drop.after");
        match gone {
            Ok(text) => {
                self.progress.has_database = false;
                self.status().set_condition(ConditionKind::Provisioned, Truth::False, "Dropped", text, now);
                Ok(())
            }
            Err(error) => {
                let (kind, text) = (ConditionKind::Provisioned, error.to_string());
                if self.status().set_condition(kind, Truth::Unknown, "DropFailed", text.clone(), now) {
                    self.event("DropFailed", text.clone());
                }
                Err(Trouble::Step(text))
            }
        }
    }

    async fn remove_database(&self) -> Result<String, ProvisionError> {
        let (database, home) = self.database();
        let site = Site { workspace: self.id(), database: &database, home: &home };
        self.shared.provisioner.remove(&site).await.map(|()| database)
    }

    async fn keep_database(
        &mut self,
        grace_s: u64,
        now: OffsetDateTime,
    ) -> Result<Result<String, ProvisionError>, Trouble> {
        let (database, home) = self.database();
        let until = match self.keep_data {
            true => None,
            // By the later clock: the other may still have to follow.
            false => Some(now.max(OffsetDateTime::now_utc()) + std::time::Duration::from_secs(grace_s)),
        };
        // Noted first: what is kept and not noted would be lost.
        let (workspace, slug) = (self.id(), self.workspace.slug.clone());
        let kept = KeptDatabase { database: database.clone(), workspace, slug, kept_at: now, drop_after: until };
        self.shared.registry.insert_kept(&kept).await?;
        let site = Site { workspace, database: &database, home: &home };
        let place = match self.shared.provisioner.keep(&site).await {
            Ok(place) => place,
            Err(error) => return Ok(Err(error)),
        };
        let how = format!("drop it with `orbitd database drop {database}`");
        let text = match grace_s {
            _ if self.keep_data => format!("its data stays: {place}; {how}"),
            seconds => format!("its data stays for {seconds} s: {place}; {how} to be rid of it sooner"),
        };
        // The workspace's own events go with it: the log and `orbitd database list` remain.
        self.event("DatabaseKept", text.clone());
        Ok(Ok(text))
    }
}
