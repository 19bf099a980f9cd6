use super::*;
use serde_json::json;

fn settings(more: Value) -> Settings {
    let mut settings = json!({
        "plugins": ["catalog", "search", "techdocs"],
        "default_plugins": ["search"],
        "defaults": {"app": {"title": "Portal"}, "techdocs": {"builder": "external"}},
        "enforced": {"integrations": {"limits": {"max": 3}}},
    });
    settings.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let text = settings.to_string();
    // As at run time: through JSON and the packed form.
    let configured =
        orbit_policy_sdk::to_configured(&text, RenderAppConfig::check, |_| Vec::new()).expect("good settings");
    orbit_policy_sdk::from_bytes(&configured.settings).expect("its own bytes")
}

fn render(
    settings: &Settings,
    config: Value,
    plugins: Option<&[&str]>,
) -> Result<(Value, Vec<String>, Vec<String>), String> {
    let request = RenderRequest {
        workspace: "team-42".into(),
        tier: "free".into(),
        public_url: "http://team-42.localhost:7080".into(),
        app_config: config.to_string(),
        plugins: plugins.map(|plugins| plugins.iter().map(|plugin| (*plugin).to_string()).collect()),
        extra: Vec::new(),
    };
    let rendered = RenderAppConfig::render(settings, request)?;
    Ok((serde_json::from_str(&rendered.app_config).expect("JSON"), rendered.plugins, rendered.notices))
}

#[test]
fn the_tier_lies_under_and_over_the_workspace() {
    let asked = json!({
        "organization": {"name": "Ours"},
        "integrations": {"github": [{"token": {"$secret": "GITHUB_TOKEN"}}], "limits": {"max": 9}},
    });
    let (config, plugins, notices) = render(&settings(json!({})), asked, None).expect("rendered");
    assert_eq!(
        config,
        json!({
            "app": {"title": "Portal"},
            "organization": {"name": "Ours"},
            "techdocs": {"builder": "external"},
            "integrations": {"github": [{"token": {"$secret": "GITHUB_TOKEN"}}], "limits": {"max": 3}},
        })
    );
    assert_eq!(plugins, ["app", "auth", "catalog", "search"]);
    assert!(notices.is_empty());
    let (config, ..) = render(&settings(json!({"defaults": {}})), json!({}), None).expect("rendered");
    assert_eq!(config["app"]["title"], "Team 42");
}

#[test]
fn a_forbidden_key_is_an_error_or_a_notice() {
    for asked in
        [json!({"backend": {"listen": 1}}), json!({"app": {"baseUrl": "x"}}), json!({"techdocs": {"builder": "local"}})]
    {
        let error = render(&settings(json!({})), asked.clone(), None).expect_err("forbidden");
        assert!(error.contains("may not be set in tier free"), "{error}");
        let lenient = settings(json!({"on_forbidden_key": "notice"}));
        let (config, _, notices) = render(&lenient, asked, None).expect("rendered");
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert_eq!(config["techdocs"], json!({"builder": "external"}));
        assert_eq!(config.get("backend"), None);
    }
}

#[test]
fn a_section_may_not_be_replaced_by_something_else() {
    // `app: 7` or `app: null` would remove what the tier put under it.
    for asked in [json!({"app": 7}), json!({"app": null}), json!({"app": []}), json!({"techdocs": null})] {
        assert!(render(&settings(json!({})), asked.clone(), None).is_err(), "{asked}");
    }
}

#[test]
fn plugins_outside_the_tier_are_left_out_with_a_notice() {
    let (_, plugins, notices) =
        render(&settings(json!({})), json!({}), Some(&["kubernetes", "techdocs"])).expect("rendered");
    assert_eq!(plugins, ["app", "auth", "catalog", "techdocs"]);
    assert_eq!(notices, ["plugin kubernetes is not part of tier free and was left out"]);
    let strict = settings(json!({"on_forbidden_plugin": "error"}));
    assert!(render(&strict, json!({}), Some(&["kubernetes"])).is_err());
}

#[test]
fn nothing_may_read_the_operators_machine() {
    for value in [
        json!({"$file": "/etc/shadow"}),
        json!({"$env": "HOME"}),
        json!({"$include": "x.yaml#a"}),
        json!({"$secret": "lower"}),
        json!({"$secret": "A", "also": 1}),
        json!({"$secret": ["A"]}),
        json!({"$other": 1}),
        json!([[{"deep": {"$file": "x"}}]]),
    ] {
        let asked = json!({"integrations": {"github": value}});
        assert!(render(&settings(json!({})), asked.clone(), None).is_err(), "{asked}");
    }
    let file =
        json!({"catalog": {"locations": [{"type": "url", "target": "https://x"}, {"type": "file", "target": "/etc"}]}});
    assert!(render(&settings(json!({})), file, None).is_err());
    let url = json!({"catalog": {"locations": [{"type": "url", "target": "https://x"}]}});
    assert!(render(&settings(json!({})), url, None).is_ok());
}
