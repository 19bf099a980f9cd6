//! What a policy author starts from and what makes a component of it.
//!
//! ```text
//! template::create ─▶ a folder: policy.toml, sources, wit/, test cases ─ build::build ─▶ <name>.wasm
//!                                                                          └─ rust | javascript | python
//! ```
//!
//! Who calls it: `orbitd policy new` and `policy build`; `cargo xtask guests` uses the Rust toolchain for the policies in the
//! repository. It knows nothing of the engine: what it builds is judged by `policy check`.
//!
//! Everything that a project needs of orbitd (WIT files, the Rust SDK) is embedded, so that a project is whole without a
//! checkout of this repository. Nothing is installed by itself: a missing tool is an [`Error::Tool`] that says how.

mod build;
mod error;
pub mod javascript;
mod process;
mod project;
pub mod python;
pub mod rust;
pub mod template;

pub use build::{Built, build};
pub use error::Error;
pub use process::Output;
pub use project::{Language, Project, World, in_folder};
