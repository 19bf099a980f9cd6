//! An instance's log: an O_APPEND file that outlives the daemon, bounded, with one old file beside it.

use std::{io::Write, path::PathBuf};

use super::{DriverError, Home};
use crate::ids::InstanceId;

/// Lines that [`tail`] returns at most.
pub const MAX_LOG_LINES: usize = 5_000;
const MAX_TAIL_BYTES: u64 = 1 << 20;
const MAX_LINE_CHARS: usize = 4_000;
pub(super) const LOG: &str = "logs/instance.log";
const OLD_LOG: &str = "logs/instance.log.1";

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
