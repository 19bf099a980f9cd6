//! `orbitd database …`: databases that outlived their workspaces.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    Global,
    client::{Client, typed},
    connection::Connection,
    failure::Failure,
    files,
    output::{self, Table, age},
};
use crate::model::KeptDatabase;

/// `orbitd database`.
#[derive(Debug, Args)]
pub struct DatabaseArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: DatabaseCommand,
}

#[derive(Debug, Subcommand)]
enum DatabaseCommand {
    /// Databases whose workspaces are gone, and until when they are kept
    List,
    /// Drop one for good
    Drop {
        /// Its name, as `list` shows it
        database: String,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Deserialize)]
struct Items {
    items: Vec<KeptDatabase>,
}

/// Runs one.
pub async fn run(global: &Global, args: DatabaseArgs) -> Result<(), Failure> {
    let client = args.connection.open(global)?;
    match args.command {
        DatabaseCommand::List => list(&client, global.json).await,
        DatabaseCommand::Drop { database, yes } => drop(&client, &database, yes, global.json).await,
    }
}

async fn list(client: &Client, as_json: bool) -> Result<(), Failure> {
    let answer: Value = client.get("/v1/kept-databases").await?;
    if as_json {
        output::json(&answer);
        return Ok(());
    }
    let Items { items } = typed(answer)?;
    if items.is_empty() {
        output::note("no database is kept beyond its workspace");
        return Ok(());
    }
    let now = OffsetDateTime::now_utc();
    let mut table = Table::new(["DATABASE", "WAS", "KEPT FOR", "DROPPED IN"]);
    for kept in items {
        let until = kept.drop_after.map_or("never by itself".to_owned(), |at| age(now, at));
        table.row([kept.database, kept.slug.to_string(), age(kept.kept_at, now), until]);
    }
    output::line(table.render());
    Ok(())
}

async fn drop(client: &Client, database: &str, yes: bool, as_json: bool) -> Result<(), Failure> {
    if !yes {
        let question =
            format!("This drops {database} with all its data. It can't be undone.\nType its name to go on: ");
        match files::typed_to_confirm(&question, database) {
            Some(true) => {}
            Some(false) => return Err(Failure::failed("nothing was dropped: what was typed is another name")),
            None => return Err(Failure::usage("nobody can be asked here (no terminal); to drop it pass --yes")),
        }
    }
    client.call(Method::DELETE, &format!("/v1/kept-databases/{database}"), None).await?;
    if as_json {
        output::json(&json!({"dropped": database}));
    } else {
        output::line(format!("{database} is dropped"));
    }
    Ok(())
}
