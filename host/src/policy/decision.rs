//! What a policy sees and what it may answer, as the rest of the daemon speaks of it. The WIT twin is in `wit/`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    identity::BackstageUser,
    ids::{Digest, PluginId, Slug, TierName},
};

/// What the host knows of a request: canonical, with hop-by-hop and identity headers already gone. A policy is passed only
/// the parts that it declared.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// Whose request.
    pub workspace: &'a Slug,
    /// Which class.
    pub tier: &'a TierName,
    /// `GET`…
    pub method: &'a str,
    /// Starts with `/`, as received; refused earlier where it could be read in two ways.
    pub path: &'a str,
    /// Without `?`; empty if none.
    pub query: &'a str,
    /// Lower-case names.
    pub headers: &'a http::HeaderMap,
}

/// A router's answer. It can't name an instance: the host forwards to the workspace's own, always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routing {
    /// Send it on.
    Forward(Forward),
    /// Answer with an error.
    Refuse(Refusal),
}

/// How to send a request on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The plugin that it is for; `None` for the browser app's own files.
    pub plugin: Option<PluginId>,
    /// Longest wait for the response head; `None` is the proxy's default.
    pub timeout: Option<Duration>,
}

/// An error for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 400–599; anything else is a policy failure.
    pub status: u16,
    /// One sentence that the client may read, at most 500 characters.
    pub reason: String,
}

/// An authorizer's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// Let it through as this user.
    Allow(BackstageUser),
    /// Answer with an error.
    Deny(Refusal),
}

/// What a renderer is given.
#[derive(Debug, Clone)]
pub struct RenderInput<'a> {
    /// Whose config.
    pub workspace: &'a Slug,
    /// Which class.
    pub tier: &'a TierName,
    /// `http://acme.localhost:7080`.
    pub public_url: &'a str,
    /// What the workspace asks for.
    pub app_config: &'a Map<String, Value>,
    /// Plugins the workspace asks for; `None` leaves the choice to the policy.
    pub plugins: Option<&'a [PluginId]>,
}

/// A renderer's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The whole `app-config`, but for what the host owns and lays over it (listen address, database, identity).
    pub app_config: Map<String, Value>,
    /// Plugins to start, sorted, each once.
    pub plugins: Vec<PluginId>,
    /// Sentences for the workspace's operator ("plugin kubernetes is not part of tier free").
    pub notices: Vec<String>,
}

/// A policy gave no answer. The router and the authorizer fail closed; a renderer's failure keeps the last revision.
#[derive(Debug, Clone, thiserror::Error)]
#[error("policy {policy} ({digest:?}) {kind}: {message}", kind = self.kind.as_str())]
pub struct PolicyFailure {
    /// The policy's own name, or the binding's while none is loaded.
    pub policy: String,
    /// Which version.
    pub digest: Option<Digest>,
    /// What happened, from a closed set.
    pub kind: FailureKind,
    /// For the log; never for a client.
    pub message: String,
}

/// How a policy can fail to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// It answered "error".
    Error,
    /// It trapped.
    Trap,
    /// It ran out of time.
    Timeout,
    /// It ran out of memory or of table space.
    Memory,
    /// Its answer breaks the contract (status out of range, oversized, not JSON…).
    Contract,
    /// No sandbox was free, or the tier has no such policy.
    Unavailable,
}

impl FailureKind {
    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Contract => "contract",
            Self::Unavailable => "unavailable",
        }
    }
}
