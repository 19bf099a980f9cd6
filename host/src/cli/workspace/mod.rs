//! `orbitd workspace …`. Reading commands are in `show` and `follow_text`, changing ones in `create`, `change` and `delete`;
//! `wait` follows a workspace to a goal and `judge` decides, purely, whether it is there.

mod change;
mod create;
mod delete;
mod follow_text;
mod judge;
mod login;
mod revisions;
mod show;
mod sleep;
mod wait;

pub(super) use change::{Wait, finish};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use self::sleep::Ask;
use super::{Global, client::Client, connection::Connection, failure::Failure};
use crate::{ids::Slug, model::Workspace};

const EXAMPLES: &str = "\
Examples:
  orbitd workspace create acme --tier pro --plugin catalog --plugin techdocs
  orbitd workspace list
  orbitd workspace set acme tier=enterprise app_config.app.title=\"Acme's portal\"
  orbitd workspace set acme desired=stopped          down until someone says otherwise; data is kept
  orbitd workspace rollback acme                     to the last good revision, until the spec changes
  orbitd workspace sleep acme                        until the next request; `suspend` keeps the process, in swap
  orbitd workspace logs acme -f
  orbitd workspace delete acme";

/// `orbitd workspace`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WorkspaceArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: WorkspaceCommand,
}

#[derive(Debug, Subcommand)]
enum WorkspaceCommand {
    /// Make a workspace, wait until its Backstage answers, print its URL
    Create(create::CreateArgs),
    /// All workspaces
    List,
    /// One workspace: spec, conditions with reasons, plugins, revision, instance
    Get {
        /// Its name
        slug: Slug,
    },
    /// Change a workspace's spec
    Set(change::SetArgs),
    /// Remove a workspace with its database, files and keys
    Delete(delete::DeleteArgs),
    /// The log of a workspace's instance
    Logs(follow_text::LogsArgs),
    /// What happened to a workspace
    Events(follow_text::EventsArgs),
    /// Restart a workspace's instance; requests are held meanwhile, not failed
    Restart(change::RestartArgs),
    /// Give its database a new password; the old one works until no instance has it
    RotatePassword(change::RestartArgs),
    /// Its revisions: which serves, which are good to return to
    Revisions(revisions::RevisionsArgs),
    /// Return to an earlier revision, byte for byte, until the spec changes
    Rollback(revisions::RollbackArgs),
    /// Roll out the newest configuration (again): ends a rollback, tries a failed revision once more
    Rollout(change::RolloutArgs),
    /// Wake a sleeping workspace, as a request would
    Wake(sleep::SleepArgs),
    /// Suspend its instance: a few MiB of memory, back in a tenth of a second with the next request
    Suspend(sleep::SleepArgs),
    /// Stop its instance until the next request
    Sleep(sleep::SleepArgs),
    /// Stop its instance until someone says otherwise
    Stop(sleep::SleepArgs),
    /// Make a one-time login URL for a browser
    Login(login::LoginArgs),
}

/// A workspace as the admin API gives it.
#[derive(Debug, Clone, Deserialize)]
struct Resource {
    #[serde(flatten)]
    workspace: Workspace,
    /// Public URL.
    url: String,
    /// What runs, where the API says so.
    #[serde(default)]
    instances: Vec<Value>,
}

/// Runs one.
pub async fn run(global: &Global, args: WorkspaceArgs) -> Result<(), Failure> {
    let client = args.connection.open(global)?;
    match args.command {
        WorkspaceCommand::Create(args) => create::run(&client, args, global.json).await,
        WorkspaceCommand::List => show::list(&client, global.json).await,
        WorkspaceCommand::Get { slug } => show::get(&client, &slug, global.json).await,
        WorkspaceCommand::Set(args) => change::set(&client, args, global.json).await,
        WorkspaceCommand::Delete(args) => delete::run(&client, args, global.json).await,
        WorkspaceCommand::Logs(args) => follow_text::logs(&client, args, global.json).await,
        WorkspaceCommand::Events(args) => follow_text::events(&client, args, global.json).await,
        WorkspaceCommand::Restart(args) => change::restart(&client, args, global.json).await,
        WorkspaceCommand::RotatePassword(args) => change::rotate_password(&client, args, global.json).await,
        WorkspaceCommand::Revisions(args) => revisions::list(&client, args, global.json).await,
        WorkspaceCommand::Rollback(args) => revisions::rollback(&client, args, global.json).await,
        WorkspaceCommand::Rollout(args) => change::rollout(&client, args, global.json).await,
        WorkspaceCommand::Wake(args) => sleep::run(&client, Ask::Wake, args, global.json).await,
        WorkspaceCommand::Suspend(args) => sleep::run(&client, Ask::Suspend, args, global.json).await,
        WorkspaceCommand::Sleep(args) => sleep::run(&client, Ask::Sleep, args, global.json).await,
        WorkspaceCommand::Stop(args) => sleep::run(&client, Ask::Stop, args, global.json).await,
        WorkspaceCommand::Login(args) => login::run(&client, args, global.json).await,
    }
}

fn path(slug: &Slug) -> String {
    format!("/v1/workspaces/{slug}")
}

async fn fetch(client: &Client, slug: &Slug) -> Result<Value, Failure> {
    client.get(&path(slug)).await
}
