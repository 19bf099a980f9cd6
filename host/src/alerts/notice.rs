//! What is told, and in which shape.

use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::settings::WebhookFormat;

/// Characters of what is wrong.
const MAX_SUMMARY: usize = 300;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An instance keeps ending.
    CrashLoop,
    /// A new revision did not come up; the last good one serves.
    RolloutFailed,
    /// A workspace's backup failed.
    BackupFailed,
    /// The data directory's file system is nearly full.
    DiskPressure,
    /// The machine's memory is nearly used up.
    MemoryPressure,
    /// Somebody tried the webhook out.
    Test,
}

/// Whether it is so, or over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is so.
    Firing,
    /// It was so, and is over.
    Resolved,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The same for all notices of one alert, from firing to resolved.
    pub id: String,
    /// Firing or resolved.
    pub state: State,
    /// What is wrong.
    pub kind: Kind,
    /// A workspace's slug, or `orbitd` for the machine.
    pub subject: String,
    /// One line, at most 300 characters.
    pub summary: String,
    /// Since when (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// When this was noticed (UTC).
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

impl Kind {
    /// As in notices.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CrashLoop => "crash-loop",
            Self::RolloutFailed => "rollout-failed",
            Self::BackupFailed => "backup-failed",
            Self::DiskPressure => "disk-pressure",
            Self::MemoryPressure => "memory-pressure",
            Self::Test => "test",
        }
    }
}

impl Notice {
    /// The body for a webhook.
    pub(super) fn body(&self, format: WebhookFormat) -> Value {
        match format {
            WebhookFormat::Json => {
                let mut body = json!(self);
                body["version"] = json!(1);
                body
            }
            WebhookFormat::Slack => {
                let mark = if self.state == State::Firing { ":rotating_light:" } else { ":white_check_mark:" };
                let state = if self.state == State::Firing { "" } else { " is over" };
                let text = format!("{mark} *{}* {}{state}: {}", self.kind.as_str(), self.subject, self.summary);
                // What Slack asks for; nothing else in a text is markup that could ping or link.
                json!({"text": text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")})
            }
        }
    }
}

/// The first line, cut.
pub(super) fn summary(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SUMMARY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_one_line_and_pings_nobody() {
        assert_eq!(summary("\nit ended with exit code 1\nlog: password=hunter2"), "it ended with exit code 1");
        let at = OffsetDateTime::UNIX_EPOCH;
        let notice = Notice {
            id: "i".into(),
            state: State::Firing,
            kind: Kind::CrashLoop,
            subject: "acme".into(),
            summary: summary("<!channel> & co"),
            since: at,
            at,
        };
        let slack = notice.body(WebhookFormat::Slack)["text"].to_string();
        assert!(slack.contains("*crash-loop* acme: &lt;!channel&gt; &amp; co"), "{slack}");
        let json = notice.body(WebhookFormat::Json);
        assert_eq!(
            (&json["version"], &json["kind"], &json["state"]),
            (&json!(1), &json!("crash-loop"), &json!("firing"))
        );
    }
}
