//! Opening and reading without trusting: every step is relative to an open folder, one name at a time, with `O_NOFOLLOW`, so
//! a folder swapped for a symlink in between changes nothing.

use std::{
    io::Read,
    os::fd::OwnedFd,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat},
    io::Errno,
};

use super::Rejected;

/// Tries at a file that changes while it is read.
const READ_TRIES: usize = 3;

/// An open folder, and how people call it.
pub(super) struct Folder {
    fd: OwnedFd,
    name: String,
}

/// One name in a folder.
pub(super) struct Found {
    /// The name, without slash.
    pub name: String,
    /// What it is; a symlink is a symlink.
    pub kind: FileType,
    /// What must stay equal for the content to be taken as unchanged.
    pub print: Print,
}

/// A file's fingerprint: the same print (and not too new) means the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Print {
    inode: u64,
    pub(super) size: u64,
    /// Seconds and nanoseconds since the epoch.
    modified: (i64, u64),
    /// The same, of the inode: it moves even where a tool sets the modification time back.
    changed: (i64, u64),
}

// === impl Folder ===

impl Folder {
    /// `<path>/workspaces`. `path` itself is the operator's and may be a symlink.
    pub(super) fn open_root(path: &Path) -> Result<Self, Rejected> {
        let shown = path.display();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let refused = |errno| Rejected(format!("cannot open the config source {shown}: {}", reason(errno)));
        let base = openat(CWD, path, flags, Mode::empty()).map_err(refused)?;
        match openat(&base, "workspaces", flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, name: "workspaces".to_owned() }),
            Err(Errno::NOENT) => Err(Rejected(format!(
                "the config source {shown} holds no folder `workspaces`; make it, or mend source.directory.path"
            ))),
            Err(errno) => Err(Rejected(format!("cannot open {shown}/workspaces: {}", reason(errno)))),
        }
    }

    /// A folder in this one.
    pub(super) fn open(&self, found: &Found) -> Result<Self, Rejected> {
        let name = format!("{}/{}", self.name, found.name);
        if !found.kind.is_dir() {
            return Err(Rejected(format!("{name} is {}, not a folder", describe(found.kind))));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.fd, found.name.as_str(), flags, Mode::empty())
            .map_err(|errno| Rejected(format!("cannot open {name}: {}", reason(errno))))?;
        Ok(Self { fd, name })
    }

    /// How people call it: `workspaces/acme`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Device and inode.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        fstat(&self.fd).ok().map(|stat| (stat.st_dev, stat.st_ino))
    }

    /// The names in it, but for those that start with a dot, sorted. More than `limit` are an error; a name that is not UTF-8
    /// is an error of its own.
    pub(super) fn entries(&self, limit: usize) -> Result<Vec<Result<Found, Rejected>>, Rejected> {
        let failed = |errno| Rejected(format!("cannot list {}: {}", self.name, reason(errno)));
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let bytes = entry.file_name().to_bytes();
            if bytes.starts_with(b".") {
                continue;
            }
            if entries.len() == limit {
                return Err(Rejected(format!("{} holds more than {limit} entries; split it", self.name)));
            }
            entries.push(match std::str::from_utf8(bytes) {
                Err(_) => {
                    let shown = String::from_utf8_lossy(bytes).escape_debug().to_string();
                    Err(Rejected(format!("the name {}/{shown} is not UTF-8; rename it", self.name)))
                }
                Ok(name) => match self.find(name) {
                    Ok(Some(found)) => Ok(found),
                    Ok(None) => continue,
                    Err(rejected) => Err(rejected),
                },
            });
        }
        entries.sort_by(|a, b| {
            let name = |entry: &Result<Found, Rejected>| entry.as_ref().map(|f| f.name.clone()).unwrap_or_default();
            name(a).cmp(&name(b))
        });
        Ok(entries)
    }

    /// One name in it; `None` if there is none.
    pub(super) fn find(&self, name: &str) -> Result<Option<Found>, Rejected> {
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Found {
                name: name.to_owned(),
                kind: FileType::from_raw_mode(stat.st_mode),
                print: Print::of(&stat),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Rejected(format!("cannot look at {}/{name}: {}", self.name, reason(errno)))),
        }
    }

    /// A regular file's text, at most `limit` bytes.
    pub(super) fn read_text(&self, found: &Found, limit: u64) -> Result<String, Rejected> {
        let name = format!("{}/{}", self.name, found.name);
        let failed = |errno| Rejected(format!("cannot read {name}: {}", reason(errno)));
        let regular = |kind: FileType| match kind {
            FileType::RegularFile => Ok(()),
            FileType::Symlink => Err(Rejected(format!("{name} is a symlink; put the file itself there"))),
            kind => Err(Rejected(format!("{name} is {}, not a file", describe(kind)))),
        };
        regular(found.kind)?;
        for _ in 0..READ_TRIES {
            // Not blocking: opening a pipe that took the file's place would wait for a writer.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let fd = openat(&self.fd, found.name.as_str(), flags, Mode::empty()).map_err(failed)?;
            let before = fstat(&fd).map_err(failed)?;
            regular(FileType::from_raw_mode(before.st_mode))?;
            let mut file = std::fs::File::from(fd);
            let mut bytes = Vec::new();
            (&mut file)
                .take(limit + 1)
                .read_to_end(&mut bytes)
                .map_err(|error| Rejected(format!("cannot read {name}: {error}")))?;
            if bytes.len() as u64 > limit {
                return Err(Rejected(format!("{name} is larger than {} KiB; make it smaller", limit >> 10)));
            }
            if Print::of(&fstat(&file).map_err(failed)?) == Print::of(&before) {
                return String::from_utf8(bytes).map_err(|error| {
                    let at = error.utf8_error().valid_up_to();
                    Rejected(format!("{name} is not UTF-8 (byte {at}); save it as UTF-8"))
                });
            }
        }
        Err(Rejected(format!("{name} keeps changing while it is read; it is read again soon")))
    }
}

// === impl Print ===

impl Print {
    #[expect(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
    fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino as u64,
            size: stat.st_size.max(0) as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u64),
        }
    }

    /// Whether a write after now would surely move the print: file times tick coarsely, so a file written in this very tick
    /// could be written again unseen (git calls such an index entry racily clean).
    pub(super) fn is_old(&self, now: SystemTime) -> bool {
        let (seconds, nanos) = self.modified.max(self.changed);
        let newest = UNIX_EPOCH + Duration::new(seconds.max(0) as u64, nanos as u32);
        now.duration_since(newest).is_ok_and(|age| age > Duration::from_secs(2))
    }
}

fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a symlink (none is followed)",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

fn reason(errno: Errno) -> String {
    match errno {
        Errno::LOOP => "it is a symlink, and none is followed".to_owned(),
        Errno::NOTDIR => "it is not a folder (a symlink to one does not count)".to_owned(),
        errno => std::io::Error::from(errno).to_string(),
    }
}
