//! `orbitd doctor`: looks at everything that keeps a daemon from working, and says what to do about it. `verdicts` decides,
//! purely; `machine`, `database` and `daemon` look.

mod daemon;
mod database;
mod machine;
mod verdicts;
mod webhooks;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{Global, connection, connection::Connection, failure::Failure, output};
use crate::settings;

const EXAMPLES: &str = "\
Examples:
  orbitd doctor                          this machine, with ./orbitd.toml or the defaults
  orbitd doctor --config /etc/orbitd.toml --json
  orbitd doctor --test-alerts            sends a test notice to every webhook

Exits 1 if a check failed; warnings don't count. It changes nothing, whether the daemon runs or not.";

/// Flags of `doctor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    #[command(flatten)]
    connection: Connection,
    /// Send a test notice to every webhook of the settings
    #[arg(long)]
    test_alerts: bool,
}

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Good.
    Ok,
    /// Works; read it.
    Warn,
    /// Does not work.
    Fail,
}

/// One checked thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub check: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen.
    pub text: String,
    /// What to do, unless it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, text: text.into(), next: None }
    }
    fn warn(check: &'static str, text: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, text: text.into(), next: Some(next.into()) }
    }
    fn fail(check: &'static str, text: impl Into<String>, next: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, text: text.into(), next: Some(next.into()) }
    }
}

/// Runs all checks.
pub async fn run(global: &Global, args: DoctorArgs) -> Result<(), Failure> {
    let findings = look(global, &args).await;
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    if global.json {
        output::json(&json!({"ok": failed == 0, "checks": findings}));
    } else {
        for finding in &findings {
            print(finding);
        }
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::failed("1 check failed")),
        many => Err(Failure::failed(format!("{many} checks failed"))),
    }
}

async fn look(global: &Global, args: &DoctorArgs) -> Vec<Finding> {
    let file = connection::settings_file(global);
    let settings = match settings::load(file.as_deref(), connection::environment()) {
        Ok(settings) => settings,
        Err(error) => {
            // Everything else would look at the wrong places.
            return vec![Finding::fail(
                "settings",
                error.to_string(),
                "mend it and run doctor again; nothing else was checked",
            )];
        }
    };
    let mut findings = machine::settings(file.as_deref(), &settings);
    let (daemon, seen) = daemon::look(&args.connection, &settings).await;
    findings.extend(machine::look(&settings, seen).await);
    findings.extend(database::look(&settings.provisioner).await);
    findings.extend(daemon);
    if args.test_alerts {
        findings.extend(webhooks::test(&settings.alerts.webhooks).await);
    }
    findings
}

fn print(finding: &Finding) {
    let word = match finding.verdict {
        Verdict::Ok => "ok  ",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    // Multi-line texts (a TOML error with its line) keep their shape under the check.
    let text =
        finding.text.trim_end().split('\n').map(output::clean).collect::<Vec<_>>().join("\n                     ");
    output::line(format!("{word} {:<15} {text}", finding.check));
    if let Some(next) = &finding.next {
        output::line(format!("                     → {}", output::clean(next)));
    }
}
