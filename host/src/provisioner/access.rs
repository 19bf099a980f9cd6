//! What passes between `lifecycle` and a provisioner.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use crate::ids::WorkspaceId;

/// Whose database, and where.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Its workspace: what the database is marked with.
    pub workspace: WorkspaceId,
    /// `backstage_<slug with _>_<8 hex of id>`.
    pub database: &'a str,
    /// The workspace's own directory.
    pub home: &'a Path,
}

/// How many instances may be on one database at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// One: SQLite locks files, not rows.
    One,
    /// Two, once one of them has come up: two *first* starts would race in their migrations (PostgreSQL's 42P07).
    Many,
}

/// How an instance reaches its database.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// What `backend.database` must say; `{"$secret": "name"}` stands for one of `secrets`.
    pub config: Value,
    /// Values that the instance gets as files. Their names have lower case letters: no workspace can declare such a one.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Connections that the instance may open; 0 where nobody counts them.
    pub connections: u32,
}

/// Parts of making a database, in their order; a provisioner skips those that it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The role that owns it is there.
    Owner,
    /// It is there, and still closed to everybody.
    ClosedDatabase,
    /// It is there, open to its own roles alone.
    Database,
    /// The login is there, with its password.
    Login,
}
