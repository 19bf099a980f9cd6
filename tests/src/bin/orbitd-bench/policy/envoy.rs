//! Envoy's proxy-wasm filter with the same question. What a decision costs there is what a request costs with the filter, less what it
//! costs without: CPU time of the one worker, on answers that Envoy gives itself.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use orbitd_tests::{wait, world};
use serde_json::json;

use super::decisions::headers;
use crate::{
    load::Load,
    report::{Report, median},
};

/// Pairs of runs, one second each, in turns.
const PAIRS: usize = 5;

/// Measures, and adds the rows; `fresh` is what a decision costs in orbitd, microseconds.
pub fn measure(report: &mut Report, fresh: f64) -> Result<()> {
    let (Some(program), Some(filter)) = (std::env::var_os("ORBITD_ENVOY"), std::env::var_os("ORBITD_ENVOY_FILTER"))
    else {
        println!(
            "policy.envoy_wasm_us: not measured: ORBITD_ENVOY names no Envoy (`cargo xtask bench` installs it, or said why not)"
        );
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let envoy = Envoy::start(Path::new(&program), Path::new(&filter), dir.path())?;
    let load = |address: SocketAddr| Load::new(address, "acme.localhost", "/api/catalog", None).with_headers(headers());
    let (with, without) = (load(envoy.filtered), load(envoy.plain));
    let one = |load: &Load| {
        Ok::<_, anyhow::Error>(load.run(Duration::from_secs(1), &[envoy.process.id()])?.cpu_micros_per_request())
    };
    // Both once, so that what is made once is made.
    one(&without)?;
    one(&with)?;
    let (mut plain, mut more) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let (a, b) = (one(&without)?, one(&with)?);
        plain.push(a);
        more.push(b - a);
    }
    let (plain, more) = (median(&mut plain), median(&mut more));
    report.row("policy.envoy_request_us", plain, "us", "", None)?;
    report.row("policy.envoy_wasm_us", more, "us", "orbitd, fresh", Some(more / fresh))
}

/// A running Envoy with one worker and two listeners that answer `ok` themselves.
struct Envoy {
    process: Child,
    filtered: SocketAddr,
    plain: SocketAddr,
}

impl Envoy {
    fn start(program: &Path, filter: &Path, dir: &Path) -> Result<Self> {
        let (filtered, plain) = (world::free_address(), world::free_address());
        let config =
            json!({"static_resources": {"listeners": [listener(filtered, Some(filter)), listener(plain, None)]}});
        // JSON is YAML.
        let (file, log) = (dir.join("envoy.yaml"), dir.join("envoy.log"));
        fs::write(&file, config.to_string())?;
        let process = Command::new(program)
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn", "--log-path"])
            .arg(&log)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let envoy = Self { process, filtered, plain };
        for address in [filtered, plain] {
            let up = wait::until_blocking(wait::seconds(30), || std::net::TcpStream::connect(address).ok());
            up.with_context(|| format!("Envoy does not listen: {}", fs::read_to_string(&log).unwrap_or_default()))?;
        }
        Ok(envoy)
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn listener(address: SocketAddr, filter: Option<&Path>) -> serde_json::Value {
    let kind = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    let mut filters = Vec::new();
    filters.extend(filter.map(|filter| {
        let code = json!({"local": {"filename": filter}});
        json!({"name": "policy", "typed_config": {
            "@type": kind("http.wasm.v3.Wasm"),
            "config": {"vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": code}},
        }})
    }));
    filters
        .push(json!({"name": "envoy.filters.http.router", "typed_config": {"@type": kind("http.router.v3.Router")}}));
    let answer = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}});
    let manager = json!({
        "@type": kind("network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": filters,
    });
    json!({
        "address": {"socket_address": {"address": address.ip(), "port_value": address.port()}},
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
    })
}
