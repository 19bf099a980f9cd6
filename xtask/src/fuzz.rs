//! `cargo xtask fuzz`: damages modules by rule and looks for panics in the policy engine. (With a nightly compiler there is also
//! `cargo +nightly fuzz run module` in host/engine, which looks for them by coverage.)

use anyhow::Result;

use crate::paths;

/// How long and from where.
#[derive(Debug, clap::Parser)]
pub struct Args {
    /// Modules to damage and check; a million take some minutes.
    #[arg(long, default_value_t = 1_000_000)]
    modules: u64,
    /// Of those that pass the checks, so many are also compiled, loaded and called (10 to 100 ms each).
    #[arg(long, default_value_t = 5_000)]
    calls: u64,
    /// Names the run: the same seed makes the same modules.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs; a module that makes something panic is kept in `target/fuzz`.
pub fn run(args: &Args) -> Result<()> {
    let keep = paths::target().join("fuzz");
    let mut cargo = paths::cargo();
    cargo
        .args(["run", "--release", "--locked", "--package", "orbit-engine", "--example", "fuzz_modules", "--"])
        .args(["--modules", &args.modules.to_string(), "--calls", &args.calls.to_string()])
        .args(["--seed", &args.seed.to_string(), "--keep"])
        .arg(keep);
    paths::run(&mut cargo)
}
