//! `make test`: all set-up, then every test of the workspace.

use anyhow::Result;

use crate::{bucket, distribution, guests, paths, services, stages::Stages};

/// What to pass on.
#[derive(Debug, clap::Parser)]
pub struct Args {
    /// Arguments of `cargo test` (a filter, `-- --nocapture`).
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Sets up and tests; prints where the time went, also when a test fails.
pub fn run(args: &Args) -> Result<()> {
    let mut stages = Stages::default();
    let outcome = staged(args, &mut stages);
    stages.summary();
    outcome
}

fn staged(args: &Args, stages: &mut Stages) -> Result<()> {
    stages.run("services", || services::install(services::Need::Test))?;
    stages.run("an S3-compatible server", bucket::install)?;
    // npm waits for network and disk while cargo computes.
    let distribution = distribution::install_beside();
    let built = build(stages);
    let (path, took) = distribution::join(distribution)?;
    stages.took("distribution (beside the builds)", took);
    built?;
    stages.run("cargo test", || {
        let mut cargo = paths::cargo();
        cargo.args(["test", "--release", "--locked", "--workspace"]).args(&args.arguments);
        cargo.env("ORBITD_TEST_DISTRIBUTION", path);
        paths::run(&mut cargo)
    })
}

fn build(stages: &mut Stages) -> Result<()> {
    stages.run("guest policies", || guests::run(&guests::Args { force: false, shipped: false }))?;
    stages.run("building the daemon and the tests", || {
        // Programs too: `cargo test --no-run` leaves out the daemon, which the suite starts.
        let targets = ["--bins", "--tests", "--examples"];
        paths::run(paths::cargo().args(["build", "--release", "--locked", "--workspace"]).args(targets))
    })
}
