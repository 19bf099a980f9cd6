//! Where backups lie, and that they are whole. `lifecycle` makes and restores them; here they are stored, listed, fetched, checked.
//!
//! ```text
//! <slug>/<backup id>/spec.json  revision.json  database/<file>…     parts
//! <slug>/<backup id>/manifest.<sha256 of its bytes>.json            written last: without it there is no backup
//! ```
//!
//! Invariants: a backup is whole or not listed; the manifest's name is its digest and the manifest has every part's, so a
//! changed byte anywhere is found before anything is restored; nothing that is stored is ever written over.

mod error;
mod store;
mod target;

pub use error::BackupError;
pub use store::BackupStore;
