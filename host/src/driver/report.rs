//! What the launcher reports: JSON lines in a file that outlives the daemon. Written by a process that a tenant's plugins
//! run in: nothing in it is believed beyond what it says about itself, and everything is cut to a length.

use serde::Deserialize;

use super::Home;
use crate::{
    ids::{InstanceId, PluginId},
    model::{PluginOutcome, PluginReport},
};

const MAX_REPORT_BYTES: u64 = 256 << 10;
const MAX_REASON_CHARS: usize = 1_000;
const MAX_PLUGINS: usize = 200;

/// All of it so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Set once Backstage's start is over.
    pub started: Option<Started>,
    /// Set if the start failed.
    pub failed: Option<Failure>,
    /// How each plugin's start ended, from whichever of the two came last.
    pub plugins: Vec<PluginReport>,
}

/// Backstage's start is over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Started {
    /// Milliseconds it took.
    #[serde(default)]
    pub ms: u64,
}

/// The start failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In which phase.
    pub phase: FailurePhase,
    /// The launcher's sentence; at most 1,000 characters.
    pub reason: String,
}

/// Where a start can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailurePhase {
    /// The start message.
    Message,
    /// The configuration.
    Config,
    /// Loading the plugins' code.
    Load,
    /// Backstage's own start.
    Start,
    /// The port is another's.
    Listen,
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line {
    Started {
        #[serde(default)]
        ms: u64,
        #[serde(default)]
        plugins: Vec<Outcome>,
    },
    Failed {
        phase: FailurePhase,
        #[serde(default)]
        reason: String,
        #[serde(default)]
        plugins: Vec<Outcome>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Outcome {
    id: PluginId,
    outcome: PluginOutcome,
    #[serde(default)]
    reason: Option<String>,
}

/// Reads the report of one instance; what can't be read is passed over.
pub(super) fn read(home: &Home, id: InstanceId) -> Report {
    let bytes = home.tail(&path(id), MAX_REPORT_BYTES).map(|(bytes, _)| bytes);
    parse(&bytes.unwrap_or_default())
}

/// How long it is, bytes; 0 where there is none.
pub(super) fn size(home: &Home, id: InstanceId) -> u64 {
    home.tail(&path(id), 0).map_or(0, |(_, size)| size)
}

fn path(id: InstanceId) -> String {
    format!("run/{id}/report.jsonl")
}

fn parse(bytes: &[u8]) -> Report {
    let mut report = Report::default();
    for line in bytes.split(|b| *b == b'\n') {
        match serde_json::from_slice::<Line>(line) {
            Ok(Line::Started { ms, plugins }) => {
                report.started = Some(Started { ms });
                report.plugins = outcomes(plugins);
            }
            Ok(Line::Failed { phase, reason, plugins }) => {
                report.failed = Some(Failure { phase, reason: cut(&reason) });
                report.plugins = outcomes(plugins);
            }
            Ok(Line::Other) | Err(_) => {}
        }
    }
    report
}

fn outcomes(list: Vec<Outcome>) -> Vec<PluginReport> {
    list.into_iter()
        .take(MAX_PLUGINS)
        .map(|Outcome { id, outcome, reason }| PluginReport { id, outcome, reason: reason.as_deref().map(cut) })
        .collect()
}

fn cut(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_past_what_is_not_known_or_torn() {
        let text = concat!(
            "{\"event\":\"loaded\",\"ms\":3}\n",
            "not json\n",
            "{\"event\":\"from-the-future\"}\n",
            "{\"event\":\"started\",\"boot_id\":\"b\",\"pid\":1,\"port\":2,\"ms\":1400,\"plugins\":[",
            "{\"id\":\"catalog\",\"outcome\":\"ready\"},",
            "{\"id\":\"argocd\",\"outcome\":\"left-out\",\"reason\":\"no argocd.appLocatorMethods\\nhere\"}]}\n",
            "{\"event\":\"stop"
        );
        let report = parse(text.as_bytes());
        assert_eq!(report.started, Some(Started { ms: 1400 }));
        assert_eq!(report.failed, None);
        assert_eq!(report.plugins[1].outcome, PluginOutcome::LeftOut);
        assert_eq!(report.plugins[1].reason.as_deref(), Some("no argocd.appLocatorMethods here"));
    }

    #[test]
    fn a_failed_start_names_its_phase() {
        let report =
            parse(b"{\"event\":\"failed\",\"phase\":\"listen\",\"reason\":\"port 3 is taken\",\"plugins\":[]}\n");
        assert_eq!(report.failed, Some(Failure { phase: FailurePhase::Listen, reason: "port 3 is taken".into() }));
    }
}
