//! `orbitd policy explain`: one request through a tier, step by step.

use std::path::{Path, PathBuf};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value};

use super::{Connection, Failure, Global, files, output, workbench};
use crate::{
    ids::{Slug, TierName},
    policy::{ExplainRequest, GivenHeaders, Policies, PolicyOptions, remote::RemoteOptions},
    proxy,
};

const EXAMPLES: &str = "\
Shows what each policy of a tier is passed (only what it declared), what it says, and how long it takes. Without --policies the
running daemon answers, with the policies that serve now; with it, those of a folder, and no daemon is needed. Nothing is sent to
a Backstage. Claims are believed as they are given: no signature is looked at.

Examples:
  orbitd policy explain acme /api/catalog/entities --claims alice.json
  orbitd policy explain acme /api/kubernetes/clusters --method POST --header 'X-Door: open' --claims alice.jwt
  orbitd policy explain acme /settings --policies policies --tier free --json";

/// Flags of `explain`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    #[command(flatten)]
    connection: Connection,
    /// Whose request
    #[arg(value_name = "WORKSPACE")]
    workspace: Slug,
    /// Path with ?query
    #[arg(value_name = "PATH", default_value = "/")]
    path: String,
    /// Policies of this tier [default: the workspace's]
    #[arg(long, value_name = "TIER")]
    tier: Option<TierName>,
    /// HTTP method
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// A header of the request; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Claims: a JSON object, or a token whose payload is taken unverified; - is stdin
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// Ask the policies of this folder instead of a daemon's; needs --tier
    #[arg(long, value_name = "DIR", requires = "tier")]
    policies: Option<PathBuf>,
}

/// Explains.
pub async fn run(global: &Global, args: ExplainArgs) -> Result<(), Failure> {
    let claims = match &args.claims {
        Some(file) => claims(global, file)?,
        None => Map::new(),
    };
    let mut headers = GivenHeaders::default();
    for header in &args.headers {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| Failure::usage(format!("--header {header:?}: write it like 'X-Door: open'")))?;
        headers.add(name.trim(), value.trim());
    }
    let asked = ExplainRequest {
        workspace: args.workspace,
        tier: args.tier,
        method: args.method,
        path: args.path,
        headers,
        claims,
    };
    let explanation = match &args.policies {
        Some(folder) => offline(folder, &asked)?,
        None => {
            let body = serde_json::to_value(&asked).map_err(|error| Failure::failed(error.to_string()))?;
            args.connection.open(global)?.call(Method::POST, "/v1/policies/explain", Some(body)).await?
        }
    };
    if global.json {
        output::json(&explanation);
    } else {
        output::line(render(&explanation));
    }
    Ok(())
}

fn offline(folder: &Path, asked: &ExplainRequest) -> Result<Value, Failure> {
    let mut headers = asked.headers.to_map().map_err(Failure::usage)?;
    proxy::as_policies_see(&asked.method, &asked.path, &mut headers).map_err(Failure::failed)?;
    let (cache_folder, cache_key) = workbench::cache().ok_or_else(|| {
        Failure::failed(
            "cannot use the cache for compiled policies: set XDG_CACHE_HOME to a folder that can be written",
        )
    })?;
    let isolation = workbench::isolation()?;
    let modules = cache_folder.with_file_name("policy-modules");
    let policies = Policies::open(PolicyOptions {
        folder: folder.to_owned(),
        cache_folder,
        cache_key,
        isolation,
        rollouts_folder: None,
        remote: RemoteOptions::offline(modules),
        accepted_versions: None,
        decision_log: Default::default(),
    })
    .map_err(|error| Failure::usage(error.to_string()))?;
    let tier = asked.tier.as_ref().ok_or_else(|| Failure::usage("--policies needs --tier"))?;
    match policies.snapshot().explain(tier, asked, &headers) {
        Some(explanation) => serde_json::to_value(explanation).map_err(|error| Failure::failed(error.to_string())),
        None => {
            let refused = policies.status().tier(tier).and_then(|status| Some(status.refused.as_ref()?.reason.clone()));
            let reason = refused.unwrap_or_else(|| format!("{} has no {tier}.toml", folder.display()));
            Err(Failure::failed(format!("tier {tier} has no policies: {reason}")))
        }
    }
}

/// A JSON object, or the payload of a token.
fn claims(global: &Global, file: &Path) -> Result<Map<String, Value>, Failure> {
    let text = files::token(file)?;
    let refused = |why: String| {
        Failure::usage(format!("cannot use the claims in {}: {why}; they are a JSON object or a token", file.display()))
    };
    if text.starts_with('{') {
        return serde_json::from_str(&text).map_err(|error| refused(error.to_string()));
    }
    let payload = text.split('.').nth(1).ok_or_else(|| refused("this is neither".into()))?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(payload).map_err(|error| refused(error.to_string()))?;
    let claims = serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
    if !global.json {
        output::note("note: the token's signature, issuer and times are not looked at");
    }
    Ok(claims)
}

fn render(explanation: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut table = output::Table::new(["BINDING", "POLICY", "SAYS", "TOOK"]);
    for step in explanation["steps"].as_array().into_iter().flatten() {
        let says = if step["said"].is_null() { "not asked".to_owned() } else { spoken(&step["said"]) };
        let took = step["took_us"].as_f64().map_or_else(|| "-".to_owned(), |micros| format!("{micros:.0} µs"));
        table.row([named(step), format!("{} {}", text(&step["policy"]), text(&step["version"])), says, took]);
        if !step["saw"].is_null() {
            table.note(&format!("was passed {}", step["saw"]));
        }
    }
    format!(
        "tier {}, policy set {}\n{}\noutcome: {}",
        text(&explanation["tier"]),
        explanation["set_version"],
        table.render(),
        output::clean(&outcome(&explanation["outcome"]))
    )
}

/// The binding, and that a new version decides where one does.
fn named(step: &Value) -> String {
    let binding = step["binding"].as_str().unwrap_or("-");
    if step["mode"] == "canary" { format!("{binding} (canary)") } else { binding.to_owned() }
}

/// A decision in a few words.
fn spoken(said: &Value) -> String {
    let Some((kind, what)) = said.as_object().and_then(|map| map.iter().next()) else { return said.to_string() };
    let of = |key: &str| what[key].as_str().map_or_else(|| what[key].to_string(), str::to_owned);
    match kind.as_str() {
        "forward" if of("plugin").is_empty() => "forward to the browser app".into(),
        "forward" => format!("forward to plugin {}", of("plugin")),
        "refuse" | "deny" => format!("{kind} {}: {}", of("status"), of("reason")),
        "allow" => format!("allow {}", of("user")),
        _ => format!("{kind}, {}: {}", of("kind"), of("message")),
    }
}

fn outcome(outcome: &Value) -> String {
    let forward = &outcome["forward"];
    if forward.is_null() {
        return match outcome.get("fail") {
            Some(_) => format!("503, because a policy gave no answer ({})", spoken(outcome)),
            None => spoken(outcome),
        };
    }
    let owns: Vec<&str> = forward["ownership"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    format!("{} as {}, who owns {}", spoken(outcome), forward["user"].as_str().unwrap_or("-"), owns.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_told_in_words() {
        let text = render(&json!({"tier": "pro", "set_version": 3, "steps": [
            {"binding": "router", "mode": "canary", "policy": "r", "version": "1", "saw": {"path": "/api/x"}, "took_us": 12.3,
             "said": {"refuse": {"status": 404, "reason": "no x"}}},
            {"binding": "authorizer", "policy": "a", "version": "2"}],
            "outcome": {"refuse": {"status": 404, "reason": "no x"}}}));
        for part in [
            "tier pro, policy set 3",
            "router (canary)",
            "refuse 404: no x  12 µs",
            r#"was passed {"path":"/api/x"}"#,
            "not asked",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let failed = json!({"fail": {"kind": "timeout", "message": "too long"}});
        assert_eq!(outcome(&failed), "503, because a policy gave no answer (fail, timeout: too long)");
        let through = json!({"forward": {"plugin": "", "user": "user:default/a", "ownership": ["user:default/a"]}});
        assert_eq!(outcome(&through), "forward to the browser app as user:default/a, who owns user:default/a");
    }
}
