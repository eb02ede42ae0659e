-- Views of what runs wrote. What is null is the box's choice at each start.
CREATE TABLE tensorboards (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    team_id      TEXT    NOT NULL REFERENCES teams (id),
    user_id      TEXT    NOT NULL REFERENCES users (id),
    project_id   TEXT    NOT NULL REFERENCES projects (id),
    name         TEXT    NOT NULL,
    image        TEXT,
    machine_type TEXT,
    -- 0 is never.
    idle_seconds INTEGER CHECK (idle_seconds >= 0),
    created_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX tensorboards_by_team ON tensorboards (team_id, seq);
CREATE INDEX tensorboards_by_project ON tensorboards (project_id, seq);

-- What each of them shows. What is meant may be deleted meanwhile; the row then says what it was.
CREATE TABLE tensorboard_members (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    tensorboard INTEGER NOT NULL REFERENCES tensorboards (seq) ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('job', 'experiment', 'notebook', 'dataset')),
    target      TEXT    NOT NULL,
    -- In a notebook's files; empty is all of them.
    path        TEXT    CHECK ((path IS NOT NULL) = (kind = 'notebook')),
    -- Of a dataset, chosen when it was added, and the words that it was chosen by.
    version     TEXT    CHECK ((version IS NOT NULL) = (kind = 'dataset')),
    reference   TEXT    CHECK ((reference IS NOT NULL) = (kind = 'dataset')),
    added_at    INTEGER NOT NULL,
    UNIQUE (tensorboard, name)
) STRICT;
CREATE INDEX tensorboard_members_by_target ON tensorboard_members (target);

-- What a session of a TensorBoard is beside what it runs.
CREATE TABLE tensorboard_sessions (
    seq          INTEGER PRIMARY KEY REFERENCES workloads (seq) ON DELETE CASCADE,
    idle_seconds INTEGER CHECK (idle_seconds > 0),
    ready_at     INTEGER,
    activity_at  INTEGER,
    activity     TEXT,
    ended_for    TEXT CHECK (ended_for IN ('idle', 'not_ready')),
    -- The directories that its container has, settled when it was accepted.
    logs         TEXT NOT NULL
) STRICT;
