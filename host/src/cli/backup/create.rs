//! `orbitd backup create`: begins one and follows it.

use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{List, listed, size};
use crate::{
    cli::{
        client::{Client, typed},
        failure::Failure,
        output::{self, Progress},
        span,
    },
    ids::{BackupId, Slug},
};

const POLL: Duration = Duration::from_millis(300);

/// Flags of `create`.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name
    slug: Slug,
    /// Don't wait until it is done
    #[arg(long)]
    no_wait: bool,
    /// Longest wait
    #[arg(long, default_value = "1h", value_parser = span::parse, value_name = "DURATION")]
    timeout: Duration,
}

#[derive(Deserialize)]
struct Begun {
    id: BackupId,
}

/// Makes one.
pub async fn run(client: &Client, args: CreateArgs, as_json: bool) -> Result<(), Failure> {
    let slug = &args.slug;
    let answer = client.call(Method::POST, &format!("/v1/workspaces/{slug}/backup"), None).await?;
    let Begun { id } = typed(answer.clone())?;
    if args.no_wait {
        output::json(&answer);
        return Ok(());
    }
    let goes_on = format!("the backup {id} goes on in the daemon; `orbitd backup list {slug}` says how it ends");
    tokio::select! {
        // Cancel-safe: it only reads.
        done = follow(client, slug, id, args.timeout, &goes_on, as_json) => done,
        _ = tokio::signal::ctrl_c() => Err(Failure::failed(goes_on)),
    }
}

async fn follow(
    client: &Client,
    slug: &Slug,
    id: BackupId,
    limit: Duration,
    goes_on: &str,
    as_json: bool,
) -> Result<(), Failure> {
    let began = Instant::now();
    let mut progress = Progress::new(as_json);
    loop {
        let list: List = client.get(&listed(Some(slug))).await?;
        // Listed a moment before old ones are gone; then the next one may begin.
        let done = list.running != Some(id);
        if let Some(backup) = list.items.iter().find(|backup| backup.id == id && done) {
            progress.clear();
            if as_json {
                output::json(&json!(backup));
            } else {
                let (files, bytes) = (backup.parts.len(), size(backup.bytes()));
                output::line(format!("{slug} is backed up: {id}, {files} files, {bytes}"));
            }
            return Ok(());
        }
        if let Some(failed) = list.failure.filter(|failed| failed.id == id) {
            return Err(Failure::failed(format!("{slug} is not backed up: {}", failed.reason)));
        }
        progress.update(&format!("{slug}: backing up"), began.elapsed());
        if began.elapsed() >= limit {
            return Err(Failure::failed(format!("{slug} is not backed up after {} s; {goes_on}", limit.as_secs())));
        }
        sleep(POLL).await;
    }
}
