//! Which reports are news. Pure.

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime};

use super::notice::{Kind, Notice, State, summary};

/// Alerts that are open at the same time; past it further ones are not told.
const MAX_OPEN: usize = 10_000;

/// All open alerts.
pub(super) struct Desk {
    repeat: Option<Duration>,
    open: BTreeMap<(String, Kind), Open>,
}

struct Open {
    id: String,
    since: OffsetDateTime,
    told: OffsetDateTime,
}

impl Desk {
    pub(super) fn new(repeat: Option<Duration>) -> Self {
        Self { repeat, open: BTreeMap::new() }
    }

    /// The notice that a report calls for, if any.
    pub(super) fn judge(
        &mut self,
        subject: &str,
        kind: Kind,
        wrong: Option<&str>,
        now: OffsetDateTime,
    ) -> Option<Notice> {
        let key = (subject.to_owned(), kind);
        let full = self.open.len() >= MAX_OPEN;
        let (id, since, state, text) = match (wrong, self.open.get_mut(&key)) {
            (None, None) => return None,
            (None, Some(_)) => {
                let open = self.open.remove(&key)?;
                (open.id, open.since, State::Resolved, "it is well again".to_owned())
            }
            (Some(text), Some(open)) => {
                if self.repeat.is_none_or(|repeat| (now - open.told).abs() < repeat) {
                    return None;
                }
                open.told = now;
                (open.id.clone(), open.since, State::Firing, summary(text))
            }
            (Some(_), None) if full => return None,
            (Some(text), None) => {
                // Any unique id will do; this one sorts by time.
                let id = uuid::Uuid::now_v7().to_string();
                self.open.insert(key, Open { id: id.clone(), since: now, told: now });
                (id, now, State::Firing, summary(text))
            }
        };
        Some(Notice { id, state, kind, subject: subject.to_owned(), summary: text, since, at: now })
    }

    pub(super) fn forget(&mut self, subject: &str) {
        self.open.retain(|(of, _), _| of != subject);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_told_once_again_after_hours_and_when_it_is_over() {
        let mut desk = Desk::new(Some(Duration::hours(12)));
        let at = |hours: i64| OffsetDateTime::UNIX_EPOCH + Duration::hours(hours);
        let mut judge = |wrong, hours| desk.judge("acme", Kind::CrashLoop, wrong, at(hours));
        assert_eq!(judge(None, 0), None, "well, and was");
        let first = judge(Some("exit code 1"), 1).expect("new");
        assert_eq!((first.state, first.summary.as_str()), (State::Firing, "exit code 1"));
        assert_eq!(judge(Some("exit code 2"), 2), None, "the same alert");
        let again = judge(Some("exit code 3"), 13).expect("it lasts");
        assert_eq!((&again.id, again.since), (&first.id, at(1)));
        let over = judge(None, 14).expect("over");
        assert_eq!((over.state, &over.id), (State::Resolved, &first.id));
        assert_eq!(judge(None, 15), None);
        assert_ne!(judge(Some("exit code 1"), 16).expect("another").id, first.id);
        desk.forget("acme");
        assert_eq!(desk.judge("acme", Kind::CrashLoop, None, at(17)), None, "a deleted workspace says nothing more");
    }
}
