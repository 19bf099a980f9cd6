use orbit_policy_sdk::{AuthorizeDecision, Pair};

use super::*;

const POLICY: &str = r#"
permit (principal, action in Action::"read", resource);
permit (principal in Role::"developer", action, resource in Workspace::"acme");

@reason("contractors do not write on this path")
forbid (principal, action in Action::"write", resource == Plugin::"catalog")
when { principal has contractor && principal.contractor && context.path like "/api/catalog/*" };
"#;

fn request(method: &str, roles: &str, contractor: &str) -> AuthorizeRequest {
    let pair = |name: &str, value: &str| Pair { name: name.into(), value: value.into() };
    AuthorizeRequest {
        workspace: "acme".into(),
        tier: "pro".into(),
        plugin: "catalog".into(),
        method: method.into(),
        path: "/api/catalog/x".into(),
        query: String::new(),
        headers: Vec::new(),
        claims: vec![
            pair("sub", "\"alice\""),
            pair("groups", r#"["team-a"]"#),
            pair("workspaces", &format!(r#"{{"acme":{roles}}}"#)),
            pair("contractor", contractor),
        ],
        extra: Vec::new(),
    }
}

fn prepare(policy: &str) -> Result<Prepared, String> {
    let policy = serde_json::to_string(policy).expect("JSON");
    let settings = format!(r#"{{"policy": {policy}, "claims": {{"contractor": "Bool"}}}}"#);
    Cedar::prepare(serde_json::from_str(&settings).expect("settings"))
}

fn decide(policy: &str, asked: AuthorizeRequest) -> Result<String, String> {
    match Cedar::authorize(prepare(policy).expect("a good text"), asked).expect("a decision") {
        AuthorizeDecision::Allow(allow) => Ok(format!("{} {}", allow.user, allow.ownership.join(","))),
        AuthorizeDecision::Deny(refusal) => Err(refusal.reason),
    }
}

#[test]
fn the_text_permits_and_forbids() {
    let alice = "user:default/alice group:default/team-a";
    assert_eq!(decide(POLICY, request("GET", "[]", "null")).as_deref(), Ok(alice));
    assert_eq!(decide(POLICY, request("POST", r#"["developer"]"#, "false")).as_deref(), Ok(alice));
    let said = decide(POLICY, request("POST", r#"["viewer"]"#, "null"));
    assert_eq!(said, Err("the policy of workspace acme does not allow this".into()));
    let said = decide(POLICY, request("POST", r#"["developer"]"#, "true"));
    assert_eq!(said, Err("contractors do not write on this path".into()));
    assert!(decide(POLICY, request("BREW", r#"["viewer"]"#, "null")).is_err(), "an unknown method writes");
}

#[test]
fn no_text_opens_a_workspace_to_strangers() {
    let mut stranger = request("GET", "[]", "null");
    stranger.claims.retain(|claim| claim.name != "workspaces");
    let said = decide("permit (principal, action, resource);", stranger);
    assert_eq!(said, Err("you are not a member of workspace acme".into()));
}

#[test]
fn a_text_that_does_not_parse_or_make_sense_is_refused_with_its_place() {
    for (text, expect) in [
        ("permit (principal, action, resource)", "line 1, column 37"),
        ("permit (principal, action, resource);\npermit (principle, action, resource);", "line 2, column 9"),
        ("permit (principal, action, resource)\nwhen { principal.departmint == \"x\" };", "line 2, column 8: "),
        ("permit (principal in Team::\"x\", action, resource);", "line 1, column 22"),
        ("permit (principal == ?principal, action, resource);", "template"),
        ("", "no `permit`"),
    ] {
        let error = prepare(text).err().unwrap_or_else(|| panic!("taken: {text}"));
        println!("{error}");
        assert!(error.contains(expect), "{text}: {error}");
    }
}
