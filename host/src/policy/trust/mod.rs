//! Which modules a tier believes: signed statements, the keys that may sign, and the newest version that was ever accepted.
//!
//! ```text
//! module + its .sig (or the registry's annotation) ─ envelope::Envelope ─ Trust::check ─ Statement ─ AcceptedVersions::check ─ serves
//!                                                    (DSSE, ed25519)     [trust].keys               └─ AcceptedVersions::accept
//! ```
//!
//! A statement ties a module's digest to a name, a world and a version that only grows: whoever can write the policies folder
//! or the registry, but has no key, can neither bring a module of their own nor bring back an old one that allowed more. It may tie it to
//! its settings, too: then a Rego or Cedar text can't be swapped either.

mod accepted;
mod envelope;
mod key;
mod rules;
mod statement;

pub use accepted::{AcceptedVersions, Signed as SignedBinding};
pub use envelope::Envelope;
pub use key::{KeyError, PrivateKey, PublicKey};
pub use rules::{Signed, Trust, Verified};
pub use statement::{Claim, Statement, settings_digest};

/// Ending of the file with a module's envelope: `claims.wasm.sig`.
pub const SIGNATURE_SUFFIX: &str = ".sig";
