//! Swaps: from the save of a module to a set that decides by it, and ten thousand of them under load.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use orbitd_tests::{
    Daemon, Reply,
    binding::{module_of, with_setting},
    load::{Ask, Load},
};
use serde_json::json;

use crate::report::{self, Report};

const SAVES: usize = 15;
const COLD_SAVES: usize = 5;
/// `ORBITD_BENCH_SWAPS` makes it fewer.
const SWAPS: usize = 10_000;
const WORKERS: usize = 8;
/// A target that version A forwards. In B the router refuses it with 418 and the authorizer would with 403: a 403 is an answer whose
/// router came from A and whose authorizer came from B.
const TARGET: &str = "/api/scaffolder/v2/actions";

/// Measures on a running daemon whose workspace `acme` is of tier `pro`, and adds the rows.
pub async fn measure(report: &mut Report, daemon: &Daemon) -> Result<()> {
    let toml = daemon.read_policy("pro.toml");
    let module = module_of(&toml, "route-plugins");
    let good = std::fs::read(daemon.dir.join("policies").join(&module))?;
    // The same code under another digest: a custom section more.
    let variant = |n: u32| {
        let mut bytes = good.clone();
        bytes.extend_from_slice(&[0, 9, 4, b't', b'e', b's', b't']);
        bytes.extend_from_slice(&n.to_le_bytes());
        bytes
    };
    let mut cold = Vec::new();
    for n in 0..COLD_SAVES as u32 {
        cold.push(save(daemon, &module, &variant(n)).await?);
    }
    // Both were compiled just now.
    let mut cached = Vec::new();
    for n in 0..SAVES as u32 {
        cached.push(save(daemon, &module, &variant(n % 2)).await?);
    }
    daemon.write_policy(&module, &good);
    report.row("policy.swap_cached_ms", report::median(&mut cached), "ms", "", None)?;
    report.row("policy.swap_cold_ms", report::median(&mut cold), "ms", "", None)?;
    under_load(report, daemon, &toml).await
}

/// Saves a module by a rename and waits until the set's version says that it decides; milliseconds.
async fn save(daemon: &Daemon, module: &str, bytes: &[u8]) -> Result<f64> {
    let version = || async { daemon.admin().policies().await["set_version"].as_u64().unwrap_or_default() };
    let before = version().await;
    let path = daemon.dir.join("policies").join(module);
    let partial = path.with_extension("partial");
    std::fs::write(&partial, bytes)?;
    let began = Instant::now();
    std::fs::rename(&partial, &path)?;
    while version().await == before {
        ensure!(began.elapsed() < Duration::from_secs(20), "a saved module does not serve after 20 s");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

async fn under_load(report: &mut Report, daemon: &Daemon, a: &str) -> Result<()> {
    let wanted = std::env::var("ORBITD_BENCH_SWAPS").ok().and_then(|text| text.parse().ok()).unwrap_or(SWAPS);
    let b = with_setting(a, "route-plugins", "plugins", r#"["catalog", "app", "auth"]"#);
    let b = with_setting(&b, "route-plugins", "refusal_status", "418");
    let b = with_setting(&b, "route-plugins", "timeouts_ms", "{}");
    let b = with_setting(&b, "claims", "plugins", r#"{ scaffolder = ["nobody"] }"#);
    let ask = Ask {
        address: daemon.proxy,
        host: daemon.host("acme"),
        target: TARGET.to_owned(),
        token: daemon.token(&["acme"]),
    };
    let load = Load::start(&ask, WORKERS, Arc::new(name_version));
    let admin = daemon.admin();
    let (began, mut swapped, mut version) = (Instant::now(), 0, 0);
    for n in 0..wanted {
        daemon.write_policy("pro.toml", if n % 2 == 0 { &b } else { a });
        let reply = admin.call("POST", "/v1/policies/reload", Some(json!({}))).await;
        ensure!(reply.status == 200, "reload: {} {}", reply.status, reply.text());
        let now = reply.json()["set_version"].as_u64().unwrap_or_default();
        swapped += usize::from(now != version);
        version = now;
    }
    let took = began.elapsed();
    let seen = load.stop().await;
    daemon.write_policy("pro.toml", a);
    admin.call("POST", "/v1/policies/reload", Some(json!({}))).await;
    let mixed = seen.kinds.get("mixed").copied().unwrap_or_default();
    println!(
        "{wanted} changes in {:.0} s, {swapped} of them another set at once; {} requests answered by {:?}",
        took.as_secs_f64(),
        seen.good(),
        seen.versions
    );
    seen.failures.iter().for_each(|failure| println!("  {failure}"));
    ensure!(seen.versions.len() == 2, "the load met one version only: {:?}", seen.versions);
    report.row("policy.swaps", wanted as f64, "", "", None)?;
    report.row("policy.swap_requests", seen.good() as f64, "", "", None)?;
    report.row("policy.swap_failed", (seen.failed - mixed) as f64, "requests", "", None)?;
    report.row("policy.swap_mixed", mixed as f64, "requests", "", None)?;
    Ok(())
}

fn name_version(reply: &Reply) -> Result<String, String> {
    match reply.status.as_u16() {
        200 => Ok("A".to_owned()),
        418 => Ok("B".to_owned()),
        403 => Err(format!("mixed: the router of A with the authorizer of B: {}", reply.text())),
        status => Err(format!("{status} {}", reply.text())),
    }
}
