//! Sees that a policy file was saved, and that an error budget is spent.
//!
//! The file system's events are a hint (they can be lost, and not every file system has them); comparing size, inode and times
//! every second is the truth. Before a load the files must look the same twice, [`SETTLE`] apart: a half-written TOML can be
//! valid TOML and mean something else.

use std::{sync::Arc, time::Duration};

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Policies, store::blocking};

const POLL: Duration = Duration::from_secs(1);
/// Editors and builds touch several files in one go.
const DEBOUNCE: Duration = Duration::from_millis(50);
const SETTLE: Duration = Duration::from_millis(75);
/// Looks at files that keep changing before the next poll tries again.
const MAX_LOOKS: usize = 20;

impl Policies {
    /// Follows the files until `cancel`. Returns early only for the empty default, which has no files.
    pub async fn watch(self: Arc<Self>, cancel: CancellationToken) {
        let Some(folder) = self.folder() else { return };
        let (hint, mut hints) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the files is an event too.
            if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_))) {
                // Full: one hint is as good as two.
                let _ = hint.try_send(());
            }
        })
        .and_then(|mut watcher| watcher.watch(&folder, RecursiveMode::Recursive).map(|()| watcher));
        if let Err(error) = &watcher {
            tracing::warn!(folder = %folder.display(), %error, "cannot watch the policies; looking every second instead");
        }
        let hinted = watcher.is_ok();
        loop {
            // Cancel-safe: `recv`, `sleep`, `notified` and `cancelled` lose nothing.
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
                () = self.spent.notified() => {
                    let policies = self.clone();
                    blocking(move || policies.enforce_budgets()).await;
                    continue;
                }
                Some(()) = hints.recv(), if hinted => {
                    tokio::time::sleep(DEBOUNCE).await;
                    while hints.try_recv().is_ok() {}
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                // Not cancel-safe, and need not be: a load under way finishes on its own thread.
                () = self.load_when_settled() => {}
            }
        }
    }

    async fn load_when_settled(self: &Arc<Self>) {
        let look = || {
            let policies = self.clone();
            blocking(move || policies.changed())
        };
        let Some(mut last) = look().await else { return };
        for _ in 0..MAX_LOOKS {
            tokio::time::sleep(SETTLE).await;
            let Some(now) = look().await else { return };
            if now == last {
                let policies = self.clone();
                if let Err(error) = blocking(move || policies.load(false)).await {
                    tracing::warn!(%error, "cannot look at the policies; the loaded ones keep serving");
                }
                return;
            }
            last = now;
        }
    }
}
