//! orbitd: a platform daemon that gives every workspace a Backstage of its own, behind WebAssembly policies.
//!
//! Floors (a module imports only from floors below; `floors.rs` in the tests checks it):
//!
//! ```text
//! 4  cli · app
//! 3  api
//! 2  lifecycle · proxy                                    (unaware of each other; they meet in `directory`)
//! 1  alerts · directory · db · driver · provisioner · backup · source · policy · authn   (siblings, unaware of each other)
//! 0  ids · model · settings · identity · door · words
//! ```

pub mod door;
pub mod identity;
pub mod ids;
pub mod model;
pub mod settings;
/// Shared with the policies' SDK, whose sources travel into every policy's project: they are its home.
#[path = "../../guests/sdk/src/words.rs"]
pub mod words;

pub mod alerts;
pub mod authn;
pub mod backup;
pub mod db;
pub mod directory;
pub mod driver;
pub mod policy;
pub mod provisioner;
pub mod source;

pub mod lifecycle;
pub mod proxy;

pub mod api;

pub mod app;
pub mod cli;
