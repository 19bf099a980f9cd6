//! Policy modules from OCI registries: `module = "oci://registry/repository:tag"`.
//!
//! ```text
//! follow (its own task, every poll) ─ registry: which digest? pull ─▶ kept: a file per module, an entry per reference
//!    ▲ wants: the references of the last load                             │ news: the watch loads again
//! loader ◀───────────────────────── reads entry and module ───────────────┘
//! ```
//!
//! Invariants: a load never waits for a network; what was pulled last serves while a registry is down, also across restarts; a
//! module's bytes are checked against their digest each time that they are read; a password is read at each use, and said nowhere.

mod access;
mod advice;
mod follow;
mod kept;
mod reference;
mod registry;

pub use access::{Access, AccessError, Account, Password};
pub use advice::{Advice, Asker};
pub use follow::{Remote, RemoteModule, RemoteOptions};
pub use kept::Kept;
pub use reference::{OciReference, ReferenceError};
pub use registry::{Pushed, Registries, RegistryError};
