//! `orbitd policy …`, a file per verb. Verbs that ask the daemon take a [`Connection`]; the others work without one.
//!
//! A new verb: a file here with its `Args` and `run`, a line in [`PolicyCommand`], a line in [`run`].

mod access;
mod bench;
mod build;
mod check;
mod explain;
mod keygen;
mod log;
mod new;
mod pull;
mod push;
mod replay;
mod rollout;
mod sign;
mod status;
mod suites;
mod test;
mod workbench;

use clap::{Args, Subcommand};

use super::{
    Global,
    connection::Connection,
    failure::{Code, Failure},
    files, output,
};

pub use status::problems;

/// `orbitd policy`.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Make a project that builds and passes its tests at once
    New(new::NewArgs),
    /// Build a project into its module
    Build(build::BuildArgs),
    /// Say whether a daemon would take a module, and what is in it
    Check(check::CheckArgs),
    /// Run a policy's cases; exits 1 if one fails
    Test(test::TestArgs),
    /// Measure what a decision costs here
    Bench(bench::BenchArgs),
    /// Make a key that signs policies; prints its public half
    Keygen(keygen::KeygenArgs),
    /// Sign a module, for tiers that trust the key
    Sign(sign::SignArgs),
    /// Put a module into an OCI registry
    Push(push::PushArgs),
    /// Get a module out of an OCI registry
    Pull(pull::PullArgs),
    /// Take one request through a tier's policies, step by step
    Explain(explain::ExplainArgs),
    /// All bindings: tier, world, policy, version, digest
    List(status::StatusArgs),
    /// How loading went: what is active, what was refused and why
    Status(status::StatusArgs),
    /// Read the policy folder again now (it is watched anyway); exits 1 if something was refused
    Reload(status::StatusArgs),
    /// The version that is rolled out serves from now on
    Promote(rollout::PromoteArgs),
    /// The version that is rolled out is over; if none is, the one that served before serves again
    Rollback(rollout::RollbackArgs),
    /// Forget what was promoted and rolled back: the tier's file decides
    Resume(rollout::RolloutArgs),
    /// A decision log against a module: which decisions would change
    Replay(replay::ReplayArgs),
    /// Decisions as they are made: whose request, which version, what it said and why
    Log(log::LogArgs),
}

/// Runs one.
pub async fn run(global: &Global, args: PolicyArgs) -> Result<(), Failure> {
    match args.command {
        PolicyCommand::New(args) => new::run(global, args),
        PolicyCommand::Build(args) => build::run(global, args),
        PolicyCommand::Check(args) => check::run(global, args),
        PolicyCommand::Test(args) => test::run(global, args),
        PolicyCommand::Bench(args) => bench::run(global, args),
        PolicyCommand::Keygen(args) => keygen::run(global, &args),
        PolicyCommand::Sign(args) => sign::run(global, &args),
        PolicyCommand::Push(args) => push::run(global, args).await,
        PolicyCommand::Pull(args) => pull::run(global, args).await,
        PolicyCommand::Explain(args) => explain::run(global, args).await,
        PolicyCommand::List(args) => status::list(global, args).await,
        PolicyCommand::Status(args) => status::status(global, args).await,
        PolicyCommand::Reload(args) => status::reload(global, args).await,
        PolicyCommand::Promote(args) => rollout::promote(global, args).await,
        PolicyCommand::Rollback(args) => rollout::rollback(global, args).await,
        PolicyCommand::Resume(args) => rollout::resume(global, args).await,
        PolicyCommand::Replay(args) => replay::run(global, args),
        PolicyCommand::Log(args) => log::run(global, args).await,
    }
}
