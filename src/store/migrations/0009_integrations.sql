-- What a session of a notebook has, or is about to have, at /datasets/NAME. It begins with what the session was
-- accepted with, and changes while it runs. Which version a reference means stays as it was when it came in
-- here, so that nothing changes beneath a program at work.
CREATE TABLE session_mounts (
    seq       INTEGER NOT NULL REFERENCES workloads (seq) ON DELETE CASCADE,
    name      TEXT    NOT NULL,
    -- As it was asked for; empty once somebody asked for what it means by now.
    reference TEXT    NOT NULL,
    origin    TEXT    NOT NULL CHECK (origin IN ('file', 'settings', 'public')),
    version   INTEGER NOT NULL REFERENCES versions (seq),
    PRIMARY KEY (seq, name)
) STRICT, WITHOUT ROWID;

-- Sessions that are under way.
INSERT OR IGNORE INTO session_mounts (seq, name, reference, origin, version)
SELECT w.seq, i.value ->> '$.name', i.value ->> '$.reference',
       CASE i.value ->> '$.role' WHEN 'public' THEN 'public' ELSE 'settings' END, v.seq
FROM workloads w
JOIN json_each(w.spec, '$.inputs') i
JOIN datasets d ON d.id = i.value ->> '$.dataset'
JOIN versions v ON v.dataset = d.seq AND v.id = i.value ->> '$.version'
WHERE w.kind = 'notebook' AND w.teardown_finished_at IS NULL
ORDER BY i.value ->> '$.role';

-- Since when a run that goes on has no more to do with a version, and no longer keeps it.
ALTER TABLE version_uses ADD COLUMN released_at INTEGER;
