//! The command line. One file per command group; [`output`] is the only place that formats, [`failure`] the only one that
//! knows exit codes, [`client`] the only one that speaks to the daemon.
//!
//! Results go to stdout, everything said on the way there to stderr; `--json` makes both machine-readable. Secrets are read
//! from files or stdin, never from arguments.

mod assignment;
mod backup;
mod client;
mod connection;
mod database;
mod doctor;
mod failure;
mod files;
mod output;
mod policy;
mod serve;
mod span;
mod sse;
mod token;
mod upgrade;
mod workspace;

use std::{future::Future, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use failure::Failure;

use crate::{app, driver};

const EXIT_CODES: &str = "\
Exit codes: 0 ok · 1 failed · 2 wrong usage · 3 not found · 4 conflict · 5 daemon not reachable

Examples:
  orbitd serve --config orbitd.toml                 run the daemon
  orbitd workspace create acme --tier pro           a Backstage of its own for acme
  orbitd workspace get acme                         how it does, plugin by plugin
  orbitd doctor                                     what is wrong here, and what to do about it

Settings: flags over environment (ORBITD__PROXY__LISTEN=…) over the file.";

/// A platform daemon: one real Backstage per workspace, behind WebAssembly policies.
#[derive(Debug, Parser)]
#[command(name = "orbitd", version, after_help = EXIT_CODES, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Global {
    /// The settings file [default: ./orbitd.toml if there is one]
    #[arg(long, global = true, env = "ORBITD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Serve(serve::ServeArgs),
    /// Make, look at, change and remove workspaces
    #[command(visible_alias = "ws")]
    Workspace(workspace::WorkspaceArgs),
    /// Write, test and measure policies; see and reload those of all tiers
    Policy(policy::PolicyArgs),
    /// Back workspaces up, and restore them
    Backup(backup::BackupArgs),
    /// See and drop databases that outlived their workspaces
    Database(database::DatabaseArgs),
    /// Check this machine, the settings and the daemon; says what to do about each problem
    Doctor(doctor::DoctorArgs),
    /// Hand the running daemon over to the program that now lies at its path; no connection is refused
    Upgrade(upgrade::UpgradeArgs),
    /// Make keys and tokens, for demos and tests
    Token(token::TokenArgs),
    /// Compile one policy module; the daemon starts this as a limited child
    #[command(hide = true)]
    CompilePolicy,
    /// Confine this process and become an instance's Node; the daemon starts this as its child
    #[command(hide = true)]
    BecomeInstance {
        /// What to give up, as JSON
        order: String,
    },
}

/// Runs the command of this process' arguments.
pub fn run() -> ExitCode {
    // Explicit, so that no second provider of some dependency is picked. It fails only when one is installed already.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Also `--help` and `--version`, which go to stdout with code 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let Cli { global, command } = cli;
    let done = match command {
        // Before there are threads: it reads and removes variables.
        Command::Serve(args) => match app::activation::listeners() {
            Ok(listeners) => block_on(Threads::All, serve::run(&global, args, listeners)),
            Err(error) => Err(Failure::failed(format!("LISTEN_FDS: {error}; hand over TCP sockets (ListenStream=)"))),
        },
        Command::Upgrade(args) => block_on(Threads::One, upgrade::run(&global, args)),
        Command::Workspace(args) => block_on(Threads::One, workspace::run(&global, args)),
        Command::Policy(args) => block_on(Threads::One, policy::run(&global, args)),
        Command::Backup(args) => block_on(Threads::One, backup::run(&global, args)),
        Command::Database(args) => block_on(Threads::One, database::run(&global, args)),
        Command::Doctor(args) => block_on(Threads::One, doctor::run(&global, args)),
        Command::Token(args) => token::run(&global, args),
        // No runtime, no threads, no log before its limits are set.
        Command::CompilePolicy => return orbit_engine::compile_child::run(),
        Command::BecomeInstance { order } => return driver::become_instance(&order),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(global.json),
    }
}

enum Threads {
    One,
    All,
}

fn block_on(threads: Threads, command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::All => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build().map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    let done = runtime.block_on(command);
    // What still runs (a blocking compile, a cut-off connection) must not hold the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    done
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_lines_are_understood() {
        for line in [
            "orbitd serve --config orbitd.toml --stop-instances --listen 127.0.0.1:0",
            "orbitd workspace create acme --tier pro --plugin catalog --plugin search --no-wait",
            "orbitd ws list --json",
            "orbitd workspace set acme tier=pro app_config.app.title=\"Acme\"",
            "orbitd workspace delete acme --yes --keep-data",
            "orbitd workspace rotate-password acme",
            "orbitd backup create acme --timeout 5m",
            "orbitd backup list --json",
            "orbitd backup restore acme 01976d1c-7f7e-7cc3-98ab-2d4f3e5b6a7c --into acme-drill",
            "orbitd backup verify acme 01976d1c-7f7e-7cc3-98ab-2d4f3e5b6a7c",
            "orbitd database drop backstage_acme_1a2b3c4d --yes",
            "orbitd workspace logs acme -n 100 -f",
            "orbitd workspace login acme --token-file -",
            "orbitd policy status",
            "orbitd policy promote pro authorizer-2",
            "orbitd policy rollback pro router --reason worse --json",
            "orbitd policy resume pro renderer",
            "orbitd policy replay --log d.jsonl --module x.wasm --settings s.toml --fail-on-change",
            "orbitd policy log -f --tier pro --decision deny",
            "orbitd policy new --world authorizer --lang rust office-hours",
            "orbitd policy build office-hours --json",
            "orbitd policy check x.wasm --world router --settings s.toml",
            "orbitd policy test",
            "orbitd policy bench x.wasm --seconds 0.5",
            "orbitd policy explain acme /api/catalog?x=1 --policies p --tier pro --header a:b --claims -",
            "orbitd doctor --json",
            "orbitd token mint --key k --issuer i --audience a --subject alice --workspace acme=developer --lifetime 8h",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        let error = Cli::try_parse_from("orbitd workspace get Acme!".split(' ')).expect_err("a bad slug");
        assert!(error.to_string().contains("must start with a-z"), "{error}");
    }
}
