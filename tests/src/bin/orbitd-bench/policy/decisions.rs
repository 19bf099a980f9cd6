//! A decision of an authorizer with 20 declared headers: `orbitd policy bench` of the real program, and its peers in the same minute.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use orbitd_tests::paths;
use serde_json::Value;

use super::{envoy, neighbour};
use crate::report::Report;

/// Runs of half a second. The best counts: whatever else the machine does can only make a run slower.
const RUNS: usize = 5;
const CASE: &str = "20 headers";

/// Measures, and adds the rows.
pub fn measure(report: &mut Report) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let module = dir.path().join("headers.wasm");
    let built = paths::repository().join("policies/modules/fixtures/headers.wasm");
    std::fs::copy(&built, &module).with_context(|| format!("no {}: run `make guests`", built.display()))?;
    std::fs::write(dir.path().join("headers.test.toml"), cases())?;

    let (mut fresh, mut remembered, mut scaling) = (f64::INFINITY, f64::INFINITY, 0.0_f64);
    let mut peers: Option<[f64; 3]> = None;
    for _ in 0..RUNS {
        let rows = orbitd(&module)?;
        fresh = fresh.min(row(&rows, "fresh", 1, "p50_us")?);
        remembered = remembered.min(row(&rows, "remembered", 1, "p50_us")?);
        let two = row(&rows, "fresh", 2, "per_second")? / row(&rows, "fresh", 1, "per_second")?;
        scaling = scaling.max(two);
        if let Some(now) = peers_now()? {
            let best = peers.get_or_insert(now);
            best.iter_mut().zip(now).for_each(|(best, now)| *best = best.min(now));
        }
    }
    report.row("policy.fresh_decision_us", fresh, "us", "", None)?;
    report.row("policy.two_thread_scaling", scaling, "ratio", "", None)?;
    report.row("policy.remembered_decision_us", remembered, "us", "", None)?;
    envoy::measure(report, fresh)?;
    neighbour::measure(report)?;
    let Some([native, rego, cedar]) = peers else {
        println!(
            "ORBITD_POLICY_PEERS names no program (`cargo xtask bench` builds it): no rows of regorus, cedar-policy and a closure"
        );
        return Ok(());
    };
    report.row("policy.native_closure_us", native, "us", "", None)?;
    report.row("policy.regorus_us", rego, "us", "orbitd, fresh", Some(rego / fresh))?;
    report.row("policy.cedar_us", cedar, "us", "orbitd, fresh", Some(cedar / fresh))?;
    Ok(())
}

fn cases() -> String {
    let mut text = format!("[[case]]\nname = \"{CASE}\"\nexpect.allow = {{ user = \"user:default/alice\" }}\n");
    text.push_str("[case.request.headers]\n");
    for (name, value) in pairs() {
        text.push_str(&format!("{name} = \"{value}\"\n"));
    }
    text
}

/// The request's 20 headers.
fn pairs() -> impl Iterator<Item = (String, &'static str)> {
    let value = |n: u32| if n == 7 { "let me in" } else { "a value of a usual length, say" };
    (0..20).map(move |n| (format!("x-header-{n}"), value(n)))
}

/// The same as they are sent.
pub(super) fn headers() -> impl Iterator<Item = String> {
    pairs().map(|(name, value)| format!("{name}: {value}"))
}

fn orbitd(module: &Path) -> Result<Value> {
    let output = Command::new(paths::orbitd())
        .args(["policy", "bench", "--json", "--seconds", "0.5", "--case", CASE])
        .arg(module)
        .output()
        .context("cannot start orbitd")?;
    ensure!(output.status.success(), "orbitd policy bench: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("what orbitd policy bench printed")
}

fn row(bench: &Value, how: &str, threads: u64, column: &str) -> Result<f64> {
    let rows = bench["decisions"].as_array().context("rows")?;
    let row = rows.iter().find(|row| row["how"] == how && row["threads"] == threads).context("a row")?;
    row[column].as_f64().with_context(|| format!("{column} in {row}"))
}

/// Native closure, regorus, cedar-policy: p50 in microseconds.
fn peers_now() -> Result<Option<[f64; 3]>> {
    let Some(program) = std::env::var_os("ORBITD_POLICY_PEERS") else { return Ok(None) };
    let output = Command::new(program).arg("150").output().context("cannot start policy-peers")?;
    ensure!(output.status.success(), "policy-peers: {}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).context("what policy-peers printed")?;
    let number = |key: &str| said[key].as_f64().with_context(|| format!("{key} in {said}"));
    Ok(Some([number("native_us")?, number("regorus_us")?, number("cedar_us")?]))
}
