//! Requests that wait for an instance: it sleeps, starts, restarts, or died a moment ago. They keep their body with the client,
//! don't count as being on the instance, and leave in any order. One that meets its workspace asleep says that it wants it awake;
//! whoever comes after it, and whether it stays itself, changes nothing about that.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::{Instant, timeout_at};

use super::{error::ProxyError, metrics::Counted};
use crate::{
    directory::{Availability, Directory, Endpoint, Entry, InFlight},
    ids::WorkspaceId,
};

/// How often a waiting request makes sure that its workspace still exists.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Longest wait of a browser that shows what it gets: then it gets a page that follows how far the workspace is.
pub(super) const BROWSER_PATIENCE: Duration = Duration::from_secs(2);
/// Longest wait for the controller to notice that an instance is gone.
const NOTICE: Duration = Duration::from_secs(15);

/// The waiting room.
pub(super) struct Hold {
    directory: Arc<Directory>,
    waiting: Mutex<HashMap<WorkspaceId, usize>>,
    per_workspace: usize,
    timeout: Duration,
    gauge: Gauge,
}

/// A place in the waiting room.
struct Place<'a> {
    hold: &'a Hold,
    workspace: WorkspaceId,
    _counted: Counted,
}

// === impl Hold ===

impl Hold {
    /// At most `per_workspace` requests wait for one workspace, each at most `timeout`.
    pub fn new(directory: Arc<Directory>, per_workspace: usize, timeout: Duration, gauge: Gauge) -> Self {
        Self { directory, waiting: Mutex::default(), per_workspace, timeout, gauge }
    }

    /// The mark that a request is on the instance; waits if it must. A `browser` waits for [`BROWSER_PATIENCE`] only.
    pub async fn enter(&self, entry: &Arc<Entry>, browser: bool) -> Result<InFlight, ProxyError> {
        match admit(entry)? {
            Ok(found) => Ok(found),
            // The rare way is on the heap, so that it costs the others nothing.
            Err(_) => Box::pin(self.wait(entry, None, browser)).await,
        }
    }

    /// How far the workspace is, for whoever does not want to wait: an error, unless it serves. Wakes it as a request does.
    pub fn progress(&self, entry: &Arc<Entry>) -> Result<(), ProxyError> {
        match admit(entry)? {
            Ok(_) => Ok(()),
            Err(stage) => {
                self.directory.wake(entry.id);
                Err(ProxyError::Waking(stage))
            }
        }
    }

    /// The instance after `dead` refused a connection: waits until the controller says something else about it.
    pub async fn enter_after(&self, entry: &Arc<Entry>, dead: &Endpoint) -> Result<InFlight, ProxyError> {
        Box::pin(self.wait(entry, Some(dead), false)).await
    }

    async fn wait(&self, entry: &Arc<Entry>, dead: Option<&Endpoint>, browser: bool) -> Result<InFlight, ProxyError> {
        let _place = self.take_place(entry.id)?;
        self.directory.wake(entry.id);
        let patience = if browser { BROWSER_PATIENCE.min(self.timeout) } else { self.timeout };
        let deadline = Instant::now() + patience;
        let notice = Instant::now() + NOTICE.min(self.timeout);
        let mut changes = entry.subscribe();
        loop {
            // Marks the value as seen before it is read, so that no change falls between.
            changes.borrow_and_update();
            let stage = match admit(entry)? {
                Ok(found) if dead == Some(found.endpoint()) && Instant::now() >= notice => {
                    return Err(ProxyError::Connect("it refuses connections".into()));
                }
                // Dropped: a request that waits must not keep the instance from being replaced.
                Ok(found) if dead == Some(found.endpoint()) => "starting again",
                Ok(found) => return Ok(found),
                Err(stage) => stage,
            };
            let now = Instant::now();
            if now >= deadline {
                return Err(if browser { ProxyError::Waking(stage) } else { ProxyError::HeldTooLong });
            }
            if entry.availability() == Availability::Asleep {
                // Again and again: a hint may be dropped, and at rest no scan looks at a sleeper.
                self.directory.wake(entry.id);
            }
            let _ = timeout_at(deadline.min(now + LOOK_AGAIN), changes.changed()).await;
            if self.directory.get(entry.slug.as_str()).is_none_or(|current| current.id != entry.id) {
                return Err(ProxyError::NoWorkspace);
            }
        }
    }

    fn take_place(&self, workspace: WorkspaceId) -> Result<Place<'_>, ProxyError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.entry(workspace).or_default();
        if *count >= self.per_workspace {
            return Err(ProxyError::TooManyHeld);
        }
        *count += 1;
        Ok(Place { hold: self, workspace, _counted: Counted::new(&self.gauge) })
    }
}

/// What becomes of a request now; what is going on if it must wait.
fn admit(entry: &Entry) -> Result<Result<InFlight, &'static str>, ProxyError> {
    match entry.enter() {
        Ok(in_flight) => Ok(Ok(in_flight)),
        Err(Availability::Held(stage)) => Ok(Err(stage)),
        // `Serving` is never refused by `enter`; if it were, waiting is right.
        Err(Availability::Serving(_)) => Ok(Err("starting")),
        Err(Availability::Asleep) => {
            entry.activity.want_awake();
            Ok(Err("waking up"))
        }
        Err(Availability::Stopped) => Err(ProxyError::Stopped),
        Err(Availability::Unavailable { reason, retry_after }) => Err(ProxyError::Unavailable { reason, retry_after }),
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.hold.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.workspace) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.workspace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        directory::Upstream,
        door::Door,
        identity::SigningKey,
        ids::{Digest, InstanceId},
    };

    fn entry() -> Arc<Entry> {
        let (key, _) = SigningKey::generate("http://acme.localhost".into()).expect("a key");
        Entry::new(
            WorkspaceId::generate(),
            "acme".parse().expect("a slug"),
            "pro".parse().expect("a tier"),
            Arc::new(key),
        )
    }
    fn serving() -> Arc<Upstream> {
        let door = Door::new(std::path::Path::new("/nowhere"), 1);
        Upstream::new(Endpoint { door, boot: InstanceId::generate(), revision: Digest::of(b""), resumed: 0 })
    }
    fn rig(per_workspace: usize, timeout: Duration) -> (Arc<Hold>, Arc<Entry>) {
        let (directory, _hints) = Directory::new();
        let entry = entry();
        directory.insert([entry.clone()]);
        (Arc::new(Hold::new(directory, per_workspace, timeout, Gauge::default())), entry)
    }

    #[tokio::test]
    async fn a_held_request_leaves_when_the_instance_serves_and_does_not_count_before() {
        let (hold, entry) = rig(10, Duration::from_secs(60));
        let waiting = tokio::spawn({
            let (hold, entry) = (hold.clone(), entry.clone());
            async move { hold.enter(&entry, false).await }
        });
        while hold.gauge.get() == 0 {
            tokio::task::yield_now().await;
        }
        let upstream = serving();
        entry.publish(Availability::Serving(upstream.clone()));
        let on = waiting.await.expect("joined").expect("served");
        assert_eq!((on.endpoint(), upstream.in_flight()), (&upstream.endpoint, 1));
        drop(on);
        assert!(upstream.is_idle());
        assert!(hold.waiting.lock().expect("no panic").is_empty());
        assert_eq!(hold.gauge.get(), 0);
    }

    #[tokio::test]
    async fn a_full_room_a_deadline_and_a_wish_are_three_answers() {
        let (hold, entry) = rig(0, Duration::from_secs(60));
        assert!(matches!(hold.enter(&entry, false).await, Err(ProxyError::TooManyHeld)));
        let (hold, entry) = rig(1, Duration::ZERO);
        assert!(matches!(hold.enter(&entry, false).await, Err(ProxyError::HeldTooLong)));
        entry.publish(Availability::Stopped);
        assert!(matches!(hold.enter(&entry, false).await, Err(ProxyError::Stopped)));
        let upstream = serving();
        entry.publish(Availability::Serving(upstream.clone()));
        assert!(hold.enter(&entry, false).await.is_ok());
        assert!(matches!(hold.enter_after(&entry, &upstream.endpoint).await, Err(ProxyError::Connect(_))));
        hold.directory.remove(&entry.slug, entry.id);
        entry.publish(Availability::Held("starting"));
        let (hold, entry) = (Hold { timeout: Duration::from_secs(60), ..Arc::into_inner(hold).expect("one") }, entry);
        assert!(matches!(hold.enter(&entry, false).await, Err(ProxyError::NoWorkspace)));
        assert_eq!(upstream.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_sleeper_is_wanted_once_a_request_met_it_and_a_browser_is_told_after_its_patience() {
        let (hold, entry) = rig(10, Duration::from_secs(60));
        entry.publish(Availability::Asleep);
        assert!(!entry.activity.is_wanted());
        let began = Instant::now();
        assert!(matches!(hold.enter(&entry, true).await, Err(ProxyError::Waking("waking up"))));
        assert!((BROWSER_PATIENCE..Duration::from_secs(3)).contains(&began.elapsed()));
        assert!(entry.activity.is_wanted(), "though the browser has left");
        entry.publish(Availability::Held("starting"));
        assert!(matches!(hold.progress(&entry), Err(ProxyError::Waking("starting"))));
        let upstream = serving();
        entry.publish(Availability::Serving(upstream.clone()));
        assert!(hold.progress(&entry).is_ok());
        assert_eq!(upstream.in_flight(), 0);
    }
}
