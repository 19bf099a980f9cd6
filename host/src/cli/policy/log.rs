//! `orbitd policy log`: decisions as they are made.

use clap::Args;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Connection, Failure, Global, output};
use crate::{cli::sse::Events, policy::Record};

const HELP: &str = "\
Without -f: the newest decisions (at most 500) that the daemon still knows. It knows them while it logs: with a file
([decision_log] file = \"…\" in its settings), or while somebody follows. With -f: every decision from now on.

Inputs that a mask hides (authorization, cookies, what looks like a token, and the rules of decision_log.mask) are never shown.

  orbitd policy log -f --tier pro --decision deny
  orbitd policy log --workspace acme --json         one JSON object per line, as in the file";

/// `log`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct LogArgs {
    /// Go on with every new decision until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Only of this tier
    #[arg(long)]
    tier: Option<String>,
    /// Only of this workspace
    #[arg(long)]
    workspace: Option<String>,
    /// Only of this binding: router, authorizer, authorizer-2…, renderer
    #[arg(long)]
    binding: Option<String>,
    /// Only these: allow, deny, forward, refuse, render, fail
    #[arg(long)]
    decision: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Prints them.
pub async fn run(global: &Global, args: LogArgs) -> Result<(), Failure> {
    let client = args.connection.open(global)?;
    let chosen = [
        ("tier", &args.tier),
        ("workspace", &args.workspace),
        ("binding", &args.binding),
        ("decision", &args.decision),
    ];
    let mut query = String::new();
    for (name, value) in chosen {
        let Some(value) = value else { continue };
        if !value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(Failure::usage(format!("{value:?} is no {name}")));
        }
        query.push_str(if query.is_empty() { "?" } else { "&" });
        query.push_str(&format!("{name}={value}"));
    }
    let path = format!("/v1/policies/decisions{query}");
    if !args.follow {
        let answer: Value = client.get(&path).await?;
        let items = answer["items"].as_array().cloned().unwrap_or_default();
        items.iter().for_each(|item| show(global, item));
        if items.is_empty() && answer["logged"] == false {
            output::note(
                "decisions are not logged: set [decision_log] file in the daemon's settings, or follow with -f",
            );
        }
        return Ok(());
    }
    let mut response = client.stream(&path).await?;
    if !global.json {
        output::note("following the decisions; Ctrl-C ends it");
    }
    let mut events = Events::default();
    while let Some(bytes) =
        response.chunk().await.map_err(|error| Failure::failed(format!("the stream broke: {error}")))?
    {
        for (name, data) in events.push(&bytes) {
            match (name.as_str(), serde_json::from_str::<Value>(&data)) {
                ("decision", Ok(item)) => show(global, &item),
                ("dropped", Ok(item)) if global.json => output::line(item.to_string()),
                ("dropped", Ok(item)) => {
                    output::note(format!("{} decisions came too fast and are not shown", item["dropped"]))
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn show(global: &Global, item: &Value) {
    if global.json {
        output::line(item.to_string());
    } else {
        output::line(line(item));
    }
}

/// One line for a person: when, whose, which binding, what, why, how long.
fn line(item: &Value) -> String {
    let Ok(record) = serde_json::from_value::<Record>(item.clone()) else { return output::clean(&item.to_string()) };
    let time = record.time.to_offset(time::UtcOffset::UTC);
    // Milliseconds are enough for a person.
    let time = time.replace_millisecond(time.millisecond()).unwrap_or(time);
    let time = OffsetDateTime::format(time, &Rfc3339).unwrap_or_default();
    let reason = item["reason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let mode = if record.mode == "active" { String::new() } else { format!(" [{}]", record.mode) };
    let how = if record.remembered { "remembered".to_owned() } else { format!("{} µs", record.duration_us) };
    let asked = [record.seen.method.as_str(), record.seen.path.as_str()].join(" ");
    output::clean(&format!(
        "{time} {} {} {}{mode} {} {} → {}{reason} {how}",
        record.tier,
        record.workspace,
        record.binding,
        record.policy,
        asked.trim(),
        record.decision,
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_decision_is_one_clean_line() {
        let digest = crate::ids::Digest::of(b"m").to_string();
        let item = json!({
            "id": "1", "time": "2026-01-02T03:04:05Z", "workspace": "acme", "tier": "pro", "binding": "authorizer",
            "world": "authorizer", "policy": "claims", "version": "1", "digest": digest, "settings_digest": digest,
            "mode": "canary", "remembered": false, "inputs": ["path"], "seen": {"path": "/a\u{1b}[31m"},
            "decision": "deny", "status": 403, "reason": "no", "duration_us": 9});
        assert_eq!(
            line(&item),
            "2026-01-02T03:04:05Z pro acme authorizer [canary] claims /a\\u{1b}[31m → deny 403 (no) 9 µs"
        );
    }
}
