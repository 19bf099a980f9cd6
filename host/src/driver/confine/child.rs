//! The child: orbitd's own program under a hidden verb. It takes everything away from itself and becomes Node.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use command_fds::{CommandFdExt, FdMapping};
use landlock::{RulesetCreated, RulesetStatus};
use rustix::{
    process::{Gid, Resource, Rlimit, Uid, getrlimit, setrlimit, setsid},
    thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use serde_json::json;

use super::{Order, order::Limits};

/// sysexits.h: an operating system error.
const OS_ERROR: u8 = 71;
/// Where the launcher expects the start message, and where it reports.
const MESSAGE: i32 = 3;
const REPORT: i32 = 4;
const REPORT_FILE: &str = "report.jsonl";
/// The kernel takes an instance before the daemon when memory runs out (proc(5): -1000 to 1000).
const OOM_SCORE: &str = "300";

/// Carries out an order (one JSON argument); returns only if it can't. The working directory is the run directory, standard input
/// the start message's pipe, standard output and error the log. Call it before any thread is started.
pub fn become_instance(order: &str) -> ExitCode {
    let error = match serde_json::from_str(order) {
        Ok(order) => obey(order),
        Err(error) => io::Error::other(format!("the order is malformed: {error}")),
    };
    let line =
        json!({"service": "orbitd", "level": "error", "message": format!("the instance can't be confined: {error}")});
    let _ = writeln!(io::stderr(), "{line}");
    ExitCode::from(OS_ERROR)
}

fn obey(order: Order) -> io::Error {
    match confine(&order).and_then(|report| command(&order, report)) {
        // It is Node from here on.
        Ok(mut node) => failed("becoming", &order.program)(node.exec()),
        Err(error) => error,
    }
}

/// Node, with standard input moved to descriptor 3 and the report on 4, whatever was there.
fn command(order: &Order, report: fs::File) -> io::Result<Command> {
    let message = io::stdin().as_fd().try_clone_to_owned()?;
    let mut node = Command::new(&order.program);
    node.arg(&order.launcher).stdin(Stdio::null());
    let mappings = vec![
        FdMapping { parent_fd: message, child_fd: MESSAGE },
        FdMapping { parent_fd: report.into(), child_fd: REPORT },
    ];
    node.fd_mappings(mappings).map_err(io::Error::other)?;
    Ok(node)
}

/// Everything but the last step; the report, open.
fn confine(order: &Order) -> io::Result<fs::File> {
    // What it starts is found by its session.
    setsid()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    for cgroup in &order.cgroups {
        let file = cgroup.join("cgroup.procs");
        fs::write(&file, "0").map_err(failed("entering", &file))?;
    }
    // Best effort: some containers don't let it be written.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    let rules = match &order.fence {
        Some(fence) => Some(fence.open().map_err(io::Error::other)?),
        None => None,
    };
    limit(&order.limits)?;
    if let Some(user) = order.user {
        set_thread_groups(&[])?;
        let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    set_no_new_privs(true)?;
    let mut report = open_report()?;
    let landlock = rules.map(close).transpose()?;
    let event = json!({"event": "confined", "user": order.user, "landlock": landlock, "cgroups": order.cgroups.len()});
    writeln!(report, "{event}")?;
    Ok(report)
}

/// Nothing is taken back from here on.
fn close(rules: RulesetCreated) -> io::Result<&'static str> {
    let status = rules.restrict_self().map_err(io::Error::other)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => "full",
        RulesetStatus::PartiallyEnforced => "partial",
        RulesetStatus::NotEnforced => "none",
    })
}

fn limit(limits: &Limits) -> io::Result<()> {
    let wanted = [
        // Core files would hold secrets.
        (Resource::Core, Some(0)),
        (Resource::Nofile, limits.open_files),
        (Resource::Fsize, limits.file_bytes),
        (Resource::Nproc, limits.processes),
    ];
    for (resource, amount) in wanted {
        let Some(amount) = amount else { continue };
        // Never above what the daemon itself may.
        let amount = getrlimit(resource).maximum.map_or(amount, |most| most.min(amount));
        setrlimit(resource, Rlimit { current: Some(amount), maximum: Some(amount) })?;
    }
    Ok(())
}

/// The report file, opened as the user that it belongs to.
fn open_report() -> io::Result<fs::File> {
    let path = Path::new(REPORT_FILE);
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().append(true).custom_flags(flags).open(path).map_err(failed("opening", path))
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> io::Error {
    let path = path.to_owned();
    move |error| io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}
