//! The only way to change a spec: the admin API and the config sources come through here. Every accepted change is in the
//! registry before the call returns, with its generation; the controller is told and does the work.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{shared::Shared, validate};
use crate::{
    crashpoint,
    db::{NewEvent, Operation, RegistryError, RegistryErrorKind},
    directory::Entry,
    driver::{LogPart, MAX_LOG_LINES},
    identity::SigningKey,
    ids::{PluginId, Slug, TierName, WorkspaceId},
    model::{DesiredState, Event, Instance, Owner, Spec, Status, Workspace},
    source::Listing,
};

/// Tries of a change that another one overtook.
const MAX_TRIES: usize = 8;
const MAX_EVENTS_READ: u32 = 500;

/// Handle on all workspaces; cheap to clone.
#[derive(Clone)]
pub struct Workspaces {
    pub(super) shared: Arc<Shared>,
}

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
    /// Its database, or its server, is in the way.
    #[error("{0}")]
    Database(String),
    /// The spec can't be used: says what and why.
    #[error("{0}")]
    Invalid(String),
    /// There is no such backup.
    #[error("{0}")]
    NoBackup(String),
    /// The place of the backups failed.
    #[error("{0}")]
    BackupStore(String),
    /// It is being done already.
    #[error("{0}")]
    Busy(String),
    /// The registry failed.
    #[error("the registry failed: {0}")]
    Registry(String),
    /// The registry's disk is full, or can't be written for now.
    #[error("the registry can't be written now: {0}")]
    RegistryUnavailable(String),
}

impl From<RegistryError> for LifecycleError {
    fn from(error: RegistryError) -> Self {
        match error.kind() {
            RegistryErrorKind::Full | RegistryErrorKind::Unavailable => Self::RegistryUnavailable(error.to_string()),
            _ => Self::Registry(error.to_string()),
        }
    }
}

impl Workspaces {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Has the controller look at every workspace soon: the policy set was swapped, so each is rendered again. The same digest
    /// changes nothing.
    pub async fn look_at_all(&self) -> Result<(), LifecycleError> {
        for id in self.shared.registry.workspaces_to_look_at().await? {
            self.shared.look_at(id);
        }
        Ok(())
    }

    /// All, by slug.
    pub async fn list(&self) -> Result<Vec<Workspace>, LifecycleError> {
        Ok(self.shared.registry.workspaces().await?)
    }

    /// One.
    pub async fn get(&self, slug: &Slug) -> Result<Workspace, LifecycleError> {
        let found = self.shared.registry.workspace_by_slug(slug).await?;
        found.ok_or_else(|| LifecycleError::NotFound(slug.clone()))
    }

    /// The processes of one: usually one, none while it is down.
    pub async fn instances(&self, slug: &Slug) -> Result<Vec<Instance>, LifecycleError> {
        let workspace = self.get(slug).await?;
        let rows = self.shared.registry.instances_of(workspace.id).await?;
        Ok(rows.into_iter().map(|row| row.instance).collect())
    }

    /// Makes one; returns at once, its status says how far it is.
    pub async fn create(&self, new: NewWorkspace, owner: Owner) -> Result<Workspace, LifecycleError> {
        self.known_tier(&new.tier)?;
        let NewWorkspace { slug, tier, plugins, app_config, catalog } = new;
        let (desired, secrets) = (DesiredState::Running, Default::default());
        let spec = Spec {
            tier,
            desired,
            plugins,
            app_config,
            secrets,
            catalog,
            restarts: 0,
            password_rotations: 0,
            restore: None,
            pinned: None,
        };
        self.create_from(slug, spec, owner).await
    }

    pub(super) async fn create_from(&self, slug: Slug, spec: Spec, owner: Owner) -> Result<Workspace, LifecycleError> {
        validate::spec(&spec)?;
        let now = OffsetDateTime::now_utc();
        let issuer = format!("{}/api/auth", self.shared.public_url(&slug));
        let (key, stored) =
            SigningKey::generate(issuer).map_err(|error| LifecycleError::Registry(error.to_string()))?;
        let workspace = Workspace {
            // Asked for again after its answer was lost, it is the same one.
            id: Operation::current().map_or_else(WorkspaceId::generate, |operation| WorkspaceId(operation.0)),
            slug,
            owner,
            spec,
            generation: 1,
            deleting: false,
            status: Status::default(),
            created_at: now,
            updated_at: now,
        };
        crashpoint!("create.before-row");
        match self.shared.registry.insert_workspace(&workspace, &stored).await {
            Ok(()) => {}
            Err(RegistryError::SlugTaken) => {
                return Err(match self.get(&workspace.slug).await {
                    // A second try of what the first one has made; the controller knows it from the registry.
                    Ok(other) if other.id == workspace.id => {
                        self.shared.look_at(other.id);
                        return Ok(other);
                    }
                    Ok(other) if other.deleting => LifecycleError::Deleting(workspace.slug),
                    _ => LifecycleError::Exists(workspace.slug),
                });
            }
            Err(error) => return Err(error.into()),
        }
        crashpoint!("create.after-row");
        let Workspace { id, slug, spec, .. } = &workspace;
        // A scan may have seen the row before: then the controller has its entry already.
        self.shared.directory.get_or_insert(Entry::new(*id, slug.clone(), spec.tier.clone(), Arc::new(key)));
        self.note(*id, "Created", format!("created by {}", workspace.owner)).await;
        self.shared.look_at(*id);
        Ok(workspace)
    }

    /// Changes a spec. An equal spec is no new generation.
    pub async fn patch(&self, slug: &Slug, patch: SpecPatch, by: Owner) -> Result<Workspace, LifecycleError> {
        if let Some(tier) = &patch.tier {
            self.known_tier(tier)?;
        }
        self.change(slug, Some(&by), |spec| {
            let SpecPatch { tier, desired, plugins, app_config, catalog } = patch.clone();
            spec.tier = tier.unwrap_or_else(|| spec.tier.clone());
            spec.desired = desired.unwrap_or(spec.desired);
            spec.plugins = plugins.or(spec.plugins.take());
            if let Some(patch) = app_config {
                validate::merge_patch(&mut spec.app_config, patch);
            }
            spec.catalog = catalog.unwrap_or_else(|| std::mem::take(&mut spec.catalog));
        })
        .await
    }

    /// Asks for a restart (any owner may). Clears a backoff.
    pub async fn restart(&self, slug: &Slug) -> Result<Workspace, LifecycleError> {
        self.change(slug, None, |spec| spec.restarts += 1).await
    }

    /// Asks for a new database password (any owner may). The instance is replaced by one that has it; the old one is valid until
    /// no instance has it any more.
    pub async fn rotate_password(&self, slug: &Slug) -> Result<Workspace, LifecycleError> {
        if !self.shared.provisioner.needs_login() {
            return Err(LifecycleError::Invalid(format!(
                "the database of {slug} has no password: it is files (provisioner.kind)"
            )));
        }
        self.change(slug, None, |spec| spec.password_rotations += 1).await
    }

    /// Compare-and-set until it holds. A change of what a revision is made of ends a rollback. `by`: `None` for what anyone may ask for.
    pub(super) async fn change(
        &self,
        slug: &Slug,
        by: Option<&Owner>,
        edit: impl Fn(&mut Spec),
    ) -> Result<Workspace, LifecycleError> {
        for _ in 0..MAX_TRIES {
            let mut workspace = self.get(slug).await?;
            if workspace.deleting {
                return Err(LifecycleError::Deleting(slug.clone()));
            }
            if by.is_some_and(|by| *by != workspace.owner) {
                return Err(LifecycleError::NotOwner { slug: slug.clone(), owner: workspace.owner });
            }
            let before = workspace.spec.clone();
            edit(&mut workspace.spec);
            if workspace.spec.renders_differently(&before) {
                workspace.spec.pinned = None;
            }
            if workspace.spec == before {
                return Ok(workspace);
            }
            validate::spec(&workspace.spec)?;
            let now = OffsetDateTime::now_utc();
            let Workspace { id, generation, spec, .. } = &workspace;
            match self.shared.registry.write_spec(*id, *generation, spec, now).await {
                Ok(()) => {
                    crashpoint!("spec.after-write");
                    self.shared.look_at(*id);
                    return Ok(Workspace { generation: generation + 1, updated_at: now, ..workspace });
                }
                Err(RegistryError::Changed) => continue,
                // Asked for again after its answer was lost: it stands.
                Err(RegistryError::AppliedBefore) => return self.get(slug).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(LifecycleError::Registry(format!("the workspace {slug} is being changed by others all the time")))
    }

    /// Starts a deletion: the instance is stopped, database and directory are dropped, the slug is free when it is gone.
    /// Requests find nothing from this call on.
    /// With `keep_data` the database stays, closed, until [`Workspaces::drop_kept_database`].
    pub async fn delete(&self, slug: &Slug, keep_data: bool, by: Owner) -> Result<Workspace, LifecycleError> {
        let workspace = self.get(slug).await?;
        if workspace.deleting {
            return Ok(workspace);
        }
        if by != workspace.owner {
            return Err(LifecycleError::NotOwner { slug: slug.clone(), owner: workspace.owner });
        }
        let now = OffsetDateTime::now_utc();
        self.shared.registry.mark_deleting(workspace.id, keep_data, now).await?;
        crashpoint!("delete.after-mark");
        self.shared.directory.remove(slug, workspace.id);
        self.note(
            workspace.id,
            "Deleting",
            format!("deletion was asked for by {by}{}", if keep_data { "; its database stays" } else { "" }),
        )
        .await;
        self.shared.look_at(workspace.id);
        let generation = workspace.generation + 1;
        Ok(Workspace { deleting: true, generation, updated_at: now, ..workspace })
    }

    /// Events of one workspace with a sequence above `after`, oldest first, at most `limit` (500).
    pub async fn events(&self, slug: &Slug, after: i64, limit: u32) -> Result<Vec<Event>, LifecycleError> {
        let workspace = self.get(slug).await?;
        Ok(self.shared.registry.events(workspace.id, after, limit.min(MAX_EVENTS_READ)).await?)
    }

    /// The last lines of the instance's log, at most `lines` (5,000) and 1 MiB; or what came after a position.
    pub async fn logs(&self, slug: &Slug, after: Option<u64>, lines: usize) -> Result<LogPart, LifecycleError> {
        let workspace = self.get(slug).await?;
        let home = self.shared.home(slug, workspace.id);
        let part = self.shared.driver.log_part(&home, after, lines.min(MAX_LOG_LINES)).await;
        part.map_err(|error| LifecycleError::Registry(error.to_string()))
    }

    /// Makes the registry agree with what a source lists: creates, changes, and stops or deletes what is gone from it. One
    /// entry's trouble does not keep the others from being applied: see [`Workspaces::problems`].
    pub async fn apply(&self, source: &str, listing: Listing, delete_removed: bool) -> Result<(), LifecycleError> {
        super::apply::apply(self, source, listing, delete_removed).await
    }

    /// Entries of sources that belong to no workspace of theirs, with the reason.
    pub fn problems(&self) -> Vec<(Slug, String)> {
        self.shared.problems().iter().map(|(slug, reason)| (slug.clone(), reason.clone())).collect()
    }

    /// An event beside the change itself: the change is stored, so a failure here is only logged.
    pub(super) async fn note(&self, id: WorkspaceId, reason: &'static str, message: String) {
        tracing::info!(%id, reason, "{message}");
        let event = NewEvent { reason, message };
        if let Err(error) = self.shared.registry.insert_event(id, &event, OffsetDateTime::now_utc()).await {
            tracing::warn!(%error, "an event could not be stored");
        }
    }

    pub(super) fn known_tier(&self, tier: &TierName) -> Result<(), LifecycleError> {
        let set = self.shared.policies.snapshot();
        let tiers: Vec<&str> = set.tiers().map(TierName::as_str).collect();
        // Without any tier the policies are not loaded: the workspace will wait for them.
        if tiers.is_empty() || set.tier(tier).is_some() {
            return Ok(());
        }
        Err(LifecycleError::Invalid(format!("there is no tier {tier}; the tiers are {}", tiers.join(", "))))
    }
}
