//! The directory source: `<path>/workspaces/<slug>/workspace.toml` and `<path>/workspaces/<slug>/catalog/*.yaml|*.yml`.
//!
//! ```toml
//! tier = "pro"                                  # required
//! desired = "running"                           # or "stopped"
//! plugins = ["catalog", "search"]               # none: the tier's choice
//! [app_config.app]
//! title = "Acme"
//! [secrets]
//! GITHUB_TOKEN = { file = "github-token" }      # <secrets dir>/<slug>/github-token
//! ```
//!
//! What is in a workspace's folder may be written by people who are not operators, so reading it is defensive: no symlink is
//! followed below `<path>`, only regular files are opened, everything has a size limit, and a broken folder is a
//! [`Rejected`] of that workspace alone: its last good spec stays, and so does everybody else's. Files with other names,
//! and names that start with a dot, are not looked at.
//!
//! Catalogue files are checked lightly (UTF-8, not empty, no NUL): Backstage is the judge of their content. Its
//! placeholders (`$text: https://…` and the like) are let through: Backstage resolves them through its URL reader, which
//! takes no path relative to a `file` location and only hosts that `backend.reading.allow` or an integration names. That
//! list is the renderer policy's to give.
//!
//! `listed` (what the last `list` began with) against `events` (what the watch has counted) is the whole state of
//! "something changed": [`Source::changed`] only reads it, so it can be dropped and called again at any time.

mod entry;
mod files;
mod watch;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Listing, Rejected, Source};
use crate::ids::Slug;
use entry::Known;
use files::Folder;
use watch::Watch;

/// Workspaces in one directory; past it nothing is read.
const MAX_WORKSPACES: usize = 100_000;
/// Catalogue bytes of all workspaces together; workspaces past it (by name) are rejected.
const MAX_TOTAL_BYTES: usize = 512 << 20;
/// A save is often several events; this much silence ends a group of them.
const QUIET: Duration = Duration::from_millis(200);
/// Endless events must not hold a change back for ever.
const MAX_DEBOUNCE: Duration = Duration::from_secs(1);

/// Reads a directory; see the module's header.
pub struct DirectorySource {
    path: PathBuf,
    poll: Duration,
    watch: Arc<Watch>,
    listed: Mutex<Listed>,
    /// Held while a list runs, so that two never race for the cache.
    known: Arc<tokio::sync::Mutex<HashMap<Slug, Known>>>,
}

/// What the last list began with.
struct Listed {
    events: u64,
    at: Instant,
}

// === impl DirectorySource ===

impl DirectorySource {
    /// A source over `path`, which must hold a folder `workspaces`. `poll` is the longest time between two reads. Blocks for
    /// as long as it takes to watch every folder. A watch that can't be had (more folders than the system's limit) is logged:
    /// polling remains.
    pub fn open(path: impl Into<PathBuf>, poll: Duration) -> Result<Self, Rejected> {
        let path = path.into();
        let root = Folder::open_root(&path)?;
        let watch = Arc::new(Watch::default());
        watch.follow(&path, root.identity());
        Ok(Self {
            path,
            poll: poll.max(Duration::from_secs(1)),
            watch,
            listed: Mutex::new(Listed { events: 0, at: Instant::now() }),
            known: Arc::default(),
        })
    }
}

#[async_trait::async_trait]
impl Source for DirectorySource {
    fn name(&self) -> &str {
        "directory"
    }

    async fn list(&self) -> Result<Listing, Rejected> {
        let mut known = self.known.clone().lock_owned().await;
        // Before the first byte is read: what changes from here on is the next `changed`.
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) =
            Listed { events: self.watch.events(), at: Instant::now() };
        let (path, watch) = (self.path.clone(), self.watch.clone());
        let read = move || {
            let root = Folder::open_root(&path)?;
            let listing = read_all(&root, &mut known)?;
            // The folder may be another one than before (a checkout moved into place): watch that one.
            watch.follow(&path, root.identity());
            Ok(listing)
        };
        let stopped = |_| Rejected("reading the config directory was interrupted; it is read again soon".to_owned());
        tokio::task::spawn_blocking(read).await.map_err(stopped)?
    }

    async fn changed(&self) {
        let (events, due) = {
            let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
            (listed.events, listed.at + self.poll)
        };
        let settled = async {
            self.watch.past(events).await;
            let latest = Instant::now() + MAX_DEBOUNCE;
            loop {
                let seen = self.watch.events();
                // Cancel-safe on both sides: the watch only counts.
                match tokio::time::timeout_at(latest.min(Instant::now() + QUIET), self.watch.past(seen)).await {
                    Ok(()) => continue,
                    Err(_silence) => return,
                }
            }
        };
        let _ = tokio::time::timeout_at(due, settled).await;
    }
}

fn read_all(root: &Folder, known: &mut HashMap<Slug, Known>) -> Result<Listing, Rejected> {
    let mut listing = Listing::default();
    let mut fresh = HashMap::new();
    let mut total = 0;
    let mut names = BTreeMap::new();
    for found in root.entries(MAX_WORKSPACES * 2)? {
        let found = match found {
            Ok(found) => found,
            Err(rejected) => {
                listing.ignored.push(rejected);
                continue;
            }
        };
        match found.name.parse::<Slug>() {
            // A README beside the folders is nobody's workspace.
            _ if found.kind.is_file() => {}
            Ok(slug) => _ = names.insert(slug, found),
            Err(reason) => listing.ignored.push(Rejected(format!("the folder workspaces/{}: {reason}", found.name))),
        }
    }
    if names.len() > MAX_WORKSPACES {
        return Err(Rejected(format!("workspaces/ holds more than {MAX_WORKSPACES} workspaces; split it")));
    }
    for (slug, found) in names {
        let previous = known.remove(&slug);
        let entry = entry::read(root, &slug, &found, previous);
        let bytes = entry.bytes();
        let spec = if total + bytes > MAX_TOTAL_BYTES {
            let limit = MAX_TOTAL_BYTES >> 20;
            Err(Rejected(format!("workspaces/{slug}: all catalogues together are over {limit} MiB; make them smaller")))
        } else {
            total += bytes;
            entry.spec.clone()
        };
        if entry.is_cacheable() {
            fresh.insert(slug.clone(), entry);
        }
        listing.workspaces.insert(slug, spec);
    }
    *known = fresh;
    Ok(listing)
}

#[cfg(test)]
mod tests;
