//! One line of the decision log.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::{
    ids::Digest,
    policy::{Authorization, FailureKind, Rendered, Routing},
};

/// One decision, as it is written and as a replay reads it. Unknown keys are ignored: a newer orbitd may write more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// UUIDv7.
    pub id: String,
    /// When it was decided (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// Whose request.
    pub workspace: String,
    /// Which class.
    pub tier: String,
    /// `router`, `authorizer`, `authorizer-2`…, `renderer`.
    pub binding: String,
    /// `router`, `authorizer` or `renderer`.
    pub world: String,
    /// The policy's own name and version.
    pub policy: String,
    /// See `policy`.
    pub version: String,
    /// Of the module.
    pub digest: Digest,
    /// Of its settings as JSON.
    pub settings_digest: Digest,
    /// `active`, `canary`, or `shadow`, which decided nothing.
    pub mode: String,
    /// Whether it was remembered rather than decided anew.
    pub remembered: bool,
    /// What the policy declared to depend on, beside workspace, tier and plugin.
    pub inputs: Vec<String>,
    /// What it saw of them.
    pub seen: Seen,
    /// Inputs that are left out of `seen`, in whole or in part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<String>,
    /// What it said.
    #[serde(flatten)]
    pub decision: Decision,
    /// Of the decision with all that orbitd does around it, microseconds.
    pub duration_us: u64,
}

/// The inputs of a decision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// `GET`…
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Starts with `/`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Without `?`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// Name and value, as they were passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Of an authorizer: what the router said that the request is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plugin: String,
    /// By name.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub claims: Map<String, Value>,
}

/// What a policy said, or that it said nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// A router's.
    Forward {
        /// Empty for the browser app.
        plugin: String,
        /// 0 is the host's default.
        timeout_ms: u64,
    },
    /// A router's.
    Refuse {
        /// Of the answer.
        status: u16,
        /// For the client.
        reason: String,
    },
    /// An authorizer's.
    Allow {
        /// Entity reference.
        user: String,
        /// Entity references.
        ownership: Vec<String>,
    },
    /// An authorizer's.
    Deny {
        /// Of the answer.
        status: u16,
        /// For the client.
        reason: String,
    },
    /// A renderer's. Its inputs are the workspace's config, which is not logged.
    Render {
        /// Of the config it made.
        config_digest: Digest,
        /// Which it starts.
        plugins: Vec<String>,
    },
    /// No answer.
    Fail {
        /// How.
        kind: FailureKind,
        /// For the operator.
        reason: String,
    },
}

impl Decision {
    /// The word in the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Forward { .. } => "forward",
            Self::Refuse { .. } => "refuse",
            Self::Allow { .. } => "allow",
            Self::Deny { .. } => "deny",
            Self::Render { .. } => "render",
            Self::Fail { .. } => "fail",
        }
    }

    /// Whether a client would see the same. What a failure says of itself is for the operator only.
    pub fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fail { kind: a, .. }, Self::Fail { kind: b, .. }) => a == b,
            _ => self == other,
        }
    }

    /// Everything in it that a policy may have copied from an input.
    pub(super) fn texts_mut(&mut self) -> Vec<&mut String> {
        match self {
            Self::Refuse { reason, .. } | Self::Deny { reason, .. } | Self::Fail { reason, .. } => vec![reason],
            Self::Allow { user, ownership } => std::iter::once(user).chain(ownership).collect(),
            Self::Forward { .. } | Self::Render { .. } => Vec::new(),
        }
    }
}

impl std::fmt::Display for Decision {
    /// Short, for tables: `deny 403`, `forward catalog`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Forward { plugin, .. } if plugin.is_empty() => f.write_str("forward app"),
            Self::Forward { plugin, .. } => write!(f, "forward {plugin}"),
            Self::Refuse { status, .. } | Self::Deny { status, .. } => write!(f, "{} {status}", self.word()),
            Self::Allow { user, .. } => write!(f, "allow {user}"),
            Self::Render { config_digest, .. } => write!(f, "render {}", config_digest.short()),
            Self::Fail { kind, .. } => write!(f, "fail {}", kind.as_str()),
        }
    }
}

impl From<&Routing> for Decision {
    fn from(routing: &Routing) -> Self {
        match routing {
            Routing::Forward(to) => Self::Forward {
                plugin: to.plugin.as_ref().map(ToString::to_string).unwrap_or_default(),
                timeout_ms: to.timeout.map_or(0, |timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            },
            Routing::Refuse(why) => Self::Refuse { status: why.status, reason: why.reason.clone() },
        }
    }
}

impl From<&Authorization> for Decision {
    fn from(authorization: &Authorization) -> Self {
        match authorization {
            Authorization::Allow(user) => {
                Self::Allow { user: user.entity_ref.clone(), ownership: user.ownership.clone() }
            }
            Authorization::Deny(why) => Self::Deny { status: why.status, reason: why.reason.clone() },
        }
    }
}

impl From<&Rendered> for Decision {
    fn from(rendered: &Rendered) -> Self {
        let config = Value::Object(rendered.app_config.clone()).to_string();
        Self::Render {
            config_digest: Digest::of(config.as_bytes()),
            plugins: rendered.plugins.iter().map(ToString::to_string).collect(),
        }
    }
}
