//! The file of the decision log: whole lines only, rotated by size, readable by its owner alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How often it looks whether its file is still the one of that name: somebody else's rotation moves it away.
const LOOK: Duration = Duration::from_secs(1);

/// Where lines go.
pub(super) struct Sink {
    path: PathBuf,
    max_bytes: u64,
    keep: u32,
    open: Option<Open>,
}

struct Open {
    file: File,
    /// Bytes in it; only whole lines. A device or a pipe has none, is not rotated and not cut.
    bytes: Option<u64>,
    looked: Instant,
}

impl Sink {
    /// Opens nothing yet.
    pub fn new(path: PathBuf, max_bytes: u64, keep: u32) -> Self {
        Self { path, max_bytes, keep, open: None }
    }

    /// Adds whole lines. After an error the file holds none of them, and the next call tries anew.
    pub fn add(&mut self, lines: &[u8], now: Instant) -> io::Result<()> {
        let length = lines.len() as u64;
        let mut open = match self.open.take() {
            Some(open) if now.saturating_duration_since(open.looked) < LOOK => open,
            Some(open) if open.bytes.is_none() || self.is_still(&open.file) => Open { looked: now, ..open },
            _ => self.opened(now)?,
        };
        if open.bytes.is_some_and(|bytes| bytes > 0 && bytes + length > self.max_bytes) {
            drop(open);
            self.rotate()?;
            open = self.opened(now)?;
        }
        if let Err(error) = open.file.write_all(lines) {
            // Half a line would spoil the next one. If it can't be cut off either, the file is opened anew, which looks at its end.
            if let Some(bytes) = open.bytes {
                open.file.set_len(bytes)?;
            }
            return Err(error);
        }
        open.bytes = open.bytes.map(|bytes| bytes + length);
        self.open = Some(open);
        Ok(())
    }

    fn opened(&self, now: Instant) -> io::Result<Open> {
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            let kind = meta.file_type();
            if kind.is_dir() || kind.is_block_device() {
                return Err(io::Error::other("it is neither a file nor a stream"));
            }
            return Ok(Open { file, bytes: None, looked: now });
        }
        let mut bytes = meta.len();
        if bytes > 0 && !ends_with_newline(&self.path)? {
            // A daemon was killed within a line.
            file.write_all(b"\n")?;
            bytes += 1;
        }
        Ok(Open { file, bytes: Some(bytes), looked: now })
    }

    /// `<file>` becomes `<file>.1`, `.1` becomes `.2`…; the oldest goes.
    fn rotate(&self) -> io::Result<()> {
        if self.keep == 0 {
            return fs::remove_file(&self.path);
        }
        for n in (1..self.keep).rev() {
            match fs::rename(self.numbered(n), self.numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))
    }

    fn numbered(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }

    fn is_still(&self, file: &File) -> bool {
        match (file.metadata(), fs::metadata(&self.path)) {
            (Ok(ours), Ok(named)) => (ours.dev(), ours.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn ends_with_newline(path: &Path) -> io::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_rotated_by_size_and_keeps_so_many() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log/decisions.jsonl");
        let mut sink = Sink::new(path.clone(), 10, 2);
        let now = Instant::now();
        for n in 0..5 {
            sink.add(format!("line {n}\n").as_bytes(), now).expect("written");
        }
        let read = |path: &Path| fs::read_to_string(path).expect("there");
        assert_eq!(
            (read(&path), read(&sink.numbered(1)), read(&sink.numbered(2))),
            ("line 4\n".into(), "line 3\n".into(), "line 2\n".into())
        );
        assert!(!sink.numbered(3).exists());
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_full_disk_is_an_error_and_half_a_line_is_ended() {
        let mut full = Sink::new("/dev/full".into(), 10, 2);
        for _ in 0..3 {
            assert_eq!(full.add(b"line\n", Instant::now()).expect_err("full").kind(), io::ErrorKind::StorageFull);
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        fs::write(&path, "{\"half\": ").expect("written");
        let mut sink = Sink::new(path.clone(), 1_000, 2);
        sink.add(b"{}\n", Instant::now()).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("there"), "{\"half\": \n{}\n");
        let mut folder = Sink::new(dir.path().to_owned(), 10, 2);
        assert!(folder.add(b"x\n", Instant::now()).is_err());
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let mut sink = Sink::new(path.clone(), 1_000, 2);
        let now = Instant::now();
        sink.add(b"one\n", now).expect("written");
        fs::rename(&path, dir.path().join("moved")).expect("moved");
        sink.add(b"two\n", now + LOOK).expect("written");
        assert_eq!(fs::read_to_string(&path).expect("there"), "two\n");
    }
}
