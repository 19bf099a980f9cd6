use orbit_text::{Prepared, trial};
use serde_json::json;

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

fn prepare(policy: &str) -> Result<Prepared<Program>, String> {
    trial::prepare::<Rego>(policy, json!({"data": {"librarians": ["lib"]}}))
}

fn decide(policy: &str, method: &str, plugin: &str, user: &str, roles: &str) -> Result<String, String> {
    trial::decide::<Rego>(prepare(policy).expect("a good text"), trial::request(method, plugin, user, roles, &[]))
}

#[test]
fn the_text_allows_and_denies() {
    let alice = "user:default/alice group:default/team-a";
    assert_eq!(decide(POLICY, "POST", "catalog", "alice", r#"["developer"]"#).as_deref(), Ok(alice));
    assert_eq!(decide(POLICY, "GET", "catalog", "alice", "[]").as_deref(), Ok(alice));
    let said = decide(POLICY, "POST", "catalog", "alice", r#"["viewer"]"#);
    assert_eq!(said, Err("the policy of workspace acme does not allow this".into()));
    let frozen = decide(POLICY, "DELETE", "catalog", "alice", r#"["developer"]"#);
    assert_eq!(frozen, Err("the catalogue is frozen".into()));
    assert!(decide(POLICY, "DELETE", "catalog", "lib", r#"["developer"]"#).is_ok());
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
        let error = prepare(text).err().unwrap_or_else(|| panic!("taken: {text}"));
        println!("{error}");
        assert!(error.contains(expect), "{text}: {error}");
    }
}
