-- What the provisioner of a database server needs to be remembered.

-- Connections that an instance may open on the database server: what the server's limit is shared out by.
ALTER TABLE backstage_instances ADD COLUMN connections BIGINT NOT NULL DEFAULT 0;

-- The login that a workspace's new instances get; its password is sealed.
CREATE TABLE database_logins (
    workspace_id TEXT PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
    slot         TEXT NOT NULL,
    sealed       TEXT NOT NULL,
    rotation     BIGINT NOT NULL,
    created_at   TEXT NOT NULL
);

-- Databases of deleted workspaces that are still there: until drop_after, or for good where that is null.
CREATE TABLE kept_databases (
    database_name TEXT PRIMARY KEY,
    workspace_id  TEXT NOT NULL,
    slug          TEXT NOT NULL,
    kept_at       TEXT NOT NULL,
    drop_after    TEXT
);
