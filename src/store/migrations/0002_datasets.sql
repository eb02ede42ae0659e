-- Versioned datasets and where their files lie. The files themselves are on the disk or in a bucket,
-- each version with a manifest that names them: there is no row for a file.

-- Every team has one of kind 'managed', made with it. An S3 provider's secret key is sealed.
CREATE TABLE storage_providers (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    team_id     TEXT    NOT NULL REFERENCES teams (id),
    name        TEXT    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('managed', 's3')),
    s3          TEXT,
    sealed      BLOB,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    checked_at  INTEGER,
    check_error TEXT,
    -- The rows of deleted datasets still name it, for their lineage.
    deleted_at  INTEGER
) STRICT;
CREATE UNIQUE INDEX storage_providers_by_name ON storage_providers (team_id, name) WHERE deleted_at IS NULL;
CREATE INDEX storage_providers_by_team ON storage_providers (team_id, seq) WHERE deleted_at IS NULL;

CREATE TABLE datasets (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    team_id     TEXT    NOT NULL REFERENCES teams (id),
    user_id     TEXT    NOT NULL REFERENCES users (id),
    provider_id TEXT    NOT NULL REFERENCES storage_providers (id),
    name        TEXT    NOT NULL,
    description TEXT    NOT NULL,
    public      INTEGER NOT NULL CHECK (public IN (0, 1)),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    -- Its files go when nothing mounts them any more; lineage still tells of it.
    deleted_at  INTEGER
) STRICT;
CREATE UNIQUE INDEX datasets_by_name ON datasets (team_id, name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX datasets_public ON datasets (name) WHERE public = 1 AND deleted_at IS NULL;
CREATE INDEX datasets_by_team ON datasets (team_id, seq) WHERE deleted_at IS NULL;
CREATE INDEX datasets_by_provider ON datasets (provider_id) WHERE deleted_at IS NULL;

CREATE TABLE versions (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    dataset      INTEGER NOT NULL REFERENCES datasets (seq),
    id           TEXT    NOT NULL,
    user_id      TEXT    NOT NULL REFERENCES users (id),
    state        TEXT    NOT NULL CHECK (state IN ('uncommitted', 'committed')),
    message      TEXT    NOT NULL,
    metadata     TEXT    NOT NULL,
    parent       INTEGER REFERENCES versions (seq),
    made_by      TEXT,
    note         TEXT,
    files        INTEGER,
    bytes        INTEGER,
    damaged_at   INTEGER,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    committed_at INTEGER,
    deleted_at   INTEGER,
    -- When its files were removed; before that a deleted version may still be mounted.
    removed_at   INTEGER,
    UNIQUE (dataset, id)
) STRICT;
CREATE INDEX versions_by_dataset ON versions (dataset, seq) WHERE deleted_at IS NULL;
CREATE INDEX versions_committed ON versions (dataset, committed_at) WHERE state = 'committed' AND deleted_at IS NULL;
CREATE INDEX versions_by_parent ON versions (parent) WHERE parent IS NOT NULL;
CREATE INDEX versions_to_remove ON versions (deleted_at) WHERE deleted_at IS NOT NULL AND removed_at IS NULL;

CREATE TABLE version_tags (
    dataset     INTEGER NOT NULL REFERENCES datasets (seq),
    name        TEXT    NOT NULL,
    version     INTEGER NOT NULL REFERENCES versions (seq),
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (dataset, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_tags_by_version ON version_tags (version);

-- Which run reads or made which version. The job's id and name stay when the job is deleted, and its
-- team alone sees them: a public dataset is used by all.
CREATE TABLE version_uses (
    version     INTEGER NOT NULL REFERENCES versions (seq),
    team_id     TEXT    NOT NULL,
    job_id      TEXT    NOT NULL,
    job_name    TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    role        TEXT    NOT NULL CHECK (role IN ('input', 'public', 'output')),
    at          INTEGER NOT NULL,
    PRIMARY KEY (version, job_id, role, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_uses_by_job ON version_uses (job_id);

-- Whether another run of the team was there at some time of this one's life. Noted when the later of the
-- two gets its place: a row that is deleted cannot be asked any more.
ALTER TABLE workloads ADD COLUMN had_company INTEGER NOT NULL DEFAULT 0 CHECK (had_company IN (0, 1));

-- What a job writes to /outputs, and what became of it.
CREATE TABLE job_outputs (
    seq         INTEGER NOT NULL REFERENCES workloads (seq) ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    dataset     INTEGER NOT NULL REFERENCES datasets (seq),
    version     INTEGER REFERENCES versions (seq),
    state       TEXT    NOT NULL CHECK (state IN ('waiting', 'collecting', 'committed', 'draft', 'empty', 'failed')),
    message     TEXT,
    -- Whether who submitted the job might publish: the dataset may have become public by the end.
    may_publish INTEGER NOT NULL CHECK (may_publish IN (0, 1)),
    PRIMARY KEY (seq, name)
) STRICT, WITHOUT ROWID;

-- Something that is being brought into a version from elsewhere. The source holds no plain secret.
CREATE TABLE imports (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    version     INTEGER NOT NULL REFERENCES versions (seq),
    user_id     TEXT    NOT NULL REFERENCES users (id),
    source      TEXT    NOT NULL,
    sealed      BLOB,
    prefix      TEXT    NOT NULL,
    commits     INTEGER NOT NULL CHECK (commits IN (0, 1)),
    -- Whether who asked for it might publish: the dataset may have become public by the end.
    may_publish INTEGER NOT NULL CHECK (may_publish IN (0, 1)),
    state       TEXT    NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
    message     TEXT,
    files       INTEGER,
    bytes       INTEGER,
    created_at  INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;
CREATE INDEX imports_alive ON imports (seq) WHERE finished_at IS NULL;
CREATE INDEX imports_by_version ON imports (version, seq);

-- Versions on S3 that have a copy on this disk.
CREATE TABLE cached_versions (
    version     INTEGER PRIMARY KEY REFERENCES versions (seq),
    bytes       INTEGER NOT NULL,
    used_at     INTEGER NOT NULL
) STRICT;

-- Contents that a check found damaged.
CREATE TABLE damaged_contents (
    team_id     TEXT    NOT NULL REFERENCES teams (id),
    hash        BLOB    NOT NULL,
    bytes       INTEGER NOT NULL,
    found_at    INTEGER NOT NULL,
    PRIMARY KEY (team_id, hash)
) STRICT, WITHOUT ROWID;
