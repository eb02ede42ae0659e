-- What a workload is a session of, where it is one.
ALTER TABLE workloads ADD COLUMN parent_id TEXT;
CREATE INDEX workloads_by_parent ON workloads (parent_id, seq) WHERE parent_id IS NOT NULL;

-- Files to work on, with what the next session runs.
CREATE TABLE notebooks (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT    NOT NULL UNIQUE,
    team_id          TEXT    NOT NULL REFERENCES teams (id),
    user_id          TEXT    NOT NULL REFERENCES users (id),
    project_id       TEXT    NOT NULL REFERENCES projects (id),
    name             TEXT    NOT NULL,
    tags             TEXT    NOT NULL,
    public           INTEGER NOT NULL CHECK (public IN (0, 1)),
    forked_from      TEXT,
    -- Whose files are still to be copied, and whose they are.
    copying_from     TEXT,
    copying_team     TEXT,
    spec             TEXT    NOT NULL,
    shutdown_seconds INTEGER CHECK (shutdown_seconds > 0),
    idle_seconds     INTEGER CHECK (idle_seconds > 0),
    created_at       INTEGER NOT NULL
) STRICT;
CREATE INDEX notebooks_by_team ON notebooks (team_id, seq);
CREATE INDEX notebooks_by_project ON notebooks (project_id, seq);
CREATE INDEX notebooks_public ON notebooks (seq) WHERE public = 1;
CREATE INDEX notebooks_copying ON notebooks (seq) WHERE copying_from IS NOT NULL;

-- What a session of a notebook is beside what it runs.
CREATE TABLE notebook_sessions (
    seq           INTEGER PRIMARY KEY REFERENCES workloads (seq) ON DELETE CASCADE,
    idle_seconds  INTEGER CHECK (idle_seconds > 0),
    ready_at      INTEGER,
    activity_at   INTEGER,
    activity      TEXT,
    ended_for     TEXT CHECK (ended_for IN ('idle', 'not_ready'))
) STRICT;
