//! A workspace's roles: one that owns, two that log in. Made with the least rights, and found with exactly those.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{
    names::{Identifier, Names, mark},
    scram,
    server::cause,
};
use crate::{
    ids::WorkspaceId,
    model::{Login, Slot},
    provisioner::ProvisionCause,
};

/// No role of ours ever has more.
const LEAST: &str = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS";

/// What the server knows of a role.
#[derive(sqlx::FromRow)]
struct Found {
    mark: Option<String>,
    rolsuper: bool,
    rolcreatedb: bool,
    rolcreaterole: bool,
    rolreplication: bool,
    rolbypassrls: bool,
    rolcanlogin: bool,
    /// Roles that it is a member of.
    member_of: Vec<String>,
}

/// Statements that take no parameters; everything in them is an [`Identifier`], a number or made of base64 and hex digits.
async fn run(connection: &mut PgConnection, statement: String) -> Result<(), ProvisionCause> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(|_| ()).map_err(cause)
}

async fn find(connection: &mut PgConnection, role: &Identifier) -> Result<Option<Found>, ProvisionCause> {
    sqlx::query_as(
        "SELECT shobj_description(r.oid, 'pg_authid') AS mark, rolsuper, rolcreatedb, rolcreaterole, rolreplication, \
         rolbypassrls, rolcanlogin, ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid \
         WHERE m.member = r.oid ORDER BY 1) AS member_of FROM pg_roles r WHERE rolname = $1",
    )
    .bind(role.as_str())
    .fetch_optional(connection)
    .await
    .map_err(cause)
}

/// Whether there is such a role and it carries the workspace's mark.
pub(super) async fn is_ours(
    connection: &mut PgConnection,
    role: &Identifier,
    workspace: WorkspaceId,
) -> Result<bool, ProvisionCause> {
    Ok(find(connection, role).await?.is_some_and(|found| found.mark == Some(mark(workspace))))
}

/// The role that owns the database.
pub(super) async fn ensure_owner(
    connection: &mut PgConnection,
    names: &Names,
    workspace: WorkspaceId,
) -> Result<(), ProvisionCause> {
    let owner = &names.owner;
    match find(connection, owner).await? {
        Some(found) => check(&found, owner, workspace, &[], Some(false)),
        None => make(connection, owner, workspace, format!("CREATE ROLE {owner} NOLOGIN {LEAST}"), None).await,
    }
}

/// One of the two that log in, with this password.
pub(super) async fn ensure_login(
    connection: &mut PgConnection,
    names: &Names,
    workspace: WorkspaceId,
    login: &Login,
    limit: u32,
) -> Result<(), ProvisionCause> {
    let (role, owner) = (names.login(login.slot), &names.owner);
    let verifier = scram::verifier(&login.password, &rand::random());
    match find(connection, &role).await? {
        None => {
            let create = format!("CREATE ROLE {role} LOGIN {LEAST} CONNECTION LIMIT {limit} PASSWORD '{verifier}'");
            make(connection, &role, workspace, create, Some(owner)).await
        }
        Some(found) => {
            check(&found, &role, workspace, &[owner.as_str()], None)?;
            run(connection, format!("ALTER ROLE {role} LOGIN CONNECTION LIMIT {limit} PASSWORD '{verifier}'")).await
        }
    }
}

/// Role and mark in one transaction: there is never one without the other.
async fn make(
    connection: &mut PgConnection,
    role: &Identifier,
    workspace: WorkspaceId,
    create: String,
    member_of: Option<&Identifier>,
) -> Result<(), ProvisionCause> {
    let mut transaction = connection.begin().await.map_err(cause)?;
    run(&mut transaction, create).await?;
    run(&mut transaction, format!("COMMENT ON ROLE {role} IS '{}'", mark(workspace))).await?;
    // To make and drop what the role owns, and to end its sessions.
    run(&mut transaction, format!("GRANT {role} TO CURRENT_USER")).await?;
    if let Some(owner) = member_of {
        run(&mut transaction, format!("GRANT {owner} TO {role}")).await?;
        // What either login makes belongs to the owner: the other one can change it.
        run(&mut transaction, format!("ALTER ROLE {role} SET role = '{}'", owner.as_str())).await?;
    }
    transaction.commit().await.map_err(cause)
}

/// Ours, and with no right that we did not give it.
fn check(
    found: &Found,
    role: &Identifier,
    workspace: WorkspaceId,
    member_of: &[&str],
    can_login: Option<bool>,
) -> Result<(), ProvisionCause> {
    if found.mark != Some(mark(workspace)) {
        let detail = match &found.mark {
            Some(other) => format!("its comment is {other:.80?}"),
            None => "it has no comment".to_owned(),
        };
        return Err(ProvisionCause::Foreign { what: "role", name: role.as_str().to_owned(), detail });
    }
    let attributes = [
        ("SUPERUSER", found.rolsuper),
        ("CREATEDB", found.rolcreatedb),
        ("CREATEROLE", found.rolcreaterole),
        ("REPLICATION", found.rolreplication),
        ("BYPASSRLS", found.rolbypassrls),
        ("LOGIN", can_login.is_some_and(|wanted| wanted != found.rolcanlogin)),
    ];
    let extra = attributes.iter().find(|(_, has)| *has).map(|(name, _)| (*name).to_owned());
    let membership = || {
        let other = found.member_of.iter().find(|name| !member_of.contains(&name.as_str()));
        other.map(|name| format!("membership in {name}"))
    };
    match extra.or_else(membership) {
        Some(what) => Err(ProvisionCause::Tampered { role: role.as_str().to_owned(), what }),
        None => Ok(()),
    }
}

/// Closes a login: no new session with it, and its old ones end. The role stays for the next but one rotation.
pub(super) async fn retire(
    connection: &mut PgConnection,
    names: &Names,
    workspace: WorkspaceId,
    slot: Slot,
) -> Result<(), ProvisionCause> {
    let role = names.login(slot);
    if !is_ours(connection, &role, workspace).await? {
        return Ok(());
    }
    run(connection, format!("ALTER ROLE {role} NOLOGIN PASSWORD NULL")).await?;
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1")
        .bind(role.as_str())
        .execute(connection)
        .await
        .map_err(cause)?;
    Ok(())
}

/// Drops a role of ours. Fine if there is none, or someone else's.
pub(super) async fn remove(
    connection: &mut PgConnection,
    role: &Identifier,
    workspace: WorkspaceId,
) -> Result<(), ProvisionCause> {
    if !is_ours(connection, role, workspace).await? {
        return Ok(());
    }
    run(connection, format!("DROP ROLE {role}")).await
}
