//! An online copy of a directory of SQLite files, while an instance reads and writes them: `VACUUM INTO` per file, which is one
//! read transaction, so each copy is that file at one instant. A writer waits for the length of it at most.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

/// What must stay free on the disk beside the copy, bytes: what runs must not meet a full disk because something was tried.
const RESERVE: u64 = 64 << 20;
/// Files of one database; Backstage has one per plugin. Past it the copy fails.
const MAX_FILES: usize = 500;
/// Longest wait for a writer's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest copy of all files together.
const DEADLINE: Duration = Duration::from_secs(300);

/// Copies every `*.sqlite` of `from` into the empty directory `to`.
pub(super) async fn copy(from: PathBuf, to: PathBuf) -> io::Result<()> {
    let (source, target) = (from.clone(), to.clone());
    let files = tokio::task::spawn_blocking(move || files(&source, &target)).await.map_err(io::Error::other)??;
    // What leads there is the daemon's own; what lies there is the instance's.
    let from = fs::canonicalize(from)?;
    let copied = tokio::time::timeout(DEADLINE, async {
        for name in &files {
            vacuum_into(&from.join(name), &to.join(name))
                .await
                .map_err(|error| io::Error::other(format!("{}: {error}", Path::new(name).display())))?;
        }
        Ok(())
    });
    copied.await.unwrap_or_else(|_| Err(io::Error::other(format!("it took longer than {} s", DEADLINE.as_secs()))))
}

/// Names of the files, if there is room for them.
fn files(from: &Path, to: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let (mut names, mut bytes) = (Vec::new(), 0);
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // Not followed: an instance can plant a link here.
        let metadata = entry.metadata()?;
        if !metadata.is_file() {
            continue;
        }
        bytes += metadata.len();
        if entry.path().extension().is_some_and(|extension| extension == "sqlite") {
            names.push(entry.file_name());
        }
    }
    if names.len() > MAX_FILES {
        return Err(io::Error::other(format!("it has {} files, more than {MAX_FILES}", names.len())));
    }
    let disk = rustix::fs::statvfs(to)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < bytes.saturating_add(RESERVE) {
        return Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!("it has {} MiB and the disk has {} MiB free; free some", bytes >> 20, free >> 20),
        ));
    }
    Ok(names)
}

/// `from` is the real path. An instance may put a link in its place at any moment: SQLite resolves links when it opens a file, follows
/// none after that, and says where it arrived.
async fn vacuum_into(from: &Path, to: &Path) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(from).read_only(true).busy_timeout(BUSY_TIMEOUT);
    let mut connection = options.disable_statement_logging().connect().await?;
    let opened: String = sqlx::query_scalar("SELECT file FROM pragma_database_list WHERE name = 'main'")
        .fetch_one(&mut connection)
        .await?;
    if Path::new(&opened) != from {
        connection.close().await?;
        return Err(sqlx::Error::Protocol("a symbolic link lies in its place".to_owned()));
    }
    let copied = sqlx::query("VACUUM INTO $1").bind(to.to_string_lossy().into_owned()).execute(&mut connection).await;
    connection.close().await?;
    copied.map(|_| ())
}

/// Whether every file of a copy is a whole database; the first that is not is named.
pub(super) async fn check(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let damaged = |detail: String| io::Error::other(format!("{} is damaged: {detail}", path.display()));
        let found = integrity(&path).await.map_err(|error| damaged(error.to_string()))?;
        if found != ["ok"] {
            return Err(damaged(found.join("; ").chars().take(300).collect()));
        }
    }
    Ok(())
}

async fn integrity(file: &Path) -> Result<Vec<String>, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(true);
    let mut connection = options.disable_statement_logging().connect().await?;
    let found = sqlx::query_scalar("PRAGMA integrity_check(3)").fetch_all(&mut connection).await;
    connection.close().await?;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn open(file: &Path) -> sqlx::SqliteConnection {
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        options.connect().await.expect("opened")
    }

    #[tokio::test]
    async fn a_copy_holds_what_was_committed_while_others_write() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for path in [&from, &to] {
            fs::create_dir(path).expect("made");
        }
        let mut blue = open(&from.join("catalog.sqlite")).await;
        sqlx::raw_sql("CREATE TABLE t (n BIGINT); INSERT INTO t VALUES (1); BEGIN; INSERT INTO t VALUES (2);")
            .execute(&mut blue)
            .await
            .expect("written");
        fs::write(from.join("notes.txt"), "no database").expect("written");
        std::os::unix::fs::symlink("/etc/passwd", from.join("link.sqlite")).expect("linked");
        copy(from.clone(), to.clone()).await.expect("copied");
        let mut copied = open(&to.join("catalog.sqlite")).await;
        let rows: Vec<i64> = sqlx::query_scalar("SELECT n FROM t").fetch_all(&mut copied).await.expect("read");
        assert_eq!(rows, [1], "what was not committed is not there");
        assert_eq!(fs::read_dir(&to).expect("read").count(), 1, "neither other files nor links");
        sqlx::raw_sql("COMMIT").execute(&mut blue).await.expect("the writer was not disturbed");
    }

    #[tokio::test]
    async fn a_link_that_is_put_in_place_of_a_file_leads_nowhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = fs::canonicalize(dir.path()).expect("it is there");
        let mut theirs = open(&root.join("theirs.sqlite")).await;
        sqlx::raw_sql("CREATE TABLE secrets (text TEXT)").execute(&mut theirs).await.expect("written");
        // As if between the look at the directory and the opening.
        std::os::unix::fs::symlink(root.join("theirs.sqlite"), root.join("ours.sqlite")).expect("linked");
        let error = vacuum_into(&root.join("ours.sqlite"), &root.join("copy.sqlite")).await.expect_err("a link");
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert!(!root.join("copy.sqlite").exists(), "nothing of it is copied");
        // A file in its own place is copied.
        fs::remove_file(root.join("ours.sqlite")).expect("removed");
        sqlx::raw_sql("PRAGMA journal_mode = WAL; CREATE TABLE t (n INT)")
            .execute(&mut open(&root.join("ours.sqlite")).await)
            .await
            .expect("written");
        vacuum_into(&root.join("ours.sqlite"), &root.join("copy.sqlite")).await.expect("a file is copied");
    }

    #[tokio::test]
    async fn what_is_no_database_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for path in [&from, &to] {
            fs::create_dir(path).expect("made");
        }
        fs::write(from.join("broken.sqlite"), "x".repeat(4096)).expect("written");
        let error = copy(from, to).await.expect_err("not a database");
        assert!(error.to_string().contains("broken.sqlite"), "{error}");
    }
}
