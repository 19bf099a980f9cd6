//! Stores, lists, fetches and checks backups.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use aws_lc_rs::digest::{Context, SHA256};
use futures_util::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, buffered::BufWriter, path::Path as Key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{BackupError, target};
use crate::{
    ids::{BackupId, Digest, Slug},
    model::{Backup, Part},
    settings::BackupSettings,
};

/// Bytes of a manifest; a larger one is none of ours.
const MAX_MANIFEST: u64 = 4 << 20;
/// Objects that one listing looks at.
const MAX_OBJECTS: usize = 1_000_000;
const CHUNK: usize = 256 << 10;

/// The place that backups lie in. Cheap to clone.
#[derive(Clone)]
pub struct BackupStore {
    store: Arc<dyn ObjectStore>,
    place: Arc<str>,
}

impl BackupStore {
    /// Opens the place that the settings name; `default` is the directory without any. Asks no bucket.
    pub fn open(settings: &BackupSettings, default: &Path) -> Result<Self, BackupError> {
        let (store, place) = target::open(settings, default)?;
        Ok(Self { store, place: place.into() })
    }

    /// For people: the directory or the bucket.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Stores a file as a part; its digest is taken from the bytes that were sent.
    pub async fn put(&self, slug: &Slug, id: BackupId, name: &str, file: &Path) -> Result<Part, BackupError> {
        let read_failed = |source| BackupError::File { operation: "read", path: file.to_owned(), source };
        let mut input = tokio::fs::File::open(file).await.map_err(read_failed)?;
        let mut output = BufWriter::new(self.store.clone(), key(slug, id, name));
        let write_failed = |error: std::io::Error| {
            self.failed("store", name)(object_store::Error::Generic { store: "backup", source: Box::new(error) })
        };
        let (mut context, mut bytes, mut buffer) = (Context::new(&SHA256), 0_u64, vec![0; CHUNK]);
        loop {
            let n = input.read(&mut buffer).await.map_err(read_failed)?;
            if n == 0 {
                break;
            }
            context.update(&buffer[..n]);
            bytes += n as u64;
            output.write_all(&buffer[..n]).await.map_err(write_failed)?;
        }
        output.shutdown().await.map_err(write_failed)?;
        Ok(Part { name: name.to_owned(), bytes, digest: finish(context) })
    }

    /// Writes the manifest: from here on the backup counts.
    pub async fn finish(&self, backup: &Backup) -> Result<(), BackupError> {
        let text = serde_json::to_vec_pretty(backup).unwrap_or_default();
        let name = format!("manifest.{}.json", Digest::of(&text).hex());
        let stored = self.store.put(&key(&backup.slug, backup.id, &name), text.into()).await;
        stored.map(|_| ()).map_err(self.failed("store", &name))
    }

    /// Whole backups, newest first; of one name, or of all. A damaged manifest is named in the log and left out.
    pub async fn list(&self, slug: Option<&Slug>) -> Result<Vec<Backup>, BackupError> {
        let mut found = Vec::new();
        for (name, manifest) in self.manifests(slug).await? {
            match self.manifest(&name, &manifest).await {
                Ok(backup) => found.push(backup),
                Err(error) => tracing::warn!(%error, "a backup can't be listed"),
            }
        }
        found.sort_by(|a: &Backup, b| b.taken_at.cmp(&a.taken_at).then(b.id.cmp(&a.id)));
        Ok(found)
    }

    /// One backup.
    pub async fn get(&self, slug: &Slug, id: BackupId) -> Result<Backup, BackupError> {
        let found = self.manifests(Some(slug)).await?.into_iter().find(|(of, _)| *of == id);
        let (_, manifest) = found.ok_or_else(|| BackupError::NotFound { slug: slug.clone(), id })?;
        self.manifest(&id, &manifest).await
    }

    /// Fetches every part into a directory, each checked against its digest. With `None` they are only checked.
    pub async fn fetch(&self, backup: &Backup, into: Option<&Path>) -> Result<(), BackupError> {
        for part in &backup.parts {
            self.fetch_part(backup, part, into).await?;
        }
        Ok(())
    }

    /// Removes a backup, whole or not; the manifest first, so that half of one is never listed.
    pub async fn delete(&self, slug: &Slug, id: BackupId) -> Result<(), BackupError> {
        let mut keys = self.keys(&Key::from(format!("{slug}/{id}"))).await?;
        keys.sort_by_key(|key| !is_manifest(key));
        for key in keys {
            match self.store.delete(&key).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed("remove", key.as_ref())(error)),
            }
        }
        Ok(())
    }

    /// Removes what a backup of this name that was never finished has left, if it was begun before `before`.
    pub async fn sweep(&self, slug: &Slug, before: BackupId) -> Result<usize, BackupError> {
        let whole: Vec<BackupId> = self.manifests(Some(slug)).await?.into_iter().map(|(id, _)| id).collect();
        let keys = self.keys(&Key::from(slug.as_str())).await?;
        let mut torn: Vec<BackupId> =
            keys.iter().filter_map(id_of).filter(|id| *id < before && !whole.contains(id)).collect();
        torn.sort();
        torn.dedup();
        for id in &torn {
            self.delete(slug, *id).await?;
        }
        Ok(torn.len())
    }

    async fn fetch_part(&self, backup: &Backup, part: &Part, into: Option<&Path>) -> Result<(), BackupError> {
        let damaged = |detail: String| BackupError::Damaged { id: backup.id, detail };
        let path =
            into.map(|dir| place_in(dir, &part.name).ok_or_else(|| damaged(format!("{:?} is no part", part.name))));
        let path = path.transpose()?;
        let got = self.store.get(&key(&backup.slug, backup.id, &part.name)).await;
        let got = got.map_err(|error| match error {
            object_store::Error::NotFound { .. } => damaged(format!("its part {} is gone", part.name)),
            other => self.failed("read", &part.name)(other),
        })?;
        let mut output = match &path {
            Some(path) => Some(create(path).await?),
            None => None,
        };
        let (mut context, mut bytes, mut stream) = (Context::new(&SHA256), 0_u64, got.into_stream());
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(self.failed("read", &part.name))?;
            context.update(&chunk);
            bytes += chunk.len() as u64;
            if bytes > part.bytes {
                break;
            }
            if let (Some(file), Some(path)) = (&mut output, &path) {
                let failed = |source| BackupError::File { operation: "write", path: path.clone(), source };
                file.write_all(&chunk).await.map_err(failed)?;
            }
        }
        if bytes != part.bytes || finish(context) != part.digest {
            return Err(damaged(format!("its part {} is not what was stored", part.name)));
        }
        if let (Some(mut file), Some(path)) = (output, path) {
            let failed = |source| BackupError::File { operation: "write", path: path.clone(), source };
            file.flush().await.map_err(failed)?;
            file.sync_all().await.map_err(failed)?;
        }
        Ok(())
    }

    async fn manifests(&self, slug: Option<&Slug>) -> Result<Vec<(BackupId, Key)>, BackupError> {
        let prefix = slug.map(|slug| Key::from(slug.as_str())).unwrap_or_default();
        let keys = self.keys(&prefix).await?;
        Ok(keys.into_iter().filter(is_manifest).filter_map(|key| Some((id_of(&key)?, key))).collect())
    }

    async fn keys(&self, prefix: &Key) -> Result<Vec<Key>, BackupError> {
        let listed = self.store.list(Some(prefix)).take(MAX_OBJECTS).map_ok(|meta| meta.location).try_collect();
        listed.await.map_err(self.failed("list", prefix.as_ref()))
    }

    async fn manifest(&self, id: &BackupId, key: &Key) -> Result<Backup, BackupError> {
        let damaged = |detail: &str| BackupError::Damaged { id: *id, detail: detail.to_owned() };
        let got = self.store.get(key).await.map_err(self.failed("read", key.as_ref()))?;
        if got.meta.size > MAX_MANIFEST {
            return Err(damaged("its manifest is too large"));
        }
        let bytes = got.bytes().await.map_err(self.failed("read", key.as_ref()))?;
        if !key.as_ref().ends_with(&format!("manifest.{}.json", Digest::of(&bytes).hex())) {
            return Err(damaged("its manifest is not what was stored"));
        }
        let backup: Backup = serde_json::from_slice(&bytes).map_err(|_| damaged("its manifest can't be read"))?;
        match backup.format {
            1 => Ok(backup),
            other => Err(damaged(&format!("it was made by a newer orbitd (format {other})"))),
        }
    }

    fn failed(&self, operation: &'static str, what: &str) -> impl Fn(object_store::Error) -> BackupError {
        let (what, place) = (what.to_owned(), self.place.to_string());
        move |source| BackupError::Store {
            operation,
            what: what.clone(),
            place: place.clone(),
            source: Box::new(source),
        }
    }
}

fn key(slug: &Slug, id: BackupId, name: &str) -> Key {
    Key::from(format!("{slug}/{id}/{name}"))
}

fn id_of(key: &Key) -> Option<BackupId> {
    key.parts().nth(1).and_then(|part| BackupId::from_str(part.as_ref()).ok())
}

fn is_manifest(key: &Key) -> bool {
    let mut parts = key.parts().skip(2);
    let name = parts.next();
    parts.next().is_none() && name.is_some_and(|name| name.as_ref().starts_with("manifest."))
}

/// Where a part goes; `None` for a name that leads elsewhere.
fn place_in(dir: &Path, name: &str) -> Option<PathBuf> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    name.split('/').all(plain).then(|| dir.join(name))
}

async fn create(path: &Path) -> Result<tokio::fs::File, BackupError> {
    let failed = |source| BackupError::File { operation: "make", path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await.map_err(failed)?;
    }
    tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).await.map_err(failed)
}

fn finish(context: Context) -> Digest {
    // SHA-256 has 32 bytes.
    Digest::from_raw(context.finish().as_ref()).unwrap_or(Digest::of(b""))
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::{ids::WorkspaceId, model::BackupReason};

    async fn stored(store: &BackupStore, dir: &Path, slug: &Slug) -> Backup {
        let id = BackupId::generate();
        std::fs::write(dir.join("part"), vec![7_u8; 700_000]).expect("written");
        let part = store.put(slug, id, "database/catalog.sqlite", &dir.join("part")).await.expect("stored");
        let backup = Backup {
            format: 1,
            id,
            slug: slug.clone(),
            workspace: WorkspaceId::generate(),
            tier: "pro".parse().expect("a tier"),
            taken_at: OffsetDateTime::now_utc(),
            reason: BackupReason::Asked,
            database: "sqlite".to_owned(),
            revision: None,
            distribution: None,
            orbitd: "1".to_owned(),
            parts: vec![part],
        };
        store.finish(&backup).await.expect("finished");
        backup
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("read").flatten() {
                if entry.path().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
            }
        }
        found
    }

    #[tokio::test]
    async fn whole_backups_are_listed_checked_and_fetched_and_torn_ones_are_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("backups");
        let store = BackupStore::open(&BackupSettings::default(), &place).expect("opened");
        let slug: Slug = "acme".parse().expect("a slug");
        let (first, second) = (stored(&store, dir.path(), &slug).await, stored(&store, dir.path(), &slug).await);
        let torn = BackupId::generate();
        store.put(&slug, torn, "spec.json", &dir.path().join("part")).await.expect("stored");
        let ids: Vec<_> = store.list(Some(&slug)).await.expect("listed").into_iter().map(|b| b.id).collect();
        assert_eq!(ids, [second.id, first.id], "newest first, without the torn one");
        assert!(matches!(store.get(&slug, torn).await, Err(BackupError::NotFound { .. })));
        assert_eq!(store.list(Some(&"acm".parse().expect("a slug"))).await.expect("listed"), [], "no prefix of a name");
        assert_eq!(store.sweep(&slug, BackupId::generate()).await.expect("swept"), 1);

        store.fetch(&first, Some(&dir.path().join("out"))).await.expect("fetched");
        assert_eq!(std::fs::read(dir.path().join("out/database/catalog.sqlite")).expect("read").len(), 700_000);
        // One byte of a part, then of a manifest.
        for (name, what) in [("catalog.sqlite", "not what was stored"), ("manifest.", "manifest")] {
            let file = files(&place).into_iter().find(|path| {
                path.to_string_lossy().contains(&second.id.to_string())
                    && path.file_name().is_some_and(|f| f.to_string_lossy().starts_with(name))
            });
            let file = file.expect("it is there");
            let mut bytes = std::fs::read(&file).expect("read");
            bytes[5] ^= 1;
            std::fs::write(&file, bytes).expect("damaged");
            let checked = async { store.fetch(&store.get(&slug, second.id).await?, None).await };
            let error = checked.await.expect_err("damaged").to_string();
            assert!(error.contains(what) && error.contains(&second.id.to_string()), "{error}");
        }
        store.fetch(&store.get(&slug, first.id).await.expect("there"), None).await.expect("the other one is whole");
        store.delete(&slug, second.id).await.expect("removed");
        store.delete(&slug, first.id).await.expect("removed");
        assert_eq!(files(&place), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_part_never_leads_out_of_its_directory() {
        for bad in ["../x", "/etc/passwd", "a//b", "a/../b", "", ".", "a\0b"] {
            assert_eq!(place_in(Path::new("/d"), bad), None, "{bad:?}");
        }
        assert_eq!(place_in(Path::new("/d"), "database/x"), Some("/d/database/x".into()));
    }
}
