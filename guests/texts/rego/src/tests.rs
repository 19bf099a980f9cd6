use orbit_policy_sdk::{AuthorizeDecision, Pair};

use super::*;

const POLICY: &str = r#"package access

# Developers may do everything, everybody may read.
default allow := false
allow if "developer" in input.roles
allow if input.method in {"GET", "HEAD"}

deny contains "the catalogue is frozen" if {
    input.plugin == "catalog"
    input.method == "DELETE"
    not input.user in data.librarians
}
"#;

fn request(method: &str, plugin: &str, user: &str, roles: &str) -> AuthorizeRequest {
    let pair = |name: &str, value: String| Pair { name: name.into(), value };
    AuthorizeRequest {
        workspace: "acme".into(),
        tier: "pro".into(),
        plugin: plugin.into(),
        method: method.into(),
        path: format!("/api/{plugin}/x"),
        query: String::new(),
        headers: Vec::new(),
        claims: vec![
            pair("sub", format!("{user:?}")),
            pair("groups", r#"["team-a"]"#.into()),
            pair("workspaces", format!(r#"{{"acme":{roles}}}"#)),
        ],
        extra: Vec::new(),
    }
}

fn prepare(policy: &str, more: &str) -> Result<Prepared, String> {
    let settings = format!("{{\"policy\": {}{more}}}", serde_json::to_string(policy).expect("JSON"));
    Rego::prepare(serde_json::from_str(&settings).expect("settings"))
}

fn decide(policy: &str, asked: AuthorizeRequest) -> Result<String, String> {
    let prepared = prepare(policy, r#", "data": {"librarians": ["lib"]}"#).expect("a good text");
    match Rego::authorize(prepared, asked).expect("a decision") {
        AuthorizeDecision::Allow(allow) => Ok(format!("{} {}", allow.user, allow.ownership.join(","))),
        AuthorizeDecision::Deny(refusal) => Err(refusal.reason),
    }
}

#[test]
fn the_text_allows_and_denies() {
    let alice = "user:default/alice group:default/team-a";
    assert_eq!(decide(POLICY, request("POST", "catalog", "alice", r#"["developer"]"#)).as_deref(), Ok(alice));
    assert_eq!(decide(POLICY, request("GET", "catalog", "alice", "[]")).as_deref(), Ok(alice));
    let said = decide(POLICY, request("POST", "catalog", "alice", r#"["viewer"]"#));
    assert_eq!(said, Err("the policy of workspace acme does not allow this".into()));
    let frozen = decide(POLICY, request("DELETE", "catalog", "alice", r#"["developer"]"#));
    assert_eq!(frozen, Err("the catalogue is frozen".into()));
    assert!(decide(POLICY, request("DELETE", "catalog", "lib", r#"["developer"]"#)).is_ok());
}

#[test]
fn no_text_opens_a_workspace_to_strangers() {
    let mut stranger = request("GET", "catalog", "eve", "[]");
    stranger.claims.retain(|claim| claim.name != "workspaces");
    assert_eq!(decide("package p\nallow := true", stranger), Err("you are not a member of workspace acme".into()));
}

#[test]
fn a_text_that_does_not_compile_is_refused_with_its_place() {
    for (text, expect) in [
        ("package p\n\nallow if {\n  input.method == \n}\n", "line 5, column 1"),
        ("package p\nallow if nobody", "line 2"),
        ("package p\ndeny contains \"x\" if true", "no rule `allow`"),
        ("allow := true", "line 1, column 1"),
        ("", "line"),
        ("package p\nallow if http.send({}).status == 200", "line 2"),
        ("package p\nallow if time.now_ns() > 0", "line 2"),
    ] {
        let error = prepare(text, "").err().unwrap_or_else(|| panic!("taken: {text}"));
        println!("{error}");
        assert!(error.contains(expect), "{text}: {error}");
    }
}
