//! `orbitd policy replay`: a decision log against a module.

use std::{
    fs::File,
    io::{BufRead, BufReader, stdin},
    path::PathBuf,
};

use clap::Args;
use orbit_engine::{LoadError, World};
use serde_json::json;

use super::{
    Failure, Global, output,
    workbench::{Module, Workbench, settings, with_progress},
};
use crate::policy::{
    Single,
    replay::{Chosen, Replay, replay},
};

const EXAMPLES: &str = "\
Asks the module what the log's decisions were about, and shows which it would decide differently, grouped. A decision is left out, and counted
with the reason, where the module needs an input that is masked in the log or that the policy of that time did not declare: nothing is
guessed. Needs no daemon. The log is what [decision_log] file names in the daemon's settings, or `orbitd policy log -f --json`.

Exit codes: 0 replayed · 1 with --fail-on-change, something changes or could not be replayed

Examples:
  orbitd policy replay --log decisions.jsonl --module new-claims.wasm --settings new-claims.toml --tier pro
  orbitd policy replay --log decisions.jsonl --module new-claims.wasm --fail-on-change --json";

/// Flags of `replay`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// The decision log; - is stdin
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
    /// The candidate
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// Its settings (.toml or .json)
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The binding that it would take [default: the first one of its world]
    #[arg(long)]
    binding: Option<String>,
    /// Only decisions of this tier
    #[arg(long)]
    tier: Option<String>,
    /// Exit with 1 if something changes or could not be replayed
    #[arg(long)]
    fail_on_change: bool,
}

/// Replays.
pub fn run(global: &Global, args: ReplayArgs) -> Result<(), Failure> {
    let refused = |error: LoadError| Failure::failed(format!("{} can't be used: {error}", args.module.display()));
    let module = Module::read(&args.module)?;
    let settings = settings(args.settings.as_deref())?;
    let bench = Workbench::open(global)?;
    let compiled = bench.compile(&module).0.map_err(refused)?;
    let world = compiled.world().map_err(refused)?;
    let candidate = Single::load(&bench.compiler, &compiled, world, &settings, module.class().default_limits(world))
        .map_err(refused)?;
    let chosen = Chosen { binding: args.binding.clone(), tier: args.tier.clone() };
    let unreadable = |error| Failure::usage(format!("cannot read the log {}: {error}", args.log.display()));
    let log: Box<dyn BufRead + Send> = match args.log.to_str() {
        Some("-") => Box::new(BufReader::new(stdin())),
        _ => Box::new(BufReader::new(File::open(&args.log).map_err(unreadable)?)),
    };
    let outcome = with_progress("replaying", global.json, || replay(log, &candidate, &chosen)).map_err(unreadable)?;
    if global.json {
        output::json(&json!({ "candidate": candidate.about().name, "changed": outcome.changed(), "replay": outcome }));
    } else {
        output::line(render(&outcome, &candidate, world));
    }
    let unknown: u64 = outcome.not_replayable.values().sum();
    if !args.fail_on_change || outcome.changed() + unknown == 0 {
        return Ok(());
    }
    let mut why = format!("{} of {} decisions change", outcome.changed(), outcome.replayed);
    if unknown > 0 {
        why.push_str(&format!(", {unknown} could not be replayed"));
    }
    Err(Failure::failed(why))
}

fn render(outcome: &Replay, candidate: &Single, world: World) -> String {
    let about = candidate.about();
    let mut text = format!(
        "{} {} {}: {} decisions replayed, {} the same, {} changed",
        world.name(),
        about.name,
        about.version,
        outcome.replayed,
        outcome.same,
        outcome.changed()
    );
    if !outcome.changes.is_empty() {
        let mut table = output::Table::new(["COUNT", "WAS", "NOW", "FOR EXAMPLE"]);
        for change in &outcome.changes {
            for (at, example) in change.examples.iter().enumerate() {
                let first = |text: String| if at == 0 { text } else { String::new() };
                let asked = [&example.workspace, &example.seen.plugin, &example.seen.method, &example.seen.path];
                let asked = asked.map(String::as_str).into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
                table.row([
                    first(change.count.to_string()),
                    first(change.was.clone()),
                    first(change.now.clone()),
                    asked.join(" "),
                ]);
            }
        }
        text.push_str(&format!("\n\n{}", table.render()));
    }
    if !outcome.not_replayable.is_empty() {
        text.push_str("\n\nCan't be replayed:");
        for (reason, count) in &outcome.not_replayable {
            text.push_str(&format!("\n  {count}  {}", output::clean(reason)));
        }
    }
    for (count, what) in [
        (outcome.others, "lines are of other bindings, shadows or drops"),
        (outcome.unreadable, "lines are no decisions"),
    ] {
        if count > 0 {
            text.push_str(&format!("\n{count} {what}"));
        }
    }
    text
}
