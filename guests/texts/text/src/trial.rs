//! Asks a text policy natively, for its tests.

use orbit_policy_sdk::{AuthorizeDecision, AuthorizeRequest, Pair, PreparingAuthorizer};
use serde_json::{Value, json};

use crate::{Language, Prepared, Settings, TextPolicy};

/// A request for `/api/<plugin>/x` by a member of workspace `acme` (tier `pro`) who is in the group `team-a`. `claims` are the
/// token's other claims, as JSON text.
pub fn request(method: &str, plugin: &str, user: &str, roles: &str, claims: &[(&str, &str)]) -> AuthorizeRequest {
    let pair = |name: &str, value: String| Pair { name: name.into(), value };
    let own = [
        pair("sub", format!("{user:?}")),
        pair("groups", r#"["team-a"]"#.into()),
        pair("workspaces", format!(r#"{{"acme":{roles}}}"#)),
    ];
    let more = claims.iter().map(|(name, value)| pair(name, (*value).into()));
    AuthorizeRequest {
        workspace: "acme".into(),
        tier: "pro".into(),
        plugin: plugin.into(),
        method: method.into(),
        path: format!("/api/{plugin}/x"),
        query: String::new(),
        headers: Vec::new(),
        claims: own.into_iter().chain(more).collect(),
        extra: Vec::new(),
    }
}

/// Loads a text with these other settings, the way from JSON on.
///
/// # Errors
/// What an author would read.
pub fn prepare<L: Language>(text: &str, mut settings: Value) -> Result<Prepared<L::Program>, String> {
    settings["policy"] = json!(text);
    let settings: Settings<L::Settings> = serde_json::from_value(settings).map_err(|error| error.to_string())?;
    TextPolicy::<L>::prepare(settings)
}

/// Asks; what comes back is the user and what it owns, or the refusal's sentence.
///
/// # Errors
/// A denial, or why there is no decision.
pub fn decide<L: Language>(prepared: Prepared<L::Program>, asked: AuthorizeRequest) -> Result<String, String> {
    match TextPolicy::<L>::authorize(prepared, asked)? {
        AuthorizeDecision::Allow(allow) => Ok(format!("{} {}", allow.user, allow.ownership.join(","))),
        AuthorizeDecision::Deny(refusal) => Err(refusal.reason),
    }
}
