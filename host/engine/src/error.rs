//! Why a policy can't be loaded, and how a call can end without an answer.

use std::{io, path::PathBuf};

use crate::World;

/// Why a module can't become a policy. The text is for the operator: the thing, the reason, the next step.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// Not a component, too large, or asks for something that no policy gets.
    #[error("{0}")]
    Shape(String),
    /// A policy of another world, or of a version of the interface that this host does not speak.
    #[error("{0}")]
    World(String),
    /// The compiler refused it or ran into its limits.
    #[error("it does not compile: {0}")]
    Compile(String),
    /// The compiler could not be run at all.
    #[error("cannot compile: {action}: {reason}")]
    Compiler {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        reason: String,
    },
    /// The policy failed while it described or configured itself.
    #[error("its {call} failed: {error}")]
    Call {
        /// `describe` or `configure`.
        call: &'static str,
        /// How.
        error: CallError,
    },
    /// The policy refuses its settings.
    #[error("it refuses its settings: {0}")]
    Settings(String),
    /// What it says of itself breaks the contract.
    #[error("its description breaks the contract: {0}")]
    Description(String),
    /// The compile cache can't be used.
    #[error("cannot use the compile cache {}: {reason}", path.display())]
    Cache {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The engine itself could not be made.
    #[error("cannot start the WebAssembly engine: {0}")]
    Engine(String),
}

/// A call gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {message}", kind.as_str())]
pub struct CallError {
    /// From a closed set.
    pub kind: CallErrorKind,
    /// For the log.
    pub message: String,
}

/// How a call can end without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallErrorKind {
    /// The policy answered "error".
    Error,
    /// It trapped.
    Trap,
    /// It ran past its budget.
    Timeout,
    /// It wanted more memory or table space than it may have.
    Memory,
    /// Its answer can't be read or is too large.
    Contract,
    /// No sandbox was free.
    Unavailable,
}

// === impl LoadError ===

impl LoadError {
    pub(crate) fn world(found: &[World], wanted: World) -> Self {
        let found = found.iter().map(|world| world.with_article()).collect::<Vec<_>>().join(" and ");
        Self::World(format!("this is {found}, the binding asks for {}", wanted.with_article()))
    }
    pub(crate) fn compiler(action: &'static str, error: &io::Error) -> Self {
        Self::Compiler { action, reason: error.to_string() }
    }
}

// === impl CallError ===

impl CallError {
    pub(crate) fn new(kind: CallErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

// === impl CallErrorKind ===

impl CallErrorKind {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Contract => "contract",
            Self::Unavailable => "unavailable",
        }
    }
}
