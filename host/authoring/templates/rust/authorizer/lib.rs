//! {{name}}: an authorizer. It says who a verified caller is to Backstage, or denies the request.

use std::collections::BTreeMap;

use orbit_policy_sdk::{About, AuthorizeDecision, AuthorizeRequest, Authorizer, allow, claim, deny};
use serde::{Deserialize, Serialize};

/// What the operator writes under `[authorizer.settings]`; `settings.json` is its schema.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    #[serde(default = "default_read_only_roles")]
    read_only_roles: Vec<String>,
}

fn default_read_only_roles() -> Vec<String> {
    vec!["viewer".into()]
}

/// The policy.
pub struct Policy;

impl Authorizer for Policy {
    type Settings = Settings;
    const ABOUT: About = About {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        // What a decision depends on: the host passes nothing else, and may remember an answer by exactly these.
        inputs: &["method", "claim:sub", "claim:groups", "claim:workspaces"],
        settings_schema: include_str!("settings.json"),
    };

    /// For each request of a caller whose token the host has verified, in a fresh sandbox.
    fn authorize(settings: &Settings, request: AuthorizeRequest) -> Result<AuthorizeDecision, String> {
        // Claims come as JSON text: {"acme": ["developer"]}.
        let workspaces: BTreeMap<String, Vec<String>> = parsed(claim(&request.claims, "workspaces")).unwrap_or_default();
        let Some(roles) = workspaces.get(&request.workspace) else {
            return Ok(deny(403, format!("you are not a member of workspace {}", request.workspace)));
        };
        let reads = matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        if !reads && roles.iter().all(|role| settings.read_only_roles.contains(role)) {
            return Ok(deny(403, format!("your role in workspace {} may only read", request.workspace)));
        }
        let Some(name) = parsed::<String>(claim(&request.claims, "sub")) else {
            return Ok(deny(403, "your token names no user"));
        };
        let groups: Vec<String> = parsed(claim(&request.claims, "groups")).unwrap_or_default();
        let ownership = groups.iter().map(|group| format!("group:default/{group}")).collect();
        Ok(allow(format!("user:default/{name}"), ownership))
    }
}

orbit_policy_sdk::export_authorizer!(Policy);

fn parsed<T: serde::de::DeserializeOwned>(json: Option<&str>) -> Option<T> {
    serde_json::from_str(json?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // `cargo test`: natively and fast. The cases of policy.test.toml run against the built module.
    #[test]
    fn a_claim_of_another_type_is_none() {
        assert_eq!(parsed::<String>(Some("7")), None);
        assert_eq!(parsed::<String>(Some("\"alice\"")).as_deref(), Some("alice"));
    }
}
