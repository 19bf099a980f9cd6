//! The registry against real files.

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
    let key = MasterKey::load_or_create(&dir.join("master.key")).expect("a key");
    Registry::open(&dir.join("registry.sqlite"), Arc::new(key)).await
}

#[tokio::test]
async fn what_was_stored_is_read_again_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = open(dir.path()).await.expect("opened");
    let acme = workspace("acme");
    registry.insert_workspace(&acme, b"key").await.expect("stored");
    let again = registry.insert_workspace(&workspace("acme"), b"key").await;
    assert!(matches!(again, Err(RegistryError::SlugTaken)), "{again:?}");
    registry.close().await;
    let registry = open(dir.path()).await.expect("opened again");
    assert_eq!(registry.workspaces().await.expect("listed"), std::slice::from_ref(&acme));
    assert_eq!(registry.signing_key(acme.id).await.expect("read").as_deref(), Some(b"key".as_slice()));
    assert_eq!(registry.directory_rows().await.expect("read").len(), 1);
}

#[tokio::test]
async fn a_spec_is_written_only_over_the_generation_that_was_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = open(dir.path()).await.expect("opened");
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
}

#[tokio::test]
async fn boot_secrets_are_sealed_and_go_with_their_workspace() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = open(dir.path()).await.expect("opened");
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
}

#[tokio::test]
async fn only_the_newest_events_are_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = open(dir.path()).await.expect("opened");
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
    let dir = tempfile::tempdir().expect("a directory");
    let registry = open(dir.path()).await.expect("opened");
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)",
    )
    .execute(&registry.writer)
    .await
    .expect("inserted");
    registry.close().await;
    let error = open(dir.path()).await.err().expect("refused");
    assert!(matches!(error, RegistryError::FromTheFuture { version: 9999, .. }), "{error}");
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
