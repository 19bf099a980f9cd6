//! `make nightly`: the kill runs that take too long for every change.

use anyhow::Result;

use crate::{guests, paths, stages::Stages};

/// Builds and kills.
pub fn run() -> Result<()> {
    let mut stages = Stages::default();
    stages.run("guest policies", || guests::run(&guests::Args { force: false, shipped: false }))?;
    stages.run("building", || {
        let build = ["build", "--release", "--locked", "-p", "orbitd", "-p", "orbitd-tests", "--bins"];
        paths::run(paths::cargo().args(build))
    })?;
    stages.run("killing", || paths::run(&mut std::process::Command::new(paths::program("orbitd-kill"))))?;
    stages.summary();
    Ok(())
}
