//! A workspace's database: closed to everybody but its own roles before the first session can reach it.

use sqlx::{AssertSqlSafe, PgConnection};

use super::{
    names::{Names, mark},
    server::cause,
};
use crate::{
    ids::WorkspaceId,
    provisioner::{ProvisionCause, Stage},
};

/// What the server knows of a database.
#[derive(sqlx::FromRow)]
struct Found {
    owner: String,
    open: bool,
    for_everybody: bool,
    connections: i32,
    mark: Option<String>,
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), ProvisionCause> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(|_| ()).map_err(cause)
}

async fn find(connection: &mut PgConnection, names: &Names) -> Result<Option<Found>, ProvisionCause> {
    sqlx::query_as(
        "SELECT pg_get_userbyid(datdba)::text AS owner, datallowconn AS open, datconnlimit AS connections, \
         EXISTS (SELECT 1 FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0) AS for_everybody, \
         shobj_description(oid, 'pg_database') AS mark FROM pg_database WHERE datname = $1",
    )
    .bind(names.database.as_str())
    .fetch_optional(connection)
    .await
    .map_err(cause)
}

/// Makes it, or brings it to what it must be.
pub(super) async fn ensure(
    connection: &mut PgConnection,
    names: &Names,
    workspace: WorkspaceId,
    limit: u32,
    reached: &(dyn Fn(Stage) + Sync),
) -> Result<(), ProvisionCause> {
    let (database, owner) = (&names.database, &names.owner);
    let found = match find(connection, names).await? {
        Some(found) => found,
        None => {
            // template1 may hold what others put there; and nobody comes in before PUBLIC is out.
            let create = format!(
                "CREATE DATABASE {database} OWNER {owner} TEMPLATE template0 ENCODING 'UTF8' ALLOW_CONNECTIONS false"
            );
            run(connection, create).await?;
            reached(Stage::ClosedDatabase);
            find(connection, names).await?.ok_or_else(|| ProvisionCause::Failed("the new database is gone".into()))?
        }
    };
    if found.owner != owner.as_str() {
        let detail = format!("its owner is {}", found.owner);
        return Err(ProvisionCause::Foreign { what: "database", name: database.as_str().to_owned(), detail });
    }
    if found.for_everybody {
        run(connection, format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC")).await?;
    }
    if found.mark != Some(mark(workspace)) {
        run(connection, format!("COMMENT ON DATABASE {database} IS '{}'", mark(workspace))).await?;
    }
    if !found.open || u32::try_from(found.connections) != Ok(limit) {
        let open = format!("ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT {limit}");
        run(connection, open).await?;
    }
    Ok(())
}

/// Drops it, with whoever is on it. Fine if there is none, or someone else's.
pub(super) async fn remove(connection: &mut PgConnection, names: &Names) -> Result<(), ProvisionCause> {
    match find(connection, names).await? {
        Some(found) if found.owner != names.owner.as_str() => return Ok(()),
        Some(_) => run(connection, format!("DROP DATABASE {} WITH (FORCE)", names.database)).await?,
        None => {}
    }
    // What a restore that was cut off left beside it.
    for suffix in ["_n", "_o"] {
        run(connection, format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", names.beside(suffix))).await?;
    }
    Ok(())
}
