//! Sends every row and asks the instance what reached it.

use std::{collections::BTreeMap, time::Duration};

use orbitd_tests::{
    Daemon,
    wire::{self, Heard, Wire},
};

use super::rows::{ROWS, Row, Wanted};
use crate::fixtures;

const QUIET: Duration = Duration::from_millis(1500);

/// The row's bytes with host, token and mark filled in.
fn fill(row: &Row, n: usize, daemon: &Daemon, token: &str) -> Vec<u8> {
    let host = daemon.host("acme");
    let authorization = format!("Authorization: Bearer {token}\r\n");
    let mark = format!("X-Row: row-{n}-\r\n");
    let all = format!("Host: {host}\r\n{authorization}{mark}");
    let port = daemon.proxy.port().to_string();
    let values = BTreeMap::from([(b'H', &host), (b'A', &authorization), (b'X', &mark), (b'R', &all), (b'P', &port)]);
    let mut filled = Vec::new();
    let mut rest = row.bytes;
    while let [byte, tail @ ..] = rest {
        match rest {
            [b'{', name, b'}', after @ ..] if values.contains_key(name) => {
                filled.extend_from_slice(values[name].as_bytes());
                rest = after;
            }
            _ => {
                filled.push(*byte);
                rest = tail;
            }
        }
    }
    filled
}

async fn send(daemon: &Daemon, bytes: &[u8], n: usize, token: &str, pieces: usize) -> Heard {
    // What follows on the connection: answered as a request of its own, or never.
    let follow = format!(
        "GET /follow HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nX-Follow: follow-{n}-\r\nConnection: close\r\n\r\n",
        daemon.host("acme")
    );
    let mut wire = Wire::open(daemon.proxy).await.expect("connected");
    for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
        wire.say(piece).await;
        if pieces > 1 {
            tokio::task::yield_now().await;
        }
    }
    wire.say(follow.as_bytes()).await;
    wire.hear(QUIET).await
}

/// Requests at the instance that carry this header line.
fn seen(arrived: &[wire::Arrived], mark: &str) -> usize {
    arrived
        .iter()
        .flat_map(|connection| &connection.requests)
        .filter(|request| request["headers"].to_string().contains(mark))
        .count()
}

fn judge(n: usize, row: &Row, heard: &Heard, arrived: &[wire::Arrived]) -> Vec<String> {
    let mark = format!("row-{n}-");
    let statuses = heard.statuses();
    let first = statuses.first().copied().unwrap_or(0);
    let requests = seen(arrived, &mark);
    let bytes: usize = arrived.iter().map(|connection| wire::count(&connection.bytes, mark.as_bytes())).sum();
    let follow = seen(arrived, &format!("follow-{n}-"));
    let mut wrong = Vec::new();
    let error = (400..600).contains(&first);
    let complete = arrived.iter().flat_map(|connection| &connection.requests);
    let complete = complete
        .filter(|request| request["complete"] == true && request["headers"].to_string().contains(&mark))
        .count();
    let wanted = match row.wanted {
        Wanted::Safe if error => Wanted::Rejected,
        Wanted::Safe => Wanted::Accepted,
        wanted => wanted,
    };
    let closes = matches!(wanted, Wanted::Rejected | Wanted::Cut | Wanted::Dropped);
    if closes && !heard.closed {
        wrong.push("the connection stayed open".to_owned());
    }
    if closes && follow > 0 {
        wrong.push("what followed on the connection was served".to_owned());
    }
    match wanted {
        Wanted::Dropped if first != 0 && !error => {
            wrong.push(format!("answered {statuses:?} instead of nothing or an error"))
        }
        Wanted::Rejected | Wanted::Refused | Wanted::Cut if !error => {
            wrong.push(format!("answered {statuses:?} instead of an error"));
        }
        _ => {}
    }
    match wanted {
        Wanted::Cut if bytes > 1 || complete > 0 => {
            wrong.push(format!("{bytes} marks and {complete} whole requests reached the instance"));
        }
        Wanted::Rejected | Wanted::Refused | Wanted::Dropped if bytes > 0 => {
            wrong.push(format!("{bytes} marks and {requests} requests reached the instance"));
        }
        Wanted::Accepted => {
            if first != 200 {
                wrong.push(format!("answered {statuses:?} instead of 200"));
            }
            if requests != 1 || bytes != 1 {
                wrong.push(format!("{requests} requests and {bytes} marks at the instance instead of one"));
            }
            if follow > 1 || statuses.len() > 2 {
                wrong.push(format!("{statuses:?}: answers that nobody asked for"));
            }
        }
        _ => {}
    }
    let ours = |bytes: &[u8]| -> Vec<String> {
        // The head and body of this row's request: from before its mark to the next request.
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.split("HTTP/1.1\r\n")
            .collect::<Vec<_>>()
            .windows(2)
            .filter(|pair| pair[1].contains(&mark))
            .map(|pair| {
                let line = pair[0].rsplit("\r\n").next().unwrap_or_default();
                format!("{line}{}", pair[1])
            })
            .collect()
    };
    for text in arrived.iter().flat_map(|connection| ours(&connection.bytes)) {
        let lower = text.to_lowercase();
        let found = row.absent.iter().filter(|absent| {
            if absent.chars().any(char::is_uppercase) { text.contains(**absent) } else { lower.contains(**absent) }
        });
        wrong.extend(found.map(|absent| format!("{absent:?} reached the instance in {text:?}")));
    }
    wrong.into_iter().map(|what| format!("{}: {what}", row.id)).collect()
}

async fn run(pieces: usize) -> Vec<String> {
    let daemon = fixtures::echo().await;
    let origin = fixtures::instance_address(daemon, "acme").await;
    let token = daemon.token(&["acme"]);
    let base = if pieces > 1 { 1000 } else { 0 };
    let mut heard = Vec::new();
    for (n, row) in ROWS.iter().enumerate() {
        let n = base + n;
        heard.push((n, row, send(daemon, &fill(row, n, daemon, &token), n, &token, pieces).await));
    }
    let arrived = wire::arrived(origin).await;
    // A body that was cut short ends the connection to the instance early: that is how the instance learns of it.
    let broken = arrived.iter().filter_map(|connection| connection.broken.clone());
    let broken = broken.filter(|code| code != "HPE_INVALID_EOF_STATE");
    let mut wrong: Vec<_> = broken.map(|code| format!("the instance's parser refused what it got: {code}")).collect();
    wrong.extend(heard.iter().flat_map(|(n, row, heard)| judge(*n, row, heard, &arrived)));
    wrong
}

#[tokio::test]
async fn every_row_is_refused_or_arrives_as_exactly_one_request() {
    let wrong = run(1).await;
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}

#[tokio::test]
async fn the_same_rows_in_small_pieces_come_to_the_same() {
    let wrong = run(40).await;
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let daemon = fixtures::echo().await;
    let token = daemon.token(&["acme"]);
    let head = |extra: String| {
        format!("GET /big HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n{extra}\r\n", daemon.host("acme"))
    };
    let many: String = (0..150).map(|n| format!("X-{n}: a\r\n")).collect();
    for (what, bytes) in [
        ("40 kB in one field", head(format!("X-Big: {}\r\n", "x".repeat(40 << 10)))),
        ("420 kB in one field", head(format!("X-Big: {}\r\n", "x".repeat(420 << 10)))),
        ("150 fields", head(many)),
        (
            "a target of 70 kB",
            format!("GET /{} HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(70 << 10), daemon.host("acme")),
        ),
    ] {
        let mut wire = Wire::open(daemon.proxy).await.expect("connected");
        wire.say(bytes.as_bytes()).await;
        let heard = wire.hear(QUIET).await;
        let first = heard.statuses().first().copied();
        // A reset instead of an answer is what a client sees that is still sending; nothing was served either way.
        assert!(matches!(first, None | Some(414 | 431)) && heard.closed, "{what}: {first:?}, closed {}", heard.closed);
    }
}
