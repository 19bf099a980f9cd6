//! Python: componentize-py puts the program into CPython, compiled to run in the sandbox. A module is 18 MB, because the
//! interpreter and its library are in it. Whatever it would ask of WASI is replaced by stubs that end the decision.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    Error, Output, Project, World,
    process::{find, printed, run, tools},
    template::File,
};

/// The package on PyPI.
pub const PACKAGE: &str = "componentize-py";
/// Pinned: CPython is inside.
pub const VERSION: &str = "0.25.0";

/// What a project is told of its own files.
pub(crate) const FILES: &str = "\
`policy.py` decides; what stands at its top level runs once, when it is built. `schema.py` is the schema of the settings, `wit/` the
interface. A module carries a Python interpreter: it is 18 MB long and takes some seconds to compile, once.";

const REQUIREMENTS: &str = include_str!("../templates/python/requirements.txt");

pub(crate) fn template(world: World) -> Vec<File> {
    let (code, schema) = match world {
        World::Router => {
            (include_str!("../templates/python/router/policy.py"), include_str!("../templates/python/router/schema.py"))
        }
        World::Authorizer => (
            include_str!("../templates/python/authorizer/policy.py"),
            include_str!("../templates/python/authorizer/schema.py"),
        ),
        World::Renderer => (
            include_str!("../templates/python/renderer/policy.py"),
            include_str!("../templates/python/renderer/schema.py"),
        ),
    };
    vec![
        ("policy.py", code),
        ("schema.py", schema),
        ("requirements.txt", REQUIREMENTS),
        (".gitignore", "/.venv/\n__pycache__/\n*.partial\n"),
    ]
}

/// Before the first build, unless the tool is in the cache.
pub(crate) fn setup() -> Vec<String> {
    if shared().is_some() {
        Vec::new()
    } else {
        vec!["python3 -m venv .venv".into(), ".venv/bin/pip install -r requirements.txt".into()]
    }
}

pub(crate) fn build(project: &Project, output: Output) -> Result<Vec<u8>, Error> {
    let own = project.folder.join(".venv/bin/componentize-py");
    let tool = if own.is_file() { Some(own) } else { shared().or_else(|| find("componentize-py")) };
    let install = format!(
        "in {} run `python3 -m venv .venv && .venv/bin/pip install -r requirements.txt`",
        project.folder.display()
    );
    let Some(tool) = tool else {
        return Err(Error::Tool { tool: format!("{PACKAGE} {VERSION}"), install });
    };
    let version = printed(Command::new(&tool).arg("--version")).unwrap_or_default();
    if version.split_whitespace().last() != Some(VERSION) {
        return Err(Error::Tool {
            tool: format!("{PACKAGE} {VERSION} ({} is {:?})", tool.display(), version.trim()),
            install,
        });
    }
    let made = project.module().with_extension("made");
    let mut command = Command::new(std::path::absolute(&tool).map_err(Error::file("find", &tool))?);
    command
        .current_dir(&project.folder)
        .args(["-d", "wit", "-w", project.world.name()])
        .args(["componentize", "--stub-wasi", "policy", "-o"])
        .arg(made.file_name().unwrap_or_default());
    if output == Output::Kept {
        command.env("PYTHONDONTWRITEBYTECODE", "1");
    }
    let outcome = run(&mut command, output).and_then(|()| fs::read(&made).map_err(Error::file("read", &made)));
    let _ = fs::remove_file(&made);
    outcome
}

/// The one in the cache, which `cargo xtask guests` fills.
fn shared() -> Option<PathBuf> {
    let path = shared_folder()?.join("bin/componentize-py");
    path.is_file().then_some(path)
}

/// A virtual environment with the pinned version for all projects of this user.
pub fn shared_folder() -> Option<PathBuf> {
    Some(tools()?.join(format!("componentize-py-{VERSION}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_asks_for_the_pinned_version() {
        assert_eq!(REQUIREMENTS.trim(), format!("{PACKAGE}=={VERSION}"));
    }
}
