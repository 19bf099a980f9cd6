use cedar_policy_core::{
    ast::{self, PolicyID, Request},
    entities::{Entities, NoEntitiesSchema, TCComputation},
    evaluator::Evaluator,
    extensions::Extensions,
    parser::parse_policyset,
};
use orbit_text::{Prepared, trial};
use serde_json::json;

use super::*;
use crate::{entity::Types, scope::Asked};

const POLICY: &str = r#"
permit (principal, action in Action::"read", resource);
permit (principal in Role::"developer", action, resource in Workspace::"acme");

@reason("contractors do not write on this path")
forbid (principal, action in Action::"write", resource == Plugin::"catalog")
when { principal has contractor && principal.contractor && context.path like "/api/catalog/*" };
"#;

fn prepare(policy: &str) -> Result<Prepared<Program>, String> {
    let claims = json!({"contractor": "Bool", "floor": "Long", "mail": "String", "teams": "Set<String>"});
    trial::prepare::<Cedar>(policy, json!({"claims": claims, "headers": ["x-team"]}))
}

fn request(method: &str, roles: &str, contractor: &str) -> AuthorizeRequest {
    trial::request(method, "catalog", "alice", roles, &[("contractor", contractor)])
}

fn decide(policy: &str, asked: AuthorizeRequest) -> Result<String, String> {
    trial::decide::<Cedar>(prepare(policy).expect("a good text"), asked)
}

#[test]
fn the_text_permits_and_forbids() {
    let alice = "user:default/alice group:default/team-a";
    assert_eq!(decide(POLICY, request("GET", "[]", "null")).as_deref(), Ok(alice));
    assert_eq!(decide(POLICY, request("POST", r#"["developer"]"#, "false")).as_deref(), Ok(alice));
    let refusal = "the policy of workspace acme does not allow this";
    assert_eq!(decide(POLICY, request("POST", r#"["viewer"]"#, "null")), Err(refusal.into()));
    let said = decide(POLICY, request("POST", r#"["developer"]"#, "true"));
    assert_eq!(said, Err("contractors do not write on this path".into()));
    assert!(decide(POLICY, request("BREW", r#"["viewer"]"#, "null")).is_err(), "an unknown method writes");
    let wordless = "permit (principal, action, resource);\n@reason\nforbid (principal, action, resource);";
    assert_eq!(decide(wordless, request("GET", "[]", "null")), Err(refusal.into()));
}

#[test]
fn a_text_that_does_not_parse_or_make_sense_is_refused_with_its_place() {
    for (text, expect) in [
        ("permit (principal, action, resource)", "line 1, column 37"),
        ("permit (principal, action, resource);\npermit (principle, action, resource);", "line 2, column 9"),
        ("permit (principal, action, resource)\nwhen { principal.departmint == \"x\" };", "line 2, column 8: "),
        ("permit (principal in Team::\"x\", action, resource);", "line 1, column 22"),
        ("permit (principal, action, resource)\nwhen { principal is Team };", "line 2, column 21: "),
        (
            "permit (principal, action, resource) when { datetime(\"2026-01-01\") < datetime(\"2027-01-01\") };",
            "no datetime here",
        ),
        ("permit (principal == ?principal, action, resource);", "template"),
        ("", "no `permit`"),
    ] {
        let error = prepare(text).err().unwrap_or_else(|| panic!("taken: {text}"));
        println!("{error}");
        assert!(error.contains(expect), "{text}: {error}");
    }
}

#[test]
fn a_policy_that_fails_is_named_by_its_place() {
    let text = "permit (principal, action, resource);\n\n  forbid (principal, action, resource)\n\
                when { principal has floor && principal.floor + 1 > 3 };";
    let asked = |floor| trial::request("GET", "catalog", "alice", "[]", &[("floor", floor)]);
    assert!(decide(text, asked("1")).is_ok());
    let failed = decide(text, asked("9223372036854775807")).expect_err("an overflow");
    assert!(failed.starts_with("policy, line 3, column 3: ") && failed.contains("overflow"), "{failed}");
}

/// Every kind of head with every kind of expression: a decision must see in a packed policy what Cedar sees in its text.
#[test]
fn a_packed_policy_means_what_its_text_means() {
    let principals = [
        "principal",
        r#"principal == User::"alice""#,
        r#"principal in User::"bob""#,
        r#"principal in Role::"developer""#,
        r#"principal in Group::"team-a""#,
        "principal is User",
        r#"principal is User in Role::"viewer""#,
    ];
    let actions = [
        "action",
        r#"action == Action::"GET""#,
        r#"action in Action::"write""#,
        r#"action in [Action::"GET", Action::"write"]"#,
        r#"action in [Action::"POST"]"#,
    ];
    let resources = [
        "resource",
        r#"resource == Plugin::"catalog""#,
        r#"resource in Workspace::"acme""#,
        r#"resource in Tier::"pro""#,
        r#"resource is Plugin in Tier::"free""#,
    ];
    let conditions = [
        "",
        "when { principal has contractor && principal.contractor }",
        r#"unless { context.path like "/api/*\**" || context.query == "" }"#,
        r#"when { context.path like "*/catalog/*" }"#,
        r#"when { if principal has floor then principal.floor * 2 - 1 >= 3 else false }"#,
        r#"when { context has headers.x && context.headers has "x-team" }"#,
        r#"when { context.headers has "x-team" && context.headers["x-team"] == "a" }"#,
        r#"when { principal has teams && principal.teams.containsAny(["a", "b"]) && !principal.teams.isEmpty() }"#,
        r#"when { principal has teams && principal.teams.contains("a") && principal.teams.containsAll(["a"]) }"#,
        r#"when { resource in [Workspace::"globex", Workspace::"acme"] && principal is User }"#,
        r#"when { {a: principal, "b c": 1} == {a: User::"alice", "b c": -(-1)} }"#,
        r#"when { Workspace::"acme" in Tier::"pro" } unless { principal in Group::"team-b" }"#,
        r#"when { principal has mail && principal.mail != "é\n" && 1 + 1 < 3 }"#,
    ];
    let mut text = String::new();
    let mut next = conditions.iter().cycle();
    for principal in principals {
        for action in actions {
            for resource in resources {
                let condition = next.next().expect("a cycle");
                text.push_str(&format!("permit ({principal}, {action}, {resource}) {condition};\n"));
            }
        }
    }
    let claims = BTreeMap::from([
        ("contractor".to_owned(), Kind::Bool),
        ("floor".to_owned(), Kind::Long),
        ("mail".to_owned(), Kind::String),
        ("teams".to_owned(), Kind::Strings),
    ]);
    let headers = vec!["x-team".to_owned(), "x".to_owned()];
    let compiled = Cedar::compile(&text, Settings { claims, headers }).expect("a valid text");
    let program: Program =
        postcard::from_bytes(&postcard::to_allocvec(&compiled.program).expect("bytes")).expect("back");
    let parsed = parse_policyset(&text).expect("parsed");
    let (types, mut seen, mut skipped) = (Types::new().expect("names"), [0, 0], 0);
    for (asked, request, entities) in questions(&program, &types) {
        for (number, packed) in program.policies.iter().enumerate() {
            let id = PolicyID::from_string(format!("policy{number}"));
            let policy = parsed.get(&id).expect("in the order of the text");
            let meant = Evaluator::new(request.clone(), &hierarchy(&asked, &types, &entities), Extensions::none())
                .evaluate(policy)
                .map_err(|error| error.to_string());
            let (principal, action, resource) =
                (policy.principal_constraint(), policy.action_constraint().clone(), policy.resource_constraint());
            let (annotations, effect) = (ast::Annotations::new(), policy.effect());
            let head = ast::StaticPolicy::new(id, None, annotations, effect, principal, action, resource, None)
                .expect("a head without a condition");
            let evaluator = Evaluator::new(request.clone(), &entities, Extensions::none());
            assert_eq!(evaluator.evaluate(&head.into()).ok(), Some(packed.scope.holds(&asked)), "{policy}: {request}");
            let unpacked = packed.cedar(&types).expect("unpacked");
            let holds = packed.scope.holds(&asked);
            let found = evaluator.evaluate(&unpacked).map_err(|error| error.to_string());
            let found = if holds { found } else { Ok(false) };
            assert_eq!(found, meant, "{policy}: {request}");
            seen[usize::from(meant == Ok(true))] += 1;
            skipped += usize::from(!holds);
        }
    }
    assert!(seen[0] > 200 && seen[1] > 200 && skipped > 200, "{seen:?}, {skipped} skipped");
}

/// Requests that differ in all that a text can ask for.
fn questions(program: &Program, types: &Types) -> Vec<(Asked, Request, Entities)> {
    let all = [("floor", "2"), ("contractor", "true"), ("mail", "\"a@b\""), ("teams", r#"["a", "c"]"#)];
    let of_another_type = [("floor", "\"2\""), ("contractor", "null"), ("teams", "[1]")];
    let mut questions = Vec::new();
    for method in ["GET", "DELETE", "BREW"] {
        for (plugin, user, roles, claims) in [
            ("catalog", "alice", r#"["developer"]"#, all.as_slice()),
            ("search", "bob", r#"["viewer"]"#, of_another_type.as_slice()),
            ("", "alice", "[]", &[]),
        ] {
            let mut asked = trial::request(method, plugin, user, roles, claims);
            asked.query = if user == "bob" { "a=*".into() } else { String::new() };
            let team = orbit_policy_sdk::Pair { name: "x-team".into(), value: "a".into() };
            asked.headers = if method == "GET" { vec![team] } else { Vec::new() };
            let caller = orbit_caller::Names::default().caller(&asked).expect("a member");
            let question = ask::question(program, &asked, &caller, types).expect("a question");
            questions.push(question);
        }
    }
    questions
}

/// The same entities with their parents alone: what is above those, Cedar finds.
fn hierarchy(asked: &Asked, types: &Types, entities: &Entities) -> Entities {
    let plugin = types.uid(&asked.resource.uid);
    let list: Vec<ast::Entity> = entities
        .iter()
        .map(|entity| {
            if *entity.uid() != plugin {
                return entity.clone();
            }
            let workspace = types.uid(asked.resource.within.first().expect("a workspace"));
            ast::Entity::new(plugin.clone(), [], Default::default(), [workspace].into(), [], Extensions::none())
                .expect("an entity")
        })
        .collect();
    Entities::from_entities(list, None::<&NoEntitiesSchema>, TCComputation::ComputeNow, Extensions::none())
        .expect("a hierarchy")
}
