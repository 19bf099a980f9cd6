//! A workspace's home, opened as a directory: everything below is reached from this handle with `openat2`, beneath it and
//! through no symbolic link, because instances of the workspace write here too. All calls block briefly: call them off the runtime.

use std::{
    ffi::OsStr,
    fs::{DirBuilder, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, open, openat2, renameat, unlinkat,
};

use super::DriverError;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An opened home.
pub struct Home {
    path: PathBuf,
    fd: OwnedFd,
}

impl Home {
    /// Opens it, and makes it (0700) where there is none.
    pub fn open_or_create(path: &Path) -> Result<Self, DriverError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(DriverError::File { operation: "make", path: path.to_owned(), source }),
        }
        Self::open(path)
    }

    /// Opens it.
    pub fn open(path: &Path) -> Result<Self, DriverError> {
        let fd = open(path, DIRECTORY, Mode::empty()).map_err(|e| DriverError::File {
            operation: "open",
            path: path.to_owned(),
            source: e.into(),
        })?;
        Ok(Self { path: path.to_owned(), fd })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory of it, opened.
    pub fn directory(&self, relative: &str) -> Result<OwnedFd, DriverError> {
        self.open_at(relative, DIRECTORY, "open")
    }

    /// Makes a directory (0700); `false` if there was one.
    pub fn create_dir(&self, relative: &str) -> Result<bool, DriverError> {
        let (parent, name) = self.parent_of(relative)?;
        match mkdirat(&parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::EXIST) => {
                self.open_at(relative, DIRECTORY, "open")?;
                Ok(false)
            }
            Err(errno) => Err(self.error("make", relative, errno.into())),
        }
    }

    /// Writes a new file (0600); fails if there is anything of that name.
    pub fn write_new(&self, relative: &str, bytes: &[u8]) -> Result<(), DriverError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(self.open_at(relative, flags, "make")?);
        file.write_all(bytes).map_err(|source| self.error("write", relative, source))
    }

    /// Puts a file (0640, in its directory's group) in place of whatever is there, whole at any instant; `false` if it says that
    /// already.
    pub fn replace(&self, relative: &str, bytes: &[u8]) -> Result<bool, DriverError> {
        let limit = bytes.len() as u64 + 1;
        if self.tail(relative, limit).is_ok_and(|(there, size)| size < limit && there == bytes) {
            return Ok(false);
        }
        let partial = format!("{relative}.partial");
        self.remove_file(&partial)?;
        self.write_new(&partial, bytes)?;
        let file = self.regular(&partial, OFlags::RDONLY | OFlags::CLOEXEC)?;
        let opened = fchmod(&file, Mode::from_raw_mode(0o640));
        opened.map_err(|errno| self.error("open up", relative, errno.into()))?;
        self.rename(&partial, relative)?;
        Ok(true)
    }

    /// What a directory holds, by name.
    pub fn names(&self, relative: &str) -> Result<Vec<String>, DriverError> {
        let directory = self.directory(relative)?;
        let failed = |errno: rustix::io::Errno| self.error("read", relative, errno.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            if !matches!(name.as_str(), "." | "..") {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Opens a regular file for appending, makes it (0600) where there is none.
    pub fn append(&self, relative: &str) -> Result<File, DriverError> {
        // Non-blocking for the open alone: a planted fifo must not hold the daemon.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = self.regular(relative, flags)?;
        let cleared = rustix::fs::fcntl_getfl(&fd).and_then(|f| rustix::fs::fcntl_setfl(&fd, f - OFlags::NONBLOCK));
        cleared.map_err(|errno| self.error("open", relative, errno.into()))?;
        Ok(File::from(fd))
    }

    /// The last `limit` bytes of a regular file, and its whole size.
    pub fn tail(&self, relative: &str, limit: u64) -> Result<(Vec<u8>, u64), DriverError> {
        let mut file = File::from(self.regular(relative, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC)?);
        let failed = |source| self.error("read", relative, source);
        let size = file.metadata().map_err(failed)?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(limit))).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        Ok((bytes, size))
    }

    /// At most `limit` bytes of a regular file from `from` on, and its whole size.
    pub fn read_from(&self, relative: &str, from: u64, limit: u64) -> Result<(Vec<u8>, u64), DriverError> {
        let mut file = File::from(self.regular(relative, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC)?);
        let failed = |source| self.error("read", relative, source);
        let size = file.metadata().map_err(failed)?.len();
        file.seek(SeekFrom::Start(from)).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        Ok((bytes, size))
    }

    /// Renames within the home; what was there is replaced.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), DriverError> {
        let (from_dir, from_name) = self.parent_of(from)?;
        let (to_dir, to_name) = self.parent_of(to)?;
        renameat(&from_dir, from_name, &to_dir, to_name).map_err(|e| self.error("rename", from, e.into()))
    }

    /// Moves a directory of ours from outside into the home; what stands in it moves along.
    pub fn receive(&self, outside: &Path, to: &str) -> Result<(), DriverError> {
        let (to_dir, to_name) = self.parent_of(to)?;
        renameat(rustix::fs::CWD, outside, &to_dir, to_name)
            .map_err(|e| self.error("move a directory to", to, e.into()))
    }

    /// Removes a file or a link. Fine if there is none.
    pub fn remove_file(&self, relative: &str) -> Result<(), DriverError> {
        let (parent, name) = self.parent_of(relative)?;
        match unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.error("remove", relative, errno.into())),
        }
    }

    /// Empties a regular file.
    pub fn truncate(&self, relative: &str) -> Result<(), DriverError> {
        let file = File::from(self.regular(relative, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC)?);
        file.set_len(0).map_err(|source| self.error("empty", relative, source))
    }

    fn regular(&self, relative: &str, flags: OFlags) -> Result<OwnedFd, DriverError> {
        let fd = self.open_at(relative, flags, "open")?;
        let stat = fstat(&fd).map_err(|errno| self.error("open", relative, errno.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if stat.st_nlink <= 1 => Ok(fd),
            // The same file is somewhere else, too.
            FileType::RegularFile => Err(self.error("open", relative, io::Error::other("it has another name"))),
            _ => Err(self.error("open", relative, io::Error::other("it is not a regular file"))),
        }
    }

    fn open_at(&self, relative: &str, flags: OFlags, operation: &'static str) -> Result<OwnedFd, DriverError> {
        let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o600) } else { Mode::empty() };
        // The kernel asks to try again when a rename raced with `..`-checks.
        for _ in 0..8 {
            match openat2(&self.fd, relative, flags, mode, BENEATH) {
                Ok(fd) => return Ok(fd),
                Err(rustix::io::Errno::AGAIN) => continue,
                Err(errno) => return Err(self.error(operation, relative, errno.into())),
            }
        }
        Err(self.error(operation, relative, io::Error::other("the directory keeps changing")))
    }

    fn parent_of<'a>(&self, relative: &'a str) -> Result<(OwnedFd, &'a OsStr), DriverError> {
        let path = Path::new(relative);
        let name = path.file_name().ok_or_else(|| self.error("open", relative, io::ErrorKind::InvalidInput.into()))?;
        let parent = match path.parent().and_then(Path::to_str) {
            Some(parent) if !parent.is_empty() => parent,
            _ => ".",
        };
        Ok((self.open_at(parent, DIRECTORY, "open")?, name))
    }

    fn error(&self, operation: &'static str, relative: &str, source: io::Error) -> DriverError {
        DriverError::File { operation, path: self.path.join(relative), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_fifos_and_ways_out_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).expect("made");
        std::fs::write(outside.join("file"), "theirs").expect("written");
        let home = Home::open_or_create(&dir.path().join("home")).expect("made");
        std::os::unix::fs::symlink(&outside, dir.path().join("home/run")).expect("linked");
        std::os::unix::fs::symlink(outside.join("file"), dir.path().join("home/log")).expect("linked");
        std::os::unix::fs::symlink(&outside, dir.path().join("link")).expect("linked");
        assert!(home.create_dir("run").is_err(), "a link in place of a directory");
        assert!(home.write_new("run/new", b"x").is_err(), "through a link");
        assert!(home.write_new("log", b"x").is_err(), "over a link");
        assert!(home.append("log").is_err() && home.tail("log", 10).is_err() && home.truncate("log").is_err());
        assert!(home.tail("../outside/file", 10).is_err(), "out of the home");
        assert!(Home::open(&dir.path().join("link")).is_err(), "a link in place of the home");
        let fifo = std::process::Command::new("mkfifo").arg(dir.path().join("home/fifo")).status().expect("ran");
        assert!(fifo.success());
        assert!(home.append("fifo").is_err() && home.tail("fifo", 10).is_err(), "neither opened nor waited for");
        std::fs::hard_link(outside.join("file"), dir.path().join("home/hard")).expect("linked");
        assert!(home.append("hard").is_err() && home.tail("hard", 10).is_err() && home.truncate("hard").is_err());
        assert_eq!(std::fs::read(outside.join("file")).expect("read"), b"theirs");
    }

    #[test]
    fn a_file_is_replaced_only_if_it_says_something_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::open_or_create(&dir.path().join("home")).expect("made");
        home.create_dir("catalog").expect("made");
        let replace = |text: &str| home.replace("catalog/a.yaml", text.as_bytes()).expect("written");
        assert_eq!([replace("one"), replace("one"), replace("on"), replace("one more")], [true, false, true, true]);
        assert_eq!(home.names("catalog").expect("read"), ["a.yaml"]);
        std::fs::remove_file(dir.path().join("home/catalog/a.yaml")).expect("removed");
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("home/catalog/a.yaml")).expect("linked");
        assert!(replace("one"), "a link is replaced, not followed");
        assert_eq!(home.tail("catalog/a.yaml", 9).expect("a file"), (b"one".to_vec(), 3));
    }

    #[test]
    fn a_tail_is_the_end_of_a_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::open_or_create(&dir.path().join("home")).expect("made");
        assert!(home.create_dir("logs").expect("made"));
        assert!(!home.create_dir("logs").expect("there"));
        home.append("logs/a").expect("opened").write_all(b"0123456789").expect("written");
        assert_eq!(home.tail("logs/a", 4).expect("read"), (b"6789".to_vec(), 10));
        home.rename("logs/a", "logs/b").expect("renamed");
        home.remove_file("logs/b").expect("removed");
        home.remove_file("logs/b").expect("gone already");
    }
}
