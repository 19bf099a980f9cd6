//! What is wanted of a workspace.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, PluginId, TierName};

/// All catalogue files of one workspace together, in bytes; a source that holds more is refused by name.
pub const MAX_CATALOG_BYTES: usize = 8 << 20;

/// The desired state of a workspace. Compared field by field: an equal spec is no change and no new generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Which policies and limits apply.
    pub tier: TierName,
    /// Whether its instance should run.
    #[serde(default)]
    pub desired: DesiredState,
    /// Chosen plugins; `None` is what the tier's renderer settings choose.
    #[serde(default)]
    pub plugins: Option<Vec<PluginId>>,
    /// What the workspace asks to have in `app-config.yaml`; the renderer policy decides what becomes of it.
    #[serde(default)]
    pub app_config: serde_json::Map<String, serde_json::Value>,
    /// Secret name (`[A-Z][A-Z0-9_]*`) → where its value is.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretRef>,
    /// File name (no slash) → text; at most [`MAX_CATALOG_BYTES`] in all.
    #[serde(default)]
    pub catalog: BTreeMap<String, String>,
    /// Grows by one with each restart that someone asks for.
    #[serde(default)]
    pub restarts: i64,
    /// Grows by one with each new database password that someone asks for.
    #[serde(default)]
    pub password_rotations: i64,
    /// A backup that its database is to be replaced by, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<super::Restore>,
    /// The revision that a rollback returned to: it goes before the newest config until the spec changes or a rollout is asked
    /// for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Digest>,
}

impl Spec {
    /// Whether another revision may come of it: something that is rendered differs, not just what people ask for beside that.
    pub fn renders_differently(&self, other: &Self) -> bool {
        let rendered = |spec: &Self| {
            let Self { tier, plugins, app_config, secrets, catalog, .. } = spec.clone();
            (tier, plugins, app_config, secrets, catalog)
        };
        rendered(self) != rendered(other)
    }
}

/// Whether a workspace's instance should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DesiredState {
    /// Up, always.
    #[default]
    Running,
    /// Down until someone says otherwise; data is kept.
    Stopped,
}

/// Where a secret's value is. Never the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SecretRef {
    /// A file in `<secrets dir>/<slug>/`, by name without slash; its text less one trailing line end is the value.
    File(String),
}

/// Who may change a workspace's spec; a change from anyone else is a conflict that names the owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Owner {
    /// The admin API and the CLI.
    Api,
    /// The config source of this name.
    Source(String),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api => f.write_str("api"),
            Self::Source(name) => write!(f, "source:{name}"),
        }
    }
}
impl FromStr for Owner {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "api" => Ok(Self::Api),
            Some(("source", name)) if !name.is_empty() => Ok(Self::Source(name.to_owned())),
            _ => Err(format!("{text:?} is not an owner: it is `api` or `source:<name>`")),
        }
    }
}
impl TryFrom<String> for Owner {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
impl From<Owner> for String {
    fn from(owner: Owner) -> String {
        owner.to_string()
    }
}
