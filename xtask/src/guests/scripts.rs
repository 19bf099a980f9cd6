//! Policies in JavaScript and Python: projects as `orbitd policy new` makes them, built by the same code (`orbit_authoring`). Each
//! takes some 10 s, because it carries the interpreter of its language.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use orbit_authoring::{Output, Project};

use super::{Group, key, tools};
use crate::paths;

/// Folders of `guests/javascript`, which are also the policies' names.
const JAVASCRIPT: [&str; 1] = ["maintenance"];
/// Folders of `guests/python`.
const PYTHON: [&str; 1] = ["group-access"];

/// Those in JavaScript.
pub fn javascript() -> Result<Group> {
    group("javascript", &JAVASCRIPT, tools::javascript)
}

/// Those in Python.
pub fn python() -> Result<Group> {
    group("python", &PYTHON, tools::python)
}

fn group(language: &'static str, policies: &'static [&'static str], tool: fn() -> Result<()>) -> Result<Group> {
    let folder = format!("guests/{language}");
    let key = key::of("", &[&folder, "wit", "xtask/src/guests", "host/authoring/src"], &[])?;
    let modules = policies.iter().map(|name| module(language, name)).collect();
    let build = move |into: &Path| {
        tool()?;
        policies.iter().try_for_each(|name| build(&paths::root().join(&folder).join(name), language, name, into))
    };
    Ok(Group { name: language, modules, key, build: Box::new(build) })
}

fn module(language: &str, name: &str) -> String {
    format!("{language}/{name}.wasm")
}

/// In a copy: a project has the WIT files beside it, which are `wit/` here, and the sources' folder stays clean.
fn build(sources: &Path, language: &str, name: &str, into: &Path) -> Result<()> {
    println!("guests: building {name} ({language}; about 10 s)");
    let copy = tempfile::tempdir()?;
    copy_files(sources, copy.path())?;
    copy_files(&paths::root().join("wit"), &copy.path().join("wit"))?;
    let project = Project::open(copy.path())?;
    ensure!(project.name == name, "{}: policy.toml names it {}", sources.display(), project.name);
    let built = orbit_authoring::build(&project, Output::Kept).with_context(|| format!("policy {name}"))?;
    let out = into.join(module(language, name));
    fs::create_dir_all(out.parent().unwrap_or(into))?;
    fs::copy(&built.module, &out).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(())
}

/// The files of a folder, not those of its folders.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}
