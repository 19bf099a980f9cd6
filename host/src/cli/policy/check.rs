//! `orbitd policy check`: whether a daemon would take a module, and what it holds.

use std::path::PathBuf;

use clap::Args;
use orbit_engine::{Inspection, LoadError, MAX_MODULE_BYTES, SPOKEN_VERSIONS, World, inspect};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Failure, Global, output,
    workbench::{Module, Workbench, settings},
};
use crate::{
    ids::Digest,
    policy::{
        Class, Single,
        schema::{self, Complaint},
    },
};

const EXAMPLES: &str = "\
Looks at a module as a daemon would: reads it, compiles it in a limited process, lets it describe itself and take its settings.
Nothing is sent anywhere. Exits 1 if something is wrong; the first thing that is, is said in a sentence.

Examples:
  orbitd policy check office-hours.wasm
  orbitd policy check office-hours.wasm --world router --settings settings.toml
  orbitd policy check office-hours.wasm --json | jq .about.settings_schema";

/// As a daemon looks, one after another.
const ORDER: [&str; 7] = ["file", "imports", "world", "shape", "compile", "describe", "settings"];

/// Flags of `check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    /// The module
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Check that it is of this world: router, authorizer or renderer
    #[arg(long, value_name = "WORLD")]
    world: Option<orbit_authoring::World>,
    /// Give it these settings (.toml or .json), as a tier's file would
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// How one look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Ok,
    Failed,
    /// Something before it failed, or it was not asked for.
    Skipped,
}

#[derive(Debug, Serialize)]
struct Look {
    check: &'static str,
    outcome: Outcome,
    text: String,
}

/// All looks, in order, and what they found.
struct Checked {
    looks: Vec<Look>,
    world: Option<World>,
    about: Value,
}

/// Looks.
///
/// # Errors
/// The module is not one that a daemon takes.
pub fn run(global: &Global, args: CheckArgs) -> Result<(), Failure> {
    let module = Module::read(&args.file)?;
    let wanted = args.world.map(engine_world);
    let given = args.settings.is_some();
    let settings = settings(args.settings.as_deref())?;
    let bench = Workbench::open(global)?;
    let seen = inspect(&module.bytes);
    let mut checked = Checked { looks: Vec::new(), world: None, about: Value::Null };
    let refused = look(&bench, &module, &seen, wanted, &settings, given, &mut checked).err();
    if let Some((check, reason)) = &refused {
        checked.looks.push(Look { check, outcome: Outcome::Failed, text: reason.clone() });
    }
    let done: Vec<&str> = checked.looks.iter().map(|look| look.check).collect();
    for check in ORDER.into_iter().filter(|check| !done.contains(check)) {
        checked.looks.push(Look { check, outcome: Outcome::Skipped, text: String::new() });
    }
    checked.looks.sort_by_key(|look| ORDER.iter().position(|check| *check == look.check));
    print(global, &module, &seen, &checked, refused.as_ref().map(|(_, reason)| reason.as_str()));
    match refused {
        None => Ok(()),
        // The table has said it already.
        Some((check, reason)) if global.json => Err(Failure::failed(format!("{check}: {reason}"))),
        Some((check, _)) => {
            Err(Failure::failed(format!("{} is not a policy that a daemon takes: see {check}", args.file.display())))
        }
    }
}

type Refused = (&'static str, String);

fn look(
    bench: &Workbench,
    module: &Module,
    seen: &Inspection,
    wanted: Option<World>,
    settings: &str,
    given: bool,
    checked: &mut Checked,
) -> Result<(), Refused> {
    let looks = &mut checked.looks;
    let mut ok = |check, text: String| looks.push(Look { check, outcome: Outcome::Ok, text });
    if module.bytes.len() > MAX_MODULE_BYTES {
        return Err((
            "file",
            format!(
                "it is longer than {MAX_MODULE_BYTES} bytes, which are allowed: strip debug information, optimize for size"
            ),
        ));
    }
    if !module.bytes.starts_with(b"\0asm") {
        return Err(("file", "this is no WebAssembly file (its first bytes are not \\0asm). Is it complete?".into()));
    }
    if let Some(reason) = &seen.unreadable {
        return Err(("file", format!("it ends early or is damaged: {reason}. Is it complete?")));
    }
    let digest = Digest::of(&module.bytes);
    let class = module.class();
    ok(
        "file",
        format!("{} bytes of at most {}, digest {}", module.bytes.len(), class.shape().module_bytes, digest.short()),
    );
    if !seen.component {
        return Err(("shape", "this is a core WebAssembly module, not a component: `orbitd policy build` makes one, and so does `wasm-tools component new`".into()));
    }
    let world = World::of(&seen.exports).map_err(|error| ("world", error.to_string()))?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != world) {
        return Err((
            "world",
            format!("this is a module for world {}, --world asks for {}", world.name(), wanted.name()),
        ));
    }
    checked.world = Some(world);
    ok(
        "world",
        format!(
            "{}, of orbit:policy {} (this host speaks {})",
            world.name(),
            version(seen),
            SPOKEN_VERSIONS.join(" and ")
        ),
    );
    let (compiled, took) = bench.compile(module);
    let compiled = compiled.map_err(|error| match error {
        LoadError::Shape(reason) if reason.starts_with("it imports") => ("imports", reason),
        LoadError::Shape(reason) => ("shape", reason),
        error => ("compile", error.to_string()),
    })?;
    let imports: Vec<&str> = seen.imports.iter().map(String::as_str).collect();
    ok("imports", if imports.is_empty() { "none".into() } else { format!("types only: {}", imports.join(", ")) });
    ok(
        "shape",
        format!(
            "{} functions in {} core modules, {} bytes of code; {} KiB of memory at the start{}",
            seen.functions,
            seen.core_modules,
            seen.code_bytes,
            seen.initial_memory_bytes >> 10,
            if class == Class::Language {
                "; it carries an interpreter: bind it with class = \"language\""
            } else {
                ""
            }
        ),
    );
    ok("compile", format!("{:.0} ms, in a process with limits", took.as_secs_f64() * 1e3));
    let limits = class.default_limits(world);
    let about =
        Single::describe(&bench.compiler, &compiled, world, limits).map_err(|error| ("describe", error.to_string()))?;
    checked.about = json!({
        "name": about.name, "version": about.version,
        "settings_schema": serde_json::from_str::<Value>(&about.settings_schema).unwrap_or(Value::Null),
    });
    ok("describe", format!("{} {}, {}", about.name, about.version, described(&about.settings_schema)?));
    let refused = match (fits(&about.settings_schema, settings)?, given) {
        (Some(misfits), true) => return Err(("settings", format!("they don't fit its schema: {misfits}"))),
        (Some(misfits), false) => Some(misfits),
        (None, _) => None,
    };
    let policy = match refused {
        None => Single::load(&bench.compiler, &compiled, world, settings, limits),
        Some(misfits) => Err(LoadError::Settings(misfits)),
    };
    match policy {
        Ok(policy) => {
            checked.about["inputs"] = json!(policy.inputs());
            ok("settings", format!("taken; with them it is passed {}", named(&policy.inputs())));
            Ok(())
        }
        Err(LoadError::Settings(reason)) if given => Err(("settings", format!("it refuses them: {reason}"))),
        // Not the module's fault: it has none yet.
        Err(LoadError::Settings(reason)) => {
            let text = format!("not checked: it needs some ({reason}); pass them with --settings FILE");
            looks.push(Look { check: "settings", outcome: Outcome::Skipped, text });
            Ok(())
        }
        Err(error) => Err(("settings", error.to_string())),
    }
}

fn version(seen: &Inspection) -> &str {
    seen.exports
        .iter()
        .filter(|export| export.starts_with("orbit:policy/"))
        .find_map(|export| Some(export.split_once('@')?.1))
        .unwrap_or("?")
}

/// Which settings there are, in a few words.
fn described(schema: &str) -> Result<String, Refused> {
    if schema.is_empty() {
        return Ok("without a schema of its settings".into());
    }
    let schema: Value = serde_json::from_str(schema)
        .map_err(|error| ("describe", format!("its settings schema is not JSON: {error}")))?;
    let properties = schema.get("properties").and_then(Value::as_object);
    let keys: Vec<&str> = properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    Ok(format!("settings: {}", if keys.is_empty() { "none named".into() } else { keys.join(", ") }))
}

/// Where settings don't fit the schema, as the loader would say it.
fn fits(schema: &str, settings: &str) -> Result<Option<String>, Refused> {
    let settings: Value = serde_json::from_str(settings).unwrap_or(Value::Null);
    match schema::check(schema, &settings) {
        Ok(()) => Ok(None),
        Err(Complaint::Schema(why)) => Err(("describe", format!("its settings schema is no valid schema: {why}"))),
        Err(Complaint::Settings { misfits, more }) => {
            let mut told: Vec<String> = misfits
                .iter()
                .map(|misfit| {
                    if misfit.at.is_empty() {
                        misfit.why.clone()
                    } else {
                        format!("{}: {}", misfit.at.join("."), misfit.why)
                    }
                })
                .collect();
            if more > 0 {
                told.push(format!("and {more} more"));
            }
            Ok(Some(told.join("; ")))
        }
    }
}

fn named(inputs: &[String]) -> String {
    if inputs.is_empty() { "workspace and tier only".into() } else { inputs.join(", ") }
}

/// The engine's name of a world.
pub fn engine_world(world: orbit_authoring::World) -> World {
    match world {
        orbit_authoring::World::Router => World::Router,
        orbit_authoring::World::Authorizer => World::Authorizer,
        orbit_authoring::World::Renderer => World::Renderer,
    }
}

fn print(global: &Global, module: &Module, seen: &Inspection, checked: &Checked, refused: Option<&str>) {
    if global.json {
        output::json(&json!({
            "file": module.path, "digest": Digest::of(&module.bytes), "ok": refused.is_none(), "refused": refused,
            "world": checked.world, "class": module.class(), "spoken_versions": SPOKEN_VERSIONS, "about": checked.about,
            "inspection": seen, "checks": checked.looks,
        }));
        return;
    }
    let mut table = output::Table::new(["CHECK", "OUTCOME", ""]);
    for look in &checked.looks {
        let outcome = match look.outcome {
            Outcome::Ok => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "-",
        };
        // A reason is never cut short: it is what this command is for.
        let (cell, whole) =
            if look.outcome == Outcome::Failed { (String::new(), Some(&look.text)) } else { (look.text.clone(), None) };
        table.row([look.check.into(), outcome.into(), cell]);
        if let Some(whole) = whole {
            table.note(whole);
        }
    }
    output::line(table.render());
}
