//! Landlock: which files and ports an instance can reach, whoever its user is.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd, PathFdError, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use serde::{Deserialize, Serialize};

/// The newest one that was tried; the kernel's own may be older (less is enforced) or newer (no more is asked for).
const KNOWN: ABI = ABI::V7;

/// What every Node process needs of the system, to read: libraries, name resolution, certificates, time zones, what the kernel says of
/// the machine. What is not there is passed over.
///
/// All of `/proc`, because a rule for one process's folder does not outlive the kernel's cache of it; of other processes it shows
/// only the command line and counters, since Landlock denies looking into a process outside.
const SYSTEM: [&str; 26] = [
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/nodejs", // Debian's Node keeps a part of itself here
    "/usr/share/zoneinfo",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/proc",
    "/sys/devices/system/cpu",
    "/dev/urandom",
    "/dev/random",
];
/// To write, too.
const DEVICES: [&str; 2] = ["/dev/null", "/dev/zero"];

/// What an instance may reach.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::driver) struct Fence {
    /// Files and folders to read and run, beside the system's.
    pub read: Vec<PathBuf>,
    /// Folders of its own: everything but running what lies there.
    pub write: Vec<PathBuf>,
    /// TCP ports to listen on.
    pub bind: Vec<u16>,
}

impl Fence {
    /// Opens everything; do it while the way is still open. [`RulesetCreated::restrict_self`] then closes it.
    pub(super) fn open(&self) -> Result<RulesetCreated, RulesetError> {
        let everything = AccessFs::from_all(KNOWN);
        let read = AccessFs::from_read(KNOWN);
        let devices = AccessFs::ReadFile | AccessFs::WriteFile;
        // No devices of its own, and nothing that lies where it can write is run.
        let own = everything & !(AccessFs::Execute | AccessFs::MakeBlock | AccessFs::MakeChar);
        let mut rules = Ruleset::default()
            .handle_access(everything)?
            .handle_access(AccessNet::BindTcp)?
            .scope(Scope::from_all(KNOWN))?
            .create()?;
        let resolver = resolver_folder();
        let system = SYSTEM.iter().map(Path::new).chain(resolver.as_deref());
        for path in system.chain(self.read.iter().map(PathBuf::as_path)) {
            rules = allow(rules, path, read)?;
        }
        for path in DEVICES {
            rules = allow(rules, Path::new(path), devices)?;
        }
        for path in &self.write {
            rules = allow(rules, path, own)?;
        }
        for port in &self.bind {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
        }
        Ok(rules)
    }
}

/// Adds a rule for what is there; a file can have fewer rights than a folder.
fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(fd) = open(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
    rules.add_rule(PathBeneath::new(fd, access))
}

fn open(path: &Path) -> Result<PathFd, PathFdError> {
    PathFd::new(path)
}

/// `/etc/resolv.conf` is often a link into a folder of a resolver, which replaces the file there: the folder is what lasts.
fn resolver_folder() -> Option<PathBuf> {
    let file = Path::new("/etc/resolv.conf").canonicalize().ok()?;
    file.parent().filter(|folder| *folder != Path::new("/etc")).map(Path::to_owned)
}

/// In words, what the kernel enforces; `Err` says why nothing.
pub(super) fn supported() -> Result<String, String> {
    // Tried out on a thread that ends right after: there is no other way to ask, and rules bind a thread and its children.
    let tried = std::thread::spawn(|| {
        let rules = Ruleset::default().handle_access(AccessFs::from_all(KNOWN)).and_then(|rules| {
            rules.handle_access(AccessNet::BindTcp)?.scope(Scope::from_all(KNOWN))?.create()?.restrict_self()
        });
        rules.map_err(|error| error.to_string())
    });
    let status = tried.join().map_err(|_| "asking the kernel failed".to_owned())??;
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => kernel_abi.unwrap_or(effective_abi as i32),
        LandlockStatus::NotEnabled => {
            return Err("the kernel has it and does not use it (boot with lsm=landlock,…)".into());
        }
        LandlockStatus::NotImplemented => return Err("the kernel has none (Linux 5.13 or newer)".into()),
    };
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(format!("version {abi}: files, TCP ports, signals")),
        RulesetStatus::PartiallyEnforced => Ok(format!("version {abi}: files; ports from version 4, signals from 6")),
        RulesetStatus::NotEnforced => Err("the kernel does not enforce it".into()),
    }
}
