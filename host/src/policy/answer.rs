//! A policy's answer on its way into the daemon: nothing that a guest says is believed before it is checked here.

use std::time::Duration;

use orbit_engine::{AuthorizerDecision, RenderedConfig, RouterDecision};
use serde_json::Value;

use super::{Authorization, Forward, Refusal, Rendered, Routing};
use crate::{identity::BackstageUser, ids::PluginId};

const MAX_REASON_CHARS: usize = 500;
const MAX_OWNERSHIP: usize = 200;
const MAX_PLUGINS: usize = 200;
const MAX_NOTICES: usize = 20;
/// A policy can't hold a request longer than this.
const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// A router's answer, or how it breaks the contract.
pub fn routing(decision: RouterDecision) -> Result<Routing, String> {
    match decision {
        RouterDecision::Forward { plugin, timeout_ms } => {
            let plugin = if plugin.is_empty() { None } else { Some(plugin_id(&plugin)?) };
            let timeout = Duration::from_millis(timeout_ms.into());
            let timeout = if timeout.is_zero() { None } else { Some(timeout.min(MAX_TIMEOUT)) };
            Ok(Routing::Forward(Forward { plugin, timeout }))
        }
        RouterDecision::Refuse { status, reason } => refusal(status, reason).map(Routing::Refuse),
    }
}

/// An authorizer's answer, or how it breaks the contract.
pub fn authorization(decision: AuthorizerDecision) -> Result<Authorization, String> {
    match decision {
        AuthorizerDecision::Allow { user, mut ownership } => {
            if ownership.len() > MAX_OWNERSHIP {
                return Err(format!("it names {} ownership references, {MAX_OWNERSHIP} are allowed", ownership.len()));
            }
            for reference in std::iter::once(&user).chain(&ownership) {
                if !is_entity_ref(reference) {
                    return Err(format!("{:?} is no entity reference (kind:namespace/name)", start_of(reference)));
                }
            }
            if !user.starts_with("user:") {
                return Err(format!("{user} is no user"));
            }
            if !ownership.contains(&user) {
                ownership.insert(0, user.clone());
            }
            Ok(Authorization::Allow(BackstageUser { entity_ref: user, ownership }))
        }
        AuthorizerDecision::Deny { status, reason } => refusal(status, reason).map(Authorization::Deny),
    }
}

/// A renderer's answer, or how it breaks the contract.
pub fn rendered(config: RenderedConfig) -> Result<Rendered, String> {
    let app_config = match serde_json::from_str(&config.app_config) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return Err("its app-config is no JSON object".to_owned()),
        Err(error) => return Err(format!("its app-config is not JSON: {error}")),
    };
    if config.plugins.len() > MAX_PLUGINS {
        return Err(format!("it names {} plugins, {MAX_PLUGINS} are allowed", config.plugins.len()));
    }
    let mut plugins = config.plugins.iter().map(|plugin| plugin_id(plugin)).collect::<Result<Vec<_>, _>>()?;
    plugins.sort();
    plugins.dedup();
    let notices = config.notices.iter().take(MAX_NOTICES).map(|notice| one_line(notice)).collect();
    Ok(Rendered { app_config, plugins, notices })
}

/// A guest's sentence for a person: one line, at most 500 characters.
pub fn one_line(text: &str) -> String {
    text.chars().take(MAX_REASON_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn refusal(status: u16, reason: String) -> Result<Refusal, String> {
    if !(400..=599).contains(&status) {
        return Err(format!("it refuses with status {status}, which must be 400 to 599"));
    }
    if reason.chars().count() > MAX_REASON_CHARS {
        return Err(format!("its reason is longer than {MAX_REASON_CHARS} characters"));
    }
    // It goes into a response, where a line end could become a header.
    if reason.chars().any(char::is_control) {
        return Err("its reason holds control characters".to_owned());
    }
    Ok(Refusal { status, reason })
}

fn plugin_id(text: &str) -> Result<PluginId, String> {
    text.parse().map_err(|error: crate::ids::InvalidId| error.to_string())
}

/// `kind:namespace/name` as Backstage compares it, in lower case; at most 63 characters a part.
fn is_entity_ref(text: &str) -> bool {
    let part = |part: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        (1..=63).contains(&part.len())
            && edge(part.chars().next())
            && edge(part.chars().last())
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
    };
    text.split_once(':')
        .and_then(|(kind, rest)| {
            rest.split_once('/').map(|(namespace, name)| part(kind) && part(namespace) && part(name))
        })
        .unwrap_or(false)
}

fn start_of(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_can_only_name_a_plugin() {
        let forward = |plugin: &str, timeout_ms| routing(RouterDecision::Forward { plugin: plugin.into(), timeout_ms });
        assert_eq!(forward("", 0), Ok(Routing::Forward(Forward { plugin: None, timeout: None })));
        let Ok(Routing::Forward(to)) = forward("catalog", u32::MAX) else { panic!("refused") };
        assert_eq!((to.plugin.expect("named").as_str(), to.timeout), ("catalog", Some(MAX_TIMEOUT)));
        for bad in ["../globex", "Catalog", "a/b", "http://x"] {
            assert!(forward(bad, 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refusal_is_an_error_status_and_one_plain_line() {
        let refuse = |status, reason: &str| routing(RouterDecision::Refuse { status, reason: reason.into() });
        assert!(refuse(404, "not here").is_ok());
        for (status, reason) in [(200, ""), (302, ""), (600, ""), (403, "a\r\nb"), (403, "\0"), (403, &"x".repeat(501))]
        {
            assert!(refuse(status, reason).is_err(), "{status} {reason}");
        }
    }

    #[test]
    fn a_user_is_a_user_entity_who_owns_itself() {
        let allow = |user: &str, ownership: &[&str]| {
            let ownership = ownership.iter().map(|one| (*one).to_owned()).collect();
            authorization(AuthorizerDecision::Allow { user: user.into(), ownership })
        };
        let Ok(Authorization::Allow(user)) = allow("user:default/alice", &["group:default/team-a"]) else {
            panic!("refused")
        };
        assert_eq!(user.ownership, ["user:default/alice", "group:default/team-a"]);
        for bad in [
            "alice",
            "user:alice",
            "group:default/a",
            "user:default/",
            "user:default/a b",
            "user:default/A",
            "user:d/a/b",
        ] {
            assert!(allow(bad, &[]).is_err(), "{bad}");
        }
        assert!(allow("user:default/alice", &["nonsense"]).is_err());
    }
}
