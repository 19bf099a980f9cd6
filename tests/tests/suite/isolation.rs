//! A token opens the workspaces it names and no other, whatever else the request says. The checker is shown to see a broken
//! authorizer (negative control), or its silence would mean nothing.

use orbitd_tests::{Daemon, Setup, http, wait};
use serde_json::json;

use crate::fixtures::{self, ECHO_WORKSPACES};

/// Everything that is wrong in the matrix of tokens × workspaces.
async fn violations(daemon: &Daemon, slugs: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for mine in slugs {
        let token = daemon.token(&[mine]);
        for asked in slugs {
            let reply = daemon.get(asked, "/api/catalog/entities", Some(&token)).await;
            let answered = reply.json()["workspace"].as_str().map(str::to_owned);
            match (mine == asked, reply.status.as_u16()) {
                (true, 200) if answered.as_deref() == Some(asked) => {}
                (false, 403) if answered.is_none() && reply.header("x-echo-workspace").is_empty() => {}
                (_, status) => wrong.push(format!("token of {mine} on {asked}: {status}, answered by {answered:?}")),
            }
        }
    }
    wrong
}

#[tokio::test]
async fn a_token_opens_its_own_workspace_only() {
    let daemon = fixtures::echo().await;
    assert_eq!(violations(daemon, &ECHO_WORKSPACES).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_isolation_check_sees_an_authorizer_that_lets_everybody_in() {
    let workspace = "tier = \"free\"\n";
    let daemon = Setup::echo().workspace("acme", workspace, &[]).workspace("globex", workspace, &[]).start().await;
    assert_eq!(violations(&daemon, &["acme", "globex"]).await, Vec::<String>::new());
    // Membership read from a claim that names every workspace: what a careless policy author could ship.
    let broken =
        crate::policies::with_setting(&daemon.read_policy("free.toml"), "claims", "workspaces_claim", "\"teams\"");
    daemon.write_policy("free.toml", broken);
    let mut claims = daemon.issuer.claims(&["acme"]);
    claims["teams"] = json!(["acme", "globex"]);
    let token = daemon.issuer.sign(&daemon.issuer.header(), &claims);
    wait::until("the broken authorizer to be seen", wait::seconds(20), || async {
        let reply = daemon.get("globex", "/api/catalog/entities", Some(&token)).await;
        if reply.status == 200 { Ok(()) } else { Err(format!("{} {}", reply.status, reply.text())) }
    })
    .await;
    assert!(!violations(&daemon, &["acme", "globex"]).await.is_empty(), "the checker does not see it");
}

#[tokio::test]
async fn nothing_in_a_request_but_its_host_chooses_the_workspace() {
    let daemon = fixtures::echo().await;
    let token = daemon.token(&["acme"]);
    for (name, value) in [
        ("x-orbit-workspace", "globex"),
        ("x-forwarded-host", "globex.localhost"),
        ("forwarded", "host=globex.localhost"),
        ("x-original-url", "http://globex.localhost/"),
    ] {
        let reply = daemon.send("GET", "acme", "/who", Some(&token), &[(name, value)], "").await;
        let answered = reply.json()["workspace"].clone();
        assert!(reply.status != 200 || answered == "acme", "{name}: {value} → {} {answered}", reply.status);
        let seen = reply.json()["headers"].to_string();
        assert!(!seen.contains("globex"), "{name}: {value} reached the instance: {seen}");
    }
}

#[tokio::test]
async fn callers_without_dns_name_the_workspace_in_a_header_on_the_bare_domain() {
    let daemon = fixtures::echo().await;
    let bare = format!("localhost:{}", daemon.proxy.port());
    let ask = |workspace: &'static str, token: String| {
        let request = http::request("GET", &bare, "/who", Some(&token), &[("x-orbit-workspace", workspace)], "");
        async move { http::send(daemon.proxy, request).await.expect("an answer") }
    };
    assert_eq!(ask("globex", daemon.token(&["globex"])).await.expect(200).json()["workspace"], "globex");
    ask("globex", daemon.token(&["acme"])).await.expect(403);
}

#[tokio::test]
async fn an_unknown_workspace_is_nobodys() {
    let daemon = fixtures::echo().await;
    for slug in ["nobody", "acme.globex", "xn--acme", "api", "acme-"] {
        let reply = daemon.get(slug, "/who", Some(&daemon.token(&ECHO_WORKSPACES))).await;
        assert!(matches!(reply.status.as_u16(), 401 | 403 | 404 | 421 | 400), "{slug}: {}", reply.status);
        assert!(reply.json()["workspace"].is_null(), "{slug}: {}", reply.text());
    }
}

#[tokio::test]
async fn the_instance_gets_a_backstage_user_and_never_the_callers_token() {
    let daemon = fixtures::echo().await;
    let token = daemon.token(&["acme"]);
    let spoofed = [("x-forwarded-for", "6.6.6.6"), ("cookie", "a=1; backstage-auth=stolen")];
    let account = daemon.send("GET", "acme", "/who", Some(&token), &spoofed, "").await.expect(200).json();
    let headers = account["headers"].to_string();
    assert!(!headers.contains(&token), "the caller's own token reached the instance");
    assert!(!headers.contains("6.6.6.6") && !headers.contains("stolen"), "{headers}");
    let fields = account["headers"].as_array().cloned().unwrap_or_default();
    let bearers: Vec<_> = fields.iter().filter(|field| field[0] == "authorization").collect();
    assert_eq!(bearers.len(), 1, "{headers}");
    let bearer = bearers[0][1].as_str().and_then(|value| value.strip_prefix("Bearer ")).expect("a bearer");
    let claims = orbitd_tests::tokens::peek(bearer).expect("a JWS");
    assert_eq!((&claims["sub"], &claims["aud"]), (&json!("user:default/alice"), &json!("backstage")));
    assert!(claims["ent"].to_string().contains("group:default/team-a"), "{claims}");
}
