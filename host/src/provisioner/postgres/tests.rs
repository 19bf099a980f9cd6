//! Against a real server, with orbitd's role as the operators' guide makes it.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use orbitd_test_postgres::{As, Server, shared};

use super::*;

/// orbitd's own access to the server, and two workspaces.
struct World {
    provisioner: PostgresProvisioner,
    orbitd: (String, String),
}

/// One workspace.
struct Tenant {
    workspace: WorkspaceId,
    database: String,
    login: Login,
}

impl World {
    fn new() -> Self {
        let orbitd = shared().daemon();
        let url = shared().url(As { user: &orbitd.0, password: &orbitd.1 }, &orbitd.0);
        let settings = PostgresSettings { url: Some(url.try_into().expect("an address")), ..Default::default() };
        Self { provisioner: PostgresProvisioner::new(settings).expect("settings"), orbitd }
    }

    fn orbitd(&self) -> As<'_> {
        As { user: &self.orbitd.0, password: &self.orbitd.1 }
    }

    async fn ensure(&self, tenant: &Tenant) -> Result<(), ProvisionError> {
        self.provisioner.ensure(&tenant.site(), Some(&tenant.login), &|_| {}).await
    }
}

impl Tenant {
    fn new(name: &str) -> Self {
        let workspace = WorkspaceId::generate();
        let tail = &workspace.0.simple().to_string()[24..];
        Self { workspace, database: format!("backstage_{name}_{tail}"), login: Login::generate(Slot::A, 0) }
    }

    fn site(&self) -> Site<'_> {
        Site { workspace: self.workspace, database: &self.database, home: Path::new("/nowhere") }
    }

    fn role(&self) -> String {
        format!("{}_{}", self.database, self.login.slot.as_str())
    }

    fn sql(&self, database: &str, statement: &str) -> Result<String, String> {
        shared().sql(As { user: &self.role(), password: &self.login.password }, database, statement)
    }
}

/// Roles and databases whose name starts with this.
fn named(server: &Server, prefix: &str) -> (String, String) {
    let list = |column: &str, table: &str| {
        server.superuser("postgres", &format!("SELECT string_agg({column}::text, ' ' ORDER BY 1) FROM {table} WHERE starts_with({column}::text, '{prefix}')"))
    };
    (list("rolname", "pg_roles"), list("datname", "pg_database"))
}

#[tokio::test]
async fn made_twice_used_rotated_and_removed_twice() {
    let (world, mut acme) = (World::new(), Tenant::new("acme"));
    let stages = Mutex::new(Vec::new());
    let reached = |stage| stages.lock().expect("not poisoned").push(stage);
    world.provisioner.ensure(&acme.site(), Some(&acme.login), &reached).await.expect("made");
    assert_eq!(
        *stages.lock().expect("not poisoned"),
        [Stage::Owner, Stage::ClosedDatabase, Stage::Database, Stage::Login]
    );
    world.ensure(&acme).await.expect("there");
    acme.sql(
        &acme.database,
        "CREATE SCHEMA catalog; CREATE TABLE catalog.entities (name TEXT); INSERT INTO catalog.entities VALUES ('one')",
    )
    .expect("its own schema");

    // A rotation: both work until the old one is retired, and the new one may change what the old one made.
    let old = std::mem::replace(&mut acme.login, Login::generate(Slot::B, 1));
    world.ensure(&acme).await.expect("a second login");
    acme.sql(&acme.database, "ALTER TABLE catalog.entities ADD COLUMN kind TEXT").expect("the owner is the same");
    let before = Tenant { login: old.clone(), database: acme.database.clone(), ..acme };
    assert_eq!(before.sql(&before.database, "SELECT name FROM catalog.entities").expect("still valid"), "one");
    for _ in 0..2 {
        world.provisioner.retire(&acme.site(), old.slot).await.expect("retired");
    }
    let refused = before.sql(&before.database, "SELECT 1").expect_err("the old password opens nothing");
    assert!(refused.contains("authentication failed") || refused.contains("not permitted"), "{refused}");
    assert_eq!(acme.sql(&acme.database, "SELECT count(*) FROM catalog.entities").expect("the new one does"), "1");
    let log = shared().log();
    assert!(!log.contains(&old.password) && !log.contains(&acme.login.password), "a password is in the server's log");

    let said = world.provisioner.keep(&acme.site()).await.expect("kept");
    assert!(said.contains(&acme.database) && !said.contains(&world.orbitd.1), "{said}");
    assert!(acme.sql(&acme.database, "SELECT 1").is_err(), "kept, but closed");
    for _ in 0..2 {
        world.provisioner.remove(&acme.site()).await.expect("removed");
    }
    assert_eq!(named(shared(), &acme.database), (String::new(), String::new()));
}

#[tokio::test]
async fn a_tenant_reaches_nothing_but_its_own_database() {
    let (world, acme, beta) = (World::new(), Tenant::new("acme"), Tenant::new("beta"));
    for tenant in [&acme, &beta] {
        world.ensure(tenant).await.expect("made");
    }
    for database in [&beta.database, "postgres", "template1", &world.orbitd.0] {
        let error = acme.sql(database, "SELECT 1").expect_err(database);
        assert!(error.contains("permission denied for database"), "{database}: {error}");
    }
    // The exact rights, from the catalogue: nothing but what was given.
    let rights =
        |role: &str| {
            shared().superuser("postgres", &format!(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolcanlogin, rolconnlimit, \
             ARRAY(SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid WHERE m.member = r.oid) \
             FROM pg_roles r WHERE rolname = '{role}'"
        ))
        };
    assert_eq!(rights(&acme.role()), format!("f|f|f|f|f|t|82|{{{}}}", acme.database));
    assert_eq!(rights(&acme.database), "f|f|f|f|f|f|-1|{}");
    let refused = [
        (format!("SET ROLE {}", beta.database), "permission denied"),
        (format!("SET ROLE {}", world.orbitd.0), "permission denied"),
        ("CREATE DATABASE mine".into(), "permission denied"),
        ("CREATE ROLE mine".into(), "permission denied"),
        ("CREATE EXTENSION dblink".into(), ""),
        ("COPY (SELECT 1) TO PROGRAM 'true'".into(), "pg_execute_server_program"),
        ("COPY pg_class TO '/tmp/out'".into(), "pg_write_server_files"),
        ("SELECT pg_read_file('/etc/passwd')".into(), "permission denied"),
        ("SELECT pg_ls_dir('/')".into(), "permission denied"),
        ("SELECT lo_import('/etc/passwd')".into(), "permission denied"),
        ("SELECT rolpassword FROM pg_authid".into(), "permission denied"),
        ("ALTER SYSTEM SET work_mem = '1GB'".into(), "permission denied"),
        (format!("ALTER ROLE {} CONNECTION LIMIT -1", acme.role()), "permission denied"),
        (format!("ALTER ROLE {} CREATEDB", acme.database), "permission denied"),
        (format!("GRANT {} TO {}", acme.database, beta.database), ""),
    ];
    for (statement, reason) in &refused {
        match acme.sql(&acme.database, statement) {
            Err(error) => assert!(error.contains(reason), "{statement}: {error}"),
            Ok(rows) => panic!("{statement} went through: {rows}"),
        }
    }
    // What others run is not shown; that they are there is (docs/operating.md says so).
    beta.sql(&beta.database, "SELECT 'a secret of beta'").expect("runs");
    let seen = acme.sql(&acme.database, "SELECT query FROM pg_stat_activity WHERE usename <> current_user AND query NOT LIKE '<insufficient privilege>' AND query <> ''");
    assert!(!seen.expect("asked").contains("beta"), "another's statement is shown");
}

#[tokio::test]
async fn what_was_dumped_is_loaded_in_place_of_what_is_there_and_into_another() {
    let (world, acme, other) = (World::new(), Tenant::new("acme"), Tenant::new("other"));
    for tenant in [&acme, &other] {
        world.ensure(tenant).await.expect("made");
    }
    let make = "CREATE SCHEMA catalog; CREATE TABLE catalog.entities (name TEXT); INSERT INTO catalog.entities VALUES ('one');";
    acme.sql(&acme.database, make).expect("written");
    let dir = tempfile::tempdir().expect("a directory");
    world.provisioner.dump(&acme.site(), Some(&acme.login), dir.path()).await.expect("dumped");
    let files: Vec<_> = std::fs::read_dir(dir.path()).expect("read").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(files, ["database.dump"], "and no password");
    acme.sql(&acme.database, "INSERT INTO catalog.entities VALUES ('two'); CREATE TABLE catalog.later (n INT)")
        .expect("written");
    for tenant in [&acme, &other, &acme] {
        world.provisioner.load(&tenant.site(), Some(&tenant.login), dir.path()).await.expect("loaded");
        assert_eq!(tenant.sql(&tenant.database, "SELECT name FROM catalog.entities").expect("read"), "one");
        tenant.sql(&tenant.database, "ALTER TABLE catalog.entities ADD COLUMN kind TEXT").expect("its own");
    }
    assert!(acme.sql(&other.database, "SELECT 1").is_err(), "closed like any other");
    assert_eq!(named(shared(), &acme.database).1, acme.database, "nothing is left beside it");
    std::fs::write(dir.path().join("database.dump"), "no dump").expect("damaged");
    let error = world.provisioner.load(&acme.site(), Some(&acme.login), dir.path()).await.expect_err("damaged");
    assert!(error.to_string().contains("pg_restore"), "{error}");
    assert_eq!(acme.sql(&acme.database, "SELECT name FROM catalog.entities").expect("untouched"), "one");
}

#[tokio::test]
async fn what_others_made_is_refused_by_name_and_left_alone() {
    let world = World::new();
    let taken = Tenant::new("taken");
    shared().superuser("postgres", &format!("CREATE ROLE {0}; CREATE DATABASE {0} OWNER {0}", taken.database));
    let error = world.ensure(&taken).await.expect_err("a foreign role");
    assert_eq!(error.reason(), "DatabaseForeign");
    assert!(error.to_string().contains(&taken.database) && error.to_string().contains("role"), "{error}");
    world.provisioner.remove(&taken.site()).await.expect("nothing of ours");
    assert_eq!(named(shared(), &taken.database).1, taken.database, "left alone");

    let database = Tenant::new("other");
    shared().superuser("postgres", &format!("CREATE DATABASE {}", database.database));
    let error = world.ensure(&database).await.expect_err("a foreign database");
    assert!(error.to_string().contains("its owner is postgres"), "{error}");
    world.provisioner.remove(&database.site()).await.expect("our own roles go");
    assert_eq!(named(shared(), &database.database), (String::new(), database.database.clone()));

    // Another workspace's role is as foreign as anybody's.
    let first = Tenant::new("first");
    world.ensure(&first).await.expect("made");
    let second = Tenant { database: first.database.clone(), ..Tenant::new("second") };
    assert_eq!(world.ensure(&second).await.expect_err("another life").reason(), "DatabaseForeign");
    world.provisioner.remove(&second.site()).await.expect("nothing of its");
    world.ensure(&first).await.expect("still there");
    shared().superuser("postgres", &format!("ALTER ROLE {} CREATEDB", first.role()));
    let error = world.ensure(&first).await.expect_err("more rights than given");
    assert!(error.reason() == "DatabaseRoleTampered" && error.to_string().contains("CREATEDB"), "{error}");
    shared().superuser(
        "postgres",
        &format!("ALTER ROLE {} NOCREATEDB; GRANT pg_monitor TO {}", first.role(), first.role()),
    );
    let error = world.ensure(&first).await.expect_err("a membership that was not given");
    assert!(error.to_string().contains("membership in pg_monitor"), "{error}");
}

#[tokio::test]
async fn a_half_made_database_is_finished_by_the_next_try() {
    let (world, acme) = (World::new(), Tenant::new("half"));
    // As a daemon leaves it that died, or whose server did, after CREATE DATABASE.
    let mut session = world.provisioner.server.session().await.expect("a session");
    let names = Names::of(&acme.database).expect("names");
    role::ensure_owner(&mut session.connection, &names, acme.workspace).await.expect("made");
    session.close().await;
    let create = format!("CREATE DATABASE {0} OWNER {0} TEMPLATE template0 ALLOW_CONNECTIONS false", acme.database);
    shared().sql(world.orbitd(), &world.orbitd.0, &create).expect("made by orbitd's own role");
    world.ensure(&acme).await.expect("finished");
    acme.sql(&acme.database, "CREATE SCHEMA catalog").expect("usable");
    assert!(Tenant::new("else").sql(&acme.database, "SELECT 1").is_err());
    // Many at once on one server: they wait their turn.
    let world = Arc::new(world);
    let tenants: Vec<_> = (0..6).map(|i| Tenant::new(&format!("many{i}"))).collect();
    let made = futures_util::future::join_all(tenants.iter().map(|tenant| world.ensure(tenant))).await;
    assert!(made.iter().all(Result::is_ok), "{made:?}");
}

#[tokio::test]
async fn a_server_s_troubles_have_names() {
    let server = Server::start(&["max_connections = 10", "superuser_reserved_connections = 3"]);
    let (user, password) = server.daemon();
    let with = |url: String| {
        PostgresProvisioner::new(PostgresSettings {
            url: Some(url.try_into().expect("an address")),
            ..Default::default()
        })
        .expect("settings")
    };
    let good = with(server.url(As { user: &user, password: &password }, &user));
    let tenant = Tenant::new("acme");
    let reason = async |provisioner: &PostgresProvisioner| {
        let made = provisioner.ensure(&tenant.site(), Some(&tenant.login), &|_| {}).await;
        made.err().map_or("fine", |error| {
            assert!(!error.to_string().contains(&password), "{error}");
            error.reason()
        })
    };
    assert_eq!(reason(&good).await, "fine");
    assert_eq!(good.capacity().await.expect("known"), Some(0), "7 connections less a reserve of 15");
    let wrong = with(server.url(As { user: &user, password: "wrong" }, &user));
    assert_eq!(reason(&wrong).await, "DatabaseLoginRefused");
    server.superuser("postgres", "CREATE ROLE weak LOGIN PASSWORD 'weak'; CREATE DATABASE weak OWNER weak");
    let weak = with(server.url(As { user: "weak", password: "weak" }, "weak"));
    let other = Tenant::new("other");
    let error = weak.ensure(&other.site(), Some(&other.login), &|_| {}).await.expect_err("no rights");
    assert_eq!(error.reason(), "DatabaseNotAllowed");
    server.superuser("postgres", &format!("ALTER ROLE {user} SET default_transaction_read_only = on"));
    assert_eq!(reason(&good).await, "DatabaseReadOnly");
    server.superuser(
        "postgres",
        &format!("ALTER ROLE {user} RESET default_transaction_read_only; ALTER ROLE {user} CONNECTION LIMIT 0"),
    );
    assert_eq!(reason(&good).await, "DatabaseConnectionsUsedUp");
    server.superuser("postgres", &format!("ALTER ROLE {user} CONNECTION LIMIT -1"));
    server.down();
    assert_eq!(reason(&good).await, "DatabaseUnreachable");
    let began = std::time::Instant::now();
    assert_eq!(reason(&good).await, "DatabaseUnreachable");
    assert!(began.elapsed().as_millis() < 500, "told at once, without another try");
    server.up();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while reason(&good).await != "fine" {
        assert!(std::time::Instant::now() < deadline, "it is not tried again");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // Something listens and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = silent.local_addr().expect("bound").port();
    assert_eq!(reason(&with(format!("postgres://{user}:x@127.0.0.1:{port}/{user}"))).await, "DatabaseSlow");
}
