//! Which case files belong to which module: what `policy test` and `policy bench` are given a folder or a file for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use orbit_authoring::{Project, in_folder};

use super::{Failure, new::failure};
use crate::policy::cases::CaseFile;

/// Case files of one folder; past it the rest is not looked at.
const MAX_FILES: usize = 200;

/// A file of cases and the module that they are about.
pub struct Suite {
    /// The module.
    pub module: PathBuf,
    /// Where its cases are.
    pub path: PathBuf,
    /// The cases.
    pub cases: CaseFile,
}

/// What a folder, a module or a case file names.
///
/// # Errors
/// There are no cases, or a file can't be understood.
pub fn find(target: &Path) -> Result<Vec<Suite>, Failure> {
    let extension = target.extension().and_then(|extension| extension.to_str());
    let (module, files) = if target.is_dir() {
        match Project::is_at(target) {
            true => (Some(Project::open(target).map_err(failure)?.module()), of_project(target)),
            false => (None, named_test(target)),
        }
    } else if extension == Some("toml") {
        (None, vec![target.to_owned()])
    } else {
        (Some(target.to_owned()), beside(target))
    };
    if files.is_empty() {
        return Err(Failure::usage(format!(
            "there are no cases for {}: they stand in policy.test.toml or tests/*.toml of a project, or in <module>.test.toml beside a module",
            target.display()
        )));
    }
    files.into_iter().map(|path| suite(path, module.clone())).collect()
}

fn suite(path: PathBuf, module: Option<PathBuf>) -> Result<Suite, Failure> {
    let mut cases = CaseFile::read(&path).map_err(Failure::usage)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    cases.read_texts(folder).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let named = cases.module.as_ref().map(|module| folder.join(module));
    let module = module.or(named).or_else(|| {
        let stem = path.file_name()?.to_str()?.strip_suffix(".toml")?;
        let beside = folder.join(format!("{}.wasm", stem.strip_suffix(".test").unwrap_or(stem)));
        let above = folder.join("..");
        let project = [folder, &above].into_iter().find(|folder| Project::is_at(folder));
        match project {
            Some(project) if !beside.is_file() => Some(Project::open(project).ok()?.module()),
            _ => Some(beside),
        }
    });
    match module {
        Some(module) => Ok(Suite { module, path, cases }),
        None => {
            Err(Failure::usage(format!("{}: it names no module; write module = \"x.wasm\" at its top", path.display())))
        }
    }
}

fn of_project(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        Some(in_folder(folder, "policy.test.toml")).into_iter().filter(|file| file.is_file()).collect();
    files.extend(tomls(&in_folder(folder, "tests"), ".toml"));
    files
}

fn named_test(folder: &Path) -> Vec<PathBuf> {
    tomls(folder, ".test.toml")
}

/// Of a module: `<stem>.test.toml`, or its project's.
fn beside(module: &Path) -> Vec<PathBuf> {
    let own = module.with_extension("test.toml");
    if own.is_file() {
        return vec![own];
    }
    match module.parent() {
        Some(folder) => of_project(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }),
        None => Vec::new(),
    }
}

fn tomls(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let named =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(ending));
    let mut files: Vec<PathBuf> = entries.filter(named).take(MAX_FILES).collect();
    files.sort();
    files
}
