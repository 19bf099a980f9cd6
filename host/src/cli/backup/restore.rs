//! `orbitd backup restore`: asks for it, waits until the workspace serves from it.

use clap::Args;
use reqwest::Method;
use serde_json::json;

use crate::{
    cli::{
        client::Client,
        failure::Failure,
        files,
        workspace::{Wait, finish},
    },
    ids::{BackupId, Slug},
};

/// Flags of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The name that the backup lies under
    slug: Slug,
    /// Which
    backup: BackupId,
    /// Restore into this workspace; where there is none of the name it is made
    #[arg(long, value_name = "SLUG")]
    into: Option<Slug>,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    wait: Wait,
}

/// Restores one.
pub async fn run(client: &Client, args: RestoreArgs, as_json: bool) -> Result<(), Failure> {
    let target = args.into.as_ref().unwrap_or(&args.slug);
    if args.into.is_none() && !args.yes {
        confirm(target)?;
    }
    let body = json!({"backup": args.backup, "from": args.slug});
    let asked = client.call_slowly(Method::POST, &format!("/v1/workspaces/{target}/restore"), Some(body)).await?;
    finish(client, target, asked, args.wait, "the restore", as_json).await
}

fn confirm(slug: &Slug) -> Result<(), Failure> {
    let question = format!(
        "This replaces the database of {slug} by the backup's; what it holds now is backed up first.\n\
         Type the name to go on: "
    );
    match files::typed_to_confirm(&question, slug.as_str()) {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::failed(format!("nothing was restored: what was typed is not {slug}"))),
        None => Err(Failure::usage("nobody can be asked here (no terminal); to restore pass --yes")),
    }
}
