//! One instance as requests see it: where it is, how many are on it, and the signal that ends what lives long on it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{Notify, watch};

use crate::{
    door::Door,
    ids::{Digest, InstanceId},
};

/// A proven instance's address and identity.
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

/// A proven instance and what is on it now. One per instance, whichever entries point to it; while a rollout runs a workspace
/// has two.
#[derive(Debug)]
pub struct Upstream {
    /// Where it is.
    pub endpoint: Endpoint,
    in_flight: AtomicU64,
    streams: AtomicU64,
    answers: AtomicU64,
    failed: AtomicU64,
    became_idle: Notify,
    /// Grows with each [`Upstream::cut`].
    cuts: watch::Sender<u64>,
}

/// What an instance has answered, up to some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All of it.
    pub answers: u64,
    /// With 5xx, or with none at all though it had the request.
    pub failed: u64,
}

/// A request that counts as being on the instance until this is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Upstream>);

/// A WebSocket or an event stream: it counts apart from the requests, because it has no end of its own, and must end at
/// [`LongLived::cut`].
#[derive(Debug)]
pub struct LongLived(Arc<Upstream>);

// === impl Upstream ===

impl Upstream {
    /// Nobody is on it yet.
    pub fn new(endpoint: Endpoint) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            in_flight: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            became_idle: Notify::new(),
            cuts: watch::Sender::new(0),
        })
    }

    /// Counts a request in; only [`super::Entry::enter`] knows when that is right.
    pub(super) fn count_in(self: &Arc<Self>) -> InFlight {
        // Sequentially consistent, as everything that `Entry::enter` and `Entry::publish` do to each other.
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight(self.clone())
    }

    /// Requests on it now, without the long-lived ones.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// WebSockets and event streams on it now.
    pub fn streams(&self) -> u64 {
        self.streams.load(Ordering::SeqCst)
    }

    /// What it has answered to users.
    pub fn tally(&self) -> Tally {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // In this order: never more failed than answered.
        let failed = count(&self.failed);
        Tally { answers: count(&self.answers), failed }
    }

    /// Nothing at all is on it. True for good only after the directory stopped offering it.
    pub fn is_idle(&self) -> bool {
        // In this order: a request that becomes a stream counts as one before it stops counting as the other.
        self.in_flight() == 0 && self.streams() == 0
    }

    /// Waits until nothing is on it. No limit of its own: wrap it in a deadline. Cancel-safe.
    pub async fn idle(&self) {
        loop {
            let idle = self.became_idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.is_idle() {
                return;
            }
            idle.await;
        }
    }

    /// Ends what lives long on it now. Later streams are not concerned, until the next call.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn count_out(&self, counter: &AtomicU64) {
        if counter.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.became_idle.notify_waiters();
        }
    }
}

// === impl InFlight ===

impl InFlight {
    /// The instance it is on.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// It was answered, well or not.
    pub fn answered(&self, well: bool) {
        self.0.answers.fetch_add(1, Ordering::Relaxed);
        if !well {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From here on it counts as long-lived.
    pub fn into_long_lived(self) -> LongLived {
        self.0.streams.fetch_add(1, Ordering::SeqCst);
        LongLived(self.0.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.count_out(&self.0.in_flight);
    }
}

// === impl Tally ===

impl Tally {
    /// What came since an earlier moment; all of it where the count began anew meanwhile.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        match (self.answers.checked_sub(earlier.answers), self.failed.checked_sub(earlier.failed)) {
            (Some(answers), Some(failed)) => Self { answers, failed },
            _ => self,
        }
    }
}

// === impl LongLived ===

impl LongLived {
    /// Waits until it must end: the instance is to be stopped. Call it where the stream begins; cancel-safe.
    pub fn cut(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut cuts = self.0.cuts.subscribe();
        async move {
            // An error is the end of the instance's last holder: nothing goes there any more.
            let _ = cuts.changed().await;
        }
    }
}

impl Drop for LongLived {
    fn drop(&mut self) {
        self.0.count_out(&self.0.streams);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_and_streams_count_apart_and_a_cut_ends_streams_alone() {
        let door = Door::new(std::path::Path::new("/nowhere"), 1);
        let upstream =
            Upstream::new(Endpoint { door, boot: InstanceId::generate(), revision: Digest::of(b""), resumed: 0 });
        let (request, other) = (upstream.count_in(), upstream.count_in());
        let stream = other.into_long_lived();
        assert_eq!((upstream.in_flight(), upstream.streams()), (1, 1));
        let cut = stream.cut();
        upstream.cut();
        cut.await;
        drop(stream);
        assert!(!upstream.is_idle(), "the request is still on it");
        let idle = tokio::spawn({
            let upstream = upstream.clone();
            async move { upstream.idle().await }
        });
        tokio::task::yield_now().await;
        drop(request);
        idle.await.expect("idle");
        let late = upstream.count_in().into_long_lived();
        let later = late.cut();
        tokio::select! {
            biased;
            () = later => panic!("a stream that came after the cut was cut"),
            () = tokio::task::yield_now() => {}
        }
    }
}
