//! {{name}}: a renderer. It makes a workspace's app-config from what the workspace asks for and what its tier allows.

use orbit_policy_sdk::{About, RenderRequest, Rendered, Renderer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What the operator writes under `[renderer.settings]`; `settings.json` is its schema.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    plugins: Vec<String>,
    #[serde(default = "default_allowed_keys")]
    allowed_keys: Vec<String>,
}

fn default_allowed_keys() -> Vec<String> {
    ["app", "organization", "catalog"].map(String::from).into()
}

/// The policy.
pub struct Policy;

impl Renderer for Policy {
    type Settings = Settings;
    const ABOUT: About = About {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        // A renderer gets everything.
        inputs: &[],
        settings_schema: include_str!("settings.json"),
    };

    /// Whenever the workspace's config, this module or its settings change. An `Err` is for the workspace's operator: the last
    /// good revision keeps serving.
    fn render(settings: &Settings, request: RenderRequest) -> Result<Rendered, String> {
        let mut config: Map<String, Value> = serde_json::from_str(&request.app_config)
            .map_err(|error| format!("the workspace's app_config is no JSON object: {error}"))?;
        if let Some(key) = config.keys().find(|key| !settings.allowed_keys.contains(key)) {
            return Err(format!("{key} may not be set in tier {}: take it out of app_config", request.tier));
        }
        if let Value::Object(app) = config.entry("app").or_insert_with(|| Value::Object(Map::new())) {
            app.entry("title").or_insert_with(|| Value::from(request.workspace.as_str()));
        }
        let mut notices = Vec::new();
        let mut plugins = request.plugins.unwrap_or_else(|| settings.plugins.clone());
        plugins.retain(|plugin| {
            let known = settings.plugins.contains(plugin);
            if !known {
                notices.push(format!("plugin {plugin} is not part of tier {} and was left out", request.tier));
            }
            known
        });
        notices.truncate(20);
        Ok(Rendered { app_config: Value::Object(config).to_string(), plugins, notices, extra: Vec::new() })
    }
}

orbit_policy_sdk::export_renderer!(Policy);

#[cfg(test)]
mod tests {
    use super::*;

    // `cargo test`: natively and fast. The cases of policy.test.toml run against the built module.
    #[test]
    fn the_catalog_may_be_set() {
        assert!(default_allowed_keys().contains(&"catalog".to_string()));
    }
}
