//! What a fresh decision costs: p50 of `route-plugins` with and without 20 headers (by the `hostile` fixture no header is
//! asked for, so the row with headers uses a module given on the command line), and calls per second on one and two threads.
//!
//! `cargo xtask guests && cargo run --release -p orbit-engine --example decision_cost [router.wasm settings.json]`

use std::{
    hint::black_box,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use orbit_engine::{
    Authorizer, AuthorizerRequest, Compiler, Isolation, Limits, Router, RouterRequest, Runtime, Slots, Terms, World,
};

const CALLS: usize = 50_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let modules = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../policies/modules");
    let runtime = Runtime::start()?;
    let compiler = Compiler::new(runtime, Isolation::InProcess, None)?;
    let limits = Limits { budget: Duration::from_millis(50), ..Limits::of(World::Router) };
    let slots = Arc::new(Slots::unshared());

    let started = Instant::now();
    let compiled = compiler.compile(&std::fs::read(modules.join("route-plugins.wasm"))?)?;
    println!("compile route-plugins            {:>8.1} ms", started.elapsed().as_secs_f64() * 1e3);
    let settings = r#"{"plugins":["catalog","scaffolder","search","techdocs"]}"#;
    let router = Arc::new(Router::load(&compiler, &compiled, Terms { settings, limits, slots: slots.clone() })?);
    let started = Instant::now();
    let compiled = compiler.compile(&std::fs::read(modules.join("claims.wasm"))?)?;
    println!("compile claims                   {:>8.1} ms", started.elapsed().as_secs_f64() * 1e3);
    let authorizer = Arc::new(Authorizer::load(&compiler, &compiled, Terms { settings: "{}", limits, slots })?);

    let names: Vec<String> = (0..20).map(|n| format!("x-header-number-{n}")).collect();
    let headers: Vec<(&str, &str)> =
        names.iter().map(|name| (name.as_str(), "a value of a usual length, say")).collect();
    for threads in [1, 2] {
        let one = router.clone();
        report("route-plugins, no header", threads, move |_| {
            black_box(one.route(&request(&[])).is_ok());
        });
        let pairs: Vec<(String, String)> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let one = router.clone();
        report("route-plugins, 20 headers", threads, move |_| {
            let headers: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            black_box(one.route(&request(&headers)).is_ok());
        });
        let one = authorizer.clone();
        report("claims, 3 claims", threads, move |_| {
            let claims =
                [("groups", r#"["team-a"]"#), ("sub", r#""alice""#), ("workspaces", r#"{"acme":["developer"]}"#)];
            let asked = AuthorizerRequest { request: request(&[]), plugin: "catalog", claims: &claims };
            black_box(one.authorize(&asked).is_ok());
        });
    }
    Ok(())
}

fn request<'a>(headers: &'a [(&'a str, &'a str)]) -> RouterRequest<'a> {
    RouterRequest {
        workspace: "acme",
        tier: "pro",
        method: "GET",
        path: "/api/catalog/entities",
        query: "limit=1",
        headers,
    }
}

fn report(what: &str, threads: usize, call: impl Fn(usize) + Clone + Send + 'static) {
    let started = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let call = call.clone();
            std::thread::spawn(move || {
                let mut times: Vec<u64> = Vec::with_capacity(CALLS);
                for n in 0..CALLS {
                    let started = Instant::now();
                    call(n);
                    times.push(started.elapsed().as_nanos() as u64);
                }
                times
            })
        })
        .collect();
    let mut times: Vec<u64> = workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect();
    let per_second = times.len() as f64 / started.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    println!("{what:<28} {threads} thr  p50 {:>6.2} µs  p99 {:>6.2} µs  {per_second:>9.0}/s", at(0.5), at(0.99));
}
