//! The decision log: what was decided and why, without what must not be read, without holding anybody up.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
};

use orbitd_tests::{
    Daemon, Setup,
    wait::{self, seconds},
};
use serde_json::{Value, json};

const SECRET: &str = "canary-71c0ffee-51";
const JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJjYW5hcnkiOiI3MWMwZmZlZSJ9.c2lnbmF0dXJlLWNhbmFyeQ";

async fn daemon(section: &str) -> Daemon {
    let setup = Setup::echo().workspace("acme", "tier = \"pro\"\n", &[]);
    setup.toml(&format!("[decision_log]\n{section}")).start().await
}

/// The log's lines so far; whole ones only.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Waits for a line like this.
async fn line(path: &Path, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, seconds(30), || async {
        let lines = lines(path);
        lines.iter().find(|line| is(line)).cloned().ok_or_else(|| format!("{lines:?}"))
    })
    .await
}

#[tokio::test]
async fn decisions_are_logged_and_no_secret_is_in_them() {
    let daemon = daemon("file = \"log/decisions.jsonl\"\nmask = [\"claim:groups\"]\n").await;
    let path = daemon.dir.join("log/decisions.jsonl");
    // An authorizer that reads a claim named like a credential.
    let pro = daemon.read_policy("pro.toml");
    daemon.write_policy(
        "pro.toml",
        pro.replace("[authorizer.settings]", "[authorizer.settings]\nuser_claim = \"session_token\""),
    );
    let mut claims = daemon.issuer.claims(&["acme"]);
    claims["session_token"] = json!(SECRET);
    let token = daemon.issuer.sign(&daemon.issuer.header(), &claims);
    let mut follower = daemon
        .command(&["policy", "log", "-f", "--json", "--workspace", "acme"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it follows");
    let stdout = follower.stdout.take().expect("a pipe");
    let (sender, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
    });
    let target = format!("/api/catalog/{JWT}?q={SECRET}");
    wait::until("the new settings to decide", seconds(30), || async {
        daemon.get("acme", &target, Some(&token)).await;
        let new =
            |line: &Value| line["masked"].as_array().is_some_and(|all| all.contains(&json!("claim:session_token")));
        if lines(&path).iter().any(new) { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let allowed = line(&path, "the authorizer's line", |line| {
        line["binding"] == "authorizer"
            && line["masked"].as_array().is_some_and(|all| all.contains(&json!("claim:session_token")))
    })
    .await;
    for key in
        ["id", "time", "workspace", "tier", "policy", "digest", "inputs", "seen", "decision", "duration_us", "mode"]
    {
        assert!(!allowed[key].is_null(), "no {key} in {allowed}");
    }
    assert!(
        allowed["masked"].as_array().is_some_and(|all| all.contains(&json!("claim:groups"))),
        "the operator's rule: {allowed}"
    );
    let routed = line(&path, "the router's line", |line| line["binding"] == "router").await;
    assert_eq!(
        (routed["decision"].as_str(), routed["plugin"].as_str()),
        (Some("forward"), Some("catalog")),
        "{routed}"
    );
    daemon.get("acme", &target, Some(&token)).await;
    line(&path, "a remembered decision", |line| line["remembered"] == true).await;
    let followed = heard.recv_timeout(seconds(30)).expect("a line");
    follower.kill().expect("killed");
    follower.wait().expect("waited for");
    assert!(followed.contains("\"workspace\":\"acme\""), "{followed}");
    let listed = daemon.run(&["policy", "log", "--binding", "router"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("forward catalog") && !listed.contains("authorizer"), "{listed}");
    let text = std::fs::read_to_string(&path).expect("the log");
    for place in [&text, &followed, &listed, &daemon.admin().policies().await.to_string(), &daemon.log_tail(1_000)] {
        let signature = JWT.rsplit('.').next().expect("parts");
        assert!(!place.contains("71c0ffee") && !place.contains(signature), "{place}");
    }
    let mode = std::fs::metadata(&path).expect("the log").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_no_request() {
    let daemon = daemon("file = \"/dev/full\"\n").await;
    let token = daemon.token(&["acme"]);
    for n in 0..50 {
        daemon.get("acme", &format!("/api/catalog/{n}"), Some(&token)).await.expect(200);
    }
    wait::until("the lost lines to be counted", seconds(30), || async {
        let metrics = daemon.admin().get("/metrics").await.expect(200).text();
        let lost =
            metrics.lines().find(|line| line.starts_with("orbitd_policy_decision_log_dropped_total{because=\"file\"}"));
        let count = lost.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0);
        if count >= 100 { Ok(()) } else { Err(format!("{lost:?}")) }
    })
    .await;
    assert!(daemon.log_tail(200).contains("the decision log can't be written"), "{}", daemon.log_tail(200));
    let recent = daemon.admin().get("/v1/policies/decisions?decision=forward").await.expect(200).json();
    assert!(recent["items"].as_array().is_some_and(|items| items.len() >= 50), "a look still shows them");
}

#[tokio::test]
async fn without_a_file_nothing_is_logged_until_somebody_follows() {
    let daemon = daemon("").await;
    let token = daemon.token(&["acme"]);
    daemon.get("acme", "/api/catalog/x", Some(&token)).await.expect(200);
    let none = daemon.admin().get("/v1/policies/decisions").await.expect(200).json();
    assert_eq!((none["items"].as_array().map(Vec::len), none["logged"].as_bool()), (Some(0), Some(false)));
    let said = daemon.run(&["policy", "log"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("decisions are not logged"), "{said:?}");
}

#[tokio::test]
async fn a_replay_finds_exactly_the_decisions_that_change() {
    let daemon = daemon("file = \"log/decisions.jsonl\"\n").await;
    let path = daemon.dir.join("log/decisions.jsonl");
    let token = daemon.token(&["acme"]);
    for n in 0..10 {
        daemon.get("acme", &format!("/api/catalog/{n}"), Some(&token)).await.expect(200);
        if n % 2 == 0 {
            daemon.get("acme", &format!("/api/scaffolder/{n}"), Some(&token)).await.expect(200);
        }
    }
    let routed = |line: &&Value| line["binding"] == "router";
    wait::until("all decisions in the log", seconds(30), || async {
        let count = lines(&path).iter().filter(routed).count();
        if count >= 15 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    let replay = |module: &str, settings: &str| {
        std::fs::write(daemon.dir.join("candidate.toml"), settings).expect("written");
        let module = format!("policies/modules/{module}.wasm");
        let log = path.display().to_string();
        let args = [
            "policy",
            "replay",
            "--log",
            &log,
            "--module",
            &module,
            "--settings",
            "candidate.toml",
            "--fail-on-change",
            "--json",
        ];
        let output = daemon.run(&args);
        let found: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (found, output.status.code())
    };
    let pro: toml::Table = daemon.read_policy("pro.toml").parse().expect("a tier's file");
    let (found, code) = replay("route-plugins", &toml::to_string(&pro["router"]["settings"]).expect("TOML"));
    let logged = lines(&path).iter().filter(routed).count();
    assert_eq!((found["changed"].as_u64(), code), (Some(0), Some(0)), "the same module and settings: {found}");
    assert_eq!(found["replay"]["replayed"].as_u64(), Some(logged as u64), "{found}");
    let (found, code) = replay("route-plugins", "plugins = [\"catalog\", \"app\", \"auth\"]");
    assert_eq!((found["changed"].as_u64(), code), (Some(5), Some(1)), "{found}");
    let change = &found["replay"]["changes"][0];
    assert_eq!(
        (change["was"].as_str(), change["now"].as_str()),
        (Some("forward scaffolder"), Some("refuse 404")),
        "{found}"
    );
    let (found, _) = replay("claims", "user_claim = \"email\"");
    assert_eq!(found["replay"]["replayed"], 0, "the log does not know that claim: {found}");
    assert!(found["replay"]["not_replayable"].to_string().contains("claim:email is not in the log"), "{found}");
}
