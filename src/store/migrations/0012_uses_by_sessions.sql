-- What the run that used a version was: its row, which says so too, may be gone before the use is.
ALTER TABLE version_uses ADD COLUMN kind TEXT NOT NULL DEFAULT 'job';
ALTER TABLE version_uses ADD COLUMN parent_id TEXT;
UPDATE version_uses SET (kind, parent_id) = (SELECT w.kind, w.parent_id FROM workloads w WHERE w.id = job_id)
    WHERE job_id IN (SELECT id FROM workloads WHERE parent_id IS NOT NULL);
