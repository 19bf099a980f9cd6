//! What a tier feels of the zoo in another one: the engine's example `neighbour`, which says how it measures.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::report::Report;

/// Pairs of windows, milliseconds of one, clients of the zoo's tier, pairs beside each guest alone.
const HOW: [&str; 4] = ["60", "150", "16", "6"];

/// Measures, and adds the rows.
pub fn measure(report: &mut Report) -> Result<()> {
    let Some(program) = std::env::var_os("ORBITD_POLICY_NEIGHBOUR") else {
        println!(
            "ORBITD_POLICY_NEIGHBOUR names no program (`cargo xtask bench` builds it): no rows of the zoo's neighbour"
        );
        return Ok(());
    };
    let output = Command::new(program).args(HOW).output().context("cannot start the zoo's neighbour")?;
    ensure!(output.status.success(), "the zoo's neighbour: {}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).context("what the zoo's neighbour printed")?;
    let number = |key: &str| seen[key].as_f64().with_context(|| format!("no {key} in {seen}"));
    println!("a neighbour beside the zoo, and beside each guest alone: {seen}");
    report.row("policy.neighbour_p50_ratio", number("p50_ratio")?, "ratio", "", None)?;
    report.row("policy.neighbour_p99_ratio", number("p99_ratio")?, "ratio", "", None)?;
    report.row("policy.neighbour_rate_ratio", number("rate_ratio")?, "ratio", "", None)?;
    // One guest that a thread of its own asks without a pause, as no client could over HTTP.
    let each = seen["each"].as_array().into_iter().flatten().filter_map(|guest| guest["p99_ratio"].as_f64());
    if let Some(worst) = each.reduce(f64::max) {
        report.row("policy.neighbour_worst_guest_p99_ratio", worst, "ratio", "", None)?;
    }
    Ok(())
}
