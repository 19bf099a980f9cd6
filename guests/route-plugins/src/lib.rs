//! `route-plugins`: the plugin is the second segment of `/api/<plugin>/…`, and only the tier's plugins are forwarded.
//! Everything that is not under `/api` belongs to the browser app.
//!
//! Backstage's own router compares paths without regard to case, so `/API/Kubernetes` *is* the kubernetes plugin: whatever
//! could be read as `/api` in another spelling is refused rather than taken for a page of the app.

use std::collections::BTreeMap;

use orbit_policy_sdk::{About, RouteDecision, RouteRequest, Router, forward, refuse};
use serde::{Deserialize, Serialize};

const LONGEST_PLUGIN: usize = 40;

/// See `settings.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    plugins: Vec<String>,
    #[serde(default = "default_refusal")]
    refusal: String,
    #[serde(default = "default_status")]
    refusal_status: u16,
    #[serde(default = "default_hidden")]
    hidden: Vec<String>,
    #[serde(default)]
    timeout_ms: u32,
    #[serde(default)]
    timeouts_ms: BTreeMap<String, u32>,
}

fn default_refusal() -> String {
    "plugin {plugin} is not part of tier {tier}".into()
}
fn default_status() -> u16 {
    404
}
fn default_hidden() -> Vec<String> {
    vec!["/.backstage".into()]
}

/// The policy.
pub struct RoutePlugins;

impl Router for RoutePlugins {
    type Settings = Settings;
    const ABOUT: About = About {
        name: "route-plugins",
        version: env!("CARGO_PKG_VERSION"),
        inputs: &["path"],
        settings_schema: include_str!("settings.json"),
    };

    fn check(mut settings: Settings) -> Result<Settings, String> {
        if !(400..=599).contains(&settings.refusal_status) {
            return Err(format!("refusal_status is {}: it must be 400 to 599", settings.refusal_status));
        }
        if settings.refusal.chars().count() > 300 {
            return Err("refusal is longer than 300 characters".into());
        }
        if let Some(plugin) = settings.plugins.iter().find(|plugin| !is_plugin(plugin)) {
            return Err(format!("plugins holds {plugin:?}, which is no plugin id ([a-z][a-z0-9-]*, at most 40)"));
        }
        settings.plugins.sort();
        settings.plugins.dedup();
        if let Some(plugin) = settings.timeouts_ms.keys().find(|plugin| settings.plugins.binary_search(plugin).is_err())
        {
            return Err(format!("timeouts_ms names {plugin:?}, which is not among plugins"));
        }
        if let Some(prefix) = settings.hidden.iter().find(|prefix| !prefix.starts_with('/')) {
            return Err(format!("hidden holds {prefix:?}, which does not start with '/'"));
        }
        Ok(settings)
    }

    fn route(settings: &Settings, request: RouteRequest) -> Result<RouteDecision, String> {
        let path = request.path.as_str();
        let Some(rest) = path.strip_prefix('/') else { return Ok(refuse(400, "the path does not start with '/'")) };
        let (first, rest) = rest.split_once('/').unwrap_or((rest, ""));
        if settings.hidden.iter().any(|prefix| is_under(path, prefix)) {
            return Ok(refuse(404, "nothing is here"));
        }
        if first == "api" {
            let plugin = rest.split('/').next().unwrap_or("");
            if settings.plugins.binary_search_by(|known| known.as_str().cmp(plugin)).is_ok() {
                let timeout = settings.timeouts_ms.get(plugin).copied().unwrap_or(settings.timeout_ms);
                return Ok(forward(plugin, timeout));
            }
            if !is_plugin(plugin) {
                return Ok(refuse(404, "under /api there are only plugins: /api/<plugin>/…"));
            }
            let reason = settings
                .refusal
                .replace("{plugin}", plugin)
                .replace("{tier}", &request.tier)
                .replace("{workspace}", &request.workspace);
            return Ok(refuse(settings.refusal_status, reason));
        }
        // `//api`, `/API`, `/%61pi`: not the app, and not to be guessed at.
        if first.eq_ignore_ascii_case("api") || first.contains('%') || (first.is_empty() && !rest.is_empty()) {
            return Ok(refuse(404, "the path is spelled in an unusual way"));
        }
        Ok(forward("", settings.timeout_ms))
    }
}

orbit_policy_sdk::export_router!(RoutePlugins);

/// The host's rule for a plugin id.
fn is_plugin(text: &str) -> bool {
    text.len() <= LONGEST_PLUGIN
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whole segments, without regard to case (see the module header).
fn is_under(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
        && path[prefix.len()..].chars().next().is_none_or(|next| next == '/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path: &str) -> RouteDecision {
        let settings = Settings {
            plugins: vec!["catalog".into(), "scaffolder".into()],
            refusal: default_refusal(),
            refusal_status: 404,
            hidden: default_hidden(),
            timeout_ms: 0,
            timeouts_ms: BTreeMap::from([("scaffolder".into(), 9)]),
        };
        let settings = RoutePlugins::check(settings).expect("good settings");
        let request = RouteRequest {
            workspace: "acme".into(),
            tier: "free".into(),
            method: String::new(),
            path: path.into(),
            query: String::new(),
            headers: Vec::new(),
            extra: Vec::new(),
        };
        RoutePlugins::route(&settings, request).expect("a decision")
    }
    fn plugin(path: &str) -> Option<(String, u32)> {
        match route(path) {
            RouteDecision::Forward(forward) => Some((forward.plugin, forward.timeout_ms)),
            RouteDecision::Refuse(_) => None,
        }
    }

    #[test]
    fn only_the_tiers_plugins_are_forwarded() {
        assert_eq!(plugin("/api/catalog/entities"), Some(("catalog".into(), 0)));
        assert_eq!(plugin("/api/scaffolder"), Some(("scaffolder".into(), 9)));
        assert_eq!(plugin("/"), Some((String::new(), 0)));
        assert_eq!(plugin("/catalog/default/component/web"), Some((String::new(), 0)));
        for refused in ["/api/kubernetes/x", "/api", "/api/", "/api//catalog", "/api/Catalog", "/api/catalog%2f"] {
            assert_eq!(plugin(refused), None, "{refused}");
        }
        let RouteDecision::Refuse(refusal) = route("/api/kubernetes/x") else { panic!("forwarded") };
        assert_eq!((refusal.status, refusal.reason.as_str()), (404, "plugin kubernetes is not part of tier free"));
    }

    #[test]
    fn another_spelling_of_api_is_not_the_app() {
        for path in
            ["/API/kubernetes", "/Api", "//api/kubernetes", "/%61pi/kubernetes", "/.backstage", "/.BACKSTAGE/health"]
        {
            assert_eq!(plugin(path), None, "{path}");
        }
        assert!(plugin("/.backstagex").is_some() && plugin("/apis").is_some());
    }
}
