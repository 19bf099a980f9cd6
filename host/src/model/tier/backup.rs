//! `[backup]` of a tier's file.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime, Time};

use crate::model::BackupReason;

/// When backups are made of the tier's workspaces, and how long they are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackupRules {
    /// Seconds from one scheduled backup to the next; at least 60.
    pub every_s: Option<u64>,
    /// Instead: once a day at this time, UTC: `"03:30"`.
    pub daily_at: Option<DailyAt>,
    /// Scheduled backups that are kept; the oldest go. Those that someone asked for stay until someone removes them.
    pub keep: u32,
    /// Before a workspace moves to another distribution, it is backed up; without that it does not move.
    pub before_upgrade: bool,
    /// Backups made before a move to another distribution that are kept, and as many of those made before a restore; the oldest go. At
    /// least one of each, and never one that a restore is to come from.
    pub keep_before: u32,
}

/// A time of the day, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DailyAt(Time);

impl Default for BackupRules {
    fn default() -> Self {
        Self { every_s: None, daily_at: None, keep: 7, before_upgrade: true, keep_before: 3 }
    }
}

impl BackupRules {
    const SHORTEST_S: u64 = 60;

    /// Whether a backup is due, after the last one of whatever reason. One of the future, made while the clock was ahead, does not keep
    /// others from being made.
    pub fn is_due(&self, last: Option<OffsetDateTime>, now: OffsetDateTime) -> bool {
        let last = last.filter(|last| *last <= now + Duration::MINUTE);
        let passed = |moment: OffsetDateTime| last.is_none_or(|last| last < moment);
        let every = self.every_s.map(|every| {
            let seconds = i64::try_from(every.max(Self::SHORTEST_S)).unwrap_or(i64::MAX);
            last.is_none_or(|last| (now - last).whole_seconds() >= seconds)
        });
        let daily = self.daily_at.map(|DailyAt(at)| {
            let today = now.replace_time(at);
            passed(if today <= now { today } else { today.saturating_sub(time::Duration::DAY) })
        });
        every.unwrap_or(false) || daily.unwrap_or(false)
    }
}

impl BackupRules {
    /// How many backups of a reason are kept; `None`: all, until someone removes them.
    pub fn kept_of(&self, reason: BackupReason) -> Option<usize> {
        let most = match reason {
            BackupReason::Asked => return None,
            BackupReason::Schedule => self.keep,
            BackupReason::BeforeUpgrade | BackupReason::BeforeRestore => self.keep_before,
        };
        Some(usize::try_from(most.max(1)).unwrap_or(usize::MAX))
    }
}

impl TryFrom<String> for DailyAt {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text.split_once(':').and_then(|(hour, minute)| {
            let number = |text: &str| if text.len() == 2 { text.parse().ok() } else { None };
            Time::from_hms(number(hour)?, number(minute)?, 0).ok()
        });
        parsed.map(Self).ok_or_else(|| format!("{text:?} is no time of the day: write it like \"03:30\" (UTC)"))
    }
}

impl From<DailyAt> for String {
    fn from(DailyAt(at): DailyAt) -> String {
        format!("{:02}:{:02}", at.hour(), at.minute())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> BackupRules {
        toml::from_str(text).expect("rules")
    }

    #[test]
    fn what_someone_asked_for_is_never_removed_by_itself() {
        let rules = rules("keep = 0\nkeep_before = 5");
        let kept =
            [BackupReason::Asked, BackupReason::Schedule, BackupReason::BeforeUpgrade, BackupReason::BeforeRestore]
                .map(|reason| rules.kept_of(reason));
        assert_eq!(kept, [None, Some(1), Some(5), Some(5)]);
        assert_eq!(BackupRules::default().kept_of(BackupReason::BeforeRestore), Some(3));
    }

    #[test]
    fn a_backup_is_due_when_its_time_has_come() {
        let at =
            |text: &str| OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).expect("a time");
        let noon = at("2026-05-02T12:00:00Z");
        assert!(!rules("").is_due(None, noon), "no schedule");
        let hourly = rules("every_s = 3600");
        assert!(hourly.is_due(None, noon) && hourly.is_due(Some(at("2026-05-02T11:00:00Z")), noon));
        assert!(!hourly.is_due(Some(at("2026-05-02T11:00:01Z")), noon));
        assert!(hourly.is_due(Some(at("2036-05-02T11:00:00Z")), noon), "made while the clock was ten years ahead");
        let daily = rules("daily_at = \"03:30\"");
        assert!(daily.is_due(Some(at("2026-05-02T03:29:00Z")), noon));
        assert!(!daily.is_due(Some(at("2026-05-02T03:30:05Z")), noon));
        let later = rules("daily_at = \"23:30\"");
        assert!(later.is_due(Some(at("2026-05-01T20:00:00Z")), noon), "yesterday's was missed");
        assert!(!later.is_due(Some(at("2026-05-01T23:30:01Z")), noon));
        assert!(rules("every_s = 0").is_due(Some(at("2026-05-02T11:58:00Z")), noon), "a minute at least");
        assert!(!rules("every_s = 0").is_due(Some(at("2026-05-02T11:59:30Z")), noon));
        for wrong in ["3:30", "24:00", "03:60", "noon", "03:30:00"] {
            assert!(toml::from_str::<BackupRules>(&format!("daily_at = {wrong:?}")).is_err(), "{wrong}");
        }
    }
}
