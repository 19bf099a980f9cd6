//! Which changed files are whole.
//!
//! | how it changed | whole |
//! |---|---|
//! | renamed into place | at once: whoever renames has written before |
//! | written in place, and closed | [`CLOSED`] after its last change: some writers come twice |
//! | written in place, still open | [`OPEN`] after its last change |
//! | no event told | [`UNKNOWN`] after its last change |

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use notify::{
    EventKind,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};

use crate::policy::loader::{Fingerprint, Stat};

const CLOSED: Duration = Duration::from_millis(30);
const UNKNOWN: Duration = Duration::from_millis(75);
const OPEN: Duration = Duration::from_secs(1);
/// Files of which anything is remembered; a folder in which more change at once is looked at as if there were no events.
const MAX_FILES: usize = 1_000;

/// What happened to a file, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Renamed to this place.
    Placed(PathBuf),
    /// Made or written.
    Written(PathBuf),
    /// Closed by somebody who had it open for writing.
    Closed(PathBuf),
    /// Gone, or anything else that may have changed it.
    Other,
}

/// What the events since the last load said.
#[derive(Default)]
pub struct Writes {
    placed: HashSet<PathBuf>,
    /// Being written, or (`true`) written and closed.
    written: HashMap<PathBuf, bool>,
    /// Since when a changed file looks as it does.
    looks: HashMap<PathBuf, (Option<Stat>, Instant)>,
}

// === impl Event ===

impl Event {
    /// What matters of a notification; reading is none of it.
    pub fn of(event: &notify::Event) -> Vec<Self> {
        let each = |make: fn(PathBuf) -> Self| event.paths.iter().cloned().map(make).collect();
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => each(Self::Closed),
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => Vec::new(),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => each(Self::Placed),
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => each(Self::Written),
            _ => vec![Self::Other],
        }
    }
}

// === impl Writes ===

impl Writes {
    /// Takes note.
    pub fn see(&mut self, event: Event) {
        if self.placed.len() + self.written.len() >= MAX_FILES {
            self.placed.clear();
            self.written.clear();
        }
        match event {
            Event::Placed(path) => {
                self.written.remove(&path);
                self.placed.insert(path);
            }
            Event::Written(path) => {
                self.placed.remove(&path);
                self.written.insert(path, false);
            }
            Event::Closed(path) => {
                // Of a file that was only opened and closed nothing is known to be new.
                if let Some(closed) = self.written.get_mut(&path) {
                    *closed = true;
                }
            }
            Event::Other => {}
        }
    }

    /// How long until all that changed can be whole; `None` is now.
    pub fn unsettled(&mut self, changed: &Fingerprint, now: Instant) -> Option<Duration> {
        self.looks.retain(|path, _| changed.contains_key(path));
        changed.iter().filter_map(|(path, stat)| self.wait_for(path, stat, now)).max()
    }

    /// After a load, and when nothing differs from what is loaded.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    fn wait_for(&mut self, path: &Path, stat: &Option<Stat>, now: Instant) -> Option<Duration> {
        if self.placed.contains(path) {
            return None;
        }
        let (looked, since) = self.looks.entry(path.to_owned()).or_insert((*stat, now));
        if looked != stat {
            (*looked, *since) = (*stat, now);
        }
        let needed = match self.written.get(path) {
            Some(true) => CLOSED,
            Some(false) => OPEN,
            None => UNKNOWN,
        };
        needed.checked_sub(now - *since).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/p/pro.toml";

    fn looks(size: u64) -> Fingerprint {
        Fingerprint::from([(PathBuf::from(FILE), Some((size, 1, 1, 1, 1)))])
    }
    fn writes(events: &[fn(PathBuf) -> Event]) -> Writes {
        let mut writes = Writes::default();
        events.iter().for_each(|event| writes.see(event(FILE.into())));
        writes
    }

    #[test]
    fn a_renamed_file_is_whole_at_once() {
        let now = Instant::now();
        assert_eq!(writes(&[Event::Placed]).unsettled(&looks(1), now), None);
        assert_eq!(writes(&[Event::Written, Event::Placed]).unsettled(&looks(1), now), None);
        assert_eq!(writes(&[Event::Placed, Event::Closed]).unsettled(&looks(1), now), None);
        assert_eq!(writes(&[Event::Placed, Event::Written]).unsettled(&looks(1), now), Some(OPEN), "and written again");
    }

    #[test]
    fn a_written_file_has_to_settle() {
        let now = Instant::now();
        for (events, needed) in [
            (vec![], UNKNOWN),
            (vec![Event::Written as fn(PathBuf) -> Event], OPEN),
            (vec![Event::Written, Event::Closed], CLOSED),
            (vec![Event::Written, Event::Closed, Event::Written], OPEN),
        ] {
            let mut writes = writes(&events);
            assert_eq!(writes.unsettled(&looks(1), now), Some(needed));
            assert_eq!(writes.unsettled(&looks(2), now + needed / 2), Some(needed), "it changed meanwhile");
            assert!(writes.unsettled(&looks(2), now + needed).is_some());
            assert_eq!(writes.unsettled(&looks(2), now + needed * 2), None);
        }
    }

    #[test]
    fn one_file_being_written_holds_up_the_others() {
        let mut writes = writes(&[Event::Placed]);
        writes.see(Event::Written("/p/free.toml".into()));
        let mut changed = looks(1);
        changed.insert("/p/free.toml".into(), Some((2, 2, 2, 2, 2)));
        assert_eq!(writes.unsettled(&changed, Instant::now()), Some(OPEN));
    }
}
