//! Drives a config source into lifecycle: list, apply, wait for a change, again. The list is always whole; a listing that
//! fails changes nothing.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use time::OffsetDateTime;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::{
    lifecycle::Workspaces,
    source::{Listing, Source},
};

/// Shortest time between two lists: a source that reports a change without end must not take a core. An editor's save, which
/// is several changes, also becomes one.
const MIN_INTERVAL: Duration = Duration::from_millis(150);
/// Longest time between two lists, whatever the source says.
const MAX_INTERVAL: Duration = Duration::from_secs(600);
/// Sentences kept of each kind.
const MAX_REASONS: usize = 50;

/// How the source does, for readiness, doctor and log.
pub struct SourceStatus(watch::Sender<SourceReport>);

/// What the last list came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SourceReport {
    /// The source's name; empty without a source.
    pub name: String,
    /// Whether it was ever listed and applied.
    pub loaded: bool,
    /// Workspaces it lists.
    pub workspaces: usize,
    /// Why the last list or apply failed: the registry keeps what it had.
    pub error: Option<String>,
    /// Entries that can't be used, each with its reason; at most 50.
    pub rejected: Vec<String>,
    /// When it was last applied (UTC).
    #[serde(with = "time::serde::rfc3339::option")]
    pub applied_at: Option<OffsetDateTime>,
}

// === impl SourceStatus ===

impl SourceStatus {
    /// The state before the first list; `name` is empty where no source is set.
    pub fn new(name: &str) -> Arc<Self> {
        let report = SourceReport { name: name.to_owned(), ..SourceReport::default() };
        Arc::new(Self(watch::Sender::new(report)))
    }
    /// The last report.
    pub fn report(&self) -> SourceReport {
        self.0.borrow().clone()
    }
    /// Waits until the source was tried once: a broken one must not keep what the registry knows from being served.
    /// Returns at once without a source. Cancel-safe.
    pub async fn tried(&self) {
        let tried = |report: &SourceReport| report.name.is_empty() || report.loaded || report.error.is_some();
        // The sender is `self`: it can't be gone.
        let _ = self.0.subscribe().wait_for(tried).await;
    }

    /// Takes over a new report; logs what differs from the last one, and only that.
    fn publish(&self, report: SourceReport) {
        let before = self.0.send_replace(report.clone());
        let source = report.name.as_str();
        if report.error != before.error {
            match &report.error {
                Some(error) => {
                    tracing::error!(source, "the config source can't be used, all workspaces stay as they are: {error}")
                }
                None => tracing::info!(source, "the config source can be used again"),
            }
        }
        for reason in report.rejected.iter().filter(|reason| !before.rejected.contains(reason)) {
            tracing::warn!(source, "an entry of the config source can't be used: {reason}");
        }
        if report.workspaces != before.workspaces {
            tracing::info!(source, workspaces = report.workspaces, "the config source was applied");
        }
    }
}

/// Runs until `cancel`; `reload` asks for a list at once (SIGHUP).
pub async fn follow(
    source: Arc<dyn Source>,
    workspaces: Workspaces,
    delete_removed: bool,
    status: Arc<SourceStatus>,
    reload: Arc<Notify>,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let step = async {
        loop {
            let previous = status.report();
            status.publish(once(&*source, &workspaces, delete_removed, previous).await);
            sleep(MIN_INTERVAL).await;
            tokio::select! {
                // Cancel-safe by the trait's contract.
                () = source.changed() => {}
                // Cancel-safe: a notification that nobody took is kept as one permit.
                () = reload.notified() => tracing::info!("reading the config source again, as asked"),
                () = sleep(MAX_INTERVAL) => {}
            }
        }
    };
    // An apply that is cut in between is completed by the next daemon's first list.
    cancel.run_until_cancelled(step).await;
    Ok(())
}

async fn once(
    source: &dyn Source,
    workspaces: &Workspaces,
    delete_removed: bool,
    previous: SourceReport,
) -> SourceReport {
    let listing = match source.list().await {
        Ok(listing) => listing,
        Err(rejected) => return SourceReport { error: Some(rejected.to_string()), ..previous },
    };
    let (count, rejected) = (listing.workspaces.len(), rejections(&listing));
    match workspaces.apply(source.name(), listing, delete_removed).await {
        Ok(()) => SourceReport {
            name: previous.name,
            loaded: true,
            workspaces: count,
            error: None,
            rejected,
            applied_at: Some(OffsetDateTime::now_utc()),
        },
        Err(error) => SourceReport { error: Some(error.to_string()), rejected, ..previous },
    }
}

fn rejections(listing: &Listing) -> Vec<String> {
    let of_workspaces = listing.workspaces.iter().filter_map(|(slug, entry)| {
        let reason = entry.as_ref().err()?;
        Some(format!("{slug}: {reason}"))
    });
    of_workspaces.chain(listing.ignored.iter().map(ToString::to_string)).take(MAX_REASONS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Rejected;

    #[test]
    fn a_listing_names_what_it_could_not_use() {
        let mut listing = Listing::default();
        listing.workspaces.insert("acme".parse().expect("a slug"), Err(Rejected("no tier".into())));
        listing.ignored.push(Rejected("Bad Folder is no slug".into()));
        assert_eq!(rejections(&listing), ["acme: no tier", "Bad Folder is no slug"]);
    }

    #[tokio::test]
    async fn a_source_counts_as_tried_when_it_was_read_or_failed() {
        SourceStatus::new("").tried().await;
        for outcome in [
            SourceReport { loaded: true, ..SourceReport::default() },
            SourceReport { error: Some("gone".into()), ..SourceReport::default() },
        ] {
            let status = SourceStatus::new("directory");
            assert!(futures_util::FutureExt::now_or_never(status.tried()).is_none(), "not tried yet");
            status.publish(SourceReport { name: "directory".into(), ..outcome });
            status.tried().await;
        }
    }
}
