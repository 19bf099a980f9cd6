//! `pg_dump` and `pg_restore` of one workspace's database, as the workspace's own login: what a tenant wrote into its database
//! (functions in indexes, for one) never runs with orbitd's rights. The password goes in a file that libpq reads, never in an
//! argument or a variable.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use sqlx::{AssertSqlSafe, PgConnection, postgres::PgSslMode};
use tokio::{io::AsyncReadExt, process::Command, time::timeout};

use super::{
    names::{Identifier, Names},
    server::{Address, cause},
};
use crate::{model::Login, provisioner::ProvisionCause};

/// The dump's file.
const FILE: &str = "database.dump";
/// Longest dump or restore.
const LIMIT: Duration = Duration::from_secs(3600);
/// Characters of a program's complaint that are passed on.
const MAX_SAID: usize = 1_000;

/// Where the database is and who asks.
pub(super) struct Target<'a> {
    pub address: &'a Address,
    pub names: &'a Names,
    pub login: &'a Login,
}

impl Target<'_> {
    /// Writes `into/database.dump`, in PostgreSQL's custom format, of one snapshot.
    pub(super) async fn dump(&self, into: &Path) -> Result<(), ProvisionCause> {
        let file = into.join(FILE);
        let mut command = self.command("pg_dump", &self.names.database, into).await?;
        command
            .args(["--format=custom", "--no-owner", "--no-privileges", "--lock-wait-timeout=30s", "--file"])
            .arg(&file);
        let done = run("pg_dump", command).await;
        forget_password(into);
        done?;
        let synced = tokio::fs::File::open(&file).await?.sync_all().await;
        Ok(synced?)
    }

    /// Loads it into a database beside the present one, then puts that in its place.
    pub(super) async fn load(&self, connection: &mut PgConnection, from: &Path) -> Result<(), ProvisionCause> {
        let Names { database, owner } = self.names;
        let (fresh, old) = (self.names.beside("_n"), self.names.beside("_o"));
        let exists = async |connection: &mut PgConnection, name: &Identifier| {
            let found: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)")
                .bind(name.as_str())
                .fetch_one(connection)
                .await
                .map_err(cause)?;
            Ok::<_, ProvisionCause>(found)
        };
        run_sql(connection, format!("DROP DATABASE IF EXISTS {fresh} WITH (FORCE)")).await?;
        run_sql(connection, format!("CREATE DATABASE {fresh} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8'"))
            .await?;
        run_sql(connection, format!("REVOKE ALL ON DATABASE {fresh} FROM PUBLIC")).await?;
        let mut command = self.command("pg_restore", &fresh, from).await?;
        command.args(["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]).arg(from.join(FILE));
        let done = run("pg_restore", command).await;
        forget_password(from);
        if let Err(error) = done {
            // It is of no use; the present one was not touched.
            run_sql(connection, format!("DROP DATABASE IF EXISTS {fresh} WITH (FORCE)")).await?;
            return Err(error);
        }
        if exists(connection, database).await? {
            run_sql(connection, format!("DROP DATABASE IF EXISTS {old} WITH (FORCE)")).await?;
            // Nobody comes in again between the end of the sessions and the new name.
            run_sql(connection, format!("ALTER DATABASE {database} WITH ALLOW_CONNECTIONS false")).await?;
            sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
                .bind(database.as_str())
                .execute(&mut *connection)
                .await
                .map_err(cause)?;
            run_sql(connection, format!("ALTER DATABASE {database} RENAME TO {old}")).await?;
        }
        run_sql(connection, format!("ALTER DATABASE {fresh} RENAME TO {database}")).await?;
        run_sql(connection, format!("DROP DATABASE IF EXISTS {old} WITH (FORCE)")).await
    }

    /// The program, told where to connect and where the password lies.
    async fn command(&self, program: &str, database: &Identifier, scratch: &Path) -> Result<Command, ProvisionCause> {
        let password = scratch.join("pgpass");
        let role = self.names.login(self.login.slot);
        let line = format!("*:*:*:{}:{}\n", role.as_str(), self.login.password);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&password)?;
        file.write_all(line.as_bytes())?;
        let mut command = Command::new(find(program)?);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("PGPASSFILE", &password).env("PGCONNECT_TIMEOUT", "10");
        command.env("PGSSLMODE", ssl_mode(self.address.ssl_mode)).env("LC_ALL", "C");
        if let Some(authority) = &self.address.authority {
            let file = scratch.join("authority.pem");
            std::fs::write(&file, authority)?;
            command.env("PGSSLROOTCERT", file);
        }
        command.args(["--no-password", "--host", &self.address.host, "--port", &self.address.port.to_string()]);
        command.args(["--username", role.as_str(), "--dbname", database.as_str()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }
}

fn forget_password(scratch: &Path) {
    for name in ["pgpass", "authority.pem"] {
        let _ = std::fs::remove_file(scratch.join(name));
    }
}

async fn run_sql(connection: &mut PgConnection, statement: String) -> Result<(), ProvisionCause> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(|_| ()).map_err(cause)
}

async fn run(program: &'static str, mut command: Command) -> Result<(), ProvisionCause> {
    let mut child = command.spawn()?;
    let mut said = String::new();
    let finished = timeout(LIMIT, async {
        if let Some(stderr) = child.stderr.take() {
            // What does not fit is read and dropped: a full pipe would stop the program.
            let mut stderr = stderr;
            let mut bytes = Vec::new();
            (&mut stderr).take(64 << 10).read_to_end(&mut bytes).await?;
            tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
            said = String::from_utf8_lossy(&bytes).chars().take(MAX_SAID).collect();
        }
        child.wait().await
    });
    match finished.await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) if said.trim().is_empty() => Err(ProvisionCause::Failed(format!("{program}: {status}"))),
        Ok(Ok(_)) => Err(ProvisionCause::Failed(said.trim().to_owned())),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(ProvisionCause::Failed(format!("{program} took longer than {} s", LIMIT.as_secs()))),
    }
}

/// The newest that is installed (an older one refuses a newer server): Debian's places, then the PATH.
fn find(program: &str) -> Result<PathBuf, ProvisionCause> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin").join(program))))
        .filter(|(_, path)| path.is_file())
        .collect();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file());
    found.pop().map(|(_, path)| path).or_else(on_path).ok_or_else(|| {
        ProvisionCause::Failed(format!("{program} is not installed here (Debian: apt-get install postgresql-client)"))
    })
}

fn ssl_mode(mode: PgSslMode) -> &'static str {
    match mode {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => "verify-full",
    }
}
