//! A look at the server for `orbitd doctor`: what orbitd's role may do there, and how many connections there are. Changes nothing.

use super::{PostgresProvisioner, failed, server::cause};
use crate::provisioner::{ProvisionCause, ProvisionError};

/// Databases that are named one by one.
const MAX_NAMED: i64 = 20;

/// Version, role, CREATEDB, CREATEROLE, superuser, open connections, databases that are open to all.
type Row = (String, String, bool, bool, bool, i64, Vec<String>);

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresSurvey {
    /// Its address, without the password.
    pub server: String,
    /// As it says itself: `15.8 (Debian 15.8-0+deb12u1)`.
    pub version: String,
    /// orbitd's role there.
    pub role: String,
    /// It may make databases (CREATEDB).
    pub makes_databases: bool,
    /// It may make roles (CREATEROLE).
    pub makes_roles: bool,
    /// It may do everything.
    pub is_superuser: bool,
    /// Connections for everybody but superusers.
    pub connections: u32,
    /// Open ones, ours among them.
    pub in_use: u32,
    /// Of `connections`, those that workspaces never get: `provisioner.postgres.reserve`.
    pub reserve: u32,
    /// What one workspace may have open: `provisioner.postgres.connection_limit`.
    pub one_workspace: u32,
    /// Databases that every role may connect to, at most 20.
    pub open_to_all: Vec<String>,
}

impl PostgresProvisioner {
    /// Looks at the server. A server that can't be reached, is too old or takes no writes is an error by that name.
    pub async fn survey(&self) -> Result<PostgresSurvey, ProvisionError> {
        let failed = failed("look at", "server");
        let connections = self.server.connections().await.map_err(&failed)?;
        let mut session = self.server.session().await.map_err(&failed)?;
        let look = async {
            sqlx::query_as(
                    "SELECT current_setting('server_version'), rolname::text, rolcreatedb, rolcreaterole, rolsuper, \
                     (SELECT coalesce(sum(numbackends), 0)::bigint FROM pg_stat_database), \
                     ARRAY(SELECT datname::text FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) \
                           WHERE datallowconn AND grantee = 0 AND privilege_type = 'CONNECT' ORDER BY 1 LIMIT $1) \
                     FROM pg_roles WHERE rolname = current_user",
                )
                .bind(MAX_NAMED)
                .fetch_one(&mut session.connection)
                .await
                .map_err(cause)
        };
        let seen: Result<Row, ProvisionCause> = self.server.in_time(look).await;
        session.close().await;
        let (version, role, makes_databases, makes_roles, is_superuser, in_use, open_to_all) = seen.map_err(failed)?;
        Ok(PostgresSurvey {
            server: self.server.shown().to_owned(),
            version,
            role,
            makes_databases: makes_databases || is_superuser,
            makes_roles: makes_roles || is_superuser,
            is_superuser,
            connections,
            in_use: u32::try_from(in_use).unwrap_or(u32::MAX),
            reserve: self.settings.reserve,
            one_workspace: self.settings.connection_limit,
            open_to_all,
        })
    }
}
