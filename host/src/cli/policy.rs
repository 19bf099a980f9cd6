//! `orbitd policy …`: what is bound to which tier, and whether it loaded.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::{Global, connection::Connection, failure::Failure, output};

/// `orbitd policy`.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// All bindings: tier, world, policy, version, digest
    List,
    /// How loading went: what is active, what was refused and why
    Status,
    /// Read the policy folder again now (it is watched anyway); exits 1 if something was refused
    Reload,
}

/// Runs one.
pub async fn run(global: &Global, args: PolicyArgs) -> Result<(), Failure> {
    let client = args.connection.open(global)?;
    let (answer, strict) = match args.command {
        PolicyCommand::List => {
            let status: Value = client.get("/v1/policies").await?;
            if global.json {
                output::json(&status);
            } else {
                output::line(render(&status));
            }
            return Ok(());
        }
        PolicyCommand::Status => (client.get("/v1/policies").await?, false),
        PolicyCommand::Reload => (client.call(Method::POST, "/v1/policies/reload", None).await?, true),
    };
    if global.json {
        output::json(&answer);
    } else {
        output::line(render(&answer));
    }
    let refused = problems(&answer);
    if !global.json {
        for problem in &refused {
            output::note(format!("refused: {problem}"));
        }
    }
    if strict && !refused.is_empty() {
        return Err(Failure::failed("some policies were refused; the last good ones keep serving. Mend them and save"));
    }
    Ok(())
}

fn render(status: &Value) -> String {
    output::tree(status)
}

/// Everything in a status that says why something was refused, with the names on the way to it.
pub fn problems(status: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(status, &mut Vec::new(), &mut found);
    found
}

fn collect(value: &Value, way: &mut Vec<String>, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, way, found)),
        Value::Object(map) => {
            let depth = way.len();
            let names = ["tier", "world", "policy", "name", "file"].iter().filter_map(|key| map.get(*key)?.as_str());
            way.extend(names.map(str::to_owned));
            for (key, value) in map {
                match value {
                    Value::String(reason) if matches!(key.as_str(), "error" | "refused") => {
                        found.push(format!("{}: {reason}", way.join(" ")).trim_start_matches(": ").to_owned());
                    }
                    other => collect(other, way, found),
                }
            }
            way.truncate(depth);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refused_binding_is_named() {
        let status = json!({"version": 3, "tiers": [{"tier": "pro", "error": null, "bindings": [
            {"world": "router", "policy": "route-plugins", "error": "wrong world"}, {"world": "authorizer", "policy": "claims"}]}]});
        assert_eq!(problems(&status), ["pro router route-plugins: wrong world"]);
    }
}
