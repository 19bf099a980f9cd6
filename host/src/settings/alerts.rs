//! `[alerts]`: who is told when something is wrong that waits for a person.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// When and whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertSettings {
    /// Who is told; without one nobody is.
    pub webhooks: Vec<WebhookSettings>,
    /// MiB free for the data directory, below which it is an alert; 0 is never.
    pub disk_free_mb: u64,
    /// Percent of the machine's memory available, below which it is an alert; 0 is never.
    pub memory_free_percent: u64,
    /// Hours after which a lasting alert is told again; 0 is never.
    pub repeat_h: u64,
}

/// One receiver.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// https; plain http only on loopback. Often a secret by itself (Slack): it is not logged.
    #[serde(serialize_with = "hidden")]
    pub url: String,
    /// Shape of the body.
    #[serde(default)]
    pub format: WebhookFormat,
    /// A file with a bearer token for it, read at each delivery.
    #[serde(default)]
    pub bearer_file: Option<PathBuf>,
}

/// Shape of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookFormat {
    /// orbitd's own: docs/operating.md lists the fields.
    #[default]
    Json,
    /// `{"text": …}`, as Slack, Mattermost and others take it.
    Slack,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self { webhooks: Vec::new(), disk_free_mb: 1024, memory_free_percent: 5, repeat_h: 12 }
    }
}

fn hidden<S: serde::Serializer>(_: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("(hidden)")
}
