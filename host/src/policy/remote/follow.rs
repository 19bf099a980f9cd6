//! Follows the references that tiers name: asks each registry every so often what a tag is now, and pulls what is new.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Kept, OciReference, Registries};
use crate::{ids::Digest, policy::store::blocking, settings::OciAccount};

/// References followed; past it the rest is refused by the loader.
pub const MAX_REFERENCES: usize = 256;

/// Registries asked at the same time.
const AT_ONCE: usize = 8;

/// How to follow.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Where what was pulled is kept; made 0700 if missing.
    pub folder: PathBuf,
    /// By registry.
    pub accounts: BTreeMap<String, OciAccount>,
    /// Between two questions for the same tag.
    pub poll: Duration,
}

impl RemoteOptions {
    /// For tools and tests, which ask no registry.
    pub fn offline(folder: PathBuf) -> Self {
        Self { folder, accounts: BTreeMap::new(), poll: Duration::from_secs(60) }
    }
}

/// What is known of one reference.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RemoteModule {
    /// As in the tier's file.
    pub reference: String,
    /// Digest of the module that was pulled last; it serves, whatever became of the registry since.
    pub digest: Option<Digest>,
    /// When the registry last said what the reference is (UTC).
    #[serde(with = "time::serde::rfc3339::option")]
    pub checked_at: Option<OffsetDateTime>,
    /// Why the last question or pull failed.
    pub error: Option<String>,
}

/// The follower.
pub struct Remote {
    kept: Kept,
    registries: Registries,
    poll: Duration,
    known: Mutex<BTreeMap<String, (OciReference, RemoteModule)>>,
    /// Somebody wants an answer before the next poll.
    hurry: Notify,
    /// Something that a load would see has changed.
    news: Notify,
}

impl Remote {
    /// Opens the folder; asks nobody yet.
    pub fn open(options: RemoteOptions) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            kept: Kept::open(&options.folder)?,
            registries: Registries::new(options.accounts),
            poll: options.poll,
            known: Mutex::default(),
            hurry: Notify::new(),
            news: Notify::new(),
        }))
    }

    /// What was pulled.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Which references the tiers name now. New ones are pulled at once.
    pub fn want(&self, references: &[OciReference]) {
        let mut known = self.lock();
        let names: BTreeSet<String> = references.iter().map(ToString::to_string).collect();
        known.retain(|name, _| names.contains(name));
        for reference in references.iter().take(MAX_REFERENCES) {
            known.entry(reference.to_string()).or_insert_with(|| {
                self.hurry.notify_one();
                let digest = self.kept.entry(reference).map(|entry| entry.module);
                let module = RemoteModule { reference: reference.to_string(), digest, ..RemoteModule::default() };
                (reference.clone(), module)
            });
        }
    }

    /// All references and what became of them, by name.
    pub fn modules(&self) -> Vec<RemoteModule> {
        self.lock().values().map(|(_, module)| module.clone()).collect()
    }

    /// Why a reference has nothing to load, if it is known.
    pub fn error(&self, reference: &OciReference) -> Option<String> {
        self.lock().get(&reference.to_string())?.1.error.clone()
    }

    /// Waits until something was pulled, or could not be. Cancel-safe: news that nobody waits for are kept.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Polls until `cancel`.
    pub async fn run(&self, cancel: CancellationToken) {
        loop {
            // Cancel-safe: a pull that is dropped has written nothing, or a file of a known digest.
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.look_at_all() => {}
            }
            // Cancel-safe: a hurry that comes while nobody waits is kept.
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(self.poll) => {}
                () = self.hurry.notified() => {}
            }
        }
    }

    /// Asks every registry now and pulls what is new; returns when all have answered or failed.
    pub async fn look_at_all(&self) {
        let references: Vec<OciReference> = self.lock().values().map(|(reference, _)| reference.clone()).collect();
        // Side by side: a registry that is silent does not hold up the others.
        let looks = stream::iter(&references).for_each_concurrent(AT_ONCE, |reference| async move {
            let outcome = self.look_at(reference).await;
            self.note(reference, outcome);
        });
        looks.await;
        if !references.is_empty() {
            let kept = self.kept.clone();
            blocking(move || kept.prune(&references)).await;
        }
    }

    fn note(&self, reference: &OciReference, outcome: Result<Digest, String>) {
        let mut known = self.lock();
        // No longer wanted: nobody asks.
        let Some((_, module)) = known.get_mut(&reference.to_string()) else { return };
        match outcome {
            Ok(digest) => {
                if module.digest != Some(digest) || module.error.is_some() {
                    self.news.notify_one();
                }
                module.digest = Some(digest);
                module.checked_at = Some(OffsetDateTime::now_utc());
                module.error = None;
            }
            Err(error) => {
                if module.error.as_ref() != Some(&error) {
                    self.news.notify_one();
                    let kept = module.digest.is_some();
                    tracing::warn!(%reference, error, kept, "a policy's registry does not answer as it should");
                }
                module.error = Some(error);
            }
        }
    }

    async fn look_at(&self, reference: &OciReference) -> Result<Digest, String> {
        let entry = self.kept.entry(reference).filter(|entry| self.kept.has(&entry.module));
        if let Some(entry) = &entry {
            // What a digest names does not change: a pinned module needs no registry once it is here.
            let current = match reference.pinned() {
                Some(pinned) => pinned.to_owned(),
                None => self.registries.digest(reference).await.map_err(|error| error.with_causes())?,
            };
            if current == entry.manifest {
                return Ok(entry.module);
            }
        }
        let pulled = self.registries.pull(reference).await.map_err(|error| error.with_causes())?;
        // Megabytes to a disk, and waiting for them to be there.
        let (kept, to_keep) = (self.kept.clone(), reference.clone());
        let entry = blocking(move || kept.put(&to_keep, &pulled)).await;
        let entry = entry.map_err(|error| format!("cannot keep the module: {error}"))?;
        tracing::info!(%reference, manifest = entry.manifest, digest = %entry.module, "a policy was pulled");
        Ok(entry.module)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (OciReference, RemoteModule)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
