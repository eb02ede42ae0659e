-- How often the machine killed a process of an attempt because its memory was full, and when last. The attempt
-- itself may go on without that process.
ALTER TABLE attempts ADD COLUMN memory_kills INTEGER NOT NULL DEFAULT 0 CHECK (memory_kills >= 0);
ALTER TABLE attempts ADD COLUMN memory_killed_at INTEGER CHECK ((memory_killed_at IS NULL) = (memory_kills = 0));
