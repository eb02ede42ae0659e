-- When a person left the team. What they made stays, with their name on it.
ALTER TABLE users ADD COLUMN left_at INTEGER;
