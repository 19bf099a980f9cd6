//! What is, as the controller last saw it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ids::{Digest, PluginId};

/// The observed state of a workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The generation this status speaks of; behind `generation` while work is under way.
    pub observed_generation: i64,
    /// One word for a person; derived from the rest.
    pub phase: Phase,
    /// At most one per kind.
    pub conditions: Vec<Condition>,
    /// Per plugin, from the running instance's own report.
    pub plugins: Vec<PluginReport>,
    /// The revision that serves, or served last: what a failed change returns to.
    pub active_revision: Option<Digest>,
    /// The newest revision that was tried and did not come up; not tried again until something changes.
    pub failed_revision: Option<Digest>,
    /// Starts in a row that ended in a crash; drives the backoff (1 s doubling to 5 min), back to 0 after 10 min healthy.
    pub crashes: u32,
    /// Not started again before this time (UTC).
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub retry_at: Option<OffsetDateTime>,
}

/// One word for where a workspace is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Known, nothing done yet.
    Pending,
    /// Its database is being made.
    Provisioning,
    /// Its instance was started and is not proven yet.
    Starting,
    /// Its instance answers.
    Running,
    /// Its instance is stopped where it is and its memory is in swap; a request brings it back in a tenth of a second.
    Suspended,
    /// No instance runs because nobody asked for a while; a request starts one.
    Asleep,
    /// Its instance keeps ending; the next start waits for the backoff.
    CrashLoop,
    /// Down by wish.
    Stopped,
    /// Being torn down.
    Deleting,
}

/// A fact about a workspace that can be true, false or unknown, with the reason. Kubernetes' shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Which fact.
    pub kind: ConditionKind,
    /// Whether it holds.
    pub truth: Truth,
    /// CamelCase, for programs.
    pub reason: String,
    /// One or two sentences for a person: the thing, the reason, the next step. Never a secret.
    pub message: String,
    /// When `truth` last changed (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// The facts a condition can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionKind {
    /// The newest config was accepted and rendered.
    ConfigAccepted,
    /// The database is there.
    Provisioned,
    /// An instance serves requests.
    Ready,
    /// Every chosen plugin runs.
    PluginsHealthy,
    /// The newest config is the one that serves.
    RolledOut,
    /// The newest backup came about.
    BackedUp,
    /// The last restore was done.
    Restored,
}

/// Kubernetes' three values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not known yet.
    Unknown,
}

/// How one plugin's start ended, from the launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginReport {
    /// Which.
    pub id: PluginId,
    /// How it ended.
    pub outcome: PluginOutcome,
    /// Why it is not ready; at most 1,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How one plugin's start ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginOutcome {
    /// It answers.
    Ready,
    /// It was started and failed; the others run.
    Failed,
    /// It was not started, because something it needs is not configured.
    LeftOut,
}

// === impl Status ===

impl Default for Status {
    fn default() -> Self {
        Self {
            observed_generation: 0,
            phase: Phase::Pending,
            conditions: Vec::new(),
            plugins: Vec::new(),
            active_revision: None,
            failed_revision: None,
            crashes: 0,
            retry_at: None,
        }
    }
}

impl Status {
    /// Sets a condition; `since` moves only when the truth changes. Returns whether anything changed.
    pub fn set_condition(
        &mut self,
        kind: ConditionKind,
        truth: Truth,
        reason: &str,
        message: impl Into<String>,
        now: OffsetDateTime,
    ) -> bool {
        let message = message.into();
        match self.conditions.iter_mut().find(|c| c.kind == kind) {
            Some(c) if c.truth == truth && c.reason == reason && c.message == message => false,
            Some(c) => {
                let since = if c.truth == truth { c.since } else { now };
                *c = Condition { kind, truth, reason: reason.to_owned(), message, since };
                true
            }
            None => {
                self.conditions.push(Condition { kind, truth, reason: reason.to_owned(), message, since: now });
                self.conditions.sort_by_key(|c| c.kind);
                true
            }
        }
    }

    /// The condition of this kind.
    pub fn condition(&self, kind: ConditionKind) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.kind == kind)
    }
}
