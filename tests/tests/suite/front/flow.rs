//! Bodies, streams and kept connections: what a proxy must pass on as it comes.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use orbitd_tests::{http, wire::Wire};

use crate::fixtures;

#[tokio::test]
async fn bodies_arrive_whole_both_ways() {
    let daemon = fixtures::echo().await;
    let token = daemon.token(&["acme"]);
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n * 31 % 251) as u8).collect();
    let sum = hex::encode(digest(&SHA256, &body));
    let account = daemon.send("POST", "acme", "/up", Some(&token), &[], body).await.expect(200).json();
    assert_eq!((&account["body_bytes"], &account["body_sha256"]), (&3_000_000.into(), &sum.into()));
    let reply = daemon.get("acme", "/down?mode=bytes&n=5000000", Some(&token)).await.expect(200);
    assert_eq!(reply.body.len(), 5_000_000);
    assert_eq!(hex::encode(digest(&SHA256, &reply.body)), reply.header("x-sha256"));
}

#[tokio::test]
async fn a_kept_connection_serves_many_requests_and_workspaces_do_not_mix_on_it() {
    let daemon = fixtures::echo().await;
    let mut connection = http::Connection::open(daemon.proxy).await.expect("connected");
    for n in 0..40 {
        let slug = if n % 2 == 0 { "acme" } else { "globex" };
        connection.ready().await.expect("the connection is kept");
        let token = daemon.token(&[slug]);
        let request = http::request("GET", &daemon.host(slug), &format!("/{n}"), Some(&token), &[], "");
        let account = connection.send(request).await.expect("an answer").expect(200).json();
        assert_eq!((&account["workspace"], &account["url"]), (&slug.into(), &format!("/{n}").into()));
    }
}

#[tokio::test]
async fn server_sent_events_pass_as_they_come() {
    let daemon = fixtures::echo().await;
    let token = daemon.token(&["acme"]);
    let mut wire = Wire::open(daemon.proxy).await.expect("connected");
    let head = format!(
        "GET /events?mode=events&n=5&ms=400 HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
        daemon.host("acme")
    );
    wire.say(head.as_bytes()).await;
    for n in 1..=3 {
        let heard =
            wire.hear_until(Duration::from_secs(5), |bytes| String::from_utf8_lossy(bytes).contains("data: ")).await;
        let text = heard.text();
        let sent: u128 =
            text.split("data: ").nth(1).and_then(|rest| rest.split('\n').next()?.trim().parse().ok()).expect("a time");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_millis();
        // Events are 400 ms apart: one that was kept back until the next is at least that late.
        assert!(now.saturating_sub(sent) < 350, "event {n} came {} ms after it was sent", now - sent);
    }
}

#[tokio::test]
async fn repeated_response_fields_stay_and_hop_by_hop_fields_go() {
    let daemon = fixtures::echo().await;
    let reply = daemon.get("acme", "/cookies?mode=cookies", Some(&daemon.token(&["acme"]))).await.expect(200);
    let cookies: Vec<_> = reply.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok()).collect();
    assert_eq!(cookies.len(), 3, "{cookies:?}");
    assert_eq!(&cookies[..2], ["a=1; Path=/", "b=2; Path=/"]);
    assert!(!cookies[2].to_lowercase().contains("domain"), "a cookie for all workspaces: {}", cookies[2]);
    assert!(
        reply.headers.get("x-private").is_none() && reply.headers.get("keep-alive").is_none(),
        "{:?}",
        reply.headers
    );
}

#[tokio::test]
async fn an_error_is_a_problem_document_with_a_request_id() {
    let daemon = fixtures::echo().await;
    let reply = daemon.get("acme", "/api/no-such-plugin/x", Some(&daemon.token(&["acme"]))).await;
    assert!((400..500).contains(&reply.status.as_u16()), "{}", reply.status);
    let problem = reply.json();
    assert_eq!(problem["status"], reply.status.as_u16());
    for field in ["type", "title", "detail", "request_id"] {
        assert!(problem[field].is_string(), "{field} is missing: {problem}");
    }
    assert!(problem["detail"].to_string().contains("no-such-plugin"), "{problem}");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_upstream_request_along() {
    let daemon = fixtures::echo().await;
    let token = daemon.token(&["umbrella"]);
    for _ in 0..20 {
        let mut wire = Wire::open(daemon.proxy).await.expect("connected");
        let head = format!(
            "GET /gone?mode=hang HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
            daemon.host("umbrella")
        );
        wire.say(head.as_bytes()).await;
    }
    let account = daemon.get("umbrella", "/still-here", Some(&token)).await.expect(200).json();
    assert_eq!(account["url"], "/still-here");
}
