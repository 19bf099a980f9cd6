//! Who serves what, right now: the meeting point of `lifecycle` (which writes) and `proxy` (which reads). Neither knows the
//! other.
//!
//! ```text
//!                       ┌── blue-green: green is proven, one publication ──┐
//! Held ──ready──▶ Serving(instance) ◀──────────────────────────────────────┘
//!  ▲                 │   │ green died in its bake: back to blue, one publication
//!  └── restart ──────┘   └─ crashed ─▶ Held, or Unavailable while it waits for its next try       Stopped: down by wish
//!
//! Serving ──nobody uses it──▶ Asleep ──a request──▶ Serving (was suspended), or Held ──▶ Serving (was stopped)
//! ```
//!
//! Invariants: one [`Entry`] per living workspace *id* (a workspace deleted and created again under its slug has a new
//! entry; who comes first makes it, [`Directory::get_or_insert`]); one [`Upstream`] per instance, which counts its own requests; a request counts itself in with [`Entry::enter`]
//! and looks again whether the instance still is the offered one, so once the controller has published something else
//! and seen the instance idle, no request is on it. A request that meets its workspace asleep says so
//! ([`Activity::want_awake`]), whatever becomes of it then.

mod activity;
mod entry;
mod internal;
mod upstream;

pub use activity::Activity;
pub use entry::{Availability, Entry};
pub use internal::InternalPaths;
pub use upstream::{Endpoint, InFlight, LongLived, Tally, Upstream};

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::ids::{Slug, WorkspaceId};

/// Wake hints held for the controller; past it a hint is dropped, because the periodic scan is the truth.
const MAX_WAKE_HINTS: usize = 1024;

/// All living workspaces by slug. Reading is one atomic load; writing copies the table (100,000 entries: about 2 ms).
pub struct Directory {
    table: ArcSwap<Table>,
    wake: mpsc::Sender<WorkspaceId>,
}

/// One consistent view.
pub type Table = HashMap<Slug, Arc<Entry>>;

// === impl Directory ===

impl Directory {
    /// An empty directory and the controller's end of the wake hints.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<WorkspaceId>) {
        let (wake, hints) = mpsc::channel(MAX_WAKE_HINTS);
        (Arc::new(Self { table: ArcSwap::default(), wake }), hints)
    }

    /// The current view; hold it for one request.
    pub fn snapshot(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// The living workspace of this slug.
    pub fn get(&self, slug: &str) -> Option<Arc<Entry>> {
        self.table.load().get(slug).cloned()
    }

    /// Adds workspaces, or replaces those of the same slug.
    pub fn insert(&self, entries: impl IntoIterator<Item = Arc<Entry>>) {
        let entries: Vec<_> = entries.into_iter().collect();
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            table.extend(entries.iter().map(|entry| (entry.slug.clone(), entry.clone())));
            table
        });
    }

    /// The entry of a living workspace: the one that is there, else this one, which is there from now on. Whoever makes a workspace
    /// known, who created it or who found it in the registry, gets the same: what is published to one is what requests read.
    pub fn get_or_insert(&self, fresh: Arc<Entry>) -> Arc<Entry> {
        let mut known = fresh.clone();
        self.table.rcu(|table| match table.get(&fresh.slug) {
            Some(entry) if entry.id == fresh.id => {
                known = entry.clone();
                table.clone()
            }
            _ => {
                known = fresh.clone();
                let mut table = Table::clone(table);
                table.insert(fresh.slug.clone(), fresh.clone());
                Arc::new(table)
            }
        });
        known
    }

    /// Takes a workspace out, if it still is this life of it.
    pub fn remove(&self, slug: &Slug, id: WorkspaceId) {
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            if table.get(slug).is_some_and(|entry| entry.id == id) {
                table.remove(slug);
            }
            table
        });
    }

    /// Tells the controller that an authorised request wants this workspace. A hint: it may be dropped.
    pub fn wake(&self, id: WorkspaceId) {
        let _ = self.wake.try_send(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SigningKey;

    #[test]
    fn a_workspace_has_one_entry_whoever_makes_it_known_first() {
        let (directory, _hints) = Directory::new();
        let entry = |id| {
            let (key, _) = SigningKey::generate("https://acme.test/api/auth".into()).expect("a key");
            Entry::new(id, "acme".parse().expect("a slug"), "pro".parse().expect("a tier"), Arc::new(key))
        };
        let there = || directory.get("acme").expect("there");
        let id = WorkspaceId::generate();
        let controllers = directory.get_or_insert(entry(id));
        let creators = directory.get_or_insert(entry(id));
        assert!(Arc::ptr_eq(&controllers, &creators) && Arc::ptr_eq(&controllers, &there()));
        controllers.publish(Availability::Stopped);
        assert_eq!(there().availability(), Availability::Stopped, "what is published is what requests read");

        // The same slug in a new life.
        let new = directory.get_or_insert(entry(WorkspaceId::generate()));
        assert!(!Arc::ptr_eq(&controllers, &new) && Arc::ptr_eq(&new, &there()));
    }
}
