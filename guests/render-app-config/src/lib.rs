//! `render-app-config`: a workspace's `app-config` from what it asks for and what its tier allows.
//!
//! ```text
//! tier's defaults  ◀─ what the workspace asks for, if allowed  ◀─ tier's enforced        (right wins; lists are replaced)
//! ```
//!
//! A workspace's text reaches a program that runs on the operator's machine, so what could read that machine is refused:
//! `$env`, `$file`, `$include` and every other `$` directive but `{"$secret": "NAME"}`, and catalogue locations of type `file`.

mod ask;
mod keys;
mod merge;

use orbit_policy_sdk::{About, RenderRequest, Rendered, Renderer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Sentences returned at most; the WIT says 20.
const MAX_NOTICES: usize = 20;

/// See `settings.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    plugins: Vec<String>,
    #[serde(default)]
    default_plugins: Option<Vec<String>>,
    #[serde(default = "default_required")]
    required_plugins: Vec<String>,
    #[serde(default = "default_allowed")]
    allowed_keys: Vec<String>,
    #[serde(default = "default_denied")]
    denied_keys: Vec<String>,
    #[serde(default = "OnForbidden::error")]
    on_forbidden_key: OnForbidden,
    #[serde(default = "OnForbidden::notice")]
    on_forbidden_plugin: OnForbidden,
    #[serde(default, with = "merge::as_text")]
    defaults: Map<String, Value>,
    #[serde(default, with = "merge::as_text")]
    enforced: Map<String, Value>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnForbidden {
    Error,
    Notice,
}

impl OnForbidden {
    fn error() -> Self {
        Self::Error
    }
    fn notice() -> Self {
        Self::Notice
    }
}

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_string()).collect()
}
fn default_required() -> Vec<String> {
    list(&["app", "auth", "catalog"])
}
fn default_allowed() -> Vec<String> {
    list(&["app.title", "app.support", "app.analytics", "organization", "catalog", "integrations", "techdocs"])
}
fn default_denied() -> Vec<String> {
    list(&["techdocs.builder", "techdocs.generator", "techdocs.publisher"])
}

/// The policy.
pub struct RenderAppConfig;

impl Renderer for RenderAppConfig {
    type Settings = Settings;
    const ABOUT: About = About {
        name: "render-app-config",
        version: env!("CARGO_PKG_VERSION"),
        inputs: &[],
        settings_schema: include_str!("settings.json"),
    };

    fn check(settings: Settings) -> Result<Settings, String> {
        for plugin in settings.default_plugins.iter().flatten() {
            if !settings.plugins.contains(plugin) && !settings.required_plugins.contains(plugin) {
                return Err(format!("default_plugins names {plugin:?}, which is not among plugins"));
            }
        }
        for path in settings.allowed_keys.iter().chain(&settings.denied_keys) {
            if path.split('.').any(str::is_empty) {
                return Err(format!("{path:?} is no dotted path of keys, such as app.title"));
            }
        }
        ask::check_directives(&settings.defaults, "defaults")?;
        ask::check_directives(&settings.enforced, "enforced")?;
        Ok(settings)
    }

    fn render(settings: &Settings, request: RenderRequest) -> Result<Rendered, String> {
        let mut notices = Vec::new();
        let asked: Map<String, Value> = serde_json::from_str(&request.app_config)
            .map_err(|error| format!("the workspace's app_config is no JSON object: {error}"))?;
        ask::check_directives(&asked, "app_config")?;
        ask::check_locations(&asked)?;
        let (asked, forbidden) = keys::split(asked, &settings.allowed_keys, &settings.denied_keys);
        for path in forbidden {
            let text = format!("{path} may not be set in tier {}", request.tier);
            match settings.on_forbidden_key {
                OnForbidden::Error => return Err(format!("{text}: take it out of the workspace's app_config")),
                OnForbidden::Notice => notices.push(format!("{text} and was left out")),
            }
        }
        let plugins = choose_plugins(settings, &request, &mut notices)?;

        let title = title_of(&request.workspace);
        let mut config = Map::new();
        merge::lay_over(&mut config, named("app", "title", &title));
        merge::lay_over(&mut config, named("organization", "name", &title));
        merge::lay_over(&mut config, settings.defaults.clone());
        merge::lay_over(&mut config, asked);
        merge::lay_over(&mut config, settings.enforced.clone());
        if notices.len() > MAX_NOTICES {
            let more = notices.len() - (MAX_NOTICES - 1);
            notices.truncate(MAX_NOTICES - 1);
            notices.push(format!("and {more} more"));
        }
        Ok(Rendered { app_config: Value::Object(config).to_string(), plugins, notices, extra: Vec::new() })
    }
}

orbit_policy_sdk::export_renderer!(RenderAppConfig);

fn choose_plugins(
    settings: &Settings,
    request: &RenderRequest,
    notices: &mut Vec<String>,
) -> Result<Vec<String>, String> {
    let mut chosen = settings.required_plugins.clone();
    match &request.plugins {
        None => chosen.extend(settings.default_plugins.as_ref().unwrap_or(&settings.plugins).iter().cloned()),
        Some(wanted) => {
            for plugin in wanted {
                if settings.plugins.contains(plugin) || settings.required_plugins.contains(plugin) {
                    chosen.push(plugin.clone());
                    continue;
                }
                let text = format!("plugin {plugin} is not part of tier {}", request.tier);
                match settings.on_forbidden_plugin {
                    OnForbidden::Error => return Err(format!("{text}: take it out of the workspace's plugins")),
                    OnForbidden::Notice => notices.push(format!("{text} and was left out")),
                }
            }
        }
    }
    chosen.sort();
    chosen.dedup();
    Ok(chosen)
}

fn named(section: &str, key: &str, value: &str) -> Map<String, Value> {
    let inner = Map::from_iter([(key.to_string(), Value::from(value))]);
    Map::from_iter([(section.to_string(), Value::Object(inner))])
}

/// `team-42` is `Team 42`.
fn title_of(slug: &str) -> String {
    let capital = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
    };
    slug.split('-').filter(|word| !word.is_empty()).map(capital).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
