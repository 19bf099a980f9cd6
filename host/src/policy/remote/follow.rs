//! Follows the references that tiers name: asks each registry every so often what a tag is now, and pulls what is new.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream, stream::FuturesUnordered};
use serde::Serialize;
use time::OffsetDateTime;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Access, Kept, OciReference, Registries};
use crate::{ids::Digest, policy::store::blocking, settings::OciSettings};

/// References followed; past it the rest is refused by the loader.
pub const MAX_REFERENCES: usize = 256;

/// Questions to one registry at the same time; its further references wait. Other registries are asked beside it.
const AT_ONCE: usize = 4;

/// How to follow.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// Where what was pulled is kept; made 0700 if missing.
    pub folder: PathBuf,
    /// How registries are asked.
    pub access: Access,
    /// Between two questions for the same tag.
    pub poll: Duration,
}

impl RemoteOptions {
    /// As the settings say.
    pub fn new(folder: PathBuf, settings: &OciSettings) -> Self {
        Self { folder, access: Access::of_settings(settings), poll: Duration::from_secs(settings.poll_s.max(1)) }
    }

    /// For tools and tests, which ask no registry.
    pub fn offline(folder: PathBuf) -> Self {
        Self::new(folder, &OciSettings::default())
    }
}

/// What is known of one reference.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RemoteModule {
    /// As in the tier's file.
    pub reference: String,
    /// Digest of the module that was pulled last; it serves, whatever became of the registry since.
    pub digest: Option<Digest>,
    /// When that was pulled (UTC).
    #[serde(with = "time::serde::rfc3339::option")]
    pub pulled_at: Option<OffsetDateTime>,
    /// When the registry last said what the reference is (UTC).
    #[serde(with = "time::serde::rfc3339::option")]
    pub checked_at: Option<OffsetDateTime>,
    /// Why the last question or pull failed: the registry, the reason, the next step.
    pub error: Option<String>,
    /// Since when none has succeeded (UTC); at the earliest since this daemon's start.
    #[serde(with = "time::serde::rfc3339::option")]
    pub failing_since: Option<OffsetDateTime>,
}

/// A reference that a tier names.
struct Followed {
    reference: OciReference,
    module: RemoteModule,
    /// When it is asked for next.
    due: Instant,
    /// It is being asked for.
    under_way: bool,
}

/// The follower.
pub struct Remote {
    kept: Kept,
    registries: Registries,
    poll: Duration,
    known: Mutex<BTreeMap<String, Followed>>,
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
            registries: Registries::new(options.access),
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
                let pulled_at = self.kept.pulled_at(reference);
                let module =
                    RemoteModule { reference: reference.to_string(), digest, pulled_at, ..RemoteModule::default() };
                Followed { reference: reference.clone(), module, due: Instant::now(), under_way: false }
            });
        }
    }

    /// All references and what became of them, by name.
    pub fn modules(&self) -> Vec<RemoteModule> {
        self.lock().values().map(|followed| followed.module.clone()).collect()
    }

    /// Why a reference has nothing to load, if it is known.
    pub fn error(&self, reference: &OciReference) -> Option<String> {
        self.lock().get(&reference.to_string())?.module.error.clone()
    }

    /// Waits until something was pulled, or could not be. Cancel-safe: news that nobody waits for are kept.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Polls until `cancel`. Each reference has a time of its own, so that a registry that is silent holds up nothing but itself.
    pub async fn run(&self, cancel: CancellationToken) {
        let mut looks = FuturesUnordered::new();
        loop {
            for reference in self.take_due(Instant::now()) {
                looks.push(async move {
                    self.look(&reference).await;
                    self.answered(&reference);
                });
            }
            let wake = self.next_due(Instant::now());
            // Cancel-safe: a look that is dropped has written nothing, or a file of a known digest; a hurry that comes while
            // nobody waits is kept; times are looked at anew.
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(()) = looks.next(), if !looks.is_empty() => {}
                () = tokio::time::sleep_until(wake) => {}
                () = self.hurry.notified() => {}
            }
        }
    }

    /// Asks every registry now and pulls what is new; returns when all have answered or failed.
    pub async fn look_at_all(&self) {
        let references: Vec<OciReference> = self.lock().values().map(|followed| followed.reference.clone()).collect();
        let mut by_registry: BTreeMap<&str, Vec<&OciReference>> = BTreeMap::new();
        for reference in &references {
            by_registry.entry(reference.registry()).or_default().push(reference);
        }
        let registries = by_registry
            .into_values()
            .map(|references| stream::iter(references).for_each_concurrent(AT_ONCE, |reference| self.look(reference)));
        registries.collect::<FuturesUnordered<_>>().collect::<()>().await;
    }

    /// References whose time has come, and whose registry is not busy with others: they are under way from now on.
    fn take_due(&self, now: Instant) -> Vec<OciReference> {
        let mut known = self.lock();
        let mut busy: BTreeMap<String, usize> = BTreeMap::new();
        for followed in known.values().filter(|followed| followed.under_way) {
            *busy.entry(followed.reference.registry().to_owned()).or_default() += 1;
        }
        let mut due: Vec<&mut Followed> =
            known.values_mut().filter(|followed| !followed.under_way && followed.due <= now).collect();
        // Who waits longest comes first, so that nobody waits for ever.
        due.sort_by_key(|followed| followed.due);
        let mut taken = Vec::new();
        for followed in due {
            let of_registry = busy.entry(followed.reference.registry().to_owned()).or_default();
            if *of_registry < AT_ONCE {
                *of_registry += 1;
                followed.under_way = true;
                taken.push(followed.reference.clone());
            }
        }
        taken
    }

    /// When to look again unless something ends before: what is overdue waits for its registry's other questions to end.
    fn next_due(&self, now: Instant) -> Instant {
        let known = self.lock();
        let waiting = known.values().filter(|followed| !followed.under_way && followed.due > now);
        waiting.map(|followed| followed.due).min().unwrap_or(now + self.poll)
    }

    fn answered(&self, reference: &OciReference) {
        if let Some(followed) = self.lock().get_mut(&reference.to_string()) {
            followed.under_way = false;
            followed.due = Instant::now() + self.poll;
        }
    }

    async fn look(&self, reference: &OciReference) {
        let outcome = self.look_at(reference).await;
        let now = OffsetDateTime::now_utc();
        let mut known = self.lock();
        // No longer wanted: nobody asks.
        let Some(Followed { module, .. }) = known.get_mut(&reference.to_string()) else { return };
        match outcome {
            Ok(digest) => {
                if module.digest != Some(digest) || module.error.is_some() {
                    self.news.notify_one();
                }
                if let Some(since) = module.failing_since {
                    tracing::info!(%reference, %since, "a policy's registry answers again");
                }
                module.pulled_at = self.kept.pulled_at(reference);
                *module = RemoteModule {
                    digest: Some(digest),
                    checked_at: Some(now),
                    error: None,
                    failing_since: None,
                    ..module.clone()
                };
            }
            Err(error) => {
                if module.error.as_ref() != Some(&error) {
                    self.news.notify_one();
                    let kept = module.digest.is_some();
                    tracing::warn!(%reference, error, kept, "a policy's registry does not answer as it should");
                }
                module.error = Some(error);
                module.failing_since.get_or_insert(now);
            }
        }
    }

    async fn look_at(&self, reference: &OciReference) -> Result<Digest, String> {
        let entry = self.kept.entry(reference).filter(|entry| self.kept.has(&entry.module));
        if let Some(entry) = &entry {
            // What a digest names does not change: a pinned module needs no registry once it is here.
            let current = match reference.pinned() {
                Some(pinned) => pinned.to_owned(),
                None => self.registries.digest(reference).await.map_err(|error| error.to_string())?,
            };
            if current == entry.manifest {
                return Ok(entry.module);
            }
        }
        let pulled = self.registries.pull(reference).await.map_err(|error| error.to_string())?;
        // Megabytes to a disk, and waiting for them to be there.
        let (kept, to_keep) = (self.kept.clone(), reference.clone());
        let entry = blocking(move || kept.put(&to_keep, &pulled)).await;
        let entry = entry.map_err(|error| format!("cannot keep the module: {error}"))?;
        tracing::info!(%reference, manifest = entry.manifest, digest = %entry.module, "a policy was pulled");
        let wanted: Vec<OciReference> = self.lock().values().map(|followed| followed.reference.clone()).collect();
        let kept = self.kept.clone();
        blocking(move || kept.prune(&wanted)).await;
        Ok(entry.module)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Followed>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        sync::mpsc,
    };

    use super::*;

    /// More references than are asked at once lie in a registry that takes connections and says nothing; another one is asked
    /// again and again meanwhile.
    #[tokio::test]
    async fn a_silent_registry_holds_up_only_itself() {
        let dir = tempfile::tempdir().expect("a directory");
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let lively = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let (silent_at, lively_at) = (silent.local_addr().expect("bound"), lively.local_addr().expect("bound"));
        let settings = OciSettings { poll_s: 1, timeout_s: 3_600, ..OciSettings::default() };
        let remote = Remote::open(RemoteOptions::new(dir.path().join("modules"), &settings)).expect("opened");
        let name =
            |at: std::net::SocketAddr, n: usize| format!("oci://{at}/p{n}:1").parse::<OciReference>().expect("good");
        let mut wanted: Vec<OciReference> = (0..AT_ONCE + 2).map(|n| name(silent_at, n)).collect();
        wanted.push(name(lively_at, 0));
        remote.want(&wanted);

        let (asked, mut questions) = mpsc::channel(64);
        let (held, mut holds) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((stream, _)) = silent.accept().await {
                let _ = held.send(stream).await;
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = lively.accept().await {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).await.unwrap_or_default();
                let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(answer.as_bytes()).await;
                if request[..length].starts_with(b"GET /v2/p0/manifests/1") {
                    let _ = asked.send(()).await;
                }
            }
        });
        let cancel = CancellationToken::new();
        let running = tokio::spawn({
            let (remote, cancel) = (remote.clone(), cancel.clone());
            async move { remote.run(cancel).await }
        });
        tokio::time::timeout(Duration::from_secs(30), async {
            for _ in 0..3 {
                questions.recv().await.expect("asked");
            }
            for _ in 0..AT_ONCE {
                holds.recv().await.expect("connected");
            }
        })
        .await
        .expect("the lively one is asked three times, the silent one as often as is allowed");
        assert!(holds.try_recv().is_err(), "not more at once");
        let modules = remote.modules();
        let of = |n: usize| modules.iter().find(|module| module.reference == wanted[n].to_string()).expect("followed");
        let missing = of(AT_ONCE + 2);
        assert!(missing.error.as_ref().is_some_and(|error| error.contains("has no p0:1")), "{missing:?}");
        assert!(missing.failing_since.is_some() && of(0).error.is_none(), "{modules:?}");
        cancel.cancel();
        running.await.expect("ended");
    }
}
