//! JavaScript: componentize-js puts the script into a JavaScript engine that runs in the sandbox. A module is 12 MB, because the
//! engine is in it; all of WASI is left out.

use std::{fs, path::Path, process::Command};

use crate::{
    Error, Output, Project, World,
    process::{find, printed, run, tools},
    template::File,
};

/// The npm package.
pub const PACKAGE: &str = "@bytecodealliance/componentize-js";
/// Pinned: the engine inside decides what a script may use, and its size.
pub const VERSION: &str = "0.23.0";
/// Everything that would import WASI.
const DISABLED: [&str; 5] = ["stdio", "random", "clocks", "http", "fetch-event"];

/// What a project is told of its own files.
pub(crate) const FILES: &str = "\
`policy.js` decides; what stands at its top level runs once, when it is built. `settings.js` is the schema of the settings, `wit/`
the interface. A module carries a JavaScript engine: it is 12 MB long and takes some seconds to compile, once.";

const PACKAGE_JSON: &str = include_str!("../templates/js/package.json");

pub(crate) fn template(world: World) -> Vec<File> {
    let (code, schema) = match world {
        World::Router => {
            (include_str!("../templates/js/router/policy.js"), include_str!("../templates/js/router/settings.js"))
        }
        World::Authorizer => (
            include_str!("../templates/js/authorizer/policy.js"),
            include_str!("../templates/js/authorizer/settings.js"),
        ),
        World::Renderer => {
            (include_str!("../templates/js/renderer/policy.js"), include_str!("../templates/js/renderer/settings.js"))
        }
    };
    vec![
        ("policy.js", code),
        ("settings.js", schema),
        ("package.json", PACKAGE_JSON),
        (".gitignore", "/node_modules/\n*.partial\n"),
    ]
}

/// Before the first build, unless the tool is in the cache.
pub(crate) fn setup() -> Vec<String> {
    if shared().is_some() { Vec::new() } else { vec!["npm install".into()] }
}

pub(crate) fn build(project: &Project, output: Output) -> Result<Vec<u8>, Error> {
    if find("node").is_none() {
        return Err(Error::Tool {
            tool: "node".into(),
            install: "install Node.js 20 or newer (Debian: `apt-get install -y nodejs npm`)".into(),
        });
    }
    let own = project.folder.join("node_modules/.bin/componentize-js");
    let tool = if own.is_file() { Some(own) } else { shared() };
    let Some(tool) = tool else {
        return Err(Error::Tool {
            tool: format!("{PACKAGE} {VERSION}"),
            install: format!("in {} run `npm install`", project.folder.display()),
        });
    };
    if let Some(version) = printed(Command::new(&tool).arg("--version"))
        && version.trim() != VERSION
    {
        return Err(Error::Tool {
            tool: format!("{PACKAGE} {VERSION} ({} is)", version.trim()),
            install: format!("in {} run `npm install {PACKAGE}@{VERSION}`", project.folder.display()),
        });
    }
    let made = project.module().with_extension("made");
    // Relative to the project, where its imports are.
    let mut command = Command::new(std::path::absolute(&tool).map_err(Error::file("find", &tool))?);
    command
        .current_dir(&project.folder)
        .arg("policy.js")
        .args(["--wit", "wit", "--world-name", project.world.name()])
        .arg("--disable")
        .args(DISABLED)
        .arg("--out")
        .arg(made.file_name().unwrap_or_default());
    let outcome = run(&mut command, output).and_then(|()| fs::read(&made).map_err(Error::file("read", &made)));
    let _ = fs::remove_file(&made);
    outcome
}

/// The one in the cache, which `cargo xtask guests` fills.
fn shared() -> Option<std::path::PathBuf> {
    let path = shared_folder()?.join("node_modules/.bin/componentize-js");
    Path::is_file(&path).then_some(path)
}

/// Where `npm install --prefix` puts the pinned version for all projects of this user.
pub fn shared_folder() -> Option<std::path::PathBuf> {
    Some(tools()?.join(format!("componentize-js-{VERSION}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_asks_for_the_pinned_version() {
        assert!(PACKAGE_JSON.contains(&format!("{PACKAGE:?}: {VERSION:?}")), "{PACKAGE_JSON}");
    }
}
