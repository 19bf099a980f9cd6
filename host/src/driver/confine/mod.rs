//! Keeps instances apart: from each other, from the daemon's own files, and from using up the machine.
//!
//! ```text
//! daemon                                             child (orbitd become-instance ORDER)
//! Confinement::new   what can this machine do?
//! give               files of the home to its user
//! order ───────────▶ spawn ────────────────────────▶ own session · cgroups · Landlock rules opened · limits · own user ·
//!                                                    no new privileges · Landlock · descriptors 3 and 4 ─exec─▶ node launcher
//! ```
//!
//! | measure | keeps out of | where it works |
//! |---|---|---|
//! | own user and group per workspace | others' files, sockets, signals, ptrace, `/proc/<pid>/environ` | daemon is root |
//! | Landlock | every file but its run directory, its databases, the distribution and libraries; every TCP port but its own | Linux 5.13, ports 6.7, signals 6.12 |
//! | no new privileges | setuid programs | always |
//! | limits | core files, descriptors, huge files | always |
//! | cgroups (v1 or v2) | memory, processes, processor of others; nothing escapes its end | daemon may write its own cgroup |
//!
//! The child applies all of it to itself and only then becomes Node, so nothing of a tenant ever runs unconfined; what it can't apply
//! of its order ends it. A process that is started before its workspace is known (a warm pool) is confined the same way to a
//! directory and a user of its own: Landlock is tied to directories, not to their names, so the directory is later renamed into the
//! workspace's home, and the workspace's databases are given to that user.

mod cgroup;
mod child;
mod fence;
mod order;
mod owner;

pub(super) use cgroup::Leash;
pub use child::become_instance;
pub(super) use order::Order;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use self::{cgroup::Cgroups, fence::Fence, order::Limits, owner::Users};
use super::{Distribution, DriverError, Home, Launch};
use crate::{
    ids::InstanceId,
    model::ResourceRules,
    settings::{ConfineMode, ConfineSettings},
};

/// One measure, and whether it is in use here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// What it is.
    pub name: &'static str,
    /// In use.
    pub active: bool,
    /// Which part of it, or why not.
    pub text: String,
}

/// The settings can't be kept on this machine.
#[derive(Debug, thiserror::Error)]
#[error("instances can't be confined as `confine.mode` asks: {missing}; see `orbitd doctor`, or set confine.mode")]
pub struct ConfineError {
    missing: String,
}

/// Where a warm process waits.
pub(super) struct Slot<'a> {
    pub dir: &'a Path,
    /// The folder of all workspaces' homes.
    pub homes: &'a Path,
    pub port: u16,
}

/// How this daemon confines its instances.
pub struct Confinement {
    users: Option<Users>,
    landlock: bool,
    cgroups: Option<Cgroups>,
    read: Vec<PathBuf>,
    measures: Vec<Measure>,
}

impl Confinement {
    /// Finds out what works here. Makes the daemon's own cgroup, if it may, and clears it of what earlier lives left.
    ///
    /// # Errors
    /// `mode` is `required` and something is missing, or `auto` and nothing works.
    pub fn new(settings: &ConfineSettings, distribution: &Distribution, data_dir: &Path) -> Result<Self, ConfineError> {
        Self::open(settings, distribution, data_dir, false).into_result(settings.mode)
    }

    /// The same without making anything: what a daemon with these settings would use.
    pub fn survey(settings: &ConfineSettings, distribution: &Distribution, data_dir: &Path) -> Vec<Measure> {
        Self::open(settings, distribution, data_dir, true).measures
    }

    fn open(settings: &ConfineSettings, distribution: &Distribution, data_dir: &Path, look_only: bool) -> Self {
        let read = [&settings.also_read[..], &[distribution.root.clone(), distribution.node.clone()]].concat();
        if settings.mode == ConfineMode::Off {
            let off = |name| measure(name, Err("confine.mode is off".to_owned()));
            let measures = vec![off("own user"), off("landlock"), off("cgroups")];
            return Self { users: None, landlock: false, cgroups: None, read, measures };
        }
        let users = own_users(settings, &[&distribution.launcher, &distribution.node, data_dir]);
        let landlock = fence::supported();
        let cgroups = Cgroups::open(data_dir, look_only);
        let range = format!("one of {} to {} per workspace", settings.users.0, settings.users.1);
        let measures = vec![
            measure("own user", users.as_ref().map(|_| range).map_err(String::clone)),
            measure("landlock", landlock.clone()),
            measure("cgroups", cgroups.as_ref().map(Cgroups::describe).map_err(String::clone)),
        ];
        Self { users: users.ok(), landlock: landlock.is_ok(), cgroups: cgroups.ok(), read, measures }
    }

    fn into_result(self, mode: ConfineMode) -> Result<Self, ConfineError> {
        let missing: Vec<String> =
            self.measures.iter().filter(|m| !m.active).map(|m| format!("{}: {}", m.name, m.text)).collect();
        let allowed = match mode {
            ConfineMode::Required => 0,
            ConfineMode::Auto => self.measures.len() - 1,
            ConfineMode::Off => self.measures.len(),
        };
        match missing.len() > allowed {
            true => Err(ConfineError { missing: missing.join("; ") }),
            false => Ok(self),
        }
    }

    /// What is in use, and why the rest is not.
    pub fn measures(&self) -> &[Measure] {
        &self.measures
    }

    /// Whether each workspace has a user of its own: the way to their homes must then be open to all.
    pub fn has_own_users(&self) -> bool {
        self.users.is_some()
    }

    /// Gives the run directory and the databases to the workspace's user; the rest of the home stays the daemon's.
    pub(super) fn give(&self, home: &Home, run: &str) -> Result<Option<u32>, DriverError> {
        self.users.as_ref().map(|users| users.give(home, run)).transpose()
    }

    /// What the child does before it becomes Node. Makes the instance's cgroups.
    pub(super) fn order(&self, launch: &Launch, distribution: &Distribution, user: Option<u32>) -> Order {
        let resources = launch.resources;
        let cgroups = match &self.cgroups {
            Some(cgroups) => cgroups.make(launch.id, &resources),
            None => Vec::new(),
        };
        let fence = self.landlock.then(|| Fence {
            read: [&self.read[..], &cgroups, &[Launch::catalog_dir(&launch.home)]].concat(),
            write: vec![Launch::run_dir(&launch.home, launch.id), launch.home.join("db")],
            bind: vec![launch.port],
        });
        Order {
            program: distribution.node.clone(),
            launcher: distribution.launcher.clone(),
            user,
            fence,
            cgroups,
            limits: Limits {
                open_files: some(resources.open_files),
                file_bytes: some(resources.file_mb).map(|mb| mb << 20),
                // Counts all processes of the user: of somebody else's user it would count strangers.
                processes: some(resources.pids).filter(|_| user.is_some()),
            },
        }
    }

    /// Why no process may be started before its workspace is known, if so.
    ///
    /// A warm process becomes the workspace's user when it is released, so until then it may pass through every workspace's home; what
    /// keeps it out of the others' afterwards is its user. Without own users that would be nobody.
    pub(super) fn forbids_warm(&self) -> Option<&'static str> {
        (self.landlock && self.users.is_none())
            .then_some("without a user of its own a warm process could reach other workspaces' files")
    }

    /// The same for a warm process, whose workspace is not known yet: fenced to its slot and the workspaces' homes. It is root until
    /// it is released, and runs nothing but the distribution's code till then.
    pub(super) fn warm_order(&self, slot: &Slot<'_>, distribution: &Distribution) -> Order {
        let resources = ResourceRules::default();
        let fence = self.landlock.then(|| Fence {
            read: self.read.clone(),
            write: vec![slot.dir.to_owned(), slot.homes.to_owned()],
            bind: vec![slot.port],
        });
        Order {
            program: distribution.node.clone(),
            launcher: distribution.launcher.clone(),
            user: None,
            fence,
            cgroups: Vec::new(),
            limits: Limits {
                open_files: some(resources.open_files),
                file_bytes: some(resources.file_mb).map(|mb| mb << 20),
                processes: some(resources.pids).filter(|_| self.users.is_some()),
            },
        }
    }

    /// A warm process becomes an instance: it enters the instance's cgroups. What it uses already is not counted there.
    pub(super) fn admit(&self, id: InstanceId, pid: u32, resources: &ResourceRules) {
        let Some(cgroups) = &self.cgroups else { return };
        for group in cgroups.make(id, resources) {
            if let Err(error) = fs::write(group.join("cgroup.procs"), pid.to_string()) {
                tracing::warn!(group = %group.display(), %error, "an instance runs without this cgroup");
            }
        }
    }

    /// What holds everything that an instance started.
    pub(super) fn leash(&self, id: InstanceId, pid: Option<u32>) -> Leash {
        self.cgroups.as_ref().map(|cgroups| cgroups.leash(id, pid)).unwrap_or_default()
    }
}

fn some(limit: u64) -> Option<u64> {
    Some(limit).filter(|limit| *limit != 0)
}

fn measure(name: &'static str, found: Result<String, String>) -> Measure {
    let active = found.is_ok();
    Measure { name, active, text: found.unwrap_or_else(|why| why) }
}

/// Users of their own need root, and that the way to everything they must reach is open to them.
fn own_users(settings: &ConfineSettings, reach: &[&Path]) -> Result<Users, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("orbitd does not run as root".to_owned());
    }
    let (first, last) = settings.users;
    if first == 0 || first > last {
        return Err(format!("confine.users = [{first}, {last}] is no range of user ids"));
    }
    match reach.iter().find_map(|path| closed(path)) {
        None => Ok(Users::new(first, last)),
        Some(folder) => Err(format!(
            "other users can't enter {}: move what is below it (a folder such as /opt or /var/lib is open), or `chmod o+x` it",
            folder.display()
        )),
    }
}

/// The folder on the way to `path` that others may not enter. `path` itself, if it is a folder, is not looked at.
fn closed(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    let open = |dir: &Path| fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0);
    path.ancestors().skip(1).find(|dir| !open(dir)).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_folder_on_the_way_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let inner = dir.path().join("a/b");
        fs::create_dir_all(&inner).expect("made");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).expect("set");
        fs::set_permissions(dir.path().join("a"), fs::Permissions::from_mode(0o700)).expect("set");
        assert_eq!(closed(&inner), dir.path().join("a").canonicalize().ok());
        assert_eq!(closed(&dir.path().join("a")), None, "the folder itself does not count");
    }
}
