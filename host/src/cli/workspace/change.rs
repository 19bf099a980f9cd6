//! `orbitd workspace set`, `restart` and `rollout`: change, then wait until the change serves.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{Resource, fetch, judge::Goal, path, wait};
use crate::{
    cli::{
        assignment::{self, Assignment},
        client::{Client, typed},
        failure::Failure,
        files, output, span,
    },
    ids::Slug,
};

const SET_EXAMPLES: &str = "\
Examples:
  orbitd workspace set acme tier=enterprise
  orbitd workspace set acme desired=stopped                    and desired=running to bring it back
  orbitd workspace set acme plugins=catalog,search,techdocs
  orbitd workspace set acme app_config.app.title='Acme & Co'   text
  orbitd workspace set acme app_config.backend.cors=null       removes the key
  orbitd workspace set acme 'app_config.\"a.b\"=[1, 2]'          a key with a dot; JSON value
  orbitd workspace set acme --app-config acme.toml --catalog ./entities

A value is JSON where it reads as JSON, otherwise text; a text that looks like JSON is quoted: '\"5\"'.
If the change does not come up, the last good revision serves again and the command fails with the reason.";

/// Flags of `set`.
#[derive(Debug, Args)]
#[command(after_help = SET_EXAMPLES)]
pub struct SetArgs {
    /// Its name
    slug: Slug,
    /// tier=…, desired=running|stopped, plugins=a,b, app_config.<path>=…
    #[arg(value_name = "KEY=VALUE", required_unless_present_any = ["app_config", "catalog"])]
    assignments: Vec<Assignment>,
    /// Merge a .json or .toml file into its app-config; KEY=VALUE wins over it
    #[arg(long, value_name = "FILE")]
    app_config: Option<PathBuf>,
    /// Replace its catalogue files with those of a folder (*.yaml)
    #[arg(long, value_name = "DIR")]
    catalog: Option<PathBuf>,
    #[command(flatten)]
    wait: Wait,
}

/// Flags of `restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// Its name
    slug: Slug,
    #[command(flatten)]
    wait: Wait,
}

/// Flags of `rollout`.
#[derive(Debug, Args)]
pub struct RolloutArgs {
    /// Its name
    slug: Slug,
    #[command(flatten)]
    wait: Wait,
}

/// How long a command waits.
#[derive(Debug, Args)]
pub struct Wait {
    /// Don't wait until the change serves
    #[arg(long)]
    no_wait: bool,
    /// Longest wait
    #[arg(long, default_value = "5m", value_parser = span::parse, value_name = "DURATION")]
    timeout: Duration,
}

/// Changes the spec.
pub async fn set(client: &Client, args: SetArgs, as_json: bool) -> Result<(), Failure> {
    let mut body = Map::new();
    if let Some(file) = &args.app_config {
        body.insert("app_config".into(), Value::Object(files::app_config(file)?));
    }
    merge(&mut body, assignment::patch(&args.assignments));
    if let Some(folder) = &args.catalog {
        body.insert("catalog".into(), json!(files::catalog(folder)?));
    }
    let before: Resource = typed(fetch(client, &args.slug).await?)?;
    let changed = client.call(Method::PATCH, &path(&args.slug), Some(Value::Object(body))).await?;
    let generation = typed::<Resource>(changed.clone())?.workspace.generation;
    if generation == before.workspace.generation && !as_json {
        output::note(format!("nothing changed: {} is like this already", args.slug));
    }
    finish(client, &args.slug, changed, args.wait, "the change", as_json).await
}

/// Asks for a restart.
pub async fn restart(client: &Client, args: RestartArgs, as_json: bool) -> Result<(), Failure> {
    let asked = client.call(Method::POST, &format!("{}/restart", path(&args.slug)), None).await?;
    finish(client, &args.slug, asked, args.wait, "the restart", as_json).await
}

/// Asks for a rollout.
pub async fn rollout(client: &Client, args: RolloutArgs, as_json: bool) -> Result<(), Failure> {
    let asked = client.call(Method::POST, &format!("{}/rollout", path(&args.slug)), None).await?;
    finish(client, &args.slug, asked, args.wait, "the rollout", as_json).await
}

/// Asks for a new database password.
pub async fn rotate_password(client: &Client, args: RestartArgs, as_json: bool) -> Result<(), Failure> {
    let asked = client.call(Method::POST, &format!("{}/rotate-password", path(&args.slug)), None).await?;
    finish(client, &args.slug, asked, args.wait, "the new password", as_json).await
}

/// Waits for what was asked for, and says how it ended.
pub async fn finish(
    client: &Client,
    slug: &Slug,
    answer: Value,
    wait: Wait,
    what: &str,
    as_json: bool,
) -> Result<(), Failure> {
    let generation = typed::<Resource>(answer.clone())?.workspace.generation;
    let answer = match wait.no_wait {
        true => answer,
        false => wait::until(client, slug, Goal { generation }, wait.timeout, what, as_json).await?,
    };
    if as_json {
        output::json(&answer);
    } else {
        let resource: Resource = typed(answer)?;
        let phase = super::judge::phase(resource.workspace.status.phase);
        output::line(format!("{slug} is {phase}, generation {generation}: {}", resource.url));
    }
    Ok(())
}

/// Objects into objects, anything else over what was there.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_wins_over_the_file() {
        let Value::Object(mut body) = json!({"app_config": {"app": {"title": "file", "x": 1}}}) else { return };
        merge(&mut body, assignment::patch(&["app_config.app.title=line".parse().expect("an assignment")]));
        assert_eq!(Value::Object(body), json!({"app_config": {"app": {"title": "line", "x": 1}}}));
    }
}
