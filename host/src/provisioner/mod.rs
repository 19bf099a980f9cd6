//! Makes and removes a workspace's database.
