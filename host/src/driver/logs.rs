//! An instance's log: an O_APPEND file that outlives the daemon, bounded, with one old file beside it.
//!
//! ```text
//!            old file             log
//!  forgotten │───────────────────│─────────────▶   positions: bytes since the workspace's first line, whatever was rotated away
//!            old                 live
//! ```
//!
//! Where the two files begin is written beside them, so a position means the same over rotations, rollouts and restarts of the
//! daemon, and who follows goes on in the old file where the log was rotated meanwhile. Instances can't write to this directory.

use std::{
    io::Write,
    path::PathBuf,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use super::{DriverError, Home};
use crate::ids::InstanceId;

/// Lines that [`tail`] returns at most.
pub const MAX_LOG_LINES: usize = 5_000;
const MAX_TAIL_BYTES: u64 = 1 << 20;
const MAX_PART_BYTES: u64 = 256 << 10;
const MAX_LINE_CHARS: usize = 4_000;
pub(super) const LOG: &str = "logs/instance.log";
const OLD_LOG: &str = "logs/instance.log.1";
const NEXT_OLD_LOG: &str = "logs/instance.log.1.new";
const PLACE: &str = "logs/place";
const NEXT_PLACE: &str = "logs/place.new";
/// Between two looks at a log's size, and while it grows fast: a flood of 1 GB/s writes this long past the limit.
const LOOK: Duration = Duration::from_millis(250);
const LOOK_FAST: Duration = Duration::from_millis(20);
/// A log that grows by this part of its limit between two looks grows fast.
const FAST_PART: u64 = 8;

/// Keeps a log within its limit until `ended`.
pub(super) async fn keep(home: PathBuf, max_bytes: u64, ended: impl Future<Output = ()>) {
    let (path, old_path) = (home.join(LOG), home.join(OLD_LOG));
    let (mut pause, mut before) = (LOOK, 0);
    tokio::pin!(ended);
    loop {
        tokio::select! {
            // Both arms only wait.
            () = &mut ended => return,
            () = tokio::time::sleep(pause) => {}
        }
        // Microseconds, four times a second: not worth a thread.
        let size_of = |path| std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.len());
        let (size, old_size) = (size_of(&path), size_of(&old_path));
        pause = if size.saturating_sub(before) > max_bytes / FAST_PART { LOOK_FAST } else { LOOK };
        before = size;
        if size > max_bytes || old_size > most_of_old(max_bytes) {
            let home = home.clone();
            let limited = tokio::task::spawn_blocking(move || limit(&Home::open(&home)?, max_bytes)).await;
            if let Ok(Err(error)) = limited {
                tracing::warn!(%error, "an instance's log can't be rotated");
            }
            before = 0;
        }
    }
}

/// A rotation changes three files: nobody reads between. One lock for all logs: a rotation takes milliseconds.
static ROTATING: RwLock<()> = RwLock::new(());

/// Positions at which the two files begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    old: u64,
    live: u64,
}

/// A part of a log, and where the next one begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPart {
    /// Whole lines, oldest first, each cut at 4,000 characters.
    pub lines: Vec<String>,
    /// The position after them: bytes since the workspace's first line.
    pub next: u64,
    /// Lines between the position that was asked for and these are gone: rotated away before they were asked for.
    pub rotated: bool,
}

/// The last lines, oldest first, and the position after them.
pub(super) fn end(home: &Home, lines: usize) -> Result<LogPart, DriverError> {
    let _reading = ROTATING.read().unwrap_or_else(PoisonError::into_inner);
    let place = Place::of(home)?;
    let (mut bytes, size) = if_any(home.tail(LOG, MAX_TAIL_BYTES))?;
    let mut cut = size > MAX_TAIL_BYTES;
    if !cut {
        let begin = place.old.max(place.live.saturating_sub(MAX_TAIL_BYTES - size.min(MAX_TAIL_BYTES)));
        cut = begin > place.old;
        bytes.splice(0..0, place.read_old(home, begin, MAX_TAIL_BYTES)?);
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut all: Vec<&str> = text.lines().collect();
    if cut && all.len() > 1 {
        all.remove(0);
    }
    let from = all.len().saturating_sub(lines.min(MAX_LOG_LINES));
    Ok(LogPart { lines: all[from..].iter().copied().map(shortened).collect(), next: place.live + size, rotated: false })
}

/// The last lines, oldest first.
pub(super) fn tail(home: &Home, lines: usize) -> Result<Vec<String>, DriverError> {
    Ok(end(home, lines)?.lines)
}

/// What was written from a position on, at most 256 KiB of it.
pub(super) fn from(home: &Home, position: u64) -> Result<LogPart, DriverError> {
    let _reading = ROTATING.read().unwrap_or_else(PoisonError::into_inner);
    let place = Place::of(home)?;
    let (_, size) = if_any(home.tail(LOG, 0))?;
    let known = place.old..=place.live + size;
    let rotated = !known.contains(&position);
    let begin = if rotated { place.old } else { position };
    let mut bytes = match begin < place.live {
        true => place.read_old(home, begin, MAX_PART_BYTES)?,
        false => Vec::new(),
    };
    let reached = begin + bytes.len() as u64;
    let room = MAX_PART_BYTES - bytes.len() as u64;
    if reached >= place.live && room > 0 {
        // A line that the rotation cut goes on in the log.
        bytes.extend(if_any(home.read_from(LOG, reached - place.live, room))?.0);
    }
    // A line that is being written comes whole with the next part; one that is longer than a part comes in pieces.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let whole = if whole == 0 && bytes.len() as u64 == MAX_PART_BYTES { bytes.len() } else { whole };
    let text = String::from_utf8_lossy(&bytes[..whole]);
    Ok(LogPart { lines: text.lines().map(shortened).collect(), next: begin + whole as u64, rotated })
}

/// What the old file may hold: at a rotation at most twice the limit gets there.
fn most_of_old(limit: u64) -> u64 {
    limit.saturating_mul(2)
}

fn shortened(line: &str) -> String {
    line.chars().take(MAX_LINE_CHARS).collect()
}

/// What is not there is empty.
fn if_any(read: Result<(Vec<u8>, u64), DriverError>) -> Result<(Vec<u8>, u64), DriverError> {
    match read {
        Err(DriverError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok((Vec::new(), 0)),
        other => other,
    }
}

/// Says in the log whose lines follow: one log holds the lines of all of a workspace's instances, one after the other.
pub(super) fn mark_start(home: &Home, id: InstanceId) -> Result<(), DriverError> {
    let failed = |source| DriverError::File { operation: "write", path: PathBuf::from(LOG), source };
    writeln!(home.append(LOG)?, "{{\"service\":\"orbitd\",\"level\":\"info\",\"message\":\"instance {id} starts\"}}")
        .map_err(failed)
}

/// Makes the file that a warm process writes to the log: the process keeps it open. What was the log is the old file then.
pub(super) fn take_over(home: &Home, file: &str) -> Result<(), DriverError> {
    let _rotating = ROTATING.write().unwrap_or_else(PoisonError::into_inner);
    let place = Place::of(home)?;
    let (_, size) = if_any(home.tail(LOG, 0))?;
    match home.rename(LOG, OLD_LOG) {
        Err(DriverError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        other => other?,
    }
    home.rename(file, LOG)?;
    Place { old: place.live, live: place.live + size }.write(home)
}

/// Rotates a log that is over `limit` bytes: the end of it (at most `limit`) becomes the old file, and the file itself is
/// emptied in place, because the instance keeps it open. What is written between the last read and that is lost: microseconds. An old
/// file that grows past the limit, because an instance that is being replaced still writes there, is emptied.
pub(super) fn limit(home: &Home, limit: u64) -> Result<(), DriverError> {
    let (_, size) = home.tail(LOG, 0)?;
    let (_, old_size) = if_any(home.tail(OLD_LOG, 0))?;
    if size <= limit && old_size <= most_of_old(limit) {
        return Ok(());
    }
    let _rotating = ROTATING.write().unwrap_or_else(PoisonError::into_inner);
    let place = Place::of(home)?;
    if size <= limit {
        // Of an instance that is being replaced.
        home.truncate(OLD_LOG)?;
        return Place { old: place.live, ..place }.write(home);
    }
    let (mut end, size) = home.tail(LOG, limit)?;
    if size > limit {
        // The old file begins with a whole line, unless it is a part of a very long one.
        let first = end.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        end.drain(..first);
    }
    home.remove_file(NEXT_OLD_LOG)?;
    home.write_new(NEXT_OLD_LOG, &end)?;
    home.rename(NEXT_OLD_LOG, OLD_LOG)?;
    // What came while that was written.
    let (more, _) = home.read_from(LOG, size, limit)?;
    home.append(OLD_LOG)?.write_all(&more).map_err(|source| DriverError::File {
        operation: "write",
        path: PathBuf::from(OLD_LOG),
        source,
    })?;
    home.truncate(LOG)?;
    let live = place.live + size + more.len() as u64;
    Place { old: live - (end.len() + more.len()) as u64, live }.write(home)
}

impl Place {
    /// None is written before the first rotation. One that can't be read counts as none: whoever follows is told that lines are missing.
    fn of(home: &Home) -> Result<Self, DriverError> {
        let (bytes, _) = if_any(home.tail(PLACE, 64))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let place = match (numbers.next(), numbers.next()) {
            (Some(Ok(old)), Some(Ok(live))) if old <= live => Self { old, live },
            _ => Self::default(),
        };
        Ok(place)
    }

    fn write(self, home: &Home) -> Result<(), DriverError> {
        home.remove_file(NEXT_PLACE)?;
        home.write_new(NEXT_PLACE, format!("{} {}\n", self.old, self.live).as_bytes())?;
        home.rename(NEXT_PLACE, PLACE)
    }

    /// What is in the old file from a position on, at most `limit` bytes. What an instance that is being replaced wrote there
    /// since has no position.
    fn read_old(self, home: &Home, position: u64, limit: u64) -> Result<Vec<u8>, DriverError> {
        let limit = limit.min(self.live.saturating_sub(position));
        Ok(if_any(home.read_from(OLD_LOG, position.saturating_sub(self.old), limit))?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::open_or_create(&dir.path().join("home")).expect("made");
        home.create_dir("logs").expect("made");
        (dir, home)
    }

    #[test]
    fn a_log_is_followed_line_by_line_and_over_its_rotation() {
        let (_dir, home) = home();
        assert_eq!(end(&home, 5).expect("none yet"), LogPart::default());
        let mut log = home.append(LOG).expect("opened");
        write!(log, "one\ntwo\nhal").expect("written");
        let first = from(&home, 0).expect("read");
        assert_eq!((first.lines, first.next, first.rotated), (vec!["one".to_owned(), "two".to_owned()], 8, false));
        assert_eq!(from(&home, 8).expect("read").lines, Vec::<String>::new(), "half a line waits");
        // The line is cut by the rotation, and read as one from both files.
        limit(&home, 7).expect("rotated");
        writeln!(log, "f\nnew").expect("written");
        let next = from(&home, 8).expect("read");
        assert_eq!((next.lines, next.next, next.rotated), (vec!["half".to_owned(), "new".to_owned()], 17, false));
        assert_eq!(
            end(&home, 2).expect("read"),
            LogPart { lines: next_lines(&["half", "new"]), next: 17, rotated: false }
        );
        // The log has grown past the old position since: that must not be taken for the same place.
        limit(&home, 5).expect("rotated");
        writeln!(log, "{}", "x".repeat(30)).expect("written");
        let late = from(&home, 8).expect("read");
        assert_eq!((late.lines.len(), late.rotated), (2, true), "{:?}", late.lines);
        assert_eq!((late.lines[0].as_str(), late.next), ("new", 48));
        let none = from(&home, 9999).expect("read");
        assert!(none.rotated && none.next == 48, "a position of another life");
    }

    fn next_lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn a_log_over_its_limit_is_kept_as_one_old_file() {
        let (_dir, home) = home();
        let mut log = home.append(LOG).expect("opened");
        writeln!(log, "one\ntwo\nthree").expect("written");
        assert_eq!(tail(&home, 2).expect("read"), ["two", "three"]);
        limit(&home, 100).expect("small enough");
        assert_eq!(tail(&home, 9).expect("read").len(), 3);
        limit(&home, 8).expect("rotated");
        writeln!(log, "four").expect("the writer goes on");
        assert_eq!(tail(&home, 9).expect("read"), ["three", "four"]);
        assert_eq!(home.tail(OLD_LOG, 100).expect("read").0, b"three\n");
    }

    #[test]
    fn a_process_that_was_warm_goes_on_where_the_log_was() {
        let (_dir, home) = home();
        let mut blue = home.append(LOG).expect("opened");
        writeln!(blue, "blue").expect("written");
        writeln!(home.append("warm.log").expect("opened"), "green").expect("written");
        take_over(&home, "warm.log").expect("taken over");
        writeln!(blue, "still here").expect("written");
        let part = from(&home, 0).expect("read");
        assert_eq!((part.lines, part.next), (next_lines(&["blue", "green"]), 11), "each once, in order");
        assert_eq!(tail(&home, 9).expect("read"), ["blue", "green"]);
        for _ in 0..9 {
            writeln!(blue, "too much").expect("written");
        }
        limit(&home, 20).expect("emptied");
        assert_eq!(home.tail(OLD_LOG, 0).expect("there").1, 0, "what is being replaced fills no disk");
        assert_eq!(from(&home, 5).expect("read").lines, ["green"]);
        assert!(from(&home, 0).expect("read").rotated);
    }
}
