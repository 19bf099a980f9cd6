//! Running the tools of a language.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::Error;

/// Of what a failed tool said, in bytes.
const MAX_SAID: usize = 8 << 10;

/// Where a tool's own words go while it runs. They are its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// To our stderr, as they come.
    Shown,
    /// Kept, and shown only if it fails.
    Kept,
}

/// Runs to the end.
pub(crate) fn run(command: &mut Command, output: Output) -> Result<(), Error> {
    let shown = shown(command);
    let failed = |status: String, said: String| Error::Failed { command: shown.clone(), status, said };
    command.stdin(Stdio::null());
    match output {
        Output::Shown => {
            // Its stdout too: ours is for results.
            command.stdout(std::io::stderr());
            let status =
                command.status().map_err(|error| failed(format!("cannot start it: {error}"), String::new()))?;
            if status.success() { Ok(()) } else { Err(failed(status.to_string(), "; what it said is above".into())) }
        }
        Output::Kept => {
            let output =
                command.output().map_err(|error| failed(format!("cannot start it: {error}"), String::new()))?;
            if output.status.success() {
                return Ok(());
            }
            let both = [output.stdout, output.stderr].concat();
            let end = &both[both.len().saturating_sub(MAX_SAID)..];
            Err(failed(output.status.to_string(), format!("\n{}", String::from_utf8_lossy(end).trim_end())))
        }
    }
}

/// What a command prints, if it works.
pub(crate) fn printed(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program of this name on the PATH.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The folder of tools that outlive projects: `$XDG_CACHE_HOME/orbitd/tools`, or `~/.cache/orbitd/tools`.
pub(crate) fn tools() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let base = named.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))?;
    Some(base.join("orbitd/tools"))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
