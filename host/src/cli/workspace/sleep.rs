//! `orbitd workspace wake`, `suspend`, `sleep`, `stop`: asks, then waits until it is so.

use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Resource, fetch, judge, path};
use crate::{
    cli::{
        client::{Client, typed},
        failure::Failure,
        output::{self, Progress},
        span,
    },
    ids::Slug,
    model::Phase,
};

const POLL: Duration = Duration::from_millis(200);

/// Flags of each.
#[derive(Debug, Args)]
pub struct SleepArgs {
    /// Its name
    slug: Slug,
    /// Don't wait until it is so
    #[arg(long)]
    no_wait: bool,
    /// Longest wait
    #[arg(long, default_value = "2m", value_parser = span::parse, value_name = "DURATION")]
    timeout: Duration,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    Wake,
    Suspend,
    Sleep,
    Stop,
}

impl Ask {
    fn route(self) -> &'static str {
        match self {
            Self::Wake => "wake",
            Self::Suspend => "suspend",
            Self::Sleep => "sleep",
            Self::Stop => "stop",
        }
    }

    fn is_reached(self, phase: Phase) -> bool {
        match self {
            Self::Wake => phase == Phase::Running,
            Self::Suspend => phase == Phase::Suspended,
            Self::Sleep => phase == Phase::Asleep,
            Self::Stop => phase == Phase::Stopped,
        }
    }
}

/// Asks and follows.
pub async fn run(client: &Client, ask: Ask, args: SleepArgs, as_json: bool) -> Result<(), Failure> {
    let SleepArgs { slug, no_wait, timeout } = args;
    let asked = client.call(Method::POST, &format!("{}/{}", path(&slug), ask.route()), None).await?;
    let answer = if no_wait { asked } else { follow(client, ask, &slug, timeout, as_json).await? };
    if as_json {
        output::json(&answer);
    } else {
        let resource: Resource = typed(answer)?;
        output::line(format!("{slug} is {}: {}", judge::phase(resource.workspace.status.phase), resource.url));
    }
    Ok(())
}

async fn follow(client: &Client, ask: Ask, slug: &Slug, limit: Duration, quiet: bool) -> Result<Value, Failure> {
    let began = Instant::now();
    let mut progress = Progress::new(quiet);
    loop {
        let answer = fetch(client, slug).await?;
        let phase = typed::<Resource>(answer.clone())?.workspace.status.phase;
        if ask.is_reached(phase) {
            return Ok(answer);
        }
        let now = judge::phase(phase);
        progress.update(&format!("{slug}: {now}"), began.elapsed());
        if began.elapsed() >= limit {
            let why = "a request may have come meanwhile";
            return Err(Failure::failed(format!(
                "{slug} is {now} after {} s ({why}; `orbitd workspace events {slug}` says more)",
                limit.as_secs()
            )));
        }
        sleep(POLL).await;
    }
}
