//! `orbitd upgrade`.

use std::time::{Duration, Instant};

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Global, connection::Connection, failure::Failure, output};

const EXAMPLES: &str = "\
Examples:
  install -m 755 orbitd-new /usr/local/bin/orbitd && orbitd upgrade

The running daemon starts the program that now lies where it was started from, with the same arguments. Once that one has read its
settings and compiled the policies, it takes over the listening sockets; requests under way finish in the old daemon. If the new
program does not get that far, nothing changes and the reason is shown.";

/// A new daemon has said that it is prepared; what is left is the registry and the instances.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(150);

/// Flags of `upgrade`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct UpgradeArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Asks for it and waits until the new daemon answers.
pub async fn run(global: &Global, args: UpgradeArgs) -> Result<(), Failure> {
    let client = args.connection.open(global)?;
    let before: Value = client.get("/v1/daemon").await?;
    if !global.json {
        output::note("the new program gets ready…");
    }
    let accepted: Value = client.call(Method::POST, "/v1/daemon/upgrade", None).await?;
    if !global.json {
        output::note(format!("prepared as pid {}; it takes over", accepted["pid"]));
    }
    let deadline = Instant::now() + TAKEOVER_LIMIT;
    loop {
        match client.get::<Value>("/v1/daemon").await {
            Ok(now) if now["pid"] != before["pid"] => {
                match global.json {
                    true => output::json(&json!({"before": before, "now": now})),
                    false => output::line(format!(
                        "orbitd {} (pid {}) took over from {} (pid {})",
                        now["version"].as_str().unwrap_or_default(),
                        now["pid"],
                        before["version"].as_str().unwrap_or_default(),
                        before["pid"],
                    )),
                }
                if now["pid"] != accepted["pid"] {
                    return Err(Failure::failed(
                        "the new program failed after all, and the old one serves again: see the daemon's log",
                    ));
                }
                return Ok(());
            }
            // Between two daemons the question waits in the queue; a connection cut at the end of the old one is asked again.
            Ok(_) | Err(_) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            Ok(_) => return Err(Failure::failed("the old daemon still answers; see the daemon's log")),
            Err(failure) => return Err(failure),
        }
    }
}
