//! An instance's log: an O_APPEND file that outlives the daemon, bounded, with one old file beside it.

use std::{io::Write, path::PathBuf, time::Duration};

use super::{DriverError, Home};
use crate::ids::InstanceId;

/// Lines that [`tail`] returns at most.
pub const MAX_LOG_LINES: usize = 5_000;
const MAX_TAIL_BYTES: u64 = 1 << 20;
const MAX_PART_BYTES: u64 = 256 << 10;
const MAX_LINE_CHARS: usize = 4_000;
pub(super) const LOG: &str = "logs/instance.log";
const OLD_LOG: &str = "logs/instance.log.1";
/// Between two looks at a log's size, and while it grows fast: a flood of 1 GB/s writes this long past the limit.
const LOOK: Duration = Duration::from_millis(250);
const LOOK_FAST: Duration = Duration::from_millis(20);
/// A log that grows by this part of its limit between two looks grows fast.
const FAST_PART: u64 = 8;

/// Keeps a log within its limit until `ended`.
pub(super) async fn keep(home: PathBuf, max_bytes: u64, ended: impl Future<Output = ()>) {
    let path = home.join(LOG);
    let (mut pause, mut before) = (LOOK, 0);
    tokio::pin!(ended);
    loop {
        tokio::select! {
            // Both arms only wait.
            () = &mut ended => return,
            () = tokio::time::sleep(pause) => {}
        }
        // Microseconds, four times a second: not worth a thread.
        let size = std::fs::symlink_metadata(&path).map_or(0, |metadata| metadata.len());
        pause = if size.saturating_sub(before) > max_bytes / FAST_PART { LOOK_FAST } else { LOOK };
        before = size;
        if size > max_bytes {
            let home = home.clone();
            let limited = tokio::task::spawn_blocking(move || limit(&Home::open(&home)?, max_bytes)).await;
            if let Ok(Err(error)) = limited {
                tracing::warn!(%error, "an instance's log can't be rotated");
            }
            before = 0;
        }
    }
}

/// A part of a log, and where the next one begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPart {
    /// Whole lines, oldest first, each cut at 4,000 characters.
    pub lines: Vec<String>,
    /// Bytes from the beginning of the log.
    pub next: u64,
    /// The log was rotated since the position that was asked for: lines may be missing before these.
    pub rotated: bool,
}

/// The last lines, and the position after them.
pub(super) fn end(home: &Home, lines: usize) -> Result<LogPart, DriverError> {
    let next = match home.tail(LOG, 0) {
        Err(DriverError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => 0,
        other => other?.1,
    };
    // What is written in between is seen twice rather than never: a position inside it would cut a line.
    Ok(LogPart { lines: tail(home, lines)?, next, rotated: false })
}

/// What was written from a position on, at most 256 KiB of it.
pub(super) fn from(home: &Home, position: u64) -> Result<LogPart, DriverError> {
    let read = |from| match home.read_from(LOG, from, MAX_PART_BYTES) {
        Err(DriverError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok((Vec::new(), 0)),
        other => other,
    };
    let (mut bytes, size) = read(position)?;
    let rotated = size < position;
    let mut begin = position;
    if rotated {
        begin = 0;
        (bytes, _) = read(0)?;
    }
    // A line that is being written comes whole with the next part; one that is longer than a part comes in pieces.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let whole = if whole == 0 && bytes.len() as u64 == MAX_PART_BYTES { bytes.len() } else { whole };
    let text = String::from_utf8_lossy(&bytes[..whole]);
    let lines = text.lines().map(|line| line.chars().take(MAX_LINE_CHARS).collect()).collect();
    Ok(LogPart { lines, next: begin + whole as u64, rotated })
}

/// The last lines, oldest first.
pub(super) fn tail(home: &Home, lines: usize) -> Result<Vec<String>, DriverError> {
    let (bytes, size) = match home.tail(LOG, MAX_TAIL_BYTES) {
        Err(DriverError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut all: Vec<&str> = text.lines().collect();
    if size > MAX_TAIL_BYTES && all.len() > 1 {
        all.remove(0); // cut in the middle
    }
    let from = all.len().saturating_sub(lines.min(MAX_LOG_LINES));
    Ok(all[from..].iter().map(|line| line.chars().take(MAX_LINE_CHARS).collect()).collect())
}

/// Says in the log whose lines follow: one log holds the lines of all of a workspace's instances, one after the other.
pub(super) fn mark_start(home: &Home, id: InstanceId) -> Result<(), DriverError> {
    let failed = |source| DriverError::File { operation: "write", path: PathBuf::from(LOG), source };
    writeln!(home.append(LOG)?, "{{\"service\":\"orbitd\",\"level\":\"info\",\"message\":\"instance {id} starts\"}}")
        .map_err(failed)
}

/// Makes the file that a warm process writes to the log: the process keeps it open. What was the log is the old file then.
pub(super) fn take_over(home: &Home, file: &str) -> Result<(), DriverError> {
    match home.rename(LOG, OLD_LOG) {
        Err(DriverError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
        other => other?,
    }
    home.rename(file, LOG)
}

/// Rotates a log that is over `limit` bytes: the end of it (at most `limit`) becomes the old file, and the file itself is
/// emptied in place, because the instance keeps it open. Lines written in between are lost.
pub(super) fn limit(home: &Home, limit: u64) -> Result<(), DriverError> {
    let (_, size) = home.tail(LOG, 0)?;
    if size <= limit {
        return Ok(());
    }
    let (end, _) = home.tail(LOG, limit)?;
    home.remove_file(OLD_LOG)?;
    home.write_new(OLD_LOG, &end)?;
    home.truncate(LOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_followed_line_by_line_and_over_its_rotation() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::open_or_create(&dir.path().join("home")).expect("made");
        assert_eq!(end(&home, 5).expect("none yet"), LogPart::default());
        home.create_dir("logs").expect("made");
        let mut log = home.append(LOG).expect("opened");
        write!(log, "one\ntwo\nhal").expect("written");
        let first = from(&home, 0).expect("read");
        assert_eq!((first.lines, first.next, first.rotated), (vec!["one".to_owned(), "two".to_owned()], 8, false));
        assert_eq!(from(&home, 8).expect("read").lines, Vec::<String>::new(), "half a line waits");
        writeln!(log, "f").expect("written");
        let next = from(&home, 8).expect("read");
        assert_eq!((next.lines, next.next), (vec!["half".to_owned()], 13));
        limit(&home, 5).expect("rotated");
        writeln!(log, "new").expect("written");
        let after = from(&home, 13).expect("read");
        assert_eq!((after.lines, after.next, after.rotated), (vec!["new".to_owned()], 4, true));
    }

    #[test]
    fn a_log_over_its_limit_is_kept_as_one_old_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::open_or_create(&dir.path().join("home")).expect("made");
        assert_eq!(tail(&home, 5).expect("none yet"), Vec::<String>::new());
        home.create_dir("logs").expect("made");
        let mut log = home.append(LOG).expect("opened");
        writeln!(log, "one\ntwo\nthree").expect("written");
        assert_eq!(tail(&home, 2).expect("read"), ["two", "three"]);
        limit(&home, 100).expect("small enough");
        assert_eq!(tail(&home, 9).expect("read").len(), 3);
        limit(&home, 6).expect("rotated");
        writeln!(log, "four").expect("the writer goes on");
        assert_eq!(tail(&home, 9).expect("read"), ["four"]);
        assert_eq!(home.tail(OLD_LOG, 100).expect("read").0, b"three\n");
    }
}
