//! {{name}}: a router. It says which plugin a request is for, or refuses it.

use orbit_policy_sdk::{About, RouteDecision, RouteRequest, Router, forward, refuse};
use serde::{Deserialize, Serialize};

/// What the operator writes under `[router.settings]`; `settings.json` is its schema.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    plugins: Vec<String>,
    #[serde(default = "default_refusal")]
    refusal: String,
}

fn default_refusal() -> String {
    "plugin {plugin} is not part of tier {tier}".into()
}

/// The policy.
pub struct Policy;

impl Router for Policy {
    type Settings = Settings;
    const ABOUT: About = About {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        // What a decision depends on: the host passes nothing else, and may remember an answer by exactly these.
        inputs: &["path"],
        settings_schema: include_str!("settings.json"),
    };

    /// Once, at load: a sentence for the operator where the settings make no sense.
    fn check(settings: Settings) -> Result<Settings, String> {
        if settings.plugins.is_empty() {
            return Err("plugins is empty: nothing would be forwarded".into());
        }
        Ok(settings)
    }

    /// For each request, in a fresh sandbox.
    fn route(settings: &Settings, request: RouteRequest) -> Result<RouteDecision, String> {
        let mut segments = request.path.split('/').skip(1);
        if segments.next() != Some("api") {
            // The browser app's own files.
            return Ok(forward("", 0));
        }
        let plugin = segments.next().unwrap_or_default();
        if settings.plugins.iter().any(|known| known == plugin) {
            return Ok(forward(plugin, 0));
        }
        Ok(refuse(404, settings.refusal.replace("{plugin}", plugin).replace("{tier}", &request.tier)))
    }
}

orbit_policy_sdk::export_router!(Policy);

#[cfg(test)]
mod tests {
    use super::*;

    // `cargo test`: natively and fast. The cases of policy.test.toml run against the built module.
    #[test]
    fn no_plugins_make_no_sense() {
        assert!(Policy::check(Settings { plugins: Vec::new(), refusal: default_refusal() }).is_err());
    }
}
