//! A user of its own for each workspace. Which one is written where nobody can lose it: in the group of the workspace's home.
//!
//! ```text
//! <home>/            root:<user> 0711    the tenant passes through, and can neither make nor rename anything here
//!   catalog/         root:<user> 2750    to read; files 0640
//!   logs/            root       0700     the instance holds its log open, and can't open it
//!   run/             root:<user> 0711
//!     <instance>/    <user>     0700
//!   db/              root:<user> 0711
//!     <database>/    <user>     0700
//! ```

use std::{
    collections::BTreeSet,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::Path,
    sync::{Mutex, PoisonError},
};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid, chownat, fchmod, fchown, fstat, openat};

use super::super::{DriverError, Home, catalog::CATALOG};

/// Levels and entries that are given away at a start; a workspace with more has planted them.
const MAX_DEPTH: u32 = 40;
const MAX_ENTRIES: u32 = 200_000;
/// Not for the group alone: two instances of a workspace may have two users, while one takes over from the other.
const PASS_THROUGH: u32 = 0o711;
/// New files get the directory's group.
const SHOWN: u32 = 0o2750;

/// Hands out users of a range.
pub(super) struct Users {
    first: u32,
    last: u32,
    // Two first starts at once must not take the same.
    choosing: Mutex<()>,
}

impl Users {
    pub(super) fn new(first: u32, last: u32) -> Self {
        Self { first, last, choosing: Mutex::new(()) }
    }

    /// Makes sure that the home has a user, and gives it the run directory and the databases.
    pub(super) fn give(&self, home: &Home, run: &str) -> Result<u32, DriverError> {
        let failed = |source| DriverError::File { operation: "give away", path: home.path().to_owned(), source };
        let user = self.of(home).map_err(failed)?;
        home.create_dir("db")?;
        home.create_dir("run")?;
        let mut left = MAX_ENTRIES;
        for shared in ["run", "db"] {
            pass_through(&home.directory(shared)?, user).map_err(failed)?;
        }
        home.create_dir(CATALOG)?;
        show(&home.directory(CATALOG)?, user).map_err(failed)?;
        // Whatever the daemon made or copied into the databases since.
        let databases = home.directory("db")?;
        give_below(&databases, user, 0, &mut left).map_err(failed)?;
        let run = home.directory(run)?;
        give_below(&run, user, 0, &mut left).map_err(failed)?;
        fchown(&run, Some(Uid::from_raw(user)), Some(Gid::from_raw(user))).map_err(|errno| failed(errno.into()))?;
        Ok(user)
    }

    /// The user of a home, chosen now if it has none.
    fn of(&self, home: &Home) -> io::Result<u32> {
        let _alone = self.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        let group = fs::symlink_metadata(home.path())?.gid();
        if (self.first..=self.last).contains(&group) {
            return Ok(group);
        }
        let homes = home.path().parent().unwrap_or(Path::new("."));
        let taken: BTreeSet<u32> = fs::read_dir(homes)?
            .flatten()
            .filter_map(|entry| Some(entry.metadata().ok()?.gid()))
            .filter(|group| (self.first..=self.last).contains(group))
            .collect();
        let user = self.choose(&taken).ok_or_else(|| {
            io::Error::other(format!("all users from {} to {} are taken: widen confine.users", self.first, self.last))
        })?;
        pass_through(&home.directory(".").map_err(io::Error::other)?, user)?;
        Ok(user)
    }

    /// One above the highest, so that a user is not used again soon; past the end the lowest that is free.
    fn choose(&self, taken: &BTreeSet<u32>) -> Option<u32> {
        let above = taken.last().map_or(Some(self.first), |highest| highest.checked_add(1));
        above.filter(|user| *user <= self.last).or_else(|| (self.first..=self.last).find(|user| !taken.contains(user)))
    }
}

fn pass_through(directory: &OwnedFd, user: u32) -> io::Result<()> {
    fchown(directory, None, Some(Gid::from_raw(user)))?;
    Ok(fchmod(directory, Mode::from_raw_mode(PASS_THROUGH))?)
}

/// Lets the user read a directory of the daemon's, and whatever is put into it later.
fn show(directory: &OwnedFd, user: u32) -> io::Result<()> {
    let group = Some(Gid::from_raw(user));
    fchown(directory, None, group)?;
    fchmod(directory, Mode::from_raw_mode(SHOWN))?;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            chownat(directory, entry.file_name(), None, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(())
}

/// Gives away everything below a directory that is still the daemon's. Follows no link, and gives nothing that has a second name:
/// that could be a file from elsewhere.
fn give_below(directory: &impl AsFd, user: u32, depth: u32, left: &mut u32) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other("its folders are nested too deeply"));
    }
    let own = rustix::process::geteuid().as_raw();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        *left = left.checked_sub(1).ok_or_else(|| io::Error::other("it holds too many files"))?;
        let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
        // Looked at and given through one handle: a swap in between changes nothing.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = match openat(directory, name, flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let stat = fstat(&handle)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if stat.st_uid == own && (is_directory || stat.st_nlink == 1) {
            chownat(&handle, "", Some(Uid::from_raw(user)), Some(Gid::from_raw(user)), AtFlags::EMPTY_PATH)?;
        }
        if is_directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            give_below(&openat(&handle, ".", flags, Mode::empty())?, user, depth + 1, left)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_not_used_again_soon_and_never_twice() {
        let users = Users::new(10, 13);
        let choose = |taken: &[u32]| users.choose(&taken.iter().copied().collect());
        assert_eq!(choose(&[]), Some(10));
        assert_eq!(choose(&[10, 11]), Some(12));
        assert_eq!(choose(&[11, 13]), Some(10), "past the end the lowest that is free");
        assert_eq!(choose(&[10, 11, 12, 13]), None);
    }

    #[test]
    fn a_home_keeps_its_user_and_gives_away_only_what_is_its_own() {
        if !rustix::process::geteuid().is_root() {
            return; // only root can give files away; the suite runs as root in CI
        }
        let dir = tempfile::tempdir().expect("a directory");
        let outside = dir.path().join("outside");
        fs::write(&outside, "theirs").expect("written");
        let homes = dir.path().join("homes");
        fs::create_dir(&homes).expect("made");
        let users = Users::new(300_000, 300_010);
        let give = |name: &str| {
            let home = Home::open_or_create(&homes.join(name)).expect("made");
            home.create_dir("run").expect("made");
            home.create_dir("run/1").expect("made");
            (users.give(&home, "run/1").expect("given"), home)
        };
        let (first, home) = give("a");
        assert_eq!((first, give("b").0), (300_000, 300_001));
        home.create_dir("db/catalog").expect("made");
        home.write_new("db/catalog/file", b"x").expect("written");
        fs::hard_link(&outside, homes.join("a/db/catalog/second-name")).expect("linked");
        std::os::unix::fs::symlink(&outside, homes.join("a/db/catalog/link")).expect("linked");
        assert_eq!(give("a").0, first, "it keeps its user");
        let owner = |path: &Path| fs::symlink_metadata(path).expect("there").uid();
        assert_eq!(owner(&homes.join("a/db/catalog/file")), first);
        assert_eq!(owner(&outside), 0, "neither through a link nor by another name");
        assert_eq!((owner(&homes.join("a")), owner(&homes.join("a/db")), owner(&homes.join("a/run/1"))), (0, 0, first));
    }
}
