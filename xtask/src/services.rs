//! Debian packages that the verbs need: installed where something is missing and we are root, else named in one line.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::paths;

/// For what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Building the distribution and the daemon.
    Demo,
    /// Also a browser, a database server, a registry for modules with its accounts, and a clock that can be set.
    Test,
    /// Also a load generator and the peer.
    Bench,
}

/// Program, package, from which need on.
const PROGRAMS: [(&str, &str, Need); 13] = [
    ("python3", "python3", Need::Demo),
    ("g++", "g++", Need::Demo),
    ("make", "make", Need::Demo),
    ("chromium", "chromium", Need::Test),
    ("psql", "postgresql", Need::Test),
    ("pgbouncer", "pgbouncer", Need::Test),
    ("openssl", "openssl", Need::Test),
    ("strace", "strace", Need::Test),
    ("docker-registry", "docker-registry", Need::Test),
    ("htpasswd", "apache2-utils", Need::Test),
    ("faketime", "faketime", Need::Test),
    ("wrk", "wrk", Need::Bench),
    ("nginx", "nginx-light", Need::Bench),
];

/// Installs what is missing.
pub fn install(need: Need) -> Result<()> {
    for tool in ["node", "npm"] {
        if paths::find(tool).is_none() {
            bail!(
                "{tool} is not installed: the distribution is built with npm (Debian: apt-get install nodejs npm; any Node from 20 does)"
            );
        }
    }
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _, from)| need >= *from && paths::find(program).is_none())
        .map(|(_, package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    apt(&missing)
}

/// Installs packages, or says in one line how.
pub fn apt(missing: &[&str]) -> Result<()> {
    let line = format!("apt-get install -y --no-install-recommends {}", missing.join(" "));
    if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/apt-get").exists() {
        bail!("{} missing: as root run `apt-get update && {line}` and try again", missing.join(", "));
    }
    println!("services: {line}");
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // Package lists may be missing or old: only then the slower way.
    let install = [&["install", "-y", "-qq", "--no-install-recommends"], missing].concat();
    if paths::run(&mut apt(&install)).is_err() {
        paths::run(&mut apt(&["update", "-qq"]))?;
        paths::run(&mut apt(&install))?;
    }
    Ok(())
}
