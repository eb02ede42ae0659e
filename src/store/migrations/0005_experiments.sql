-- Settings that are kept, to be run again and again. A run is a job like any other, which remembers whose
-- run it is; where an experiment stands is where its latest run does, so no column says it.
CREATE TABLE experiments (
    seq                  INTEGER PRIMARY KEY AUTOINCREMENT,
    id                   TEXT    NOT NULL UNIQUE,
    team_id              TEXT    NOT NULL REFERENCES teams (id),
    user_id              TEXT    NOT NULL REFERENCES users (id),
    project_id           TEXT    NOT NULL REFERENCES projects (id),
    name                 TEXT    NOT NULL,
    tags                 TEXT    NOT NULL,
    model_kind           TEXT,
    model_path           TEXT,
    -- As a job keeps it: passwords are sealed or names of secrets.
    spec                 TEXT    NOT NULL,
    priority             INTEGER NOT NULL,
    time_limit_seconds   INTEGER CHECK (time_limit_seconds > 0),
    retry_limit          INTEGER NOT NULL CHECK (retry_limit >= 0),
    retry_backoff_seconds INTEGER NOT NULL CHECK (retry_backoff_seconds >= 0),
    upload_id            TEXT,
    created_at           INTEGER NOT NULL
) STRICT;
CREATE INDEX experiments_by_team ON experiments (team_id, seq);
CREATE INDEX experiments_by_project ON experiments (project_id, seq);
CREATE INDEX experiments_by_upload ON experiments (upload_id) WHERE upload_id IS NOT NULL;

ALTER TABLE jobs ADD COLUMN experiment_id TEXT REFERENCES experiments (id);
CREATE INDEX jobs_by_experiment ON jobs (experiment_id, seq) WHERE experiment_id IS NOT NULL;
