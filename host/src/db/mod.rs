//! The registry: workspaces, instances, revisions, keys and events, through sqlx.
