-- The registry. Portable SQL: TEXT and BIGINT only, times as RFC 3339 text (UTC), no engine's own functions.

CREATE TABLE workspaces (
    id          TEXT PRIMARY KEY,
    slug        TEXT NOT NULL UNIQUE,
    owner       TEXT NOT NULL,
    spec        TEXT NOT NULL,
    generation  BIGINT NOT NULL,
    deleting    BIGINT NOT NULL,
    status      TEXT NOT NULL,
    progress    TEXT NOT NULL,
    -- 1: the controller's periodic scan must look at it; 0: at rest (stopped, and everything done) until the spec changes.
    attention   BIGINT NOT NULL,
    created_at  TEXT NOT NULL,
    updated_at  TEXT NOT NULL
);
CREATE INDEX workspaces_attention ON workspaces (attention);

CREATE TABLE revisions (
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    digest       TEXT NOT NULL,
    body         TEXT NOT NULL,
    created_at   TEXT NOT NULL,
    PRIMARY KEY (workspace_id, digest)
);

CREATE TABLE signing_keys (
    workspace_id TEXT PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
    sealed       TEXT NOT NULL,
    created_at   TEXT NOT NULL
);

-- One row per process that was started, or is about to be, and has not been seen gone. Others read the first seven columns.
CREATE TABLE backstage_instances (
    id            TEXT PRIMARY KEY,
    workspace_id  TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    instance_url  TEXT NOT NULL,
    database_name TEXT NOT NULL,
    status        TEXT NOT NULL,
    created_at    TEXT NOT NULL,
    updated_at    TEXT NOT NULL,
    revision      TEXT NOT NULL,
    port          BIGINT NOT NULL UNIQUE,
    pid           BIGINT,
    start_ticks   BIGINT,
    kernel_boot   TEXT,
    boot_secret   TEXT NOT NULL,
    restarts      BIGINT NOT NULL
);
CREATE INDEX backstage_instances_workspace ON backstage_instances (workspace_id);

CREATE TABLE events (
    sequence     BIGINT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    reason       TEXT NOT NULL,
    message      TEXT NOT NULL,
    at           TEXT NOT NULL
);
CREATE INDEX events_workspace ON events (workspace_id, sequence);

CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('events', 0);

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
