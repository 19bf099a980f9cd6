//! `orbitd workspace create`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Resource, judge::Goal, wait};
use crate::{
    cli::{
        client::{Client, typed},
        failure::Failure,
        files, output, span,
    },
    ids::{PluginId, Slug, TierName},
};

const EXAMPLES: &str = "\
Examples:
  orbitd workspace create acme --tier pro
  orbitd workspace create acme --tier pro --plugin catalog --plugin search --app-config acme.toml --catalog ./entities
  orbitd workspace create acme --tier pro --no-wait --json

The first start makes a database and takes some seconds. Ctrl-C stops the waiting, not the work.";

/// Flags of `create`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CreateArgs {
    /// Its name, and the first label of its host name: a-z, 0-9 and '-', starting with a letter
    slug: Slug,
    /// Its class: the stem of a file policies/<tier>.toml
    #[arg(long)]
    tier: TierName,
    /// A plugin it gets; repeat it. Without any the tier chooses
    #[arg(long = "plugin", value_name = "ID")]
    plugins: Vec<PluginId>,
    /// What it asks to have in app-config.yaml: a .json or .toml file
    #[arg(long, value_name = "FILE")]
    app_config: Option<PathBuf>,
    /// A folder of catalogue files (*.yaml)
    #[arg(long, value_name = "DIR")]
    catalog: Option<PathBuf>,
    /// Don't wait until it answers
    #[arg(long)]
    no_wait: bool,
    /// Longest wait
    #[arg(long, default_value = "5m", value_parser = span::parse, value_name = "DURATION")]
    timeout: Duration,
}

/// Creates, waits, prints the URL.
pub async fn run(client: &Client, args: CreateArgs, as_json: bool) -> Result<(), Failure> {
    let mut body = json!({"slug": args.slug, "tier": args.tier});
    if !args.plugins.is_empty() {
        body["plugins"] = json!(args.plugins);
    }
    if let Some(file) = &args.app_config {
        body["app_config"] = Value::Object(files::app_config(file)?);
    }
    if let Some(folder) = &args.catalog {
        body["catalog"] = json!(files::catalog(folder)?);
    }
    let created = client.call(Method::POST, "/v1/workspaces", Some(body)).await?;
    let answer = if args.no_wait {
        created
    } else {
        let generation = typed::<Resource>(created)?.workspace.generation;
        wait::until(client, &args.slug, Goal { generation }, args.timeout, "creation", as_json).await?
    };
    if as_json {
        output::json(&answer);
    } else {
        output::line(typed::<Resource>(answer)?.url);
    }
    Ok(())
}
