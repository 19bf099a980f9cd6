//! The host-owned part of an instance's config, laid over the rendered one (`host.json`). Pure. Lists are replaced by Backstage's
//! loader, so where the host adds to a list it repeats the rendered items.

use std::path::Path;

use serde_json::{Map, Value, json};

/// Everything that goes into it.
pub(super) struct HostConfig<'a> {
    /// `http://acme.localhost:7080`.
    pub public_url: &'a str,
    /// The instance's loopback port.
    pub port: u16,
    /// `backend.database`, from the provisioner.
    pub database: Value,
    /// Where orbitd's internal listener is.
    pub internal_port: u16,
    /// The instance's secret on it.
    pub internal_secret: &'a str,
    /// The static token of our deep probe.
    pub probe_token: &'a str,
    /// Directory and names of the materialised catalogue files.
    pub catalog_dir: &'a Path,
    pub catalog_files: Vec<&'a str>,
}

/// Entity kinds that a workspace's own catalogue files may hold.
const CATALOG_KINDS: [&str; 9] =
    ["Component", "API", "Resource", "System", "Domain", "Location", "Template", "User", "Group"];

impl HostConfig<'_> {
    /// `host.json` over this rendered config.
    pub(super) fn over(&self, rendered: &Map<String, Value>) -> Value {
        let items = |path: &[&str]| -> Vec<Value> {
            let mut value = rendered.get(path[0]);
            for key in &path[1..] {
                value = value.and_then(|v| v.get(key));
            }
            value.and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let mut backend = json!({
            "baseUrl": self.public_url,
            "listen": {"host": "127.0.0.1", "port": self.port},
            "database": self.database,
            "auth": {
                "externalAccess": [{
                    "type": "static",
                    "options": {"token": self.probe_token, "subject": "orbitd-probe"},
                    "accessRestrictions": [{"plugin": "catalog"}],
                }],
            },
        });
        if self.public_url.starts_with("http://") {
            // Else browsers would ask for everything over https, where nothing answers.
            backend["csp"] = json!({"upgrade-insecure-requests": false});
        }
        let mut extensions = items(&["app", "extensions"]);
        extensions.retain(|extension| extension.get("sign-in-page:app").is_none());
        extensions.push(json!({"sign-in-page:app": {"config": {"provider": "orbitd"}}}));
        let internal =
            format!("http://127.0.0.1:{}/i/{}/api/{{{{pluginId}}}}", self.internal_port, self.internal_secret);
        let mut host = json!({
            "app": {"baseUrl": self.public_url, "extensions": extensions, "disableStaticFallbackCache": true},
            "backend": backend,
            "discovery": {"endpoints": [{"target": {"internal": internal}, "plugins": ["auth"]}]},
            "techdocs": {"builder": "external"},
        });
        if !self.catalog_files.is_empty() {
            let mut locations = items(&["catalog", "locations"]);
            locations.extend(self.catalog_files.iter().map(|name| {
                json!({
                    "type": "file",
                    "target": self.catalog_dir.join(name).to_string_lossy(),
                    "rules": [{"allow": CATALOG_KINDS}],
                })
            }));
            host["catalog"] = json!({ "locations": locations });
        }
        host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_adds_to_lists_and_owns_the_rest() {
        let host = HostConfig {
            public_url: "http://acme.localhost:7080",
            port: 20_001,
            database: json!({"client": "better-sqlite3"}),
            internal_port: 7082,
            internal_secret: "abc",
            probe_token: "def",
            catalog_dir: Path::new("/home/run/1/catalog"),
            catalog_files: vec!["web.yaml"],
        };
        let rendered = json!({
            "app": {"extensions": ["nav-item:search", {"sign-in-page:app": {"config": {"provider": "guest"}}}]},
            "catalog": {"locations": [{"type": "url", "target": "https://example.org/a.yaml"}]},
        });
        let made = host.over(rendered.as_object().expect("an object"));
        assert_eq!(made["app"]["extensions"].as_array().expect("a list").len(), 2);
        assert_eq!(made["app"]["extensions"][1]["sign-in-page:app"]["config"]["provider"], "orbitd");
        assert_eq!(made["catalog"]["locations"][0]["type"], "url");
        assert_eq!(made["catalog"]["locations"][1]["target"], "/home/run/1/catalog/web.yaml");
        let internal = &made["discovery"]["endpoints"][0]["target"]["internal"];
        assert_eq!(internal, "http://127.0.0.1:7082/i/abc/api/{{pluginId}}");
        assert_eq!(made["backend"]["csp"]["upgrade-insecure-requests"], false);
        let https = HostConfig { public_url: "https://acme.example.org", catalog_files: vec![], ..host };
        let made = https.over(&Map::new());
        assert!(made["backend"].get("csp").is_none() && made.get("catalog").is_none());
    }
}
