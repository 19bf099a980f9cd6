//! The only way to change a spec: the admin API and the config sources come through here. Every accepted change is in the
//! registry before the call returns, with its generation; the controller is told and does the work.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{PluginId, Slug, TierName},
    model::{DesiredState, Event, Owner, Workspace},
    source::Listing,
};

/// Handle on all workspaces; cheap to clone.
#[derive(Clone)]
pub struct Workspaces {}

/// A workspace to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWorkspace {
    /// Its name.
    pub slug: Slug,
    /// Its class.
    pub tier: TierName,
    /// Chosen plugins; none is the tier's choice.
    #[serde(default)]
    pub plugins: Option<Vec<PluginId>>,
    /// What it asks to have in `app-config.yaml`.
    #[serde(default)]
    pub app_config: serde_json::Map<String, serde_json::Value>,
    /// Catalogue files.
    #[serde(default)]
    pub catalog: std::collections::BTreeMap<String, String>,
}

/// A change of a spec: what is `Some` is replaced whole.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpecPatch {
    /// New tier.
    pub tier: Option<TierName>,
    /// Up or down.
    pub desired: Option<DesiredState>,
    /// New choice of plugins.
    pub plugins: Option<Vec<PluginId>>,
    /// RFC 7396 merge patch of `app_config`: null removes.
    pub app_config: Option<serde_json::Map<String, serde_json::Value>>,
    /// New catalogue files.
    pub catalog: Option<std::collections::BTreeMap<String, String>>,
}

/// Why a call on [`Workspaces`] changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// No living workspace has this slug.
    #[error("there is no workspace {0}")]
    NotFound(Slug),
    /// The slug is taken.
    #[error("the workspace {0} exists already")]
    Exists(Slug),
    /// Someone else owns the spec.
    #[error("the workspace {slug} is owned by {owner}: change it there")]
    NotOwner {
        /// Which.
        slug: Slug,
        /// Who owns it.
        owner: Owner,
    },
    /// It is being deleted.
    #[error("the workspace {0} is being deleted; wait until it is gone")]
    Deleting(Slug),
    /// The spec can't be used: says what and why.
    #[error("{0}")]
    Invalid(String),
    /// The registry failed.
    #[error("the registry failed: {0}")]
    Registry(String),
}

impl Workspaces {
    /// All, by slug.
    pub async fn list(&self) -> Result<Vec<Workspace>, LifecycleError> {
        Ok(Vec::new())
    }
    /// One.
    pub async fn get(&self, slug: &Slug) -> Result<Workspace, LifecycleError> {
        Err(LifecycleError::NotFound(slug.clone()))
    }
    /// Makes one; returns at once, its status says how far it is.
    pub async fn create(&self, new: NewWorkspace, _owner: Owner) -> Result<Workspace, LifecycleError> {
        Err(LifecycleError::Exists(new.slug))
    }
    /// Changes a spec. An equal spec is no new generation.
    pub async fn patch(&self, slug: &Slug, _patch: SpecPatch, _by: Owner) -> Result<Workspace, LifecycleError> {
        Err(LifecycleError::NotFound(slug.clone()))
    }
    /// Asks for a restart (any owner may). Clears a backoff.
    pub async fn restart(&self, slug: &Slug) -> Result<Workspace, LifecycleError> {
        Err(LifecycleError::NotFound(slug.clone()))
    }
    /// Starts a deletion: the instance is stopped, database and directory are dropped, the slug is free when it is gone.
    pub async fn delete(&self, slug: &Slug, _by: Owner) -> Result<Workspace, LifecycleError> {
        Err(LifecycleError::NotFound(slug.clone()))
    }
    /// Events of one workspace with a sequence above `after`, oldest first, at most `limit` (500).
    pub async fn events(&self, slug: &Slug, _after: i64, _limit: u32) -> Result<Vec<Event>, LifecycleError> {
        Err(LifecycleError::NotFound(slug.clone()))
    }
    /// The last lines of the instance's log, at most `lines` (5,000) and 1 MiB.
    pub async fn logs(&self, slug: &Slug, _lines: usize) -> Result<Vec<String>, LifecycleError> {
        Err(LifecycleError::NotFound(slug.clone()))
    }
    /// Makes the registry agree with what a source lists: creates, changes, and stops or deletes what is gone from it.
    pub async fn apply(&self, _source: &str, _listing: Listing, _delete_removed: bool) -> Result<(), LifecycleError> {
        Ok(())
    }
}
