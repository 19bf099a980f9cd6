//! `orbitd workspace logs` and `events`: once, or followed by asking again at a bounded interval.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{Instant, sleep};

use super::path;
use crate::{
    cli::{
        client::{Client, typed},
        failure::{Code, Failure},
        output::{self, clean},
    },
    ids::Slug,
};

/// Between two questions while following.
const POLL: Duration = Duration::from_millis(700);
/// How long the daemon may be away (a restart) before following gives up.
const UNREACHABLE_FOR: Duration = Duration::from_secs(30);

/// Flags of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Its name
    slug: Slug,
    /// Lines from the end
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    lines: u32,
    /// Go on until Ctrl-C
    #[arg(short, long)]
    follow: bool,
}

/// Flags of `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Its name
    slug: Slug,
    /// Go on until Ctrl-C
    #[arg(short, long)]
    follow: bool,
}

#[derive(Deserialize)]
struct Lines {
    items: Vec<String>,
    next: u64,
    rotated: bool,
}

#[derive(Deserialize)]
struct Events {
    items: Vec<Value>,
}

/// Prints the log; followed, over rotations, rollouts and restarts of the daemon.
pub async fn logs(client: &Client, args: LogsArgs, as_json: bool) -> Result<(), Failure> {
    let ask = |query: String| {
        let path = format!("{}/logs?{query}", path(&args.slug));
        async move { client.get::<Value>(&path).await }
    };
    let answer = ask(format!("lines={}", args.lines)).await?;
    if !args.follow {
        match as_json {
            true => output::json(&answer),
            false => print_lines(&typed::<Lines>(answer)?.items, false),
        }
        return Ok(());
    }
    until_ctrl_c(async {
        let mut seen = typed::<Lines>(answer)?;
        print_lines(&seen.items, as_json);
        let mut patience = Patience::new();
        loop {
            // A full part means that there is more already.
            if seen.items.is_empty() {
                sleep(POLL).await;
            }
            let Some(answer) = patience.keep(ask(format!("after={}", seen.next)).await)? else {
                sleep(POLL).await;
                continue;
            };
            seen = typed(answer)?;
            if seen.rotated {
                output::note("… lines before these are gone: the log grew faster than it was read …");
            }
            print_lines(&seen.items, as_json);
        }
    })
    .await
}

/// Follows until the user has seen enough, which is no failure. Lines are printed whole.
async fn until_ctrl_c(follow: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        // Dropped between two questions or in one: nothing is lost but the answer.
        result = follow => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

fn print_lines(lines: &[String], as_json: bool) {
    for line in lines {
        if as_json { output::line(json!({ "line": line }).to_string()) } else { output::line(clean(line)) }
    }
}

/// Prints the events.
pub async fn events(client: &Client, args: EventsArgs, as_json: bool) -> Result<(), Failure> {
    let ask = |after: i64| {
        let path = format!("{}/events?after={after}&limit=500", path(&args.slug));
        async move { client.get::<Value>(&path).await }
    };
    if !args.follow {
        let answer = ask(0).await?;
        if as_json {
            output::json(&answer);
            return Ok(());
        }
        for event in typed::<Events>(answer)?.items {
            output::line(event_line(&event));
        }
        return Ok(());
    }
    until_ctrl_c(async {
        let mut after = 0;
        let mut patience = Patience::new();
        loop {
            if let Some(answer) = patience.keep(ask(after).await)? {
                for event in typed::<Events>(answer)?.items {
                    after = after.max(event["sequence"].as_i64().unwrap_or(after));
                    output::line(if as_json { event.to_string() } else { event_line(&event) });
                }
            }
            sleep(POLL).await;
        }
    })
    .await
}

fn event_line(event: &Value) -> String {
    let text = |field: &str| clean(event[field].as_str().unwrap_or("-"));
    // Whole seconds: a fraction only makes the columns uneven.
    let at = OffsetDateTime::parse(&text("at"), &Rfc3339).ok();
    let at = at.and_then(|at| at.replace_nanosecond(0).ok()).and_then(|at| at.format(&Rfc3339).ok());
    format!("{}  {:<18}  {}", at.unwrap_or_else(|| text("at")), text("reason"), text("message"))
}

/// Forgives a daemon that restarts.
struct Patience {
    answered: Instant,
    told: bool,
}

impl Patience {
    fn new() -> Self {
        Self { answered: Instant::now(), told: false }
    }
    /// The answer, `None` while the daemon is away for a short time, or the failure.
    fn keep(&mut self, answer: Result<Value, Failure>) -> Result<Option<Value>, Failure> {
        match answer {
            Ok(answer) => {
                *self = Self::new();
                Ok(Some(answer))
            }
            Err(failure) if failure.code == Code::Unreachable && self.answered.elapsed() < UNREACHABLE_FOR => {
                if !std::mem::replace(&mut self.told, true) {
                    output::note("… the daemon does not answer, waiting for it …");
                }
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let event = json!({"sequence": 4, "at": "2026-01-01T10:00:00.123456Z", "reason": "Started", "message": "ready\nin 3 s"});
        assert_eq!(event_line(&event), "2026-01-01T10:00:00Z  Started             ready\\nin 3 s");
    }
}
