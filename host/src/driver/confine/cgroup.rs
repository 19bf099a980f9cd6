//! Control groups: how much of the machine an instance may use, and a name for everything it started, however it tried to get away.
//!
//! ```text
//! <where the daemon itself is>/orbitd-<digest of the data directory>/<instance id>     in each hierarchy that has something to give
//! ```
//!
//! Version 1 has a hierarchy per controller, version 2 one for all; many machines mount both and give version 2 no controller, but then it
//! still ends a whole group at once. A daemon that systemd starts needs `Delegate=yes` and `DelegateSubgroup=daemon`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{
    ids::{Digest, InstanceId},
    model::ResourceRules,
};

/// What is asked for, in this order.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// The window that a share of the processor is counted over, microseconds: the kernel's own default.
const CPU_PERIOD: u64 = 100_000;
/// systemd's `DelegateSubgroup`, and what we call ours: version 2 allows no processes beside groups.
const DAEMON: &str = "daemon";
/// Rounds and pause of ending a group.
const END_ROUNDS: usize = 50;
const END_PAUSE: Duration = Duration::from_millis(10);

/// The daemon's place in all hierarchies that it may use.
pub(super) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
    family: String,
    refused: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    two: bool,
    controllers: Vec<&'static str>,
    /// Holds a group per instance.
    family: PathBuf,
}

/// One line of the mount table that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    two: bool,
    /// Which part of the hierarchy is mounted.
    root: PathBuf,
    point: PathBuf,
    controllers: Vec<String>,
}

impl Cgroups {
    /// Makes the daemon's place where it may, and clears it of groups that are empty; with `look_only` it only looks whether it could.
    /// `Err` says why there is none.
    pub(super) fn open(data_dir: &Path, look_only: bool) -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let mounts = mounts(&read("/proc/self/mountinfo")?);
        let own = memberships(&read("/proc/self/cgroup")?);
        let data_dir = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
        let name = Digest::of(data_dir.as_os_str().as_encoded_bytes()).short();
        let mut found = Self { hierarchies: Vec::new(), family: format!("orbitd-{name}"), refused: Vec::new() };
        for mount in mounts {
            let Some(place) = place(&mount, &own) else { continue };
            let settled = if look_only { look(&mount, &place) } else { found.settle(&mount, &place) };
            match settled {
                Ok(Some(hierarchy)) => found.hierarchies.push(hierarchy),
                Ok(None) => {}
                Err(error) => found.refused.push(format!("{}: {error}", place.display())),
            }
        }
        match found.hierarchies.is_empty() {
            false => Ok(found),
            true if found.refused.is_empty() => Err("no cgroup hierarchy is mounted".to_owned()),
            true => Err(format!("{} (as a systemd service: Delegate=yes)", found.refused.join("; "))),
        }
    }

    fn settle(&self, mount: &Mount, place: &Path) -> io::Result<Option<Hierarchy>> {
        let controllers = if mount.two { hand_down(place)? } else { known(&mount.controllers) };
        if !mount.two && controllers.is_empty() {
            return Ok(None);
        }
        let family = place.join(&self.family);
        make(&family)?;
        if mount.two {
            enable(&family, &controllers)?;
        }
        for entry in fs::read_dir(&family)?.flatten() {
            // Goes if nothing is in it.
            let _ = fs::remove_dir(entry.path());
        }
        Ok(Some(Hierarchy { two: mount.two, controllers, family }))
    }

    /// In words.
    pub(super) fn describe(&self) -> String {
        let one = |h: &Hierarchy| match (h.two, h.controllers.is_empty()) {
            (true, true) => "v2 to end them whole".to_owned(),
            (two, _) => format!("v{} {}", if two { 2 } else { 1 }, h.controllers.join(" ")),
        };
        let mut text = self.hierarchies.iter().map(one).collect::<Vec<_>>().join(", ");
        for controller in CONTROLLERS.iter().filter(|c| !self.hierarchies.iter().any(|h| h.controllers.contains(c))) {
            text.push_str(&format!("; no {controller} limit"));
        }
        text
    }

    /// Makes an instance's groups with their limits; those to enter. A limit that can't be set is logged.
    pub(super) fn make(&self, id: InstanceId, rules: &ResourceRules) -> Vec<PathBuf> {
        let mut groups = Vec::new();
        for hierarchy in &self.hierarchies {
            let group = hierarchy.family.join(id.to_string());
            let made = make(&group).and_then(|()| {
                limits(hierarchy, rules).into_iter().try_for_each(|(file, value)| fs::write(group.join(file), value))
            });
            match made {
                Ok(()) => groups.push(group),
                Err(error) => tracing::warn!(group = %group.display(), %error, "an instance runs without this cgroup"),
            }
        }
        groups
    }

    /// The groups of an instance: where this daemon makes them, and where the process really is (an earlier daemon may have been
    /// somewhere else).
    pub(super) fn leash(&self, id: InstanceId, pid: Option<u32>) -> Leash {
        let mut groups: Vec<PathBuf> = self.hierarchies.iter().map(|h| h.family.join(id.to_string())).collect();
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        if let Some(pid) = pid {
            let ours = Path::new(&self.family).join(id.to_string());
            let at = memberships(&read(&format!("/proc/{pid}/cgroup")));
            let inside = |mount: &Mount| group_of(mount, &at).filter(|group| group.ends_with(&ours));
            groups.extend(mounts(&read("/proc/self/mountinfo")).iter().filter_map(inside));
        }
        groups.sort();
        groups.dedup();
        groups.retain(|group| group.is_dir());
        Leash { groups }
    }
}

/// Holds everything that an instance started.
#[derive(Debug, Default)]
pub(in crate::driver) struct Leash {
    groups: Vec<PathBuf>,
}

impl Leash {
    /// Ends all that is in it and removes it. Blocks, half a second at most; returns how many processes are left.
    ///
    /// It can't hit a stranger: a group with this instance's name holds what the instance started and nothing else.
    pub(in crate::driver) fn end(&self) -> usize {
        let mut left = 0;
        for round in 0..END_ROUNDS {
            left = self.groups.iter().map(|group| kill_all(group)).sum();
            if left == 0 {
                break;
            }
            std::thread::park_timeout(END_PAUSE * u32::from(round > 0));
        }
        for group in &self.groups {
            match fs::remove_dir(group) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(group = %group.display(), %error, "a cgroup can't be removed");
                }
                _ => {}
            }
        }
        left
    }
}

/// How many there were to kill.
fn kill_all(group: &Path) -> usize {
    let members = || fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let pids: Vec<i32> = members().lines().filter_map(|line| line.parse().ok()).collect();
    if pids.is_empty() {
        return 0;
    }
    // Version 2 since Linux 5.14: all at once, forks under way included.
    if fs::write(group.join("cgroup.kill"), "1").is_err() {
        for pid in &pids {
            let Some(fd) = Pid::from_raw(*pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else {
                continue;
            };
            // Still in the group, so the pid is still its own.
            if members().lines().any(|line| line.parse() == Ok(*pid)) {
                let _ = pidfd_send_signal(&fd, Signal::KILL);
            }
        }
    }
    pids.len()
}

/// What [`Cgroups::settle`] would find, without changing anything.
fn look(mount: &Mount, place: &Path) -> io::Result<Option<Hierarchy>> {
    let names = match mount.two {
        true => fs::read_to_string(place.join("cgroup.controllers"))?.split_whitespace().map(str::to_owned).collect(),
        false => mount.controllers.clone(),
    };
    let controllers = known(&names);
    if !mount.two && controllers.is_empty() {
        return Ok(None);
    }
    rustix::fs::access(place, rustix::fs::Access::WRITE_OK)?;
    Ok(Some(Hierarchy { two: mount.two, controllers, family: place.to_owned() }))
}

fn make(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn known(names: &[String]) -> Vec<&'static str> {
    CONTROLLERS.into_iter().filter(|name| names.iter().any(|given| given == name)).collect()
}

/// Version 2: which controllers groups below `place` can have, handed down to them.
fn hand_down(place: &Path) -> io::Result<Vec<&'static str>> {
    let names = fs::read_to_string(place.join("cgroup.controllers"))?;
    let controllers = known(&names.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    if controllers.is_empty() || enable(place, &controllers).is_ok() {
        return Ok(controllers);
    }
    // It holds processes. If that is only this daemon, it moves down into a group of its own.
    let own = std::process::id().to_string();
    if fs::read_to_string(place.join("cgroup.procs"))?.lines().any(|pid| pid != own) {
        return Err(io::Error::other("other processes are in the daemon's cgroup"));
    }
    make(&place.join(DAEMON))?;
    fs::write(place.join(DAEMON).join("cgroup.procs"), &own)?;
    enable(place, &controllers)?;
    Ok(controllers)
}

fn enable(place: &Path, controllers: &[&str]) -> io::Result<()> {
    if controllers.is_empty() {
        return Ok(());
    }
    let all = controllers.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    fs::write(place.join("cgroup.subtree_control"), all)
}

/// Files and what to write into them; kernel documentation: cgroup-v1/{memory,pids}, scheduler/sched-bwc, cgroup-v2.
fn limits(hierarchy: &Hierarchy, rules: &ResourceRules) -> Vec<(&'static str, String)> {
    let has = |name: &str| hierarchy.controllers.contains(&name);
    let mut files = Vec::new();
    let memory = (rules.memory_mb.saturating_mul(1 << 20)).to_string();
    let quota = (rules.cpu_percent.saturating_mul(CPU_PERIOD) / 100).max(1_000);
    if has("memory") && rules.memory_mb != 0 {
        if hierarchy.two {
            // One process of an instance killed would leave half an instance.
            files.extend([("memory.max", memory.clone()), ("memory.oom.group", "1".to_owned())]);
        } else {
            files.push(("memory.limit_in_bytes", memory.clone()));
        }
        // Without it a hog fills the machine's swap instead. As much as its memory, because a suspended instance is in there whole;
        // version 1 counts both together. Missing where the kernel does not account for swap.
        let swap = if hierarchy.two { "memory.swap.max" } else { "memory.memsw.limit_in_bytes" };
        if hierarchy.family.join(swap).exists() {
            files.push((swap, memory));
        }
    }
    if has("pids") && rules.pids != 0 {
        files.push(("pids.max", rules.pids.to_string()));
    }
    if has("cpu") && rules.cpu_percent != 0 {
        if hierarchy.two {
            files.push(("cpu.max", format!("{quota} {CPU_PERIOD}")));
        } else {
            files.extend([("cpu.cfs_period_us", CPU_PERIOD.to_string()), ("cpu.cfs_quota_us", quota.to_string())]);
        }
    }
    files
}

/// `/proc/<pid>/cgroup`: `4:memory:/path` per version 1 hierarchy, `0::/path` for version 2.
fn memberships(text: &str) -> Vec<(Vec<String>, PathBuf)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            Some((controllers, PathBuf::from(fields.next()?)))
        })
        .collect()
}

/// proc(5): `36 35 98:0 /root /point options… - type source super-options`.
fn mounts(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let before: Vec<&str> = before.split(' ').collect();
            let after: Vec<&str> = after.split(' ').collect();
            let two = match *after.first()? {
                "cgroup" => false,
                "cgroup2" => true,
                _ => return None,
            };
            let controllers = after.last()?.split(',').map(str::to_owned).collect();
            Some(Mount { two, root: (*before.get(3)?).into(), point: (*before.get(4)?).into(), controllers })
        })
        .collect()
}

/// The group that a process with these memberships is in, as a folder of this mount.
fn group_of(mount: &Mount, memberships: &[(Vec<String>, PathBuf)]) -> Option<PathBuf> {
    let mine = memberships.iter().find(|(controllers, _)| match mount.two {
        true => controllers.is_empty(),
        false => controllers.iter().any(|name| mount.controllers.contains(name)),
    });
    // In a container only a part of the hierarchy is mounted.
    let path = &mine?.1;
    let inside = path.strip_prefix(&mount.root).or_else(|_| path.strip_prefix("/")).ok()?;
    Some(mount.point.join(inside))
}

/// Where the daemon's family goes: where the daemon is, or above if it is in a group made for it alone.
fn place(mount: &Mount, own: &[(Vec<String>, PathBuf)]) -> Option<PathBuf> {
    let group = group_of(mount, own)?;
    match mount.two && group.ends_with(DAEMON) {
        true => group.parent().map(Path::to_owned),
        false => Some(group),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
25 20 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
30 25 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn both_versions_are_found_where_the_daemon_is() {
        let own = memberships("4:memory:/system/orbitd\n1:cpu,cpuacct:/\n0::/system.slice/orbitd.service/daemon\n");
        let places: Vec<_> = mounts(MOUNTS).iter().filter_map(|mount| place(mount, &own)).collect();
        let wanted = ["memory/system/orbitd", "cpu,cpuacct/", "unified/system.slice/orbitd.service"];
        assert_eq!(places, wanted.map(|path| Path::new("/sys/fs/cgroup").join(path)));
        assert!(place(&mounts(MOUNTS)[0], &memberships("2:pids:/\n")).is_none(), "not a member of it");
    }

    #[test]
    fn limits_are_written_as_each_version_wants_them() {
        let rules = ResourceRules { memory_mb: 512, pids: 99, cpu_percent: 150, ..ResourceRules::default() };
        let hierarchy = |two| Hierarchy { two, controllers: CONTROLLERS.into(), family: PathBuf::new() };
        let text = |two| limits(&hierarchy(two), &rules).iter().map(|(f, v)| format!("{f}={v}")).collect::<Vec<_>>();
        assert_eq!(text(true), ["memory.max=536870912", "memory.oom.group=1", "pids.max=99", "cpu.max=150000 100000"]);
        let one =
            ["memory.limit_in_bytes=536870912", "pids.max=99", "cpu.cfs_period_us=100000", "cpu.cfs_quota_us=150000"];
        assert_eq!(text(false), one);
        let none = ResourceRules { memory_mb: 0, pids: 0, cpu_percent: 0, ..rules };
        assert!(limits(&hierarchy(true), &none).is_empty());
    }

    /// A version 2 tree of plain files: what is written where.
    #[test]
    fn version_two_hands_its_controllers_down() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").expect("written");
        fs::write(dir.path().join("cgroup.subtree_control"), "").expect("written");
        assert_eq!(hand_down(dir.path()).expect("handed down"), CONTROLLERS);
        let handed = fs::read_to_string(dir.path().join("cgroup.subtree_control")).expect("read");
        assert_eq!(handed, "+memory +pids +cpu");
    }
}
