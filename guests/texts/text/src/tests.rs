use serde_json::{Value, json};

use super::{
    trial::{decide, prepare, request},
    *,
};

/// A language in which a text is what its decisions say.
struct Plain;

#[derive(Deserialize)]
struct Own {
    #[serde(default)]
    header: String,
}

impl Language for Plain {
    const ABOUT: About = About { name: "plain", version: "1.0.0", inputs: &[], settings_schema: "" };
    type Settings = Own;
    type Program = String;

    fn compile(text: &str, settings: Own) -> Result<Compiled<String>, String> {
        Ok(Compiled { program: text.into(), inputs: vec![format!("header:{}", settings.header)] })
    }
    fn decide(program: &String, _request: &AuthorizeRequest, _caller: &Caller) -> Result<Verdict, String> {
        Ok(match program.as_str() {
            "allow" => Verdict::Allowed,
            "deny" => Verdict::Denied { reason: None },
            said => Verdict::Denied { reason: Some(said.into()) },
        })
    }
}

fn loaded(text: &str, settings: Value) -> Result<Prepared<String>, String> {
    prepare::<Plain>(text, settings)
}

fn said(text: &str, settings: Value) -> Result<String, String> {
    decide::<Plain>(loaded(text, settings).expect("settings"), request("GET", "catalog", "alice", "[]", &[]))
}

#[test]
fn a_verdict_becomes_an_answer() {
    assert_eq!(said("allow", json!({})).as_deref(), Ok("user:default/alice group:default/team-a"));
    let named = json!({"namespace": "staff", "groups_claim": "teams"});
    assert_eq!(said("allow", named).as_deref(), Ok("user:staff/alice "));
    assert_eq!(said("deny", json!({})), Err("the policy of workspace acme does not allow this".into()));
    assert_eq!(said("deny", json!({"refusal": "no {plugin} here"})), Err("no catalog here".into()));
    assert_eq!(said("closed\nfor today", json!({})), Err("closed for today".into()));
    assert_eq!(said(&"x".repeat(600), json!({})).map_err(|said| said.len()), Err(MAX_REASON_CHARS));
}

#[test]
fn no_text_opens_a_workspace_to_strangers() {
    let mut stranger = request("GET", "catalog", "eve", "[]", &[]);
    stranger.claims.retain(|claim| claim.name != "workspaces");
    let said = decide::<Plain>(loaded("allow", json!({})).expect("settings"), stranger);
    assert_eq!(said, Err("you are not a member of workspace acme".into()));
}

#[test]
fn settings_are_the_shared_ones_and_the_language_s_own() {
    let prepared = loaded("allow", json!({"header": "x-team", "user_claim": "mail"})).expect("settings");
    let inputs = TextPolicy::<Plain>::inputs(&prepared);
    assert_eq!(inputs, ["claim:workspaces", "claim:mail", "claim:groups", "header:x-team"]);
    let refused = |settings: Value| loaded("allow", settings).err().expect("refused");
    assert!(refused(json!({"hedder": "x-team"})).contains("hedder"));
    assert!(refused(json!({"user_claim": ""})).contains("user_claim is empty"));
    assert!(refused(json!({"namespace": "No Name"})).contains("no Backstage namespace"));
}
