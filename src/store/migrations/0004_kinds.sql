-- More kinds of workloads than jobs, and numbers that a program pushes. Only the checks change, not a
-- byte of any row, so the text of the schema is edited in place as SQLite's documentation of ALTER TABLE
-- describes, instead of copying every row.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, 'CHECK (kind IN (''job''))', 'CHECK (kind IN (''job'', ''notebook'', ''tensorboard''))')
    WHERE type = 'table' AND name = 'workloads';
UPDATE sqlite_schema SET sql = replace(sql, 'CHECK (kind IN (''chart'', ''system''))', 'CHECK (kind IN (''chart'', ''pushed'', ''system''))')
    WHERE type = 'table' AND name = 'series';
PRAGMA writable_schema = RESET;
