//! `make bench`: builds what is measured and runs `orbitd-bench` of the tests crate, which has the harness.

use anyhow::{Context, Result};

use crate::{distribution, envoy, guests, paths, services, stages::Stages};

/// What to measure.
#[derive(Debug, clap::Parser)]
pub struct Args {
    /// `lifecycle`, `sleep`, `proxy`, `policy`, `survival`; without any, everything.
    sections: Vec<String>,
}

/// Builds and measures.
pub fn run(args: &Args) -> Result<()> {
    let mut stages = Stages::default();
    stages.run("services", || services::install(services::Need::Bench))?;
    let distribution = stages.run("distribution", distribution::install)?;
    stages.run("guest policies", || guests::run(&guests::Args { force: false, shipped: false }))?;
    stages.run("building", || {
        let build = ["build", "--release", "--locked", "-p", "orbitd", "-p", "orbitd-tests", "--bins"];
        paths::run(paths::cargo().args(build))
    })?;
    stages.run("building the zoo's neighbour", || {
        // With orbitd: alone the engine would be compiled with other features, Wasmtime included.
        let build = ["build", "--release", "--locked", "-p", "orbit-engine", "-p", "orbitd", "--example", "neighbour"];
        paths::run(paths::cargo().args(build))
    })?;
    // A workspace of its own, so that nothing else compiles these.
    let peers = paths::target().join("policy-peers");
    if args.sections.is_empty() || args.sections.iter().any(|section| section == "policy") {
        stages.run("building the policies' peers", || {
            let build = ["build", "--release", "--locked", "--manifest-path", "tests/policy-peers/Cargo.toml"];
            paths::run(paths::cargo().args(build).env("CARGO_TARGET_DIR", &peers))
        })?;
    }
    // Without the peer the rest is measured all the same.
    let envoy =
        stages.run("Envoy and its filter", || Ok(envoy::install().and_then(|envoy| Ok((envoy, envoy::filter()?)))))?;
    stages.run("measuring", || {
        let results = paths::target().join("bench/results.jsonl");
        let folder = results.parent().context("a path with a folder")?;
        std::fs::create_dir_all(folder)?;
        let mut bench = std::process::Command::new(paths::program("orbitd-bench"));
        bench.env("ORBITD_TEST_DISTRIBUTION", &distribution);
        bench.env("ORBITD_POLICY_NEIGHBOUR", paths::target().join("release/examples/neighbour"));
        match &envoy {
            Ok((program, filter)) => {
                bench.env("ORBITD_ENVOY", program).env("ORBITD_ENVOY_FILTER", filter);
            }
            Err(error) => println!("policy.envoy_wasm_us: not measured: {error:#}"),
        }
        bench.env("ORBITD_POLICY_PEERS", peers.join("release/policy-peers"));
        paths::run(bench.arg(&results).args(&args.sections))
    })?;
    stages.summary();
    Ok(())
}
