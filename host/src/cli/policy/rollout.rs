//! `orbitd policy promote`, `rollback` and `resume`: what becomes of a version.

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Connection, Failure, Global, output};
use crate::cli::client::typed;

const PROMOTE_HELP: &str = "\
The version under [<binding>.next] of the tier's file serves all workspaces of the tier from the next request on; none fails on the way.
The file stays as it is: move the version to [<binding>] when you next touch it, and nothing changes then.

  orbitd policy promote pro router
  orbitd policy promote pro authorizer-2      the second [[authorizer]]";

const ROLLBACK_HELP: &str = "\
If a version is rolled out ([<binding>.next], shadow or canary), that is over. If none is, the version that served before the present one
serves again, also when its file was overwritten: the last five are kept. It lasts until the tier's file names another version, or until
`orbitd policy resume`.

  orbitd policy rollback pro authorizer --reason \"denies robots\"";

/// What the three take.
#[derive(Debug, Args)]
pub struct RolloutArgs {
    /// The tier: `pro`
    tier: String,
    /// The binding: router, authorizer, authorizer-2…, renderer
    #[arg(value_name = "BINDING")]
    binding: String,
    #[command(flatten)]
    connection: Connection,
}

/// `promote`.
#[derive(Debug, Args)]
#[command(after_help = PROMOTE_HELP)]
pub struct PromoteArgs {
    #[command(flatten)]
    rollout: RolloutArgs,
}

/// `rollback`.
#[derive(Debug, Args)]
#[command(after_help = ROLLBACK_HELP)]
pub struct RollbackArgs {
    #[command(flatten)]
    rollout: RolloutArgs,
    /// Why, for status and log
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Event {
    tier: String,
    binding: String,
    digest: Option<String>,
}

/// Makes the next version the one that serves.
pub async fn promote(global: &Global, args: PromoteArgs) -> Result<(), Failure> {
    done(global, args.rollout, "promote", None, |event, version| {
        format!("{} {}: {version} serves all workspaces of the tier now", event.tier, event.binding)
    })
    .await
}

/// Ends the next version, or goes back to the one before.
pub async fn rollback(global: &Global, args: RollbackArgs) -> Result<(), Failure> {
    let body = Some(json!({ "reason": args.reason }));
    done(global, args.rollout, "rollback", body, |event, version| {
        format!("{} {}: {version} is out; `orbitd policy status` shows what serves", event.tier, event.binding)
    })
    .await
}

/// Lets the tier's file decide again.
pub async fn resume(global: &Global, args: RolloutArgs) -> Result<(), Failure> {
    done(global, args, "resume", None, |event, _| {
        format!("{} {}: the tier's file decides again", event.tier, event.binding)
    })
    .await
}

async fn done(
    global: &Global,
    args: RolloutArgs,
    verb: &str,
    body: Option<Value>,
    say: impl FnOnce(&Event, &str) -> String,
) -> Result<(), Failure> {
    let client = args.connection.open(global)?;
    for (what, text) in [("tier", &args.tier), ("binding", &args.binding)] {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if text.is_empty() || !text.chars().all(plain) {
            return Err(Failure::usage(format!("{text:?} is no {what}; `orbitd policy status` lists them")));
        }
    }
    let path = format!("/v1/policies/{}/{}/{verb}", args.tier, args.binding);
    let answer = client.call(Method::POST, &path, body).await?;
    if global.json {
        output::json(&answer);
        return Ok(());
    }
    let event: Event = typed(answer)?;
    let short: String =
        event.digest.iter().flat_map(|digest| digest.trim_start_matches("sha256:").chars()).take(12).collect();
    output::line(say(&event, &format!("version {short}")));
    Ok(())
}
