//! `cedar`: an authorizer whose settings are a Cedar text, for authors who write no code.
//!
//! The text is parsed and validated against the schema of orbitd's requests once, when the policy is loaded: a misspelt
//! attribute or an impossible condition is refused then, with line and column. A decision reads the parsed form. A caller
//! who is no member of the workspace is denied before the text is asked: no text can open a workspace to strangers.
//!
//! A `forbid` says why by `@reason("…")`. See docs/policies.md.

mod ask;
mod schema;
mod text;

use std::collections::BTreeMap;

use orbit_caller::Names;
use orbit_policy_sdk::{About, AuthorizeDecision, AuthorizeRequest, PreparingAuthorizer, deny};
use serde::{Deserialize, Serialize};

use crate::schema::Kind;

/// Of a sentence that a caller reads.
const MAX_REASON_CHARS: usize = 500;

/// See `settings.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    policy: String,
    #[serde(default)]
    claims: BTreeMap<String, Kind>,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default = "default_refusal")]
    refusal: String,
    workspaces_claim: Option<String>,
    user_claim: Option<String>,
    groups_claim: Option<String>,
    namespace: Option<String>,
}

/// What each decision gets.
#[derive(Serialize, Deserialize)]
pub struct Prepared {
    /// The policies in Cedar's JSON form.
    policies: String,
    claims: BTreeMap<String, Kind>,
    headers: Vec<String>,
    refusal: String,
    names: Names,
}

/// The policy.
pub struct Cedar;

impl PreparingAuthorizer for Cedar {
    type Settings = Settings;
    type Prepared = Prepared;
    const ABOUT: About = About {
        name: "cedar",
        version: env!("CARGO_PKG_VERSION"),
        inputs: &["method", "path", "query"],
        settings_schema: include_str!("settings.json"),
    };

    fn prepare(settings: Settings) -> Result<Prepared, String> {
        let usual = Names::default();
        let names = Names {
            workspaces_claim: settings.workspaces_claim.unwrap_or(usual.workspaces_claim),
            user_claim: settings.user_claim.unwrap_or(usual.user_claim),
            groups_claim: settings.groups_claim.unwrap_or(usual.groups_claim),
            namespace: settings.namespace.unwrap_or(usual.namespace),
        };
        names.check()?;
        let schema = schema::of(&settings.claims, &settings.headers)?;
        let policies = text::parse(&settings.policy, schema)?;
        let Settings { claims, headers, refusal, .. } = settings;
        Ok(Prepared { policies, claims, headers, refusal, names })
    }

    fn inputs(prepared: &Prepared) -> Vec<String> {
        let claims = prepared.claims.keys().map(|name| format!("claim:{name}"));
        let headers = prepared.headers.iter().map(|name| format!("header:{name}"));
        prepared.names.inputs().into_iter().chain(claims).chain(headers).collect()
    }

    fn authorize(prepared: Prepared, request: AuthorizeRequest) -> Result<AuthorizeDecision, String> {
        let caller = match prepared.names.caller(&request) {
            Ok(caller) => caller,
            Err(denied) => return Ok(denied),
        };
        match ask::decide(&prepared, &request, &caller)? {
            ask::Verdict::Allowed => Ok(prepared.names.allow(&caller)),
            ask::Verdict::Denied { reason } => {
                let refusal = || {
                    let text = prepared.refusal.replace("{workspace}", &request.workspace);
                    text.replace("{plugin}", &request.plugin)
                };
                Ok(deny(403, sentence(&reason.unwrap_or_else(refusal))))
            }
        }
    }
}

orbit_policy_sdk::export_authorizer!(Cedar);

fn default_refusal() -> String {
    "the policy of workspace {workspace} does not allow this".into()
}

fn sentence(text: &str) -> String {
    text.chars().take(MAX_REASON_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
