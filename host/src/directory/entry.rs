//! One living workspace, as a request needs it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{Activity, InFlight, Upstream};
use crate::{
    identity::SigningKey,
    ids::{Slug, TierName, WorkspaceId},
};

/// One living workspace.
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
    current: ArcSwap<Published>,
    /// `current.epoch`, stored after `current`: what tells a request that it counted itself in on an instance that had been
    /// left meanwhile.
    epoch: AtomicU64,
    /// For those who wait.
    changes: watch::Sender<u64>,
}

struct Published {
    epoch: u64,
    availability: Availability,
}

/// What becomes of a request for a workspace.
#[derive(Debug, Clone)]
pub enum Availability {
    /// It is forwarded.
    Serving(Arc<Upstream>),
    /// It waits: a start or a restart is under way. The reason is for people ("starting", "new configuration").
    Held(&'static str),
    /// It waits, and wants it awake: nobody used it for a while.
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

impl PartialEq for Availability {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Serving(one), Self::Serving(other)) => Arc::ptr_eq(one, other),
            (Self::Held(one), Self::Held(other)) => one == other,
            (Self::Stopped, Self::Stopped) | (Self::Asleep, Self::Asleep) => true,
            (
                Self::Unavailable { reason, retry_after },
                Self::Unavailable { reason: other, retry_after: other_retry },
            ) => reason == other && retry_after == other_retry,
            _ => false,
        }
    }
}

// === impl Entry ===

impl Entry {
    /// A workspace that nothing serves yet.
    pub fn new(id: WorkspaceId, slug: Slug, tier: TierName, signing: Arc<SigningKey>) -> Arc<Self> {
        let published = Published { epoch: 0, availability: Availability::Held("starting") };
        Arc::new(Self {
            id,
            slug,
            tier,
            signing,
            activity: Activity::new(),
            current: ArcSwap::from_pointee(published),
            epoch: AtomicU64::new(0),
            changes: watch::Sender::new(0),
        })
    }

    /// The same life of the workspace in another tier: what was offered and its activity go on.
    pub fn in_tier(&self, tier: TierName) -> Arc<Self> {
        let published = Published { epoch: 0, availability: self.availability() };
        Arc::new(Self {
            id: self.id,
            slug: self.slug.clone(),
            tier,
            signing: self.signing.clone(),
            activity: self.activity.clone(),
            current: ArcSwap::from_pointee(published),
            epoch: AtomicU64::new(0),
            changes: watch::Sender::new(0),
        })
    }

    /// Counts a request in on the instance that serves now; keep it until the last byte of the answer. Otherwise what becomes
    /// of the request.
    ///
    /// Two atomic loads and one counter, no lock. Why no request is ever on an instance that was seen idle after it was left:
    /// a request counts itself in *before* it reads the epoch, [`Entry::publish`] stores the epoch *before* anyone reads the
    /// count, all four sequentially consistent. So either the request sees the new epoch and counts itself out again, or the
    /// controller sees the request.
    pub fn enter(&self) -> Result<InFlight, Availability> {
        loop {
            let published = self.current.load();
            let Availability::Serving(upstream) = &published.availability else {
                return Err(published.availability.clone());
            };
            let in_flight = upstream.count_in();
            if self.epoch.load(Ordering::SeqCst) == published.epoch {
                return Ok(in_flight);
            }
        }
    }

    /// What becomes of a request now.
    pub fn availability(&self) -> Availability {
        self.current.load().availability.clone()
    }

    /// Tells of each change. A waiting request must not be counted in anywhere, or no restart could ever begin.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Publishes; only the controller does. One store: from here on no request gets on another instance.
    pub fn publish(&self, availability: Availability) {
        // Inside the watch's lock: epochs and values keep their order.
        self.changes.send_if_modified(|epoch| {
            if self.current.load().availability == availability {
                return false;
            }
            *epoch += 1;
            self.current.store(Arc::new(Published { epoch: *epoch, availability }));
            self.epoch.store(*epoch, Ordering::SeqCst);
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::{
        directory::Endpoint,
        door::Door,
        ids::{Digest, InstanceId},
    };

    fn entry() -> Arc<Entry> {
        let (key, _) = SigningKey::generate("http://acme.localhost".into()).expect("a key");
        let (slug, tier) = ("acme".parse().expect("a slug"), "pro".parse().expect("a tier"));
        Entry::new(WorkspaceId::generate(), slug, tier, Arc::new(key))
    }

    fn upstream() -> Arc<Upstream> {
        let door = Door::new(std::path::Path::new("/nowhere"), 1);
        Upstream::new(Endpoint { door, boot: InstanceId::generate(), revision: Digest::of(b""), resumed: 0 })
    }

    /// Invariant 6: threads count in and out as fast as they can while the entry moves between instances; whenever an instance
    /// was left and then seen idle, nobody is on it any more.
    #[test]
    fn nobody_is_on_an_instance_that_was_left_and_seen_idle() {
        let (entry, stop) = (entry(), Arc::new(AtomicBool::new(false)));
        entry.publish(Availability::Serving(upstream()));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (entry, stop) = (entry.clone(), stop.clone());
                std::thread::spawn(move || {
                    let mut entered = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        entered += u64::from(entry.enter().is_ok());
                    }
                    entered
                })
            })
            .collect();
        for round in 0..20_000 {
            let Availability::Serving(blue) = entry.availability() else { panic!("it serves") };
            let green = upstream();
            entry.publish(Availability::Serving(green));
            while !blue.is_idle() {
                std::hint::spin_loop();
            }
            // A request that had been overlooked would be counted now; one that only looks counts itself out again, so the
            // instance may be touched, but never be handed out: its epoch is over.
            if let Ok(request) = entry.enter() {
                assert_ne!(request.endpoint(), &blue.endpoint, "round {round}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        let entered: u64 = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        assert!(entered > 1_000, "{entered} requests are no test");
    }

    #[test]
    fn an_equal_value_is_no_news() {
        let (entry, one) = (entry(), upstream());
        let changes = entry.subscribe();
        entry.publish(Availability::Held("starting"));
        assert!(!changes.has_changed().expect("open"));
        entry.publish(Availability::Serving(one.clone()));
        assert!(changes.has_changed().expect("open"));
        assert_eq!(entry.enter().expect("served").endpoint(), &one.endpoint);
        entry.publish(Availability::Stopped);
        assert_eq!(entry.enter().expect_err("stopped"), Availability::Stopped);
    }
}
