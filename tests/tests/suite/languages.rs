//! Policies in every language that `guests/` has an example of, each bound to a tier of a real daemon: it lets in, refuses with
//! its own words, is refused by name when its settings are wrong, and is swapped while the daemon runs.

use std::time::Duration;

use orbitd_tests::{
    Daemon, Setup,
    wait::{self, seconds},
};
use serde_json::{Value, json};

/// Compiling an interpreter takes some 25 CPU seconds, more on a machine that runs other tests.
const INTERPRETER_LIMIT: Duration = Duration::from_secs(240);

const REGO: &str = r#"package access

default allow := false
allow if "developer" in input.roles
allow if input.method == "GET"

deny contains sprintf("nobody deletes in %v", [input.plugin]) if input.method == "DELETE"
"#;

const CEDAR: &str = r#"permit (principal in Role::"developer", action, resource in Tier::"cedar");
permit (principal, action in Action::"read", resource);

@reason("nobody deletes in the catalogue")
forbid (principal, action == Action::"DELETE", resource == Plugin::"catalog");
"#;

/// The tier `pro` with another policy in one role.
fn tier(daemon: &Daemon, role: &str, binding: &str) -> String {
    let mut table: toml::Table = daemon.read_policy("pro.toml").parse().expect("a tier's TOML");
    let binding = toml::Value::Table(binding.parse().expect("a binding's TOML"));
    let binding = if role == "authorizer" { toml::Value::Array(vec![binding]) } else { binding };
    table.insert(role.to_owned(), binding);
    toml::to_string(&table).expect("written")
}

/// A token of someone with these roles in the workspace and these groups.
fn token(daemon: &Daemon, slug: &str, roles: &[&str], groups: &[&str]) -> String {
    let mut claims = daemon.issuer.claims(&[slug]);
    claims["workspaces"] = json!({slug: roles});
    claims["groups"] = json!(groups);
    daemon.issuer.sign(&daemon.issuer.header(), &claims)
}

/// Status and text of an answer.
async fn ask(daemon: &Daemon, method: &str, slug: &str, target: &str, token: &str) -> (u16, String) {
    let reply = daemon.send(method, slug, target, Some(token), &[], "").await;
    (reply.status.as_u16(), reply.text())
}

async fn until_answered(daemon: &Daemon, method: &str, slug: &str, target: &str, token: &str, wanted: (u16, &str)) {
    wait::until(&format!("{method} {slug} {target} to be {} {:?}", wanted.0, wanted.1), seconds(30), || async {
        let (status, text) = ask(daemon, method, slug, target, token).await;
        if status == wanted.0 && text.contains(wanted.1) { Ok(()) } else { Err(format!("{status} {text}")) }
    })
    .await;
}

/// Waits until the tier's refusal holds all of this.
async fn refused(daemon: &Daemon, tier: &str, named: &[&str]) {
    let admin = daemon.admin();
    wait::until(&format!("tier {tier} to be refused with {named:?}"), seconds(30), || async {
        let status = admin.policies().await;
        let reason = of_tier(&status, tier)["refused"]["reason"].as_str().unwrap_or_default().to_owned();
        if named.iter().all(|word| reason.contains(word)) { Ok(()) } else { Err(format!("{reason:?}")) }
    })
    .await;
}

async fn served(daemon: &Daemon, tier: &str, policy: &str, limit: Duration) {
    let admin = daemon.admin();
    wait::until(&format!("tier {tier} to serve {policy}"), limit, || async {
        let status = admin.policies().await;
        let tier = of_tier(&status, tier);
        let there = tier["policies"].as_array().is_some_and(|all| all.iter().any(|one| one["policy"] == policy));
        if there && tier["refused"].is_null() { Ok(()) } else { Err(tier.to_string()) }
    })
    .await;
}

fn of_tier<'a>(status: &'a Value, tier: &str) -> &'a Value {
    let tiers = status["tiers"].as_array().expect("tiers");
    tiers.iter().find(|one| one["tier"] == tier).unwrap_or(&Value::Null)
}

async fn with_text(name: &str, text: &str) -> Daemon {
    let mut daemon = Setup::echo().workspace("acme", &format!("tier = \"{name}\"\n"), &[]).prepare();
    let binding = format!("module = \"modules/{name}.wasm\"\nsettings_files = {{ policy = \"access.{name}\" }}\n");
    daemon.write_policy(&format!("access.{name}"), text);
    daemon.write_policy(&format!("{name}.toml"), tier(&daemon, "authorizer", &binding));
    daemon.start().await;
    daemon.admin().running("acme").await;
    daemon
}

/// What a text in either language must do; `broken` is one with a mistake at `place`.
async fn a_text_is_a_policy(name: &str, text: &str, broken: &str, place: &str) {
    let daemon = with_text(name, text).await;
    let developer = token(&daemon, "acme", &["developer"], &["team-a"]);
    let guest = token(&daemon, "acme", &["guest"], &[]);
    let stranger = token(&daemon, "globex", &["developer"], &[]);
    assert_eq!(ask(&daemon, "POST", "acme", "/api/catalog/x", &developer).await.0, 200);
    assert_eq!(ask(&daemon, "GET", "acme", "/api/catalog/x", &guest).await.0, 200);
    let (status, said) = ask(&daemon, "POST", "acme", "/api/catalog/x", &guest).await;
    assert!(status == 403 && said.contains("the policy of workspace acme does not allow this"), "{status} {said}");
    let (status, said) = ask(&daemon, "DELETE", "acme", "/api/catalog/x", &developer).await;
    assert!(status == 403 && said.contains("nobody deletes in"), "{status} {said}");
    let (status, said) = ask(&daemon, "GET", "acme", "/api/catalog/x", &stranger).await;
    assert!(status == 403 && said.contains("not a member of workspace acme"), "{status} {said}");

    // A text that can't be understood: the place is named, the old text decides.
    let file = format!("access.{name}");
    daemon.write_policy(&file, broken);
    refused(&daemon, name, &["refuses its settings", place]).await;
    assert_eq!(ask(&daemon, "DELETE", "acme", "/api/catalog/x", &developer).await.0, 403);
    // The text alone is saved: nothing else changes, and the new sentence is read.
    daemon.write_policy(&file, text.replace("nobody deletes in", "frozen since today:"));
    until_answered(&daemon, "DELETE", "acme", "/api/catalog/x", &developer, (403, "frozen since today:")).await;
    served(&daemon, name, name, seconds(30)).await;
    std::fs::remove_file(daemon.dir.join("policies").join(&file)).expect("removed");
    refused(&daemon, name, &["settings_files.policy", &file]).await;
}

#[tokio::test]
async fn a_rego_text_is_a_policy() {
    let broken = REGO.replace("input.method == \"GET\"", "input.method ==");
    a_text_is_a_policy("rego", REGO, &broken, "policy, line 7, column").await;
}

#[tokio::test]
async fn a_cedar_text_is_a_policy() {
    // As an organisation's may be: to understand it takes more memory than a binding usually gives a decision.
    let others: String = (0..200)
        .map(|n| {
            format!(
                "permit (principal in Role::\"role-{n}\", action, resource) when {{ context.path like \"/{n}/*\" }};\n"
            )
        })
        .collect();
    let text = format!("{CEDAR}{others}");
    let broken = text.replace("Action::\"read\"", "Action::\"reed\"");
    a_text_is_a_policy("cedar", &text, &broken, "policy, line 2, column").await;
}

#[tokio::test]
async fn javascript_and_python_decide() {
    let setup = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]).workspace("globex", "tier = \"free\"\n", &[]);
    let daemon = setup.start().await;
    for module in ["javascript/maintenance.wasm", "python/group-access.wasm"] {
        let built = orbitd_tests::paths::repository().join("policies/modules").join(module);
        let bytes = std::fs::read(&built).unwrap_or_else(|error| panic!("{}: {error}: `make guests`", built.display()));
        daemon.write_policy(module.rsplit('/').next().expect("a name"), bytes);
    }
    let member = token(&daemon, "acme", &["developer"], &["team-a"]);
    let outsider = token(&daemon, "globex", &["developer"], &["team-b"]);
    let librarian = token(&daemon, "globex", &["developer"], &["librarians"]);

    // Without the class that interpreters need, it is refused, and the word that is missing is named.
    let javascript = "module = \"maintenance.wasm\"\nsettings.plugins = [\"catalog\", \"search\"]\n\
                      settings.maintenance.catalog = \"the catalogue is being moved\"\n";
    daemon.write_policy("pro.toml", tier(&daemon, "router", javascript));
    refused(&daemon, "pro", &["maintenance.wasm", "class = \"language\""]).await;
    assert_eq!(ask(&daemon, "POST", "acme", "/api/catalog/x", &member).await.0, 200, "the old router decides");

    let javascript = format!("class = \"language\"\n{javascript}");
    let pro = tier(&daemon, "router", &javascript);
    daemon.write_policy("pro.toml", &pro);
    served(&daemon, "pro", "maintenance", INTERPRETER_LIMIT).await;
    assert_eq!(ask(&daemon, "GET", "acme", "/api/catalog/x", &member).await.0, 200);
    let (status, said) = ask(&daemon, "POST", "acme", "/api/catalog/x", &member).await;
    assert!(status == 503 && said.contains("the catalogue is being moved"), "{status} {said}");
    let (status, said) = ask(&daemon, "GET", "acme", "/api/scaffolder/x", &member).await;
    assert!(status == 404 && said.contains("plugin scaffolder is not part of tier pro"), "{status} {said}");
    daemon.write_policy("pro.toml", pro.replace("catalog = \"the", "serch = \"the"));
    refused(&daemon, "pro", &["maintenance names serch, which is not among plugins"]).await;
    daemon.write_policy("pro.toml", pro.replace("being moved", "open again at noon"));
    until_answered(&daemon, "POST", "acme", "/api/catalog/x", &member, (503, "open again at noon")).await;

    let python = "class = \"language\"\nmodule = \"group-access.wasm\"\nsettings.plugins.search = [\"librarians\"]\n";
    let free = tier(&daemon, "authorizer", python);
    daemon.write_policy("free.toml", &free);
    served(&daemon, "free", "group-access", INTERPRETER_LIMIT).await;
    assert_eq!(ask(&daemon, "GET", "globex", "/api/search/x", &librarian).await.0, 200);
    assert_eq!(ask(&daemon, "GET", "globex", "/api/catalog/x", &outsider).await.0, 200);
    let (status, said) = ask(&daemon, "GET", "globex", "/api/search/x", &outsider).await;
    assert!(status == 403 && said.contains("plugin search is for librarians"), "{status} {said}");
    let broken = format!("{python}settings.reason = \"{{nobody}} may\"\n");
    daemon.write_policy("free.toml", tier(&daemon, "authorizer", &broken));
    refused(&daemon, "free", &["reason must be a sentence with {plugin}"]).await;
    daemon.write_policy("free.toml", free.replace("librarians", "archivists"));
    until_answered(&daemon, "GET", "globex", "/api/search/x", &librarian, (403, "plugin search is for archivists"))
        .await;
}
