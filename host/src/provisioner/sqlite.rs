//! SQLite: `<home>/db/<database>/`, 0700, with one file per plugin.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{ProvisionError, Provisioner, Writers, sqlite_copy};

/// A directory of database files per workspace.
pub struct SqliteProvisioner;

fn directory(database: &str, home: &Path) -> PathBuf {
    home.join("db").join(database)
}

/// A directory that is one, made 0700 if it is missing; a link in its place is refused.
fn ensure_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ if fs::symlink_metadata(path)?.is_dir() => Ok(()),
        _ => Err(io::Error::other(format!("{} is not a directory", path.display()))),
    }
}

fn ensure(database: &str, home: &Path) -> io::Result<()> {
    ensure_directory(home)?;
    ensure_directory(&home.join("db"))?;
    ensure_directory(&directory(database, home))
}

fn remove(database: &str, home: &Path) -> io::Result<()> {
    for parent in [home.to_owned(), home.join("db")] {
        match fs::symlink_metadata(&parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
            Ok(metadata) if !metadata.is_dir() => {
                return Err(io::Error::other(format!("{} is not a directory", parent.display())));
            }
            Ok(_) => {}
        }
    }
    // Follows no link, neither inside nor in its own place.
    match fs::remove_dir_all(directory(database, home)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[async_trait::async_trait]
impl Provisioner for SqliteProvisioner {
    async fn ensure(&self, database: &str, home: &Path) -> Result<(), ProvisionError> {
        ensure(database, home).map_err(|source| ProvisionError {
            operation: "make",
            database: database.to_owned(),
            source,
        })
    }

    fn config(&self, database: &str, home: &Path) -> Value {
        json!({"client": "better-sqlite3", "connection": {"directory": directory(database, home)}})
    }

    fn writers(&self) -> Writers {
        Writers::One
    }

    async fn copy(&self, database: &str, copy: &str, home: &Path) -> Result<(), ProvisionError> {
        let copied = async {
            ensure(copy, home)?;
            sqlite_copy::copy(directory(database, home), directory(copy, home)).await
        };
        copied.await.map_err(|source| ProvisionError { operation: "copy", database: database.to_owned(), source })
    }

    async fn remove(&self, database: &str, home: &Path) -> Result<(), ProvisionError> {
        let (name, home) = (database.to_owned(), home.to_owned());
        // A database may hold many files: off the runtime.
        let removed = tokio::task::spawn_blocking(move || remove(&name, &home)).await;
        removed.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|source| ProvisionError {
            operation: "remove",
            database: database.to_owned(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn making_and_removing_twice_is_fine() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = dir.path().join("home");
        for _ in 0..2 {
            SqliteProvisioner.ensure("backstage_acme_1", &home).await.expect("made");
        }
        let files = home.join("db/backstage_acme_1");
        std::fs::write(files.join("catalog.sqlite"), "data").expect("written");
        SqliteProvisioner.ensure("backstage_acme_1", &home).await.expect("there");
        assert!(files.join("catalog.sqlite").exists(), "data is kept");
        for _ in 0..2 {
            SqliteProvisioner.remove("backstage_acme_1", &home).await.expect("removed");
        }
        assert!(!files.exists());
    }

    #[tokio::test]
    async fn no_link_is_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (home, outside) = (dir.path().join("home"), dir.path().join("outside"));
        for path in [&home, &home.join("db"), &outside] {
            std::fs::create_dir(path).expect("made");
        }
        std::fs::write(outside.join("file"), "theirs").expect("written");
        std::os::unix::fs::symlink(&outside, home.join("db/backstage_acme_1")).expect("linked");
        assert!(SqliteProvisioner.ensure("backstage_acme_1", &home).await.is_err(), "a link in place of the database");
        SqliteProvisioner.remove("backstage_acme_1", &home).await.expect("the link is removed");
        std::fs::remove_dir(home.join("db")).expect("removed");
        std::os::unix::fs::symlink(&outside, home.join("db")).expect("linked");
        assert!(SqliteProvisioner.remove("file", &home).await.is_err());
        assert!(outside.join("file").exists(), "what a link points to is kept");
    }
}
