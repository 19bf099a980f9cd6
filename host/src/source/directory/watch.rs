//! The file watch: only a hint. It counts; whoever reads compares counts. Nothing here can be lost by a dropped future, and
//! nothing can pile up.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use notify::{
    Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::sync::watch;

/// Counts what happens below one folder at a time.
pub(super) struct Watch {
    events: watch::Sender<u64>,
    following: Mutex<Option<Following>>,
}

struct Following {
    identity: Option<(u64, u64)>,
    /// `None` where the system refused: said once, not at every list.
    _watcher: Option<RecommendedWatcher>,
}

// === impl Watch ===

impl Default for Watch {
    fn default() -> Self {
        Self { events: watch::Sender::new(0), following: Mutex::new(None) }
    }
}

impl Watch {
    /// Events so far.
    pub(super) fn events(&self) -> u64 {
        *self.events.borrow()
    }

    /// Waits until there were more than `seen` events. Cancel-safe.
    pub(super) async fn past(&self, seen: u64) {
        // The sender is `self`'s: it can't be gone while this waits.
        let _ = self.events.subscribe().wait_for(|events| *events != seen).await;
    }

    /// Watches `<path>/workspaces` from now on, unless it is the folder (by `identity`) that is watched already.
    pub(super) fn follow(&self, path: &Path, identity: Option<(u64, u64)>) {
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        if following.as_ref().is_some_and(|current| current.identity == identity) {
            return;
        }
        let again = following.take().is_some();
        let watcher = match self.watcher(path.join("workspaces")) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "cannot watch the config directory; changes are seen at the next poll");
                None
            }
        };
        *following = Some(Following { identity, _watcher: watcher });
        if again {
            // Between the list that found another folder and this watch of it, something may have been saved.
            self.events.send_modify(|events| *events += 1);
        }
    }

    fn watcher(&self, folder: PathBuf) -> notify::Result<RecommendedWatcher> {
        let events = self.events.clone();
        let count = move |event: notify::Result<Event>| {
            // An error (a queue that ran over) may stand for any change.
            if event.map_or(true, |event| is_change(&event.kind)) {
                events.send_modify(|events| *events = events.wrapping_add(1));
            }
        };
        let mut watcher = RecommendedWatcher::new(count, Config::default().with_follow_symlinks(false))?;
        watcher.watch(&folder, RecursiveMode::Recursive)?;
        Ok(watcher)
    }
}

/// Reading is no change: our own reads would wake us for ever.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}
