//! The logic behind the Makefile's verbs. `cargo run --release -p xtask -- <verb>`; each verb does its own set-up, says what it
//! does, and is quick where everything is there already.

mod bench;
mod bucket;
mod check;
mod demo;
mod distribution;
mod envoy;
mod fuzz;
mod guests;
mod nightly;
mod paths;
mod services;
mod stages;
mod test;
mod zoo;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "xtask", about = "The logic behind the Makefile's verbs")]
enum Verb {
    /// Sets everything up, starts two workspaces and prints how to use them; Ctrl-C stops all of it.
    Demo,
    /// Sets everything up and runs the tests.
    Test(test::Args),
    /// Measures orbitd beside nginx, and its policies beside their peers.
    Bench(bench::Args),
    /// Kills the daemon at all pairs of crash points, and at random under mixed operations.
    Nightly,
    /// Builds the guest policies into `policies/modules`.
    Guests(guests::Args),
    /// Damages policy modules and looks for panics in the engine.
    Fuzz(fuzz::Args),
    /// The engine's tests with another Wasmtime.
    Zoo(zoo::Args),
    /// Formatting, lints, licences.
    Check,
    /// Installs the pinned Backstage into the cache and prints its path.
    Distribution,
    /// Installs what tests and bench need of Debian.
    Services,
    /// Removes `.demo`.
    CleanDemo,
}

fn main() -> ExitCode {
    let done = match Verb::parse() {
        Verb::Demo => demo::run(),
        Verb::Test(args) => test::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Nightly => nightly::run(),
        Verb::Guests(args) => guests::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Zoo(args) => zoo::run(&args),
        Verb::Check => check::run(),
        Verb::Distribution => distribution::install().map(|path| println!("{}", path.display())),
        Verb::Services => services::install(services::Need::Bench),
        Verb::CleanDemo => demo::clean(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
