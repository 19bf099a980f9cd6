//! xtask: the logic behind the Makefile's verbs.

mod guests;

use clap::Parser;

#[derive(Parser)]
enum Verb {
    /// Builds the guest policies into `policies/modules`.
    Guests(guests::Args),
}

fn main() -> anyhow::Result<()> {
    match Verb::parse() {
        Verb::Guests(args) => guests::run(&args),
    }
}
