//! `make check`: formatting, lints, licences and sources of dependencies; advisories where their database can be reached.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::Result;

use crate::{paths, stages::Stages};

/// Pinned: another version may know other lints.
const CARGO_DENY: &str = "0.20.2";

/// Runs all; stops at the first that fails.
pub fn run() -> Result<()> {
    let mut stages = Stages::default();
    let outcome = staged(&mut stages);
    stages.summary();
    outcome
}

fn staged(stages: &mut Stages) -> Result<()> {
    stages.run("cargo fmt --check", || paths::run(paths::cargo().args(["fmt", "--all", "--check"])))?;
    stages.run("cargo clippy", || {
        let lint = ["clippy", "--release", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
        paths::run(paths::cargo().args(lint))
    })?;
    let deny = stages.run("cargo deny is there", cargo_deny)?;
    stages.run("cargo deny check bans licenses sources", || {
        paths::run(Command::new(&deny).current_dir(paths::root()).args(["check", "bans", "licenses", "sources"]))
    })?;
    stages.run("cargo deny check advisories", || advisories(&deny))
}

/// The pinned cargo-deny from the cache, built there once.
fn cargo_deny() -> Result<PathBuf> {
    let root = paths::cache()?.join("tools").join(format!("cargo-deny-{CARGO_DENY}"));
    let program = root.join("bin/cargo-deny");
    if !program.is_file() {
        println!("check: building cargo-deny {CARGO_DENY} into the cache (once; about 5 minutes)");
        let mut install = paths::cargo();
        install.args(["install", "--locked", "--quiet", "cargo-deny", "--version", CARGO_DENY, "--root"]).arg(&root);
        // Beside our own target: its dependencies are not ours.
        install.env("CARGO_TARGET_DIR", root.join("target"));
        paths::run(&mut install)?;
        let _ = std::fs::remove_dir_all(root.join("target"));
    }
    Ok(program)
}

fn advisories(deny: &PathBuf) -> Result<()> {
    let fetched = Command::new(deny)
        .current_dir(paths::root())
        .args(["fetch", "db"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !fetched {
        println!("check: advisories: NOT CHECKED, the advisory database can't be reached from here");
        return Ok(());
    }
    paths::run(Command::new(deny).current_dir(paths::root()).args(["check", "advisories"]))
}
