//! Who serves what, right now: the meeting point of `lifecycle` (which writes) and `proxy` (which reads). Neither knows the
//! other.
//!
//! ```text
//! Starting ──ready──▶ Serving ──new revision, restart──▶ Held ──ready──▶ Serving
//!     │                  │ crashed                         │ did not come up, blue neither
//!     └──────▶ Unavailable ◀───────────────────────────────┘         Stopped: down by wish
//!
//! Serving ──nobody uses it──▶ Asleep ──a request──▶ Held (from stopped) ──▶ Serving
//!                                └─────────────────── (from suspended) ───────▲
//! ```
//!
//! Invariants: one [`Entry`] per living workspace *id* (a workspace deleted and created again under its slug has a new
//! entry); a request counts itself in with [`Entry::enter`] *before* it reads the availability, so once the controller
//! has set `Held` and seen [`Entry::idle`], no request is on the instance. The same goes for `Asleep`: a request that reads it
//! says so ([`Activity::want_awake`]), and one that read `Serving` before is counted in already.

mod activity;
mod internal;

pub use activity::Activity;
pub use internal::InternalPaths;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, watch};

use crate::{
    door::Door,
    identity::SigningKey,
    ids::{Digest, InstanceId, Slug, TierName, WorkspaceId},
};

/// Wake hints held for the controller; past it a hint is dropped, because the periodic scan is the truth.
const MAX_WAKE_HINTS: usize = 1024;

/// All living workspaces by slug. Reading is one atomic load; writing copies the table (100,000 entries: about 2 ms).
pub struct Directory {
    table: ArcSwap<Table>,
    wake: mpsc::Sender<WorkspaceId>,
}

/// One consistent view.
pub type Table = HashMap<Slug, Arc<Entry>>;

/// One living workspace, as a request needs it.
pub struct Entry {
    /// Which life of the workspace.
    pub id: WorkspaceId,
    /// Its name.
    pub slug: Slug,
    /// Chooses the policies.
    pub tier: TierName,
    /// Signs what its Backstage believes.
    pub signing: Arc<SigningKey>,
    /// Whether anybody uses it.
    pub activity: Arc<Activity>,
    availability: watch::Sender<Availability>,
    in_flight: AtomicU64,
    became_idle: Notify,
}

/// What becomes of a request for a workspace.
#[derive(Debug, Clone, PartialEq)]
pub enum Availability {
    /// It is forwarded.
    Serving(Endpoint),
    /// It waits: a start or a restart is under way. The reason is for people ("starting", "new configuration").
    Held(&'static str),
    /// It waits, and has said that it wants it awake: nobody used it for a while.
    Asleep,
    /// 503: down by wish.
    Stopped,
    /// 503 with `Retry-After`: it does not come up. The reason may be shown to the workspace's own users.
    Unavailable {
        /// One sentence without secrets.
        reason: Arc<str>,
        /// Seconds until the next try.
        retry_after: u32,
    },
}

/// A proven instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where its process is reached.
    pub door: Door,
    /// Boot id: part of the connection pool's key, so that no instance ever gets a connection of the one before.
    pub boot: InstanceId,
    /// What it runs.
    pub revision: Digest,
    /// How often it was suspended and came back. Part of the pool's key too: an instance that slept closes the connections
    /// that it finds old, while a request may be on its way on one.
    pub resumed: u32,
}

/// A request that counts as being on the instance until this is dropped. What lives long drops it and follows [`Entry::left`].
pub struct InFlight(Arc<Entry>);

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

// === impl Entry ===

impl Entry {
    /// A workspace that nothing serves yet.
    pub fn new(id: WorkspaceId, slug: Slug, tier: TierName, signing: Arc<SigningKey>) -> Arc<Self> {
        let availability = watch::Sender::new(Availability::Held("starting"));
        Arc::new(Self {
            id,
            slug,
            tier,
            signing,
            activity: Activity::new(),
            availability,
            in_flight: AtomicU64::new(0),
            became_idle: Notify::new(),
        })
    }

    /// The same life of the workspace in another tier: what was offered and its activity go on.
    pub fn in_tier(&self, tier: TierName) -> Arc<Self> {
        Arc::new(Self {
            id: self.id,
            slug: self.slug.clone(),
            tier,
            signing: self.signing.clone(),
            activity: self.activity.clone(),
            availability: watch::Sender::new(self.availability()),
            in_flight: AtomicU64::new(0),
            became_idle: Notify::new(),
        })
    }

    /// Counts a request in. Call it before [`Entry::availability`], keep it until the last byte of the answer.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight(self.clone())
    }

    /// What becomes of a request now.
    pub fn availability(&self) -> Availability {
        self.availability.borrow().clone()
    }

    /// Follows the availability. A waiting request must drop its [`InFlight`] first, or no restart could ever begin.
    pub fn subscribe(&self) -> watch::Receiver<Availability> {
        self.availability.subscribe()
    }

    /// Waits until requests no longer go to `endpoint`: it is held, stopped, gone or replaced. For what lives long (WebSockets,
    /// event streams): it must not keep a restart waiting, so it counts itself out and ends at this. Cancel-safe.
    pub fn left(&self, endpoint: Endpoint) -> impl Future<Output = ()> + Send + use<> {
        let mut availability = self.subscribe();
        async move {
            let elsewhere = |now: &Availability| !matches!(now, Availability::Serving(on) if *on == endpoint);
            // An error is the end of the entry: nothing goes there any more.
            let _ = availability.wait_for(elsewhere).await;
        }
    }

    /// Publishes; only the controller does.
    pub fn publish(&self, availability: Availability) {
        self.availability.send_if_modified(|current| {
            let changed = *current != availability;
            *current = availability;
            changed
        });
    }

    /// Requests on the instance now.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Waits until no request is on the instance. Publish `Held` first. No limit of its own: wrap it in a deadline.
    /// Cancel-safe.
    pub async fn idle(&self) {
        loop {
            let idle = self.became_idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }
}

// === impl InFlight ===

impl InFlight {
    /// Whose instance it is on.
    pub fn entry(&self) -> &Arc<Entry> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.became_idle.notify_waiters();
        }
    }
}
