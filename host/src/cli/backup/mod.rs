//! `orbitd backup …`: make, look at, check, restore and remove backups. The work is the daemon's; here it is asked for and followed.

mod create;
mod restore;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::{
    Global,
    client::{Client, typed},
    connection::Connection,
    failure::Failure,
    files,
    output::{self, Table, age},
};
use crate::{
    ids::{BackupId, Slug},
    model::Backup,
};

const EXAMPLES: &str = "\
Examples:
  orbitd backup create acme                          now, while it serves
  orbitd backup list acme                            newest first; also of a workspace that is gone
  orbitd backup verify acme 0197…                    reads every byte and compares digests
  orbitd backup restore acme 0197…                   its database as it was then; it is backed up first
  orbitd backup restore acme 0197… --into acme-drill a new workspace of it: the restore drill
  orbitd backup delete acme 0197…

Schedules and how many are kept are the tier's: [backup] in policies/<tier>.toml. Where they lie: [backups] in orbitd.toml.";

/// `orbitd backup`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BackupArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: BackupCommand,
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// Back a workspace up now, and wait until that is done
    Create(create::CreateArgs),
    /// Whole backups, newest first
    List {
        /// Of this workspace, also when it is gone [default: all]
        slug: Option<Slug>,
    },
    /// Replace a workspace's database by a backup's, or make a new workspace of it
    Restore(restore::RestoreArgs),
    /// Read every byte of a backup and compare it with its digest
    Verify {
        /// Whose
        slug: Slug,
        /// Which
        backup: BackupId,
    },
    /// Remove a backup for good
    Delete {
        /// Whose
        slug: Slug,
        /// Which
        backup: BackupId,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Deserialize)]
struct List {
    items: Vec<Backup>,
    running: Option<BackupId>,
    failure: Option<Failed>,
}

#[derive(Deserialize)]
struct Failed {
    id: BackupId,
    reason: String,
}

/// Runs one.
pub async fn run(global: &Global, args: BackupArgs) -> Result<(), Failure> {
    let client = args.connection.open(global)?;
    match args.command {
        BackupCommand::Create(args) => create::run(&client, args, global.json).await,
        BackupCommand::List { slug } => list(&client, slug.as_ref(), global.json).await,
        BackupCommand::Restore(args) => restore::run(&client, args, global.json).await,
        BackupCommand::Verify { slug, backup } => verify(&client, &slug, backup, global.json).await,
        BackupCommand::Delete { slug, backup, yes } => delete(&client, &slug, backup, yes, global.json).await,
    }
}

fn listed(slug: Option<&Slug>) -> String {
    match slug {
        Some(slug) => format!("/v1/backups?slug={slug}"),
        None => "/v1/backups".to_owned(),
    }
}

async fn list(client: &Client, slug: Option<&Slug>, as_json: bool) -> Result<(), Failure> {
    let answer: Value = client.get(&listed(slug)).await?;
    if as_json {
        output::json(&answer);
        return Ok(());
    }
    let List { items, running, failure } = typed(answer)?;
    if items.is_empty() {
        output::note("no backups yet; make one: orbitd backup create <slug>");
    } else {
        output::line(table(&items, OffsetDateTime::now_utc()));
    }
    if let Some(id) = running {
        output::note(format!("{id} is being made"));
    }
    if let Some(failed) = failure {
        output::note(format!("the newest try failed: {}", output::clean(&failed.reason)));
    }
    Ok(())
}

fn table(items: &[Backup], now: OffsetDateTime) -> String {
    let mut table = Table::new(["SLUG", "BACKUP", "AGE", "WHY", "DATABASE", "FILES", "SIZE"]);
    for backup in items {
        table.row([
            backup.slug.to_string(),
            backup.id.to_string(),
            age(backup.taken_at, now),
            backup.reason.as_str().to_owned(),
            backup.database.clone(),
            backup.parts.len().to_string(),
            size(backup.bytes()),
        ]);
    }
    table.render()
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

async fn verify(client: &Client, slug: &Slug, id: BackupId, as_json: bool) -> Result<(), Failure> {
    let answer = client.call_slowly(Method::POST, &format!("/v1/backups/{slug}/{id}/verify"), None).await?;
    if as_json {
        output::json(&answer);
        return Ok(());
    }
    let backup: Backup = typed(answer)?;
    output::line(format!("{id} is whole: {} files, {}", backup.parts.len(), size(backup.bytes())));
    Ok(())
}

async fn delete(client: &Client, slug: &Slug, id: BackupId, yes: bool, as_json: bool) -> Result<(), Failure> {
    if !yes {
        let question =
            format!("This removes the backup {id} of {slug} for good.\nType the workspace's name to go on: ");
        match files::typed_to_confirm(&question, slug.as_str()) {
            Some(true) => {}
            Some(false) => return Err(Failure::failed("nothing was removed: what was typed is another name")),
            None => return Err(Failure::usage("nobody can be asked here (no terminal); to remove it pass --yes")),
        }
    }
    client.call(Method::DELETE, &format!("/v1/backups/{slug}/{id}"), None).await?;
    if as_json {
        output::json(&serde_json::json!({"deleted": id, "slug": slug}));
    } else {
        output::line(format!("the backup {id} of {slug} is gone"));
    }
    Ok(())
}
