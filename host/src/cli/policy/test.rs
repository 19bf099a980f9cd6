//! `orbitd policy test`: a policy's cases, as a daemon would run them before a swap.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use clap::Args;
use orbit_authoring::Project;
use orbit_engine::{Compiled, World};
use serde_json::{Value, json};

use super::{
    Failure, Global, output,
    suites::{self, Suite},
    workbench::{Module, Workbench, settings},
};
use crate::{
    ids::{Digest, TierName},
    policy::{
        Class,
        cases::{self, Report, Subject},
    },
};

const EXAMPLES: &str = "\
Runs the cases of a project (policy.test.toml, tests/*.toml), of a module (<module>.test.toml beside it), of one case file, or of
every *.test.toml in a folder. Each decision runs in a fresh sandbox with the limits of a binding that sets none. Exits 1 if a case
fails. A daemon runs the same file before it swaps the module in, where a tier says `tests = \"x.test.toml\"`.

  [settings]                                  # for every case that brings none
  plugins = [\"catalog\"]
  [request]                                   # defaults: workspace, tier, method, path, headers, plugin
  tier = \"free\"
  [claims]                                    # of the token, for an authorizer
  sub = \"alice\"
  [[case]]
  name = \"another plugin is refused\"
  request.path = \"/api/kubernetes/clusters\"
  expect.refuse = { status = 404, reason = { contains = \"kubernetes\" } }

Expect one of: forward {plugin, timeout_ms} or refuse {status, reason}; allow {user, ownership} or deny {status, reason}; render
{app_config, plugins, notices}; fail {kind, message}; refuse_settings. Only the keys that a case names are compared. In place of a
value: { contains = … }, { starts_with = … }, { includes = […] }, { excludes = […] }, { absent = true }, { present = true }.

Examples:
  orbitd policy test
  orbitd policy test office-hours.wasm --settings free.toml
  orbitd policy test policies/ --json";

/// Flags of `test`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TestArgs {
    /// A project, a module, a case file, or a folder of *.test.toml
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    target: PathBuf,
    /// Settings (.toml or .json) of cases that bring none
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Only cases whose name has this in it
    #[arg(long, value_name = "TEXT")]
    case: Option<String>,
}

/// Runs them.
///
/// # Errors
/// A case failed, or could not be run.
pub fn run(global: &Global, args: TestArgs) -> Result<(), Failure> {
    let suites = suites::find(&args.target)?;
    let settings = settings(args.settings.as_deref())?;
    note_old_module(global, &args.target);
    let bench = Workbench::open(global)?;
    let mut compiled = BTreeMap::new();
    let (mut passed, mut failed, mut shown) = (0, 0, Vec::new());
    for suite in &suites {
        let (module, digest, world, class) = match compiled.get(&suite.module) {
            Some(known) => known,
            None => {
                let module = compile(&bench, suite)?;
                compiled.entry(suite.module.clone()).or_insert(module)
            }
        };
        let mut report = run_suite(&bench, suite, module, *world, &settings, *class)?;
        if let Some(text) = &args.case {
            report.cases.retain(|case| case.name.contains(text));
        }
        passed += report.cases.iter().filter(|case| case.passed).count();
        failed += report.failed().count();
        if global.json {
            shown.push(json!({
                "module": suite.module, "digest": digest, "world": world, "file": suite.path, "cases": report.cases,
            }));
        } else {
            output::line(format!("{} ({}), {}", suite.module.display(), world.name(), suite.path.display()));
            output::line(table(&report));
        }
    }
    if passed + failed == 0 {
        return Err(Failure::usage(format!("no case has {:?} in its name", args.case.unwrap_or_default())));
    }
    if global.json {
        output::json(&json!({"passed": passed, "failed": failed, "suites": shown}));
    } else {
        output::line(format!("{passed} passed, {failed} failed"));
    }
    match failed {
        0 => Ok(()),
        n => Err(Failure::failed(format!("{n} of {} cases failed", passed + failed))),
    }
}

fn compile(bench: &Workbench, suite: &Suite) -> Result<(Compiled, Digest, World, Class), Failure> {
    let module = Module::read(&suite.module)?;
    let refused = |error: orbit_engine::LoadError| {
        Failure::failed(format!("{}: {error}; `orbitd policy check` looks further", suite.module.display()))
    };
    let compiled = bench.compile(&module).0.map_err(refused)?;
    let world = compiled.world().map_err(refused)?;
    Ok((compiled, Digest::of(&module.bytes), world, module.class()))
}

fn run_suite(
    bench: &Workbench,
    suite: &Suite,
    compiled: &Compiled,
    world: World,
    settings: &str,
    class: Class,
) -> Result<Report, Failure> {
    let tier: TierName = default_tier()?;
    let limits = class.default_limits(world);
    let subject = Subject { compiler: &bench.compiler, compiled, world, settings, limits, tier: &tier };
    cases::run(&subject, &suite.cases).map_err(|error| Failure::usage(format!("{}: {error}", suite.path.display())))
}

/// Of cases that name no tier.
pub fn default_tier() -> Result<TierName, Failure> {
    "pro".parse().map_err(|error: crate::ids::InvalidId| Failure::failed(error.to_string()))
}

/// Sources that changed after the module was built are the usual reason for a surprising result.
fn note_old_module(global: &Global, target: &std::path::Path) {
    if !global.json
        && let Ok(project) = Project::open(target)
        && let Some(source) = project.newer_source()
    {
        let module = project.module();
        output::note(format!("note: {} is newer than {}: `orbitd policy build`", source.display(), module.display()));
    }
}

fn table(report: &Report) -> String {
    let mut table = output::Table::new(["CASE", "RESULT", "TOOK"]).indented(2);
    for case in &report.cases {
        let result = if case.passed { "ok" } else { "FAILED" };
        table.row([case.name.clone(), result.into(), short(case.took)]);
        for difference in &case.differences {
            table.note(&format!("{}: expected {}", difference.at, difference.expected));
            table.note(&format!(
                "{}  got      {}",
                " ".repeat(difference.at.chars().count().saturating_sub(1)),
                difference.got
            ));
        }
        if !case.passed && case.saw != Value::Null {
            table.note(&format!("it was passed {}", case.saw));
        }
    }
    table.render()
}

/// A short time with its unit.
pub fn short(took: Duration) -> String {
    match took.as_nanos() as f64 / 1e3 {
        0.0 => "-".into(),
        micros if micros < 1_000.0 => format!("{micros:.0} µs"),
        micros => format!("{:.1} ms", micros / 1e3),
    }
}
