//! One run of wrk, and the CPU time that the measured processes spent meanwhile.

use std::{
    fmt::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use orbitd_tests::{Issuer, processes};

const CONNECTIONS: usize = 32;

/// What is asked of whom.
#[derive(Clone)]
pub struct Load {
    address: SocketAddr,
    target: String,
    headers: Vec<String>,
    script: Option<PathBuf>,
}

/// What a run showed.
pub struct Run {
    /// Whole answers, all of them good.
    pub requests: u64,
    seconds: f64,
    cpu_micros: u64,
}

/// Tokens that orbitd has not seen.
pub struct Tokens(Vec<String>);

impl Tokens {
    /// So many, each another user's.
    pub fn mint(issuer: &Issuer, round: usize, count: usize) -> Self {
        let header = issuer.header();
        let mut claims = issuer.claims(&["acme"]);
        let tokens = (0..count).map(|n| {
            claims["sub"] = format!("user-{round}-{n}").into();
            issuer.sign(&header, &claims)
        });
        Self(tokens.collect())
    }
}

impl Run {
    /// The number of this bench.
    pub fn cpu_micros_per_request(&self) -> f64 {
        self.cpu_micros as f64 / self.requests as f64
    }
    /// For the record; it says as much about the load generator.
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

impl Load {
    /// GETs of one target.
    pub fn new(address: SocketAddr, host: &str, target: &str, token: Option<&str>) -> Self {
        let mut headers = vec![format!("Host: {host}")];
        headers.extend(token.map(|token| format!("Authorization: Bearer {token}")));
        Self { address, target: target.to_owned(), headers, script: None }
    }

    /// With these headers, too: `name: value`.
    pub fn with_headers(mut self, headers: impl IntoIterator<Item = String>) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Another path each time.
    pub fn with_fresh_paths(&self, dir: &Path) -> Result<Self> {
        let script = dir.join("paths.lua");
        let text = format!(
            "local n = 0\nfunction request()\n  n = n + 1\n  return wrk.format(nil, '{}/' .. n)\nend\n",
            self.target
        );
        std::fs::write(&script, text)?;
        Ok(Self { script: Some(script), ..self.clone() })
    }

    /// Another token each time.
    pub fn with_fresh_tokens(&self, dir: &Path, tokens: &Tokens) -> Result<Self> {
        let (list, script) = (dir.join("tokens.txt"), dir.join("tokens.lua"));
        let mut text = String::new();
        for token in &tokens.0 {
            writeln!(text, "{token}")?;
        }
        std::fs::write(&list, text)?;
        let text = format!(
            "local tokens, n = {{}}, 0\nfor line in io.lines('{}') do tokens[#tokens + 1] = 'Bearer ' .. line end\n\
             function request()\n  n = n % #tokens + 1\n  wrk.headers['Authorization'] = tokens[n]\n  return wrk.format()\nend\n",
            list.display()
        );
        std::fs::write(&script, text)?;
        let headers = self.headers.iter().filter(|header| !header.starts_with("Authorization")).cloned().collect();
        Ok(Self { script: Some(script), headers, ..self.clone() })
    }

    /// Runs wrk; every answer that is not a 2xx is an error of the bench.
    pub fn run(&self, length: Duration, measured: &[u32]) -> Result<Run> {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "--timeout", "10s", &format!("-c{CONNECTIONS}"), &format!("-d{}s", length.as_secs())]);
        for header in &self.headers {
            wrk.args(["-H", header]);
        }
        if let Some(script) = &self.script {
            wrk.arg("-s").arg(script);
        }
        wrk.arg(format!("http://{}{}", self.address, self.target));
        let cpu = || measured.iter().map(|pid| processes::cpu_micros(*pid)).sum::<u64>();
        let before = cpu();
        let output = wrk.output().context("cannot start wrk: run `make services`")?;
        let cpu_micros = cpu() - before;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "wrk failed: {text}{}", String::from_utf8_lossy(&output.stderr));
        ensure!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "failed requests under load:\n{text}");
        // "  123456 requests in 5.00s, 40.12MB read"
        let line = text.lines().find(|line| line.contains(" requests in ")).context("wrk's summary")?.trim();
        let (requests, rest) = line.split_once(" requests in ").context("wrk's summary")?;
        let requests = requests.parse().context("a number of requests")?;
        ensure!(requests > 0, "no request was answered:\n{text}");
        let seconds = rest.split('s').next().and_then(|text| text.parse().ok()).unwrap_or(length.as_secs_f64());
        Ok(Run { requests, seconds, cpu_micros })
    }
}
