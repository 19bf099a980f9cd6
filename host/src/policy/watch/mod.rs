//! Sees that a policy file was saved, and when the saving is over; that a module was pulled; and that an error budget is
//! spent.
//!
//! The file system's events are a hint (they can be lost, and not every file system has them); comparing size, inode and times
//! every second is the truth. What the events add is *how* a file changed: a file that was renamed into place is whole and is
//! loaded at once, one that is written in place has to settle first (see [`writes`]): a half-written TOML can be valid TOML and
//! mean something else.

mod writes;

use std::{sync::Arc, time::Duration};

use notify::{RecursiveMode, Watcher};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Policies, store::blocking};
use writes::{Event, Writes};

const POLL: Duration = Duration::from_secs(1);
/// Editors and builds touch several files in one go.
const GATHER: Duration = Duration::from_millis(5);
/// Events that wait to be read; what comes beyond them is found by the poll.
const MAX_EVENTS: usize = 1024;

impl Policies {
    /// Follows files and registries until `cancel`. Returns early only for the empty default, which has neither.
    pub async fn watch(self: Arc<Self>, cancel: CancellationToken) {
        tokio::join!(self.follow_registries(cancel.clone()), self.follow_files(cancel));
    }

    async fn follow_files(self: &Arc<Self>, cancel: CancellationToken) {
        let Some(folder) = self.folder() else { return };
        let (sender, mut events) = mpsc::channel(MAX_EVENTS);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            for event in event.iter().flat_map(Event::of) {
                let _ = sender.try_send(event);
            }
        })
        .and_then(|mut watcher| watcher.watch(&folder, RecursiveMode::Recursive).map(|()| watcher));
        if let Err(error) = &watcher {
            tracing::warn!(folder = %folder.display(), %error, "cannot watch the policies; looking every second instead");
        }
        let hinted = watcher.is_ok();
        let mut writes = Writes::default();
        let mut look_at = Instant::now() + POLL;
        loop {
            // Cancel-safe: `recv`, `sleep_until`, `notified`, `registry_news` and `cancelled` lose nothing.
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep_until(look_at) => {}
                () = self.spent.notified() => {
                    let policies = self.clone();
                    blocking(move || policies.enforce_budgets()).await;
                    continue;
                }
                () = self.registry_news() => {
                    let policies = self.clone();
                    if blocking(move || policies.changed()).await.is_none() {
                        // That nothing could be pulled changes no file.
                        self.load_now().await;
                    } else {
                        look_at = Instant::now();
                    }
                    continue;
                }
                Some(event) = events.recv(), if hinted => {
                    writes.see(event);
                    look_at = look_at.min(Instant::now() + GATHER);
                    continue;
                }
            }
            while let Ok(event) = events.try_recv() {
                writes.see(event);
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                // Not cancel-safe, and need not be: a load under way finishes on its own thread.
                wait = self.load_if_settled(&mut writes) => look_at = Instant::now() + wait,
            }
        }
    }

    /// When to look again.
    async fn load_if_settled(self: &Arc<Self>, writes: &mut Writes) -> Duration {
        let policies = self.clone();
        let Some(changed) = blocking(move || policies.changed()).await else {
            writes.forget();
            return POLL;
        };
        if let Some(wait) = writes.unsettled(&changed, std::time::Instant::now()) {
            return wait;
        }
        writes.forget();
        self.load_now().await;
        POLL
    }

    async fn load_now(self: &Arc<Self>) {
        let policies = self.clone();
        if let Err(error) = blocking(move || policies.load(false)).await {
            tracing::warn!(%error, "cannot look at the policies; the loaded ones keep serving");
        }
    }
}
