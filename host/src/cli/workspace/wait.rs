//! Follows a workspace to a goal, with progress. The work is the daemon's: whoever stops waiting stops nothing.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    Resource, fetch,
    judge::{Goal, Verdict, judge},
};
use crate::{
    cli::{
        client::{Client, typed},
        failure::{Code, Failure},
        output::Progress,
    },
    ids::Slug,
    model::Truth,
};

const POLL: Duration = Duration::from_millis(400);
/// How long a daemon may be away (a restart) while someone waits.
const UNREACHABLE_FOR: Duration = Duration::from_secs(20);

/// Polls until the goal is reached; the last answer of the API.
///
/// # Errors
/// It can't be reached, `limit` is over, or Ctrl-C; the last two say that `what` goes on and how to follow it.
pub async fn until(
    client: &Client,
    slug: &Slug,
    goal: Goal,
    limit: Duration,
    what: &str,
    quiet: bool,
) -> Result<Value, Failure> {
    let goes_on = format!(
        "{what} of {slug} goes on in the daemon; follow it with `orbitd workspace get {slug}` or `orbitd workspace events {slug} -f`"
    );
    tokio::select! {
        // Cancel-safe: it only reads.
        done = poll(client, slug, goal, limit, &goes_on, quiet) => done,
        _ = tokio::signal::ctrl_c() => Err(Failure::failed(goes_on)),
    }
}

async fn poll(
    client: &Client,
    slug: &Slug,
    goal: Goal,
    limit: Duration,
    goes_on: &str,
    quiet: bool,
) -> Result<Value, Failure> {
    let began = Instant::now();
    let mut answered = Instant::now();
    let mut progress = Progress::new(quiet);
    let mut said = Vec::new();
    loop {
        let state = match fetch(client, slug).await {
            Ok(answer) => {
                answered = Instant::now();
                let resource: Resource = typed(answer.clone())?;
                report_conditions(&resource, &mut said, &mut progress);
                match judge(&resource, goal) {
                    Verdict::Reached => return Ok(answer),
                    Verdict::Failed(why) => return Err(Failure::failed(why)),
                    Verdict::Going(state) => state,
                }
            }
            Err(failure) if failure.code == Code::Unreachable && answered.elapsed() < UNREACHABLE_FOR => {
                "waiting for the daemon".to_owned()
            }
            Err(failure) => return Err(failure),
        };
        progress.update(&format!("{slug}: {state}"), began.elapsed());
        if began.elapsed() >= limit {
            return Err(Failure::failed(format!("{slug} is still {state} after {} s; {goes_on}", limit.as_secs())));
        }
        sleep(POLL).await;
    }
}

/// Says each new bad condition once.
fn report_conditions(resource: &Resource, said: &mut Vec<String>, progress: &mut Progress) {
    for condition in &resource.workspace.status.conditions {
        // "Not yet" is what progress is for; only reasons that name something are worth a line.
        if condition.truth == Truth::False && !condition.message.is_empty() && !said.contains(&condition.message) {
            progress.say(&format!("  {:?}: {}", condition.kind, crate::cli::output::clean(&condition.message)));
            said.push(condition.message.clone());
        }
    }
}
