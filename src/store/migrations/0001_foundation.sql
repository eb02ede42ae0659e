-- The foundation: who may come in, what they asked for, what became of it.
-- Times are microseconds since 1970 (UTC). Ids are text with a prefix that tells their kind.

-- This data directory. Its id is in every container's label, so that two daemons on one engine
-- never adopt each other's containers.
CREATE TABLE box (
    only        INTEGER PRIMARY KEY CHECK (only = 1),
    id          TEXT    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE teams (
    id          TEXT    PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    id          TEXT    PRIMARY KEY,
    team_id     TEXT    NOT NULL REFERENCES teams (id),
    name        TEXT    NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys open the API. Only a hash is kept: a key is random and long, so a fast hash is enough.
CREATE TABLE keys (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    team_id      TEXT    NOT NULL REFERENCES teams (id),
    user_id      TEXT    NOT NULL REFERENCES users (id),
    name         TEXT    NOT NULL,
    hash         BLOB    NOT NULL UNIQUE,
    scope        TEXT    NOT NULL CHECK (scope IN ('read', 'write', 'admin')),
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT;
CREATE INDEX keys_by_team ON keys (team_id, seq);

-- A browser that signed in with a key, and a link that lets one browser do so once. Both end with
-- the key. The proof is the hash of what a browser holds beside its cookie; a link has none.
CREATE TABLE sessions (
    hash        BLOB    PRIMARY KEY,
    proof       BLOB    NOT NULL,
    key_id      TEXT    NOT NULL REFERENCES keys (id),
    once        INTEGER NOT NULL CHECK (once IN (0, 1)),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_end ON sessions (expires_at);

CREATE TABLE projects (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    team_id     TEXT    NOT NULL REFERENCES teams (id),
    name        TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (team_id, name)
) STRICT;
CREATE INDEX projects_by_team ON projects (team_id, seq);

-- Values are sealed with a key that is not in this file. An empty project_id means the whole team.
CREATE TABLE secrets (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    team_id     TEXT    NOT NULL REFERENCES teams (id),
    project_id  TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    sealed      BLOB    NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    UNIQUE (team_id, project_id, name)
) STRICT;

-- Whatever runs in a container. `wanted` is written by services alone, `state` and all below it by
-- the workload loop alone.
CREATE TABLE workloads (
    seq                  INTEGER PRIMARY KEY AUTOINCREMENT,
    id                   TEXT    NOT NULL UNIQUE,
    kind                 TEXT    NOT NULL CHECK (kind IN ('job')),
    team_id              TEXT    NOT NULL REFERENCES teams (id),
    user_id              TEXT    NOT NULL REFERENCES users (id),
    project_id           TEXT    NOT NULL REFERENCES projects (id),
    name                 TEXT    NOT NULL,
    spec                 TEXT    NOT NULL,
    cpu_millis           INTEGER NOT NULL CHECK (cpu_millis > 0),
    memory_bytes         INTEGER NOT NULL CHECK (memory_bytes > 0),
    gpus                 INTEGER NOT NULL CHECK (gpus >= 0),
    gpu_share            INTEGER NOT NULL CHECK (gpu_share >= 1),
    gpu_model            TEXT,
    mig_profile          TEXT,
    priority             INTEGER NOT NULL,
    time_limit_seconds   INTEGER CHECK (time_limit_seconds > 0),
    retry_limit          INTEGER NOT NULL CHECK (retry_limit >= 0),
    retry_backoff_seconds INTEGER NOT NULL CHECK (retry_backoff_seconds >= 0),
    upload_id            TEXT,
    created_at           INTEGER NOT NULL,
    wanted               TEXT    NOT NULL CHECK (wanted IN ('run', 'stop')),
    stop_asked_at        INTEGER,

    state                TEXT    NOT NULL CHECK (state IN
        ('pending', 'provisioned', 'running', 'stopped', 'failed', 'error', 'cancelled')),
    attempt              INTEGER NOT NULL DEFAULT 0,
    not_before           INTEGER,
    image_id             TEXT,
    reason               TEXT,
    message              TEXT,
    exit_code            INTEGER,
    ports                TEXT,
    setup_started_at     INTEGER,
    setup_finished_at    INTEGER,
    started_at           INTEGER,
    finished_at          INTEGER,
    teardown_started_at  INTEGER,
    teardown_finished_at INTEGER
) STRICT;
-- What the loop asks at every pass: everything that is not over and tidied.
CREATE INDEX workloads_alive ON workloads (seq) WHERE teardown_finished_at IS NULL;
CREATE INDEX workloads_by_team ON workloads (team_id, kind, seq);
CREATE INDEX workloads_by_state ON workloads (team_id, kind, state, seq);
CREATE INDEX workloads_by_project ON workloads (project_id, kind, seq);
CREATE INDEX workloads_by_upload ON workloads (upload_id) WHERE upload_id IS NOT NULL;

-- What a job is beside what it runs.
CREATE TABLE jobs (
    seq         INTEGER PRIMARY KEY REFERENCES workloads (seq) ON DELETE CASCADE,
    clone_of    TEXT,
    tags        TEXT    NOT NULL
) STRICT;

CREATE TABLE tags (
    team_id     TEXT    NOT NULL,
    tag         TEXT    NOT NULL,
    seq         INTEGER NOT NULL REFERENCES workloads (seq) ON DELETE CASCADE,
    PRIMARY KEY (team_id, tag, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_by_workload ON tags (seq);

-- One try of a workload. The row is older than its container.
CREATE TABLE attempts (
    seq         INTEGER NOT NULL REFERENCES workloads (seq) ON DELETE CASCADE,
    attempt     INTEGER NOT NULL,
    placed_at   INTEGER NOT NULL,
    gpus        TEXT    NOT NULL,
    started_at  INTEGER,
    finished_at INTEGER,
    reason      TEXT,
    message     TEXT,
    exit_code   INTEGER,
    PRIMARY KEY (seq, attempt)
) STRICT, WITHOUT ROWID;

-- The ledger: who holds which GPU now. Whole GPUs have share 1 and slot 0; a shared one has as many
-- slots as may hold it. Written in the transaction that places, removed in the one that ends.
CREATE TABLE gpu_holdings (
    uuid        TEXT    NOT NULL,
    slot        INTEGER NOT NULL CHECK (slot >= 0 AND slot < share),
    share       INTEGER NOT NULL CHECK (share >= 1),
    seq         INTEGER NOT NULL REFERENCES workloads (seq),
    PRIMARY KEY (uuid, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX gpu_holdings_by_workload ON gpu_holdings (seq);

-- Everything that changed, in order; the sequence number is where a stream resumes.
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    team_id     TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    change      TEXT    NOT NULL,
    data        TEXT    NOT NULL
) STRICT;

-- What a repeated write made the first time.
CREATE TABLE idempotency (
    user_id     TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    subject     TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (user_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Numbers over time. A chart's point is keyed by the line of the log that it came from, a system
-- metric's by the second that it was taken at, so that storing one twice changes nothing.
CREATE TABLE series (
    id          INTEGER PRIMARY KEY,
    seq         INTEGER NOT NULL REFERENCES workloads (seq) ON DELETE CASCADE,
    attempt     INTEGER NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('chart', 'system')),
    name        TEXT    NOT NULL,
    gpu         TEXT    NOT NULL,
    UNIQUE (seq, attempt, kind, name, gpu)
) STRICT;

CREATE TABLE points (
    series      INTEGER NOT NULL REFERENCES series (id) ON DELETE CASCADE,
    key         INTEGER NOT NULL,
    x           REAL    NOT NULL,
    y           REAL    NOT NULL,
    PRIMARY KEY (series, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE uploads (
    id          TEXT    PRIMARY KEY,
    team_id     TEXT    NOT NULL REFERENCES teams (id),
    user_id     TEXT    NOT NULL REFERENCES users (id),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX uploads_by_end ON uploads (expires_at);
