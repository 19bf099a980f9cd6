//! People are told: once, in the shape they asked for, also after their receiver was away; and told when it is over.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use orbitd_tests::{
    Setup,
    wait::{self, seconds},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A webhook's receiver, which refuses the first few deliveries.
struct Receiver {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Receiver {
    async fn start(mut refuse: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let taken = Arc::new(Mutex::new(Vec::new()));
        let kept = taken.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Some((head, body)) = read(stream, refuse > 0).await else { continue };
                if refuse > 0 {
                    refuse -= 1;
                } else {
                    kept.lock().expect("no panic").push((head, serde_json::from_slice(&body).expect("JSON")));
                }
            }
        });
        Self { address, taken }
    }

    fn taken(&self) -> Vec<(String, Value)> {
        self.taken.lock().expect("no panic").clone()
    }

    /// Waits for a notice.
    async fn notice(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait::until(what, seconds(40), || async {
            let found = self.taken().into_iter().map(|(_, body)| body).find(|body| wanted(body));
            found.ok_or_else(|| format!("{:?}", self.taken()))
        })
        .await
    }
}

/// One request, answered with 204 or 503.
async fn read(mut stream: TcpStream, refuse: bool) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        let mut chunk = [0; 4096];
        let got = stream.read(&mut chunk).await.ok().filter(|got| *got > 0)?;
        bytes.extend_from_slice(&chunk[..got]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok())?;
        break (head, end + 4 + length);
    };
    while bytes.len() < length {
        let mut chunk = [0; 4096];
        let got = stream.read(&mut chunk).await.ok().filter(|got| *got > 0)?;
        bytes.extend_from_slice(&chunk[..got]);
    }
    let status = if refuse { "503 Service Unavailable" } else { "204 No Content" };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.ok()?;
    let body = bytes.split_off(head.len() + 4);
    Some((head, body))
}

fn titled(title: &str) -> String {
    format!("tier = \"pro\"\n[app_config.app]\ntitle = \"{title}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_and_a_failed_rollout_are_told_once_and_taken_back() {
    let (plain, slack) = (Receiver::start(2).await, Receiver::start(0).await);
    let hooks = format!(
        "[alerts]\ndisk_free_mb = 0\nmemory_free_percent = 0\n[[alerts.webhooks]]\nurl = \"http://{}/hook/t0ken\"\n\
         [[alerts.webhooks]]\nurl = \"http://{}/\"\nformat = \"slack\"\nbearer_file = \"bearer\"\n",
        plain.address, slack.address
    );
    let mut daemon = Setup::echo()
        .toml(&hooks)
        .workspace("acme", &titled("echo:crash"), &[])
        .workspace("globex", &titled("One"), &[])
        .prepare();
    std::fs::write(daemon.dir.join("bearer"), "s3cret\n").expect("written");
    daemon.start().await;
    let admin = daemon.admin();
    let kind =
        |kind: &'static str, state: &'static str| move |body: &Value| body["kind"] == kind && body["state"] == state;

    let first = plain.notice("the crash loop", kind("crash-loop", "firing")).await;
    assert_eq!((&first["version"], &first["subject"]), (&json!(1), &json!("acme")));
    assert!(
        first["summary"].as_str().is_some_and(|text| text.contains("told to crash") && !text.contains('\n')),
        "{first}"
    );

    admin.running("globex").await;
    daemon.write_workspace("globex", &titled("echo:crash"), &[]);
    let failed = plain.notice("the failed rollout", kind("rollout-failed", "firing")).await;
    assert_eq!(failed["subject"], "globex");
    daemon.write_workspace("globex", &titled("Two"), &[]);
    let over = plain.notice("the end of it", kind("rollout-failed", "resolved")).await;
    assert_eq!(over["id"], failed["id"]);

    daemon.write_workspace("acme", &format!("desired = \"stopped\"\n{}", titled("One")), &[]);
    plain.notice("the end of the loop", kind("crash-loop", "resolved")).await;
    let firing = plain.taken().into_iter().filter(|(_, body)| kind("crash-loop", "firing")(body)).count();
    assert_eq!(firing, 1, "many crashes, one notice");

    // The receiver that was never away has all of them too, in its own shape and with its bearer.
    slack.notice("Slack's text", |body| body["text"].to_string().contains("*crash-loop* acme")).await;
    slack.notice("Slack's end", |body| body["text"].to_string().contains("*crash-loop* acme is over")).await;
    assert!(slack.taken().iter().all(|(head, _)| head.contains("authorization: bearer s3cret")));
    let log = std::fs::read_to_string(daemon.dir.join("serve.log")).expect("a log");
    assert!(!log.contains("t0ken"), "a webhook's URL is often its secret");

    // The receivers go on meanwhile.
    let report = tokio::task::block_in_place(|| daemon.run(&["doctor", "--test-alerts", "--json"]));
    let report: Value = serde_json::from_slice(&report.stdout).expect("JSON");
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    let tried = checks.iter().filter(|check| check["check"] == "alerts" && check["verdict"] == "ok").count();
    assert_eq!(tried, 2, "{report}");
    plain.notice("the test", kind("test", "firing")).await;
}
