//! A workspace's life. Specs are written through [`Workspaces`]; one controller owns the statuses.

mod workspaces;

pub use workspaces::{LifecycleError, NewWorkspace, SpecPatch, Workspaces};
