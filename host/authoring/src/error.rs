//! Why a project can't be made or built.

use std::{io, path::PathBuf};

/// The thing, the reason, the next step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder can't be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read`, `write`, `make`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The name can't be a policy's.
    #[error("{name:?} can't be a policy's name: {rule}")]
    Name {
        /// As given, at most 64 characters.
        name: String,
        /// What is wrong with it.
        rule: &'static str,
    },
    /// Something is there already.
    #[error("{} exists already and is not overwritten: choose another name, or remove it first", .0.display())]
    Exists(PathBuf),
    /// The folder is no policy project.
    #[error("{} is no policy project: {reason}. `orbitd policy new --world router --lang rust NAME` makes one", path.display())]
    Project {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// A tool is missing.
    #[error("{tool} is not installed: {install}")]
    Tool {
        /// What is needed.
        tool: String,
        /// The command that installs it.
        install: String,
    },
    /// A tool ran and failed.
    #[error("`{command}` failed ({status}){said}")]
    Failed {
        /// As one would type it.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it said, if it was not shown while it ran; begins with a line end.
        said: String,
    },
    /// The module can't be made a component.
    #[error("the built module can't be encoded as a component: {0}")]
    Encode(String),
}

impl Error {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
