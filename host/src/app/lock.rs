//! Whether a daemon holds a data directory, seen without touching its lock: for `orbitd doctor`.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Whether a process holds the directory's lock (`db::DataDir` takes it). `None` where the system does not tell.
pub fn data_dir_in_use(data_dir: &Path) -> Option<bool> {
    let Ok(metadata) = fs::metadata(data_dir.join("lock")) else { return Some(false) };
    // Trying to lock it would make a daemon that starts at this moment believe that there is another one.
    let table = fs::read_to_string("/proc/locks").ok()?;
    Some(is_locked(&table, metadata.ino()))
}

/// Whether the text of `/proc/locks` (proc(5)) names an exclusive flock(2) of this inode. The device is not compared:
/// overlay and btrfs report another one here than stat(2) does.
fn is_locked(table: &str, inode: u64) -> bool {
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number =
            fields.get(5).and_then(|file| file.rsplit(':').next()).and_then(|number| number.parse::<u64>().ok());
        fields.get(1) == Some(&"FLOCK") && fields.get(3) == Some(&"WRITE") && number == Some(inode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exclusive_lock_is_found_by_its_inode() {
        let table = "1: POSIX  ADVISORY  WRITE 871 00:1a:99 0 EOF\n\
            2: FLOCK  ADVISORY  WRITE 4711 08:01:12345 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 4712 08:01:777 0 EOF\n";
        assert!(is_locked(table, 12345));
        assert!(!is_locked(table, 99), "another kind of lock");
        assert!(!is_locked(table, 777), "someone who waits");
        assert!(!is_locked("", 12345));
    }

    #[test]
    fn a_directory_without_a_lock_file_is_free() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(data_dir_in_use(dir.path()), Some(false));
    }
}
