//! The registry against real files and a real PostgreSQL: what both must do is tried on both.

use std::{path::Path, sync::Arc};

use time::OffsetDateTime;

use super::*;
use crate::{
    identity::MasterKey,
    ids::{Digest, InstanceId, WorkspaceId},
    model::{DesiredState, Instance, Owner, Spec, Status, Workspace},
};

fn workspace(slug: &str) -> Workspace {
    let now = OffsetDateTime::now_utc();
    Workspace {
        id: WorkspaceId::generate(),
        slug: slug.parse().expect("a slug"),
        owner: Owner::Api,
        spec: Spec {
            tier: "pro".parse().expect("a tier"),
            desired: DesiredState::Running,
            plugins: None,
            app_config: serde_json::Map::new(),
            secrets: Default::default(),
            catalog: Default::default(),
            restarts: 0,
            password_rotations: 0,
            restore: None,
            pinned: None,
        },
        generation: 1,
        deleting: false,
        status: Status::default(),
        created_at: now,
        updated_at: now,
    }
}

async fn open(dir: &Path) -> Result<Registry, RegistryError> {
    open_at(dir, &Place::File(dir.join("registry.sqlite"))).await
}

async fn open_at(dir: &Path, place: &Place) -> Result<Registry, RegistryError> {
    let key = MasterKey::load_or_create(&dir.join("master.key")).expect("a key");
    Registry::open(place, Arc::new(key)).await
}

/// A new database on the tests' server.
fn server() -> Place {
    let server = orbitd_test_postgres::shared();
    let (user, password) = server.daemon();
    let url = server.url(orbitd_test_postgres::As { user: &user, password: &password }, &user);
    Place::Server(url.try_into().expect("an address"))
}

/// Runs a test on a registry in a file, then on one on a server.
async fn on_both(test: impl AsyncFn(Box<Path>, Place)) {
    for place in [None, Some(server())] {
        let dir = tempfile::tempdir().expect("a directory");
        let place = place.unwrap_or_else(|| Place::File(dir.path().join("registry.sqlite")));
        println!("on {place}");
        test(dir.path().into(), place).await;
    }
}

#[tokio::test]
async fn what_was_stored_is_read_again_after_a_restart() {
    on_both(async |dir, place| {
        let registry = open_at(&dir, &place).await.expect("opened");
        let acme = workspace("acme");
        registry.insert_workspace(&acme, b"key").await.expect("stored");
        let again = registry.insert_workspace(&workspace("acme"), b"key").await;
        assert!(matches!(again, Err(RegistryError::SlugTaken)), "{again:?}");
        registry.close().await;
        let registry = open_at(&dir, &place).await.expect("opened again");
        assert_eq!(registry.workspaces().await.expect("listed"), std::slice::from_ref(&acme));
        assert_eq!(registry.signing_key(acme.id).await.expect("read").as_deref(), Some(b"key".as_slice()));
        assert_eq!(registry.directory_rows().await.expect("read").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_spec_is_written_only_over_the_generation_that_was_read() {
    on_both(async |dir, place| {
        let registry = open_at(&dir, &place).await.expect("opened");
        let acme = workspace("acme");
        registry.insert_workspace(&acme, b"key").await.expect("stored");
        let now = OffsetDateTime::now_utc();
        registry.write_spec(acme.id, 1, &acme.spec, now).await.expect("first");
        assert!(matches!(registry.write_spec(acme.id, 1, &acme.spec, now).await, Err(RegistryError::Changed)));
        let progress = Progress::default();
        let rest = |generation| StatusUpdate {
            id: acme.id,
            status: &acme.status,
            progress: &progress,
            at_rest: Some(generation),
            events: &[],
            now,
        };
        registry.write_status(rest(1)).await.expect("written");
        assert_eq!(
            registry.workspaces_to_look_at().await.expect("scanned"),
            [acme.id],
            "at rest, but for an old generation"
        );
        registry.write_status(rest(2)).await.expect("written");
        assert!(registry.workspaces_to_look_at().await.expect("scanned").is_empty());
    })
    .await;
}

#[tokio::test]
async fn boot_secrets_are_sealed_and_go_with_their_workspace() {
    on_both(async |dir, place| {
        let registry = open_at(&dir, &place).await.expect("opened");
        let acme = workspace("acme");
        registry.insert_workspace(&acme, b"key").await.expect("stored");
        let row = InstanceRow {
            instance: Instance {
                id: InstanceId::generate(),
                workspace: acme.id,
                revision: Digest::of(b"r"),
                port: 20_000,
                pid: None,
                start_ticks: None,
                boot_secret: "hush-hush".into(),
                restarts: 0,
                started_at: acme.created_at,
            },
            url: "http://127.0.0.1:20000".into(),
            database_name: "backstage_acme_00000000".into(),
            connections: 40,
            state: InstanceState::Starting,
            kernel_boot: None,
        };
        registry.insert_instance(&row).await.expect("stored");
        assert_eq!(registry.instances_of(acme.id).await.expect("read"), std::slice::from_ref(&row));
        let stored: String = sqlx::query_scalar("SELECT boot_secret FROM backstage_instances")
            .fetch_one(&registry.reader)
            .await
            .expect("read");
        assert!(!stored.contains("hush"), "sealed");
        registry.delete_workspace(acme.id).await.expect("forgotten");
        assert!(registry.ports_in_use().await.expect("read").is_empty());
    })
    .await;
}

#[tokio::test]
async fn only_the_newest_events_are_kept() {
    on_both(async |dir, place| {
        let registry = open_at(&dir, &place).await.expect("opened");
        let acme = workspace("acme");
        registry.insert_workspace(&acme, b"key").await.expect("stored");
        let events: Vec<_> = (0..MAX_EVENTS + 3).map(|i| NewEvent { reason: "Test", message: i.to_string() }).collect();
        let update = StatusUpdate {
            id: acme.id,
            status: &acme.status,
            progress: &Progress::default(),
            at_rest: None,
            events: &events,
            now: OffsetDateTime::now_utc(),
        };
        registry.write_status(update).await.expect("written");
        let kept = registry.events(acme.id, 0, 1_000).await.expect("read");
        assert_eq!((kept.len() as i64, kept[0].message.as_str()), (MAX_EVENTS, "3"));
    })
    .await;
}

#[tokio::test]
async fn a_damaged_file_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = open(dir.path()).await.expect("opened");
    registry.insert_workspace(&workspace("acme"), b"key").await.expect("stored");
    registry.close().await;
    let path = dir.path().join("registry.sqlite");
    let mut bytes = std::fs::read(&path).expect("read");
    // The second page on, zeroed.
    bytes[4096..].fill(0);
    std::fs::write(&path, bytes).expect("written");
    let error = open(dir.path()).await.err().expect("damaged");
    assert!(matches!(error, RegistryError::Corrupt { .. }), "{error}");
    std::fs::write(&path, b"this is no database, and long enough to be read as one").expect("written");
    let error = open(dir.path()).await.err().expect("no database");
    assert!(matches!(error, RegistryError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_schema_from_the_future_is_refused() {
    on_both(async |dir, place| {
        let registry = open_at(&dir, &place).await.expect("opened");
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', true, $1, 0)",
        )
        .bind(vec![0_u8])
        .execute(&registry.writer)
        .await
        .expect("inserted");
        registry.close().await;
        let error = open_at(&dir, &place).await.err().expect("refused");
        assert!(matches!(error, RegistryError::FromTheFuture { version: 9999, .. }), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_fails_writes_by_name_and_leaves_reads_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = open(dir.path()).await.expect("opened");
    let mut acme = workspace("acme");
    registry.insert_workspace(&acme, b"key").await.expect("stored");
    sqlx::query("PRAGMA max_page_count = 20").execute(&registry.writer).await.expect("set");
    acme.spec.catalog.insert("big.yaml".into(), "x".repeat(1 << 20));
    let error = registry.write_spec(acme.id, 1, &acme.spec, acme.created_at).await.expect_err("full");
    assert_eq!(error.kind(), RegistryErrorKind::Full, "{error}");
    assert_eq!(registry.workspaces().await.expect("read").len(), 1);
    sqlx::query("PRAGMA max_page_count = 100000").execute(&registry.writer).await.expect("set");
    registry.write_spec(acme.id, 1, &acme.spec, acme.created_at).await.expect("there is space again");
}

#[tokio::test]
async fn a_database_login_is_sealed_and_the_same_until_it_is_rotated() {
    on_both(async |dir, place| {
        let registry = open_at(&dir, &place).await.expect("opened");
        let acme = workspace("acme");
        registry.insert_workspace(&acme, b"key").await.expect("stored");
        let first = registry.login_or_new(acme.id, acme.created_at).await.expect("made");
        assert_eq!(registry.login_or_new(acme.id, acme.created_at).await.expect("read"), first);
        let stored: String =
            sqlx::query_scalar("SELECT sealed FROM database_logins").fetch_one(&registry.reader).await.expect("read");
        assert!(!stored.contains(&first.password), "sealed");
        let second = crate::model::Login::generate(first.slot.other(), 1);
        registry.set_login(acme.id, &second, acme.created_at).await.expect("replaced");
        assert_eq!(registry.login(acme.id).await.expect("read"), Some(second));
        assert_eq!(registry.connections_in_use().await.expect("counted"), 0);
    })
    .await;
}

#[tokio::test]
async fn a_second_daemon_does_not_get_a_server_s_registry() {
    let (dir, place) = (tempfile::tempdir().expect("a directory"), server());
    let first = open_at(dir.path(), &place).await.expect("opened");
    let began = std::time::Instant::now();
    let error = open_at(dir.path(), &place).await.err().expect("refused");
    assert!(matches!(error, RegistryError::Held { .. }), "{error}");
    println!("refused after {:.1} s", began.elapsed().as_secs_f64());
    // Its session ended by someone: it comes back with the lock, and writes go on.
    let Place::Server(url) = &place else { unreachable!("a server") };
    let name = url.shown().rsplit('/').next().expect("a database").to_owned();
    orbitd_test_postgres::shared().superuser(
        "postgres",
        &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"),
    );
    first.insert_workspace(&workspace("acme"), b"key").await.expect("stored with a new session");
    first.close().await;
    open_at(dir.path(), &place).await.expect("free again");
}

#[tokio::test]
async fn a_pooler_that_would_lose_the_lock_is_refused() {
    use orbitd_test_postgres::{As, Mode, Pooler, shared};
    let (user, password) = shared().daemon();
    let who = As { user: &user, password: &password };
    let dir = tempfile::tempdir().expect("a directory");
    for mode in [Mode::Transaction, Mode::Session] {
        let pooler = Pooler::start(shared(), who, mode);
        let place = Place::Server(pooler.url(who, &user).try_into().expect("an address"));
        let opened = open_at(dir.path(), &place).await;
        match (mode, opened) {
            (Mode::Transaction, Err(error)) => {
                assert!(matches!(error, RegistryError::Pooled { .. }), "{error}");
                // And nothing of the try is left: a daemon that comes directly gets the lock.
                let direct = Place::Server(shared().url(who, &user).try_into().expect("an address"));
                open_at(dir.path(), &direct).await.expect("opened").close().await;
            }
            (Mode::Session, Ok(registry)) => registry.close().await,
            (mode, opened) => panic!("{mode:?}: {:?}", opened.err().map(|error| error.to_string())),
        }
    }
}

#[test]
fn a_second_daemon_is_told_who_holds_the_data_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("data");
    let first = DataDir::open(&path).expect("opened");
    let error = DataDir::open(&path).expect_err("locked").to_string();
    assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    drop(first);
    DataDir::open(&path).expect("free again");
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("written");
    assert!(matches!(DataDir::open(&file), Err(DataDirError::Unusable { .. })));
}

#[tokio::test]
async fn an_operation_is_found_by_its_key_and_changes_a_spec_once() {
    on_both(async |dir, place| {
        let registry = open_at(&dir, &place).await.expect("opened");
        let acme = workspace("acme");
        registry.insert_workspace(&acme, b"key").await.expect("stored");
        let (key, request, now) = (Digest::of(b"key"), Digest::of(b"request"), acme.created_at);
        let Begun::ToDo(operation) = registry.begin_operation(key, request, now).await.expect("begun") else {
            panic!("nothing is known of it");
        };
        let again = registry.begin_operation(key, request, now).await.expect("found");
        assert_eq!(again, Begun::ToDo(operation), "begun and not answered: the same one");
        assert_eq!(registry.begin_operation(key, Digest::of(b"another"), now).await.expect("found"), Begun::Other);

        let mut spec = acme.spec.clone();
        spec.restarts = 1;
        let write = |seen| Operation::within(Some(operation), registry.write_spec(acme.id, seen, &spec, now));
        assert!(matches!(write(7).await, Err(RegistryError::Changed)), "another generation: nothing is noted either");
        write(1).await.expect("written");
        assert!(matches!(write(2).await, Err(RegistryError::AppliedBefore)));
        let stored = registry.workspace(acme.id).await.expect("read").expect("there").workspace;
        assert_eq!((stored.generation, stored.spec.restarts), (2, 1));

        registry.forget_operation(key).await.expect("fine");
        assert_eq!(
            registry.begin_operation(key, request, now).await.expect("found"),
            Begun::ToDo(operation),
            "it stays"
        );
        let reply = Reply { status: 202, location: None, body: b"{\"a\":\"secret\"}".to_vec() };
        registry.finish_operation(key, &reply).await.expect("kept");
        assert_eq!(registry.begin_operation(key, request, now).await.expect("found"), Begun::Done(reply));
        let stored: String =
            sqlx::query_scalar("SELECT reply FROM operations").fetch_one(&registry.reader).await.expect("read");
        assert!(!stored.contains("secret"), "sealed");

        // A day later the next key's coming removes it.
        let later = now + time::Duration::hours(25);
        registry.begin_operation(Digest::of(b"other key"), request, later).await.expect("begun");
        let left: i64 =
            sqlx::query_scalar("SELECT count(*) FROM operations").fetch_one(&registry.reader).await.expect("counted");
        assert_eq!(left, 1);
        registry.close().await;
    })
    .await;
}
