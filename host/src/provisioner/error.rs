//! Why a database could not be made, reached or removed.

use std::io;

/// Why a provisioner did not do what it was asked. What it did before that stays and is found by the next try.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} the database {database}: {cause}")]
pub struct ProvisionError {
    /// `make`, `reach`, `remove`…
    pub operation: &'static str,
    /// Which database.
    pub database: String,
    /// What was in the way.
    #[source]
    pub cause: ProvisionCause,
}

/// What was in the way.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionCause {
    /// A file or directory of it.
    #[error("{0}")]
    File(#[from] io::Error),
    /// The server does not answer, or cut the connection.
    #[error("PostgreSQL at {server} can't be reached ({detail}); it is tried again, what runs is served meanwhile")]
    Unreachable {
        /// Its address, without the password.
        server: String,
        /// What the system or the server said.
        detail: String,
    },
    /// It does not answer in time.
    #[error("PostgreSQL at {server} did not finish within {seconds} s; it is tried again")]
    Slow {
        /// Its address, without the password.
        server: String,
        /// How long it had.
        seconds: u64,
    },
    /// Its certificate is not accepted, or it has none.
    #[error(
        "no encrypted connection to PostgreSQL ({0}); mend the server's certificate, or sslmode and sslrootcert of `provisioner.postgres.url`"
    )]
    Tls(String),
    /// It does not let orbitd in.
    #[error("PostgreSQL refuses orbitd's own login ({0}); mend `provisioner.postgres.url` or the role's password")]
    LoginRefused(String),
    /// It lets nobody else in.
    #[error("PostgreSQL has no connection left ({0}); raise its max_connections or `provisioner.postgres.reserve`")]
    Connections(String),
    /// It is a standby now, or its administrator made it read-only.
    #[error("PostgreSQL is read-only (a standby?); point `provisioner.postgres.url` at the primary")]
    ReadOnly,
    /// Its disk is full.
    #[error("PostgreSQL's disk is full; free some space there")]
    Full,
    /// orbitd's role may not do that.
    #[error("PostgreSQL does not allow it ({0}); give orbitd's role CREATEDB and CREATEROLE (docs/operating.md)")]
    NotAllowed(String),
    /// It is too old.
    #[error("PostgreSQL {0} is too old: 15 or later is needed")]
    TooOld(String),
    /// Something of this name is there that orbitd did not make for this workspace.
    #[error(
        "there is a {what} {name} which orbitd did not make for this workspace ({detail}); it is left alone: rename or remove it"
    )]
    Foreign {
        /// `database` or `role`.
        what: &'static str,
        /// Its name.
        name: String,
        /// How that was seen.
        detail: String,
    },
    /// A role of ours has more rights than we gave it.
    #[error("the role {role} has {what}, which orbitd did not give it; take that away and the workspace starts")]
    Tampered {
        /// Which role.
        role: String,
        /// Which attribute or membership.
        what: String,
    },
    /// The settings leave a workspace too few connections.
    #[error("{0}")]
    Budget(String),
    /// A bug: a server was asked for a database without a login.
    #[error("no login was made for it")]
    NoLogin,
    /// Anything else that the server said.
    #[error("PostgreSQL says: {0}")]
    Failed(String),
}

impl ProvisionError {
    /// Whether another try may end better without anybody's help.
    pub fn may_pass(&self) -> bool {
        self.cause.may_pass()
    }

    /// For a condition: CamelCase, from a closed set.
    pub fn reason(&self) -> &'static str {
        match &self.cause {
            ProvisionCause::File(error) if error.raw_os_error() == Some(28) => "DiskFull",
            ProvisionCause::File(_) | ProvisionCause::Failed(_) | ProvisionCause::NoLogin => "ProvisioningFailed",
            ProvisionCause::Unreachable { .. } => "DatabaseUnreachable",
            ProvisionCause::Slow { .. } => "DatabaseSlow",
            ProvisionCause::Tls(_) => "DatabaseTlsRefused",
            ProvisionCause::LoginRefused(_) => "DatabaseLoginRefused",
            ProvisionCause::Connections(_) => "DatabaseConnectionsUsedUp",
            ProvisionCause::ReadOnly => "DatabaseReadOnly",
            ProvisionCause::Full => "DatabaseDiskFull",
            ProvisionCause::NotAllowed(_) => "DatabaseNotAllowed",
            ProvisionCause::TooOld(_) => "DatabaseTooOld",
            ProvisionCause::Foreign { .. } => "DatabaseForeign",
            ProvisionCause::Tampered { .. } => "DatabaseRoleTampered",
            ProvisionCause::Budget(_) => "DatabaseBudget",
        }
    }
}

impl ProvisionCause {
    /// Whether another try may end better without anybody's help.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Slow { .. } | Self::Connections(_) | Self::ReadOnly | Self::Full
        )
    }
}
