//! Test cases of a policy: a TOML file beside the module that says what goes in and what must come out.
//!
//! ```text
//! x.test.toml ─ file: parsed, defaults filled in ─ run: asks the policy (engine) ─ matching: expected against got ─ Report
//! ```
//!
//! Who runs them: `orbitd policy test` for the author, the loader before it swaps in a binding that names `tests`. Both mean the
//! same: a policy with its limits, asked in fresh sandboxes, passed only what it declared.

mod case;
mod file;
mod matching;
mod run;

pub use case::Case;
pub use file::{CaseFile, MAX_CASES};
pub use matching::Difference;
pub use run::{CaseResult, Report, Subject, run};
