//! `Idempotency-Key`: a change whose answer was lost is sent again, and done once (catalogue F-20): over cut connections, a killed daemon, a
//! restart, and by the command line itself.

use ::http::Request;
use bytes::Bytes;
use http_body_util::Full;
use orbitd_tests::{
    Daemon, Reply, Setup,
    fault::{Fault, Proxy},
    http, wait,
    wait::seconds,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

/// A POST with a key.
fn keyed(daemon: &Daemon, path: &str, key: &str, body: &Value) -> Request<Full<Bytes>> {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    let bearer = daemon.admin().bearer().to_owned();
    http::request("POST", &daemon.admin_address.to_string(), path, Some(&bearer), &headers, body.to_string())
}

async fn post(daemon: &Daemon, path: &str, key: &str, body: &Value) -> Reply {
    http::send(daemon.admin_address, keyed(daemon, path, key, body)).await.expect("an answer")
}

async fn slugs(daemon: &Daemon) -> Vec<String> {
    let list = daemon.admin().get("/v1/workspaces").await.expect(200).json();
    let items = list["items"].as_array().expect("a list");
    items.iter().map(|item| item["slug"].as_str().expect("a slug").to_owned()).collect()
}

#[tokio::test]
async fn a_change_with_a_key_is_made_once_whoever_loses_the_answer() {
    let mut daemon = Setup::echo().prepare();
    daemon.start().await;
    let new = json!({"slug": "acme", "tier": "free"});
    // Ten at once: one of them makes it, all hear of that one.
    let all = (0..10).map(|_| http::send(daemon.admin_address, keyed(&daemon, "/v1/workspaces", "\"k-1\"", &new)));
    let all: Vec<Reply> =
        futures_util::future::join_all(all).await.into_iter().map(|r| r.expect("an answer")).collect();
    let id = all[0].json()["id"].clone();
    assert!(id.is_string() && all.iter().all(|r| r.status == 201 && r.json()["id"] == id), "{:?}", all[0]);
    assert_eq!(all.iter().filter(|r| r.header("idempotent-replayed") == "true").count(), 9);
    assert!(all.iter().all(|r| r.header("location") == "/v1/workspaces/acme"));

    let other = post(&daemon, "/v1/workspaces", "k-1", &json!({"slug": "beta", "tier": "free"})).await;
    assert_eq!((other.status.as_u16(), other.json()["type"].as_str()), (422, Some("urn:orbitd:problem:key-reused")));
    post(&daemon, "/v1/workspaces", "two words", &new).await.expect(400);
    // A refusal keeps no key.
    post(&daemon, "/v1/workspaces", "k-2", &json!({"slug": "beta", "tier": "none"})).await.expect(422);
    post(&daemon, "/v1/workspaces", "k-2", &json!({"slug": "beta", "tier": "free"})).await.expect(201);

    // A client that hangs up as soon as it has asked.
    let body = json!({"slug": "gamma", "tier": "free"}).to_string();
    let head = format!(
        "POST /v1/workspaces HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         idempotency-key: \"k-3\"\r\ncontent-length: {}\r\n\r\n{body}",
        daemon.admin().bearer(),
        body.len()
    );
    let mut wire = tokio::net::TcpStream::connect(daemon.admin_address).await.expect("connected");
    wire.write_all(head.as_bytes()).await.expect("sent");
    drop(wire);
    let again = post(&daemon, "/v1/workspaces", "k-3", &json!({"slug": "gamma", "tier": "free"})).await.expect(201);
    assert_eq!(again.json()["slug"], "gamma");

    // Actions and backups.
    daemon.admin().running("acme").await;
    let first = post(&daemon, "/v1/workspaces/acme/restart", "k-4", &Value::Null).await.expect(202).json();
    let second = post(&daemon, "/v1/workspaces/acme/restart", "k-4", &Value::Null).await.expect(202).json();
    assert_eq!((&first["generation"], &second["generation"]), (&json!(2), &json!(2)));
    let first = post(&daemon, "/v1/workspaces/acme/backup", "k-5", &Value::Null).await.expect(202).json();
    let second = post(&daemon, "/v1/workspaces/acme/backup", "k-5", &Value::Null).await.expect(202).json();
    assert_eq!(first, second);

    // The next daemon knows, too.
    daemon.terminate();
    daemon.start().await;
    let again = post(&daemon, "/v1/workspaces", "k-1", &new).await.expect(201);
    assert_eq!((&again.json()["id"], again.header("idempotent-replayed")), (&id, "true"));
    assert_eq!(slugs(&daemon).await, ["acme", "beta", "gamma"]);
    let bytes = std::fs::read(daemon.dir.join("data/registry.sqlite")).expect("readable");
    assert_eq!(orbitd_tests::wire::count(&bytes, b"k-5"), 0, "keys are kept as digests");
}

/// Sends a change with a key to a daemon that dies of it at this point, then again to the next one.
async fn killed_at(daemon: &mut Daemon, point: &str, path: &str, body: &Value) -> Reply {
    daemon.environment.push(("ORBITD_CRASHPOINT".to_owned(), point.to_owned()));
    daemon.start().await;
    let lost = http::send(daemon.admin_address, keyed(daemon, path, point, body)).await;
    assert!(lost.is_err(), "{point}: it answered: {lost:?}");
    wait::until("the daemon to be dead", seconds(30), || {
        let lives = daemon.lives();
        async move { if lives { Err("it lives".to_owned()) } else { Ok(()) } }
    })
    .await;
    daemon.environment.clear();
    daemon.start().await;
    let answer = post(daemon, path, point, body).await;
    let again = post(daemon, path, point, body).await;
    assert_eq!((again.status, again.body.clone()), (answer.status, answer.body.clone()), "{point}: and the same again");
    answer
}

#[tokio::test]
async fn a_daemon_that_dies_between_the_change_and_its_answer_is_asked_again() {
    let mut daemon = Setup::echo().prepare();
    let made =
        killed_at(&mut daemon, "create.after-row", "/v1/workspaces", &json!({"slug": "acme", "tier": "free"})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(slugs(&daemon).await, ["acme"]);
    daemon.admin().running("acme").await;
    daemon.terminate();
    let restarted = killed_at(&mut daemon, "spec.after-write", "/v1/workspaces/acme/restart", &Value::Null).await;
    assert_eq!(restarted.status, 202, "{}", restarted.text());
    let acme = daemon.admin().running("acme").await;
    assert_eq!((&acme["generation"], &acme["spec"]["restarts"]), (&json!(2), &json!(1)), "once");
}

#[tokio::test]
async fn the_command_line_asks_again_when_an_answer_is_lost() {
    let daemon = Setup::echo().start().await;
    let proxy = Proxy::start(daemon.admin_address).await;
    let through = format!("http://{}", proxy.address);
    proxy.set(Fault::LoseAnswer { after: Vec::new(), to: b"POST /v1/workspaces ".to_vec() });
    let args = ["workspace", "create", "acme", "--tier", "free", "--admin", &through];
    let command = daemon.command(&args);
    let done = tokio::task::spawn_blocking(|| orbitd_tests::daemon::run_limited(command)).await.expect("no panic");
    let said = String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}");
    assert_eq!((proxy.hits(), slugs(&daemon).await), (1, vec!["acme".to_owned()]), "{said}");
}
