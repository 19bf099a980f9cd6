//! `orbitd workspace revisions` and `rollback`.

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;

use super::{
    change::{Wait, finish},
    path,
};
use crate::{
    cli::{
        client::{Client, typed},
        failure::Failure,
        output::{self, Table},
    },
    ids::{Digest, Slug},
};

const ROLLBACK_EXAMPLES: &str = "\
Examples:
  orbitd workspace revisions acme                  which there are
  orbitd workspace rollback acme                   to the last good one before the one that serves
  orbitd workspace rollback acme --to 3f9a1c       to this one
  orbitd workspace rollout acme                    ends it: the newest configuration again

A rollback brings back the exact bytes of a revision: its rendered configuration and its catalogue files. The workspace stays on
it until its spec changes (here or in its config source) or a rollout is asked for; newer configurations are rendered and wait.
It does not take back what a newer Backstage did to the database: its migrations go one way.";

/// Flags of `revisions`.
#[derive(Debug, Args)]
pub struct RevisionsArgs {
    /// Its name
    slug: Slug,
}

/// Flags of `rollback`.
#[derive(Debug, Args)]
#[command(after_help = ROLLBACK_EXAMPLES)]
pub struct RollbackArgs {
    /// Its name
    slug: Slug,
    /// The revision: its digest or the beginning of it (6 hex digits at least)
    #[arg(long, value_name = "REVISION")]
    to: Option<String>,
    #[command(flatten)]
    wait: Wait,
}

/// A revision as the admin API lists it.
#[derive(Debug, Deserialize)]
struct Listed {
    digest: Digest,
    active: bool,
    good: bool,
    pinned: bool,
    newest: bool,
    failed: bool,
    plugins: Vec<String>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

#[derive(Debug, Deserialize)]
struct List {
    items: Vec<Listed>,
}

/// All that are kept.
pub async fn list(client: &Client, args: RevisionsArgs, as_json: bool) -> Result<(), Failure> {
    let answer = client.get(&format!("{}/revisions", path(&args.slug))).await?;
    if as_json {
        output::json(&answer);
        return Ok(());
    }
    let List { items } = typed(answer)?;
    let now = OffsetDateTime::now_utc();
    let mut table = Table::new(["REVISION", "RENDERED", "PLUGINS", "STATE"]);
    for one in &items {
        let age = format!("{} ago", output::age(one.created_at, now));
        table.row([one.digest.short(), age, one.plugins.len().to_string(), state(one)]);
    }
    output::line(table.render());
    Ok(())
}

fn state(one: &Listed) -> String {
    let words = [
        (one.active, "serves"),
        (one.pinned, "pinned"),
        (one.good, "good"),
        (one.failed, "failed"),
        (one.newest, "newest"),
    ];
    words.into_iter().filter(|(holds, _)| *holds).map(|(_, word)| word).collect::<Vec<_>>().join(", ")
}

/// Returns to one.
pub async fn rollback(client: &Client, args: RollbackArgs, as_json: bool) -> Result<(), Failure> {
    let body = json!({"to": args.to});
    let asked = client.call(Method::POST, &format!("{}/rollback", path(&args.slug)), Some(body)).await?;
    finish(client, &args.slug, asked, args.wait, "the rollback", as_json).await
}
