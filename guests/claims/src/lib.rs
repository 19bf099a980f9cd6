//! `claims`: who may make a request, from the claims of a token that the host has verified.
//!
//! A caller is a member of the workspaces that the token names (`{"acme": ["developer"]}`); settings say which roles may
//! come in, which may only read, and which a plugin needs. The caller is `user:<namespace>/<name>` to Backstage and owns
//! `group:<namespace>/<group>` for each group of the token.

use std::collections::BTreeMap;

use orbit_caller::{MAX_GROUPS, entity, membership};
use orbit_policy_sdk::{About, AuthorizeDecision, AuthorizeRequest, Authorizer, allow, claim, deny};
use serde::{Deserialize, Serialize};

/// See `settings.json`.
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    workspaces_claim: String,
    user_claim: String,
    groups_claim: String,
    namespace: String,
    strip_domains: Vec<String>,
    required_roles: Vec<String>,
    read_only_roles: Vec<String>,
    read_paths: Vec<String>,
    plugins: BTreeMap<String, Vec<String>>,
}

impl Default for Settings {
    fn default() -> Self {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_string()).collect();
        Self {
            workspaces_claim: "workspaces".into(),
            user_claim: "sub".into(),
            groups_claim: "groups".into(),
            namespace: "default".into(),
            strip_domains: Vec::new(),
            required_roles: Vec::new(),
            read_only_roles: list(&["viewer"]),
            read_paths: list(&[
                "/api/permission/authorize",
                "/api/catalog/entities/by-refs",
                "/api/catalog/entities/by-query",
            ]),
            plugins: BTreeMap::new(),
        }
    }
}

/// The policy.
pub struct Claims;

impl Authorizer for Claims {
    type Settings = Settings;
    const ABOUT: About = About {
        name: "claims",
        version: env!("CARGO_PKG_VERSION"),
        inputs: &["method", "path"],
        settings_schema: include_str!("settings.json"),
    };

    fn check(settings: Settings) -> Result<Settings, String> {
        for (key, claim) in [
            ("workspaces_claim", &settings.workspaces_claim),
            ("user_claim", &settings.user_claim),
            ("groups_claim", &settings.groups_claim),
        ] {
            if claim.is_empty() {
                return Err(format!("{key} is empty: it must name a claim of the token"));
            }
        }
        if !entity::is_name(&settings.namespace) {
            return Err(format!("namespace is {:?}, which is no Backstage namespace", settings.namespace));
        }
        Ok(settings)
    }

    fn inputs(settings: &Settings) -> Vec<String> {
        [&settings.workspaces_claim, &settings.user_claim, &settings.groups_claim]
            .map(|claim| format!("claim:{claim}"))
            .into()
    }

    fn authorize(settings: &Settings, request: AuthorizeRequest) -> Result<AuthorizeDecision, String> {
        let text = |name: &str| claim(&request.claims, name);
        let Some(roles) =
            text(&settings.workspaces_claim).and_then(|json| membership::roles_in(json, &request.workspace))
        else {
            return Ok(deny(403, format!("you are not a member of workspace {}", request.workspace)));
        };
        let has = |wanted: &[String]| roles.iter().any(|role| wanted.contains(role));
        if !settings.required_roles.is_empty() && !has(&settings.required_roles) {
            return Ok(deny(403, format!("none of your roles may use workspace {}", request.workspace)));
        }
        let only_reads = !roles.is_empty() && roles.iter().all(|role| settings.read_only_roles.contains(role));
        if only_reads && !is_read(&request, &settings.read_paths) {
            return Ok(deny(403, format!("your role in workspace {} may only read", request.workspace)));
        }
        if let Some(wanted) = settings.plugins.get(&request.plugin)
            && !has(wanted)
        {
            return Ok(deny(403, format!("plugin {} needs a role that you don't have", request.plugin)));
        }
        let Some(name) = text(&settings.user_claim).and_then(|json| serde_json::from_str::<String>(json).ok()) else {
            return Ok(deny(403, format!("your token has no text claim {}", settings.user_claim)));
        };
        let name = entity::strip_domain(&name, &settings.strip_domains);
        if name.is_empty() {
            return Ok(deny(403, format!("claim {} of your token is empty", settings.user_claim)));
        }
        let reference = |kind: &str, name: &str| format!("{kind}:{}/{}", settings.namespace, entity::name(name));
        let groups: Vec<String> = match text(&settings.groups_claim) {
            Some(json) => serde_json::from_str(json).unwrap_or_default(),
            None => Vec::new(),
        };
        let ownership = groups.iter().filter(|group| !group.is_empty()).take(MAX_GROUPS);
        Ok(allow(reference("user", name), ownership.map(|group| reference("group", group)).collect()))
    }
}

orbit_policy_sdk::export_authorizer!(Claims);

fn is_read(request: &AuthorizeRequest, read_paths: &[String]) -> bool {
    matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS")
        || (request.method == "POST" && read_paths.contains(&request.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use orbit_policy_sdk::Pair;

    fn decide(
        settings: &str,
        method: &str,
        path: &str,
        plugin: &str,
        claims: &[(&str, &str)],
    ) -> Result<String, String> {
        let settings = Claims::check(serde_json::from_str(settings).expect("settings")).expect("good settings");
        let request = AuthorizeRequest {
            workspace: "acme".into(),
            tier: "pro".into(),
            plugin: plugin.into(),
            method: method.into(),
            path: path.into(),
            query: String::new(),
            headers: Vec::new(),
            claims: claims.iter().map(|(n, v)| Pair { name: (*n).into(), value: (*v).into() }).collect(),
            extra: Vec::new(),
        };
        match Claims::authorize(&settings, request).expect("a decision") {
            AuthorizeDecision::Allow(allow) => Ok(format!("{} {}", allow.user, allow.ownership.join(","))),
            AuthorizeDecision::Deny(refusal) => Err(refusal.reason),
        }
    }
    const ALICE: (&str, &str) = ("sub", "\"alice\"");

    #[test]
    fn a_member_is_let_in_as_a_backstage_user() {
        let claims = [ALICE, ("workspaces", r#"{"acme":["developer"]}"#), ("groups", r#"["team-a"]"#)];
        let allowed = decide("{}", "POST", "/api/catalog/refresh", "catalog", &claims);
        assert_eq!(allowed.as_deref(), Ok("user:default/alice group:default/team-a"));
    }

    #[test]
    fn another_workspaces_token_is_denied() {
        for workspaces in [r#"{"globex":["admin"]}"#, "{}", "[]", "null", "7", r#""acme""#, "{broken"] {
            assert!(decide("{}", "GET", "/", "", &[ALICE, ("workspaces", workspaces)]).is_err(), "{workspaces}");
        }
        assert!(decide("{}", "GET", "/", "", &[ALICE]).is_err());
    }

    #[test]
    fn a_viewer_reads_and_does_not_write() {
        let claims = [ALICE, ("workspaces", r#"{"acme":["viewer"]}"#)];
        assert!(decide("{}", "GET", "/api/catalog/entities", "catalog", &claims).is_ok());
        assert!(decide("{}", "POST", "/api/permission/authorize", "permission", &claims).is_ok());
        assert!(decide("{}", "DELETE", "/api/catalog/entities/by-uid/1", "catalog", &claims).is_err());
        let both = [ALICE, ("workspaces", r#"{"acme":["viewer","developer"]}"#)];
        assert!(decide("{}", "DELETE", "/api/catalog/entities/by-uid/1", "catalog", &both).is_ok());
    }

    #[test]
    fn roles_can_be_asked_for_everywhere_or_for_a_plugin() {
        let claims = [ALICE, ("workspaces", r#"{"acme":["developer"]}"#)];
        assert!(decide(r#"{"required_roles":["admin"]}"#, "GET", "/", "", &claims).is_err());
        let plugins = r#"{"plugins":{"kubernetes":["admin"]}}"#;
        assert!(decide(plugins, "GET", "/api/kubernetes/x", "kubernetes", &claims).is_err());
        assert!(decide(plugins, "GET", "/api/catalog/x", "catalog", &claims).is_ok());
    }
}
