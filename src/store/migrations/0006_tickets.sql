-- What opens the ports of one workload, by the hash of its text: a ticket, once and within a minute; the
-- session of a browser that a ticket was exchanged for; a token for an editor or a script. Each ends with
-- the key that it was made with, and what a browser was given also when it signs out.
CREATE TABLE tickets (
    hash        BLOB    PRIMARY KEY,
    kind        TEXT    NOT NULL CHECK (kind IN ('ticket', 'session', 'token')),
    -- The id that is part of the URL. No row of another table: it may be of any kind.
    served_id   TEXT    NOT NULL,
    key_id      TEXT    NOT NULL REFERENCES keys (id),
    session     BLOB    REFERENCES sessions (hash) ON DELETE CASCADE,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tickets_by_key ON tickets (key_id);
CREATE INDEX tickets_by_session ON tickets (session) WHERE session IS NOT NULL;
CREATE INDEX tickets_by_end ON tickets (expires_at);
