//! What modules depend on, as one digest.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use aws_lc_rs::digest::{self, SHA256};

use crate::paths;

/// Folders that hold no sources.
const NOT_SOURCES: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// Over `toolchain` and every file below `folders` (relative to the repository), without those below `except`.
pub fn of(toolchain: &str, folders: &[&str], except: &[&str]) -> Result<String> {
    let root = paths::root();
    let except: Vec<PathBuf> = except.iter().map(|folder| root.join(folder)).collect();
    let mut files = Vec::new();
    for folder in folders {
        collect(&root.join(folder), &except, &mut files)?;
    }
    files.sort();
    let mut context = digest::Context::new(&SHA256);
    context.update(toolchain.as_bytes());
    for file in files {
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        context.update(file.strip_prefix(&root).unwrap_or(&file).as_os_str().as_encoded_bytes());
        context.update(&(text.len() as u64).to_le_bytes());
        context.update(&text);
    }
    Ok(hex::encode(context.finish()))
}

fn collect(folder: &Path, except: &[PathBuf], files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if !path.is_dir() {
            files.push(path);
        } else if !except.contains(&path) && !NOT_SOURCES.iter().any(|name| path.file_name() == Some(OsStr::new(name)))
        {
            collect(&path, except, files)?;
        }
    }
    Ok(())
}

/// SHA-256 in hex.
pub fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut context = digest::Context::new(&SHA256);
    parts.into_iter().for_each(|part| context.update(part));
    hex::encode(context.finish())
}

/// What a program says on standard output, if it succeeds.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
