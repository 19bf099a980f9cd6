//! Where desired workspace config comes from. A source lists everything it wants, whole, each time: lifecycle compares.
//!
//! Sources know nothing of who uses them. `app` drives each with one task, and this is all of it:
//!
//! ```text
//! loop {
//!     match source.list().await {
//!         Ok(listing) => workspaces.apply(source.name(), listing, delete_removed).await,   // log its error, go on
//!         Err(reason) => log it: nothing is known, nothing changes,
//!     }
//!     select! { () = source.changed() => {}, () = cancel.cancelled() => break }            // both cancel-safe
//! }
//! ```
//!
//! `list` comes first: `changed` reports what happened after the last `list` *began*, so nothing falls between the two.

mod app_config;
pub mod directory;

pub use app_config::check_app_config;
pub use directory::DirectorySource;

use std::collections::BTreeMap;

use crate::{ids::Slug, model::Spec};

/// Everything that a source wants at one moment.
#[derive(Debug, Default)]
pub struct Listing {
    /// Slug → the wanted spec (its `restarts` is 0 and means nothing), or why that workspace's entry can't be used: such a
    /// workspace keeps its last good spec, and the reason becomes its `ConfigAccepted` condition.
    pub workspaces: BTreeMap<Slug, Result<Spec, Rejected>>,
    /// Entries that can't be given to any workspace (a folder whose name is no slug): for log and `doctor`.
    pub ignored: Vec<Rejected>,
}

/// Why an entry of a source can't be used: the thing, the reason, the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(pub String);

/// A config source. The only plural thing here: a directory now, Payload CMS and HTTP endpoints later.
#[async_trait::async_trait]
pub trait Source: Send + Sync {
    /// `directory`; workspaces of this source are owned by `source:<name>`.
    fn name(&self) -> &str;
    /// Reads everything. An error means "nothing is known": nothing is changed, and certainly nothing deleted.
    async fn list(&self) -> Result<Listing, Rejected>;
    /// Waits until something may have changed; returns at the poll interval at the latest. Cancel-safe.
    async fn changed(&self);
}
