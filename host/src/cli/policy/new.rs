//! `orbitd policy new`: a project that builds and passes its tests at once.

use std::path::PathBuf;

use clap::Args;
use orbit_authoring::{Error, Language, World, template};
use serde_json::json;

use super::{Code, Failure, Global, output};

const EXAMPLES: &str = "\
Makes a folder with sources, the interface (wit/), a settings schema and test cases, whole in itself: nothing of orbitd's own
repository is needed to build it. It overwrites nothing.

Examples:
  orbitd policy new --world router --lang rust office-hours
  cd office-hours && orbitd policy build && orbitd policy test

Worlds: a router says which plugin a request is for; an authorizer says who a verified caller is to Backstage, or denies;
a renderer makes a workspace's app-config.
Languages: rust is small and fast (a decision takes microseconds); js and python carry their interpreter (12 to 18 MB, a decision
takes up to a millisecond, and is remembered like any other).";

/// Flags of `new`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct NewArgs {
    /// What it decides: router, authorizer or renderer
    #[arg(long, value_name = "WORLD")]
    world: World,
    /// What it is written in: rust, js or python
    #[arg(long, value_name = "LANGUAGE", default_value = "rust")]
    lang: Language,
    /// Where [default: ./NAME]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The policy's name: a-z, 0-9 and '-', at most 40
    name: String,
}

/// Makes it.
pub fn run(global: &Global, args: NewArgs) -> Result<(), Failure> {
    let folder = args.dir.unwrap_or_else(|| PathBuf::from(&args.name));
    let made = template::create(&folder, &args.name, args.world, args.lang).map_err(failure)?;
    let mut next = vec![format!("cd {}", folder.display())];
    next.extend(made.setup.iter().cloned());
    next.extend(["orbitd policy build".to_owned(), "orbitd policy test".to_owned()]);
    if global.json {
        output::json(&json!({
            "folder": folder, "name": args.name, "world": args.world.name(), "lang": args.lang.name(),
            "files": made.files, "next": next,
        }));
        return Ok(());
    }
    output::line(format!(
        "made {}: {} in {}, {} files; README.md in it says what is what\n\nNext:",
        folder.display(),
        with_article(args.world),
        args.lang,
        made.files.len()
    ));
    next.iter().for_each(|line| output::line(format!("  {line}")));
    Ok(())
}

fn with_article(world: World) -> &'static str {
    match world {
        World::Router => "a router",
        World::Authorizer => "an authorizer",
        World::Renderer => "a renderer",
    }
}

/// As the command line says it.
pub fn failure(error: Error) -> Failure {
    let code = match &error {
        Error::Name { .. } | Error::Project { .. } => Code::Usage,
        Error::Exists(_) => Code::Conflict,
        _ => Code::Failed,
    };
    Failure { code, message: error.to_string() }
}
