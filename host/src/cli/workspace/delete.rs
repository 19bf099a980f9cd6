//! `orbitd workspace delete`: asks, deletes, waits until it is gone.

use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Resource, fetch, path};
use crate::{
    cli::{
        client::{Client, typed},
        failure::{Code, Failure},
        files,
        output::{self, Progress},
        span,
    },
    ids::{Slug, WorkspaceId},
};

const POLL: Duration = Duration::from_millis(300);

/// Flags of `delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Its name
    slug: Slug,
    /// Don't ask
    #[arg(long)]
    yes: bool,
    /// Keep its database, closed; `orbitd database list` shows it
    #[arg(long)]
    keep_data: bool,
    /// Longest wait until it is gone
    #[arg(long, default_value = "5m", value_parser = span::parse, value_name = "DURATION")]
    timeout: Duration,
}

/// Deletes one.
pub async fn run(client: &Client, args: DeleteArgs, as_json: bool) -> Result<(), Failure> {
    let slug = &args.slug;
    let workspace = typed::<Resource>(fetch(client, slug).await?)?.workspace;
    if !args.yes {
        confirm(slug, args.keep_data)?;
    }
    let query = if args.keep_data { "?keep_data=true" } else { "" };
    client.call(Method::DELETE, &format!("{}{query}", path(slug)), None).await?;
    let goes_on =
        format!("the deletion of {slug} goes on in the daemon; `orbitd workspace get {slug}` says how far it is");
    tokio::select! {
        // Cancel-safe: it only reads.
        gone = until_gone(client, slug, workspace.id, args.timeout, &goes_on, as_json) => gone?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::failed(goes_on)),
    }
    if as_json {
        output::json(&json!({"deleted": slug, "id": workspace.id, "data_kept": args.keep_data}));
    } else if args.keep_data {
        output::line(format!("{slug} is gone, its database is kept: `orbitd database list`; the name is free"));
    } else {
        output::line(format!(
            "{slug} is gone: instance stopped, database, files, log and keys dropped; the name is free"
        ));
    }
    Ok(())
}

fn confirm(slug: &Slug, keep_data: bool) -> Result<(), Failure> {
    let dropped = if keep_data { "files, log and keys" } else { "database, files, log and keys" };
    let question = format!(
        "This stops the Backstage of {slug} and drops its {dropped}. It can't be undone.\n\
         Type the name to go on: "
    );
    match files::typed_to_confirm(&question, slug.as_str()) {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::failed(format!("nothing was deleted: what was typed is not {slug}"))),
        None => Err(Failure::usage(format!(
            "nobody can be asked here (no terminal); to delete {slug} with all its data pass --yes"
        ))),
    }
}

async fn until_gone(
    client: &Client,
    slug: &Slug,
    id: WorkspaceId,
    limit: Duration,
    goes_on: &str,
    quiet: bool,
) -> Result<(), Failure> {
    let began = Instant::now();
    let mut progress = Progress::new(quiet);
    loop {
        match fetch(client, slug).await {
            Err(failure) if failure.code == Code::NotFound => return Ok(()),
            // Someone made a new one under the name: the old one is gone.
            Ok(answer) if typed::<Resource>(answer.clone())?.workspace.id != id => return Ok(()),
            Ok(_) => progress.update(&format!("{slug}: deleting"), began.elapsed()),
            Err(failure) => {
                return Err(Failure { code: failure.code, message: format!("{}; {goes_on}", failure.message) });
            }
        }
        if began.elapsed() >= limit {
            return Err(Failure::failed(format!("{slug} is not gone after {} s; {goes_on}", limit.as_secs())));
        }
        sleep(POLL).await;
    }
}
