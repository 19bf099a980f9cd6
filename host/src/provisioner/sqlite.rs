//! SQLite: `<home>/db/<database>/`, 0700, with one file per plugin. Kept beyond its workspace's life it is `<kept>/<database>/`.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{Access, ProvisionError, Provisioner, Site, Stage, Writers, sqlite_copy};
use crate::model::{Login, Slot};

/// A directory of database files per workspace.
pub struct SqliteProvisioner {
    kept: PathBuf,
}

impl SqliteProvisioner {
    /// `kept`: where databases of deleted workspaces are moved to, on the same file system as the homes.
    pub fn new(kept: PathBuf) -> Self {
        Self { kept }
    }
}

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

/// Whether the database may be there: what leads to it is no link.
fn has_parents(home: &Path) -> io::Result<bool> {
    for parent in [home.to_owned(), home.join("db")] {
        match fs::symlink_metadata(&parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
            Ok(metadata) if !metadata.is_dir() => {
                return Err(io::Error::other(format!("{} is not a directory", parent.display())));
            }
            Ok(_) => {}
        }
    }
    Ok(true)
}

/// Moves it, once: what is kept already stays.
fn keep(database: &str, home: &Path, kept: &Path) -> io::Result<PathBuf> {
    ensure_directory(kept)?;
    let to = kept.join(database);
    if has_parents(home)? {
        match fs::rename(directory(database, home), &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(to)
}

/// Puts the files in place of the database's; the old ones go last.
fn replace(database: &str, home: &Path, from: &Path) -> io::Result<()> {
    ensure(database, home)?;
    let (fresh, old) = (directory(&format!("{database}.new"), home), directory(&format!("{database}.old"), home));
    let current = directory(database, home);
    remove_dir(&fresh)?;
    ensure_directory(&fresh)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = fresh.join(entry.file_name());
        fs::copy(entry.path(), &to)?;
        fs::File::open(&to)?.sync_all()?;
    }
    // A daemon killed between the two renames leaves no database: the load that it had not finished is done again.
    remove_dir(&old)?;
    fs::rename(&current, &old)?;
    fs::rename(&fresh, &current)?;
    fs::File::open(home.join("db"))?.sync_all()?;
    remove_dir(&old)
}

fn remove(database: &str, home: &Path, kept: &Path) -> io::Result<()> {
    if has_parents(home)? {
        remove_dir(&directory(database, home))?;
    }
    remove_dir(&kept.join(database))
}

/// Follows no link, neither inside nor in its own place.
fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A database may hold many files: off the runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn failed(operation: &'static str, site: &Site<'_>) -> impl Fn(io::Error) -> ProvisionError {
    let database = site.database.to_owned();
    move |error| ProvisionError { operation, database: database.clone(), cause: error.into() }
}

#[async_trait::async_trait]
impl Provisioner for SqliteProvisioner {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn writers(&self) -> Writers {
        Writers::One
    }

    fn needs_login(&self) -> bool {
        false
    }

    async fn capacity(&self) -> Result<Option<u64>, ProvisionError> {
        Ok(None)
    }

    async fn ensure(
        &self,
        site: &Site<'_>,
        _: Option<&Login>,
        _: &(dyn Fn(Stage) + Sync),
    ) -> Result<(), ProvisionError> {
        ensure(site.database, site.home).map_err(failed("make", site))
    }

    fn access(&self, site: &Site<'_>, _: Option<&Login>, _: usize) -> Result<Access, ProvisionError> {
        let connection = json!({"directory": directory(site.database, site.home)});
        let config = json!({"client": "better-sqlite3", "connection": connection});
        Ok(Access { config, secrets: BTreeMap::new(), connections: 0 })
    }

    async fn copy(&self, site: &Site<'_>, copy: &str) -> Result<(), ProvisionError> {
        let copied = async {
            ensure(copy, site.home)?;
            sqlite_copy::copy(directory(site.database, site.home), directory(copy, site.home)).await
        };
        copied.await.map_err(failed("copy", site))
    }

    async fn retire(&self, _: &Site<'_>, _: Slot) -> Result<(), ProvisionError> {
        Ok(())
    }

    async fn keep(&self, site: &Site<'_>) -> Result<String, ProvisionError> {
        let (name, home, kept) = (site.database.to_owned(), site.home.to_owned(), self.kept.clone());
        let path = blocking(move || keep(&name, &home, &kept)).await.map_err(failed("keep", site))?;
        Ok(format!("the folder {}", path.display()))
    }

    async fn dump(&self, site: &Site<'_>, _: Option<&Login>, into: &Path) -> Result<(), ProvisionError> {
        sqlite_copy::copy(directory(site.database, site.home), into.to_owned()).await.map_err(failed("dump", site))
    }

    async fn load(&self, site: &Site<'_>, _: Option<&Login>, from: &Path) -> Result<(), ProvisionError> {
        let (name, home, from) = (site.database.to_owned(), site.home.to_owned(), from.to_owned());
        sqlite_copy::check(&from).await.map_err(failed("load", site))?;
        blocking(move || replace(&name, &home, &from)).await.map_err(failed("load", site))
    }

    async fn remove(&self, site: &Site<'_>) -> Result<(), ProvisionError> {
        let (name, home, kept) = (site.database.to_owned(), site.home.to_owned(), self.kept.clone());
        blocking(move || remove(&name, &home, &kept)).await.map_err(failed("remove", site))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::WorkspaceId;

    fn site<'a>(database: &'a str, home: &'a Path) -> Site<'a> {
        Site { workspace: WorkspaceId::generate(), database, home }
    }

    #[tokio::test]
    async fn making_and_removing_twice_is_fine() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = dir.path().join("home");
        let provisioner = SqliteProvisioner::new(dir.path().join("kept"));
        for _ in 0..2 {
            provisioner.ensure(&site("backstage_acme_1", &home), None, &|_| {}).await.expect("made");
        }
        let files = home.join("db/backstage_acme_1");
        std::fs::write(files.join("catalog.sqlite"), "data").expect("written");
        provisioner.ensure(&site("backstage_acme_1", &home), None, &|_| {}).await.expect("there");
        assert!(files.join("catalog.sqlite").exists(), "data is kept");
        for _ in 0..2 {
            provisioner.remove(&site("backstage_acme_1", &home)).await.expect("removed");
        }
        assert!(!files.exists());
    }

    #[tokio::test]
    async fn no_link_is_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let provisioner = SqliteProvisioner::new(dir.path().join("kept"));
        let (home, outside) = (dir.path().join("home"), dir.path().join("outside"));
        for path in [&home, &home.join("db"), &outside] {
            std::fs::create_dir(path).expect("made");
        }
        std::fs::write(outside.join("file"), "theirs").expect("written");
        std::os::unix::fs::symlink(&outside, home.join("db/backstage_acme_1")).expect("linked");
        assert!(
            provisioner.ensure(&site("backstage_acme_1", &home), None, &|_| {}).await.is_err(),
            "a link in place of the database"
        );
        provisioner.remove(&site("backstage_acme_1", &home)).await.expect("the link is removed");
        std::fs::remove_dir(home.join("db")).expect("removed");
        std::os::unix::fs::symlink(&outside, home.join("db")).expect("linked");
        assert!(provisioner.remove(&site("file", &home)).await.is_err());
        assert!(outside.join("file").exists(), "what a link points to is kept");
    }

    #[tokio::test]
    async fn a_kept_database_outlives_its_home_until_it_is_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = dir.path().join("home");
        let provisioner = SqliteProvisioner::new(dir.path().join("kept"));
        let site = site("backstage_acme_1", &home);
        provisioner.ensure(&site, None, &|_| {}).await.expect("made");
        std::fs::write(home.join("db/backstage_acme_1/catalog.sqlite"), "data").expect("written");
        for _ in 0..2 {
            let said = provisioner.keep(&site).await.expect("kept");
            assert!(said.contains("kept/backstage_acme_1"), "{said}");
        }
        std::fs::remove_dir_all(&home).expect("the home goes");
        assert!(dir.path().join("kept/backstage_acme_1/catalog.sqlite").exists());
        provisioner.remove(&site).await.expect("removed");
        assert!(!dir.path().join("kept/backstage_acme_1").exists());
    }

    #[tokio::test]
    async fn what_was_dumped_is_loaded_in_place_of_what_is_there() {
        use sqlx::Connection;
        let dir = tempfile::tempdir().expect("a directory");
        let (home, dump) = (dir.path().join("home"), dir.path().join("dump"));
        let provisioner = SqliteProvisioner::new(dir.path().join("kept"));
        let site = site("backstage_acme_1", &home);
        provisioner.ensure(&site, None, &|_| {}).await.expect("made");
        std::fs::create_dir(&dump).expect("made");
        let file = format!("sqlite://{}/db/backstage_acme_1/catalog.sqlite?mode=rwc", home.display());
        let run = async |statement: &'static str| -> Result<(), sqlx::Error> {
            let mut connection = sqlx::SqliteConnection::connect(&file).await?;
            sqlx::raw_sql(statement).execute(&mut connection).await?;
            connection.close().await
        };
        run("CREATE TABLE entities (name TEXT); INSERT INTO entities VALUES ('one')").await.expect("written");
        provisioner.dump(&site, None, &dump).await.expect("dumped");
        run("INSERT INTO entities VALUES ('two')").await.expect("written");
        std::fs::write(home.join("db/backstage_acme_1/later.sqlite"), "").expect("written");
        provisioner.load(&site, None, &dump).await.expect("loaded");
        run("CREATE UNIQUE INDEX one_only ON entities ((1))").await.expect("one row is left");
        assert!(!home.join("db/backstage_acme_1/later.sqlite").exists(), "what came later is gone");
        std::fs::write(dump.join("catalog.sqlite"), "x".repeat(8192)).expect("damaged");
        assert!(provisioner.load(&site, None, &dump).await.is_err());
        run("INSERT INTO entities VALUES ('two')").await.expect_err("the old content is still there");
    }
}
