-- Changes that a client gave a key (Idempotency-Key): sent again, the answer is the first one's. Bounded in age and number.
CREATE TABLE operations (
    -- Digest of the client's key.
    client_key TEXT PRIMARY KEY,
    -- Digest of method, path and body: the same key with another request is refused.
    request    TEXT NOT NULL,
    -- Id of what is made, if something is made.
    operation  TEXT NOT NULL UNIQUE,
    -- 1: its change of a spec is stored; done again it changes nothing.
    applied    BIGINT NOT NULL DEFAULT 0,
    -- The answer, once there is one; its body is sealed.
    status     BIGINT,
    location   TEXT,
    reply      TEXT,
    created_at TEXT NOT NULL
);
CREATE INDEX operations_by_age ON operations (created_at);
