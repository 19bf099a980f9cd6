//! `orbitd policy bench`: what a decision costs on this machine.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use orbit_engine::{World, inspect};
use serde_json::json;

use super::{
    Failure, Global, output, suites,
    test::{default_tier, short},
    workbench::{Module, Workbench, settings, with_progress},
};
use crate::{
    ids::Digest,
    policy::{
        Single,
        cases::{Case, CaseFile},
        pace::{self, How, Pace},
    },
};

/// Threads of the rows.
const THREADS: [usize; 2] = [1, 2];
/// The question where there are no cases.
const USUAL: &str = r#"
[request]
path = "/api/catalog/entities?limit=1"
plugin = "catalog"
[claims]
sub = "alice"
groups = ["team-a"]
workspaces = { acme = ["developer"] }
[[case]]
name = "a usual request"
expect.forward = {}
"#;

const EXAMPLES: &str = "\
Asks one question again and again: fresh (a new sandbox for each decision, as for a request whose like was not seen yet) and
remembered (as for one whose declared inputs were seen before), on one and on two threads. The question is the first case of the
module's case file that expects a decision, or the one that --case names. The compile time is without any cache.

Examples:
  orbitd policy bench office-hours.wasm
  orbitd policy bench office-hours.wasm --case 'a plugin of the tier is forwarded' --seconds 5 --json";

/// Flags of `bench`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// The module
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The case whose question is asked
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    /// Settings (.toml or .json), if the case brings none
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Seconds of each row
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.05..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err(format!("{text:?} is not 0.05 to 60 seconds")),
    }
}

/// Measures.
pub fn run(global: &Global, args: BenchArgs) -> Result<(), Failure> {
    let module = Module::read(&args.file)?;
    let given = settings(args.settings.as_deref())?;
    let case = question(&args)?;
    let bench = Workbench::without_cache(global)?;
    let refused = |error: orbit_engine::LoadError| {
        Failure::failed(format!("{}: {error}; `orbitd policy check` looks further", args.file.display()))
    };
    let (compiled, compile) = bench.compile(&module);
    let compiled = compiled.map_err(refused)?;
    let world = compiled.world().map_err(refused)?;
    let limits = module.class().default_limits(world);
    let settings = case.settings.clone().unwrap_or(given);
    let policy = Single::load(&bench.compiler, &compiled, world, &settings, limits).map_err(refused)?;
    let tier = default_tier()?;
    let span = Duration::from_secs_f64(args.seconds);
    let mut rows = Vec::new();
    for how in [How::Fresh, How::Remembered] {
        // A renderer is asked too rarely to remember anything.
        for threads in THREADS.into_iter().filter(|_| how == How::Fresh || world != World::Renderer) {
            let what = format!("{} on {threads} threads", if how == How::Fresh { "fresh" } else { "remembered" });
            let measured =
                with_progress(&what, global.json, || pace::measure(&policy, &case, &tier, how, threads, span));
            rows.push(measured.map_err(|reason| {
                Failure::failed(format!("{:?} gets no decision, so there is none to measure: {reason}", case.name))
            })?);
        }
    }
    let memory = pace::least_memory(&bench.compiler, &compiled, world, &settings, limits, &case, &tier);
    let initial = inspect(&module.bytes).initial_memory_bytes;
    let about = policy.about();
    if global.json {
        output::json(&json!({
            "file": args.file, "digest": Digest::of(&module.bytes), "bytes": module.bytes.len(), "world": world,
            "policy": about.name, "version": about.version, "case": case.name, "compile_ms": compile.as_secs_f64() * 1e3,
            "initial_memory_bytes": initial, "least_memory_bytes": memory, "decisions": rows,
        }));
        return Ok(());
    }
    output::line(format!(
        "{}: {} {} {}, {} bytes; compiled in {}",
        args.file.display(),
        world.name(),
        about.name,
        about.version,
        module.bytes.len(),
        short(compile)
    ));
    output::line(format!("question: {}", output::clean(&case.name)));
    if let Some(bytes) = memory {
        output::line(memory_line(initial, bytes as u64));
    }
    output::line(table(&rows));
    Ok(())
}

/// Both in bytes.
fn memory_line(initial: u64, least: u64) -> String {
    let fits = format!("memory: it answers from memory_bytes = {least} on ({} KiB)", least >> 10);
    if least <= initial {
        return fits;
    }
    let start = initial >> 10;
    format!(
        "{fits}; it starts with {start} KiB and grows: that costs more than most decisions, and holds up others while it does. Link it with \
         as much as it needs (wasm-ld: --initial-memory={least})"
    )
}

fn question(args: &BenchArgs) -> Result<Case, Failure> {
    let usual = || CaseFile::parse(USUAL).map_err(Failure::failed);
    let files = match (suites::find(&args.file), &args.case) {
        (Ok(suites), _) => suites.into_iter().map(|suite| suite.cases).collect(),
        // No cases: unless one was asked for, or there are some that can't be read.
        (Err(failure), Some(_)) => return Err(failure),
        (Err(failure), None) if failure.message.starts_with("there are no cases") => vec![usual()?],
        (Err(failure), None) => return Err(failure),
    };
    let mut cases = Vec::new();
    for file in files {
        cases.extend(file.cases().map_err(Failure::usage)?);
    }
    let wanted = |case: &Case| match &args.case {
        Some(name) => case.name == *name,
        None => case.expects_a_decision(),
    };
    cases.into_iter().find(wanted).ok_or_else(|| {
        Failure::usage(match &args.case {
            Some(name) => format!("there is no case {name:?}"),
            None => "no case expects a decision: name one with --case".to_owned(),
        })
    })
}

fn table(rows: &[Pace]) -> String {
    let mut table =
        output::Table::new(["DECISION", "THREADS", "P50", "P90", "P99", "MAX", "A SECOND", "CALLS"]).indented(2);
    let micros =
        |micros: f64| if micros < 1_000.0 { format!("{micros:.2} µs") } else { format!("{:.2} ms", micros / 1e3) };
    for row in rows {
        table.row([
            if row.how == How::Fresh { "fresh" } else { "remembered" }.into(),
            row.threads.to_string(),
            micros(row.p50_us),
            micros(row.p90_us),
            micros(row.p99_us),
            micros(row.max_us),
            format!("{:.0}", row.per_second),
            row.calls.to_string(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::memory_line;

    #[test]
    fn who_grows_in_each_decision_is_told_so() {
        let fits = memory_line(512 << 10, 512 << 10);
        assert_eq!(fits, "memory: it answers from memory_bytes = 524288 on (512 KiB)");
        let grows = memory_line(64 << 10, 1 << 20);
        assert!(
            grows.contains("starts with 64 KiB and grows") && grows.contains("--initial-memory=1048576"),
            "{grows}"
        );
    }
}
