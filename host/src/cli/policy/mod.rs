//! `orbitd policy …`, a file per verb. Verbs that ask the daemon take a [`Connection`]; the others work without one.
//!
//! A new verb: a file here with its `Args` and `run`, a line in [`PolicyCommand`], a line in [`run`].

mod status;

use clap::{Args, Subcommand};

use super::{Global, connection::Connection, failure::Failure, output};

pub use status::problems;

/// `orbitd policy`.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// All bindings: tier, world, policy, version, digest
    List(status::StatusArgs),
    /// How loading went: what is active, what was refused and why
    Status(status::StatusArgs),
    /// Read the policy folder again now (it is watched anyway); exits 1 if something was refused
    Reload(status::StatusArgs),
}

/// Runs one.
pub async fn run(global: &Global, args: PolicyArgs) -> Result<(), Failure> {
    match args.command {
        PolicyCommand::List(args) => status::list(global, args).await,
        PolicyCommand::Status(args) => status::status(global, args).await,
        PolicyCommand::Reload(args) => status::reload(global, args).await,
    }
}
