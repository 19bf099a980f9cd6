//! From a project to a component.

use std::{fs, path::PathBuf};

use crate::{Error, Language, Output, Project, javascript, python, rust};

/// What a build came to.
#[derive(Debug, Clone)]
pub struct Built {
    /// `<name>.wasm` in the project's folder.
    pub module: PathBuf,
    /// Its length, bytes.
    pub bytes: usize,
    /// Whether it differs from what was there.
    pub changed: bool,
}

/// Builds a project into its module, whole or not at all: a daemon may be watching it. The language's own tools say how far
/// they are.
///
/// # Errors
/// A tool is missing or fails; the sources' mistakes are in its words.
pub fn build(project: &Project, output: Output) -> Result<Built, Error> {
    let component = match project.language {
        Language::Rust => rust::build(project, output)?,
        Language::Js => javascript::build(project, output)?,
        Language::Python => python::build(project, output)?,
    };
    let module = project.module();
    let changed = fs::read(&module).map_or(true, |before| before != component);
    let partial = module.with_extension("partial");
    fs::write(&partial, &component)
        .and_then(|()| fs::rename(&partial, &module))
        .map_err(Error::file("write", &module))?;
    Ok(Built { module, bytes: component.len(), changed })
}
