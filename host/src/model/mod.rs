//! What orbitd knows of a workspace, in Kubernetes terms: *spec* (what is wanted, with a generation that grows by one per
//! change) and *status* (what is, with the generation it speaks of). API, CLI and config sources write specs; only the
//! controller in `lifecycle` writes statuses. Everything here is plain data.

mod backup;
mod kept;
mod login;
mod share;
mod sleep;
mod spec;
mod status;
mod tier;

pub use backup::{Backup, BackupReason, Part, Restore};
pub use kept::KeptDatabase;
pub use login::{Login, Slot};
pub use share::Share;
pub use sleep::{Rung, Sleep, SleepCause};
pub use spec::{DesiredState, MAX_CATALOG_BYTES, Owner, SecretRef, Spec};
pub use status::{Condition, ConditionKind, Phase, PluginOutcome, PluginReport, Status, Truth};
pub use tier::{BackupRules, ResourceRules, RolloutRules, RolloutStrategy, SleepRules, TierRules, Window};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ids::{Digest, InstanceId, Slug, WorkspaceId};

/// A tenant, as the registry holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workspace {
    /// Opaque, new at each creation.
    pub id: WorkspaceId,
    /// Unique among living workspaces.
    pub slug: Slug,
    /// Who may change the spec.
    pub owner: Owner,
    /// What is wanted.
    pub spec: Spec,
    /// Grows by one with every change of `spec`; starts at 1.
    pub generation: i64,
    /// Set once, by a delete: the controller tears down and then forgets the workspace.
    pub deleting: bool,
    /// What is.
    pub status: Status,
    /// When it was created (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When spec or status last changed (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

/// An immutable rendered configuration and the distribution it runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Over everything below but `created_at`: equal digests mean nothing to do.
    pub digest: Digest,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// The rendered `app-config`, as JSON text (JSON is YAML); it holds no secret, only `$file` references to secrets.
    pub app_config: String,
    /// Chosen plugins, sorted.
    pub plugins: Vec<crate::ids::PluginId>,
    /// File name → text of each catalogue file.
    pub catalog: std::collections::BTreeMap<String, String>,
    /// Secret name → digest of its value: a changed secret is a changed revision.
    pub secrets: std::collections::BTreeMap<String, Digest>,
    /// Secret name → where its value was: what a return to this revision reads again.
    #[serde(default)]
    pub secret_refs: std::collections::BTreeMap<String, SecretRef>,
    /// The distribution's own digest.
    pub distribution: String,
    /// When it was rendered (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// One Backstage process that orbitd started and has not yet seen gone. The row is written *before* the process starts,
/// so that a daemon killed in between finds what it may have left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Also the boot id that the process proves.
    pub id: InstanceId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// What it runs.
    pub revision: Digest,
    /// Loopback port; kept while the instance lives.
    pub port: u16,
    /// Process id, once it is known.
    pub pid: Option<u32>,
    /// Start time of that pid in clock ticks since boot (`/proc/<pid>/stat` field 22): pid + start time is never reused.
    pub start_ticks: Option<u64>,
    /// 32 random bytes, hex, known to this process and to orbitd alone. Held sealed at rest.
    #[serde(skip_serializing, default)]
    pub boot_secret: String,
    /// `spec.restarts` that it was started for.
    pub restarts: i64,
    /// When it was started (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
}

/// Something worth telling an operator about one workspace. Bounded: the newest 500 are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Grows with each event of the registry.
    pub sequence: i64,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// CamelCase, from a closed set in the code: `Started`, `ConfigRejected`, `CrashLoop`…
    pub reason: String,
    /// One sentence for a person; never a secret.
    pub message: String,
    /// When (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}
