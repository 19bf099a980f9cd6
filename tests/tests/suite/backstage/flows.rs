//! Requests, identities, plugins.

use orbitd_tests::{Issuer, admin, wait, wire::Wire};
use serde_json::json;

use super::{backstage, component, entities, soon};

#[tokio::test]
async fn each_workspace_has_its_own_catalogue_and_sees_no_other() {
    let daemon = backstage().await;
    let acme = component(&daemon, "acme", "acme-storefront").await;
    let globex = component(&daemon, "globex", "globex-reactor-control").await;
    assert!(acme.iter().all(|name| name.starts_with("acme-")), "{acme:?}");
    assert!(globex.iter().all(|name| name.starts_with("globex-")), "{globex:?}");
    // Both have a user alice and a team-a of their own.
    for (slug, person) in [("acme", "Alice Anvil"), ("globex", "Alice Atom")] {
        let target = "/api/catalog/entities/by-name/user/default/alice";
        let alice = daemon.get(slug, target, Some(&daemon.token(&[slug]))).await.expect(200).json();
        assert_eq!(alice["spec"]["profile"]["displayName"], person);
    }
}

#[tokio::test]
async fn tokens_open_what_they_name() {
    let daemon = backstage().await;
    let target = "/api/catalog/entities?limit=1";
    daemon.get("globex", target, Some(&daemon.token(&["acme"]))).await.expect(403);
    daemon.get("acme", target, Some(&daemon.token(&["globex"]))).await.expect(403);
    daemon.get("acme", target, None).await.expect(401);
    let forged = Issuer::new(&daemon.issuer.kid).token(&["acme"]);
    daemon.get("acme", target, Some(&forged)).await.expect(401);
    let both = daemon.token(&["acme", "globex"]);
    daemon.get("acme", target, Some(&both)).await.expect(200);
    daemon.get("globex", target, Some(&both)).await.expect(200);
}

#[tokio::test]
async fn the_user_is_a_backstage_user() {
    let daemon = backstage().await;
    let token = daemon.token(&["acme"]);
    let headers = [("x-requested-with", "XMLHttpRequest")];
    let session = daemon.send("GET", "acme", "/api/auth/orbitd/refresh", Some(&token), &headers, "").await.expect(200);
    let identity = session.json()["backstageIdentity"].clone();
    assert_eq!(identity["identity"]["userEntityRef"], "user:default/alice", "{identity}");
    assert!(identity["identity"]["ownershipEntityRefs"].to_string().contains("group:default/team-a"), "{identity}");
    assert!(identity["token"].as_str().is_some_and(|token| token.split('.').count() == 3), "{identity}");
    // Only a user may ask for own notifications: Backstage itself believed who that is.
    let status = daemon.get("acme", "/api/notifications/status", Some(&token)).await;
    assert_eq!(status.status, 200, "{}", status.text());
    daemon.get("acme", "/api/auth/orbitd/refresh", None).await.expect(401);
}

#[tokio::test]
async fn a_template_runs_as_the_user_who_asked() {
    let daemon = backstage().await;
    let token = daemon.token(&["acme"]);
    wait::until("the template", super::CATALOG_LIMIT, || async {
        let names = entities(&daemon, "acme", "template").await?;
        if names.contains(&"acme-hello".to_owned()) { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    let json_body = [("content-type", "application/json")];
    let task = json!({"templateRef": "template:default/acme-hello", "values": {"name": "orbit"}}).to_string();
    let created = daemon.send("POST", "acme", "/api/scaffolder/v2/tasks", Some(&token), &json_body, task.clone()).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let id = created.json()["id"].as_str().expect("a task id").to_owned();
    wait::until("the task to be done", soon(), || async {
        let task = daemon.get("acme", &format!("/api/scaffolder/v2/tasks/{id}"), Some(&token)).await.expect(200).json();
        assert_eq!(task["createdBy"], "user:default/alice", "{task}");
        if task["status"] == "completed" { Ok(()) } else { Err(task["status"].to_string()) }
    })
    .await;
    let foreign = daemon
        .send("POST", "acme", "/api/scaffolder/v2/tasks", Some(&daemon.token(&["globex"])), &json_body, task)
        .await;
    foreign.expect(403);
}

#[tokio::test]
async fn argocd_without_a_server_is_left_out_with_a_reason() {
    let daemon = backstage().await;
    let workspace = daemon.admin().running("acme").await;
    let (outcome, reason) = admin::plugin(&workspace, "argocd").expect("a report of argocd");
    assert_eq!(outcome, "left-out");
    assert!(reason.to_lowercase().contains("argocd"), "{reason}");
    let healthy = admin::condition(&workspace, "PluginsHealthy").expect("a condition");
    assert!(healthy["message"].to_string().contains("argocd"), "{healthy}");
    for id in ["catalog", "auth", "scaffolder", "search", "techdocs", "notifications", "signals", "permission", "proxy"]
    {
        let (outcome, reason) = admin::plugin(&workspace, id).unwrap_or_else(|| panic!("no report of {id}"));
        assert_eq!(outcome, "ready", "{id}: {reason}");
    }
    let shown = daemon.run(&["workspace", "get", "acme"]);
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.status.success() && text.contains("argocd") && text.contains("catalog"), "{text}");
    let json = daemon.run(&["workspace", "get", "acme", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(admin::plugin(&json, "argocd").map(|(outcome, _)| outcome), Some("left-out"), "{json}");
}

#[tokio::test]
async fn a_plugin_outside_the_tier_is_refused_by_name() {
    let daemon = backstage().await;
    let reply = daemon.get("globex", "/api/kubernetes/clusters", Some(&daemon.token(&["globex"]))).await;
    assert!((400..500).contains(&reply.status.as_u16()), "{}", reply.status);
    assert!(reply.text().contains("kubernetes"), "{}", reply.text());
}

#[tokio::test]
async fn backstages_own_endpoints_are_not_for_callers() {
    let daemon = backstage().await;
    let token = daemon.token(&["acme"]);
    for target in ["/.backstage/health/v1/readiness", "/.orbit/v1/boot?challenge=ab", "/.orbit/v1/anything"] {
        let reply = daemon.get("acme", target, Some(&token)).await;
        assert!((400..500).contains(&reply.status.as_u16()), "{target}: {} {}", reply.status, reply.text());
    }
}

#[tokio::test]
async fn a_signals_websocket_opens() {
    let daemon = backstage().await;
    let host = daemon.host("acme");
    let head = format!(
        "GET /api/signals HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        daemon.token(&["acme"]),
    );
    // The plugin leaves the first upgrade of its life unanswered (it only then begins to listen); its own client tries again.
    let mut heard = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::open(daemon.proxy).await.expect("connected");
        wire.say(head.as_bytes()).await;
        heard.push(wire.hear_until(wait::seconds(3), |bytes| bytes.windows(4).any(|four| four == b"\r\n\r\n")).await);
    }
    assert_eq!(heard[1].statuses(), [101], "{heard:?}");
}
