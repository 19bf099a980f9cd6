//! How a command fails: what the user reads, and the exit code.

use std::process::ExitCode;

use serde_json::json;

/// Exit codes; documented in `orbitd --help`. 0 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// It was tried and failed.
    Failed = 1,
    /// The command was not understood, or what it was given can't be used.
    Usage = 2,
    /// No such workspace.
    NotFound = 3,
    /// It exists already, is owned by someone else, or is being deleted.
    Conflict = 4,
    /// No daemon answers.
    Unreachable = 5,
}

/// Why a command failed: the thing, the reason, the next step.
#[derive(Debug)]
pub struct Failure {
    /// For the exit code.
    pub code: Code,
    /// For the user.
    pub message: String,
}

impl Failure {
    /// With [`Code::Failed`].
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: Code::Failed, message: message.into() }
    }
    /// With [`Code::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: Code::Usage, message: message.into() }
    }
    /// Prints it to stderr.
    pub fn report(&self, as_json: bool) -> ExitCode {
        if as_json {
            eprintln!("{}", json!({"error": {"exit_code": self.code as u8, "message": self.message}}));
        } else if !self.message.is_empty() {
            eprintln!("orbitd: {}", self.message);
        }
        ExitCode::from(self.code as u8)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}
