//! `orbitd policy list`, `status` and `reload`: what is bound to which tier, and whether it loaded.

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::{Connection, Failure, Global, output};

/// What the three take.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Prints all bindings.
pub async fn list(global: &Global, args: StatusArgs) -> Result<(), Failure> {
    let status: Value = args.connection.open(global)?.get("/v1/policies").await?;
    show(global, &status);
    Ok(())
}

/// Prints all bindings and what was refused.
pub async fn status(global: &Global, args: StatusArgs) -> Result<(), Failure> {
    let status: Value = args.connection.open(global)?.get("/v1/policies").await?;
    show(global, &status);
    note_problems(global, &status);
    Ok(())
}

/// Lets the daemon read its folder.
///
/// # Errors
/// Something was refused.
pub async fn reload(global: &Global, args: StatusArgs) -> Result<(), Failure> {
    let status = args.connection.open(global)?.call(Method::POST, "/v1/policies/reload", None).await?;
    show(global, &status);
    if note_problems(global, &status) {
        return Err(Failure::failed("some policies were refused; the last good ones keep serving. Mend them and save"));
    }
    Ok(())
}

fn show(global: &Global, status: &Value) {
    if global.json {
        output::json(status);
    } else {
        output::line(output::tree(status));
    }
}

/// Says what was refused; whether anything was.
fn note_problems(global: &Global, status: &Value) -> bool {
    let refused = problems(status);
    for problem in refused.iter().filter(|_| !global.json) {
        output::note(format!("refused: {problem}"));
    }
    !refused.is_empty()
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
