//! A hostile instance (rows P-19, P-38…P-42, H-17): what it sends must never become somebody else's answer, nor look complete
//! where it is not.

use std::time::Duration;

use orbitd_tests::{http, wire::Wire};

use crate::fixtures;

#[tokio::test]
async fn malformed_answers_are_a_502() {
    let daemon = fixtures::echo().await;
    let token = daemon.token(&["initech"]);
    for mode in ["two-lengths", "negative-length", "nul-in-header", "garbage", "empty", "unasked-101"] {
        let reply = daemon.get("initech", &format!("/bad?mode={mode}"), Some(&token)).await;
        assert_eq!(reply.status, 502, "{mode}: {}", reply.text());
        assert!(!reply.text().contains("hello") && !reply.text().contains("secret"), "{mode}: {}", reply.text());
        assert_eq!(reply.json()["status"], 502, "{mode}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_cut_answer_never_looks_whole() {
    let daemon = fixtures::echo().await;
    let token = daemon.token(&["initech"]);
    for mode in ["truncated", "truncated-chunks"] {
        let target = format!("/cut?mode={mode}");
        let request = http::request("GET", &daemon.host("initech"), &target, Some(&token), &[], "");
        let outcome = http::send(daemon.proxy, request).await;
        let whole = outcome.as_ref().is_ok_and(|reply| reply.status == 200);
        assert!(!whole, "{mode}: looked like a whole answer: {outcome:?}");
    }
}

#[tokio::test]
async fn bytes_left_on_an_upstream_connection_answer_nobody() {
    let daemon = fixtures::echo().await;
    let token = daemon.token(&["initech"]);
    for mode in ["extra-bytes", "body-on-204", "length-and-chunked"] {
        for n in 0..10 {
            let request =
                http::request("GET", &daemon.host("initech"), &format!("/x?mode={mode}"), Some(&token), &[], "");
            let _ = http::send(daemon.proxy, request).await;
            let reply = daemon.get("initech", &format!("/after-{n}"), Some(&token)).await;
            assert!(!reply.text().contains("poison"), "{mode}: {}", reply.text());
            if reply.status == 200 {
                assert_eq!(reply.json()["url"], format!("/after-{n}"), "{mode}");
            }
        }
    }
}

#[tokio::test]
async fn early_hints_do_not_disturb_the_answer() {
    let daemon = fixtures::echo().await;
    let reply = daemon.get("initech", "/hints?mode=early-hints", Some(&daemon.token(&["initech"]))).await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "ok"));
}

#[tokio::test]
async fn an_answer_before_the_body_was_read_leaves_no_bytes_behind() {
    let daemon = fixtures::echo().await;
    let token = daemon.token(&["initech"]);
    let inner =
        format!("GET /smuggled HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\r\n", daemon.host("initech"));
    // Refused by the policy (403 for this workspace), by the front (no token), and by the instance itself.
    for (slug, target, authorization) in [
        ("acme", "/early", format!("Authorization: Bearer {token}\r\n")),
        ("initech", "/early", String::new()),
        ("initech", "/early?mode=deaf", format!("Authorization: Bearer {token}\r\n")),
    ] {
        let mut wire = Wire::open(daemon.proxy).await.expect("connected");
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {}\r\n{authorization}Content-Length: {}\r\n\r\n{inner}",
            daemon.host(slug),
            inner.len()
        );
        wire.say(head.as_bytes()).await;
        let heard = wire.hear(Duration::from_millis(800)).await;
        assert_eq!(heard.statuses().len(), 1, "{slug} {target}: {}", heard.text());
        assert!(matches!(heard.statuses()[0], 401 | 403), "{slug} {target}: {}", heard.text());
    }
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let daemon = fixtures::echo().await;
    let token = daemon.token(&["umbrella"]);
    let origin = fixtures::instance_address(daemon, "umbrella").await;
    for n in 0..5 {
        // The instance closes without an answer: nobody knows whether it acted.
        let target = format!("/once-{n}-?mode=empty");
        let reply = daemon.send("POST", "umbrella", &target, Some(&token), &[], "pay").await;
        assert_eq!(reply.status, 502, "{}", reply.text());
    }
    let arrived = orbitd_tests::wire::arrived(origin).await;
    for n in 0..5 {
        let mark = format!("/once-{n}-");
        let times: usize = arrived.iter().map(|one| orbitd_tests::wire::count(&one.bytes, mark.as_bytes())).sum();
        assert_eq!(times, 1, "POST {mark} reached the instance {times} times");
    }
}
