-- What people write on projects.
ALTER TABLE projects ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
ALTER TABLE projects ADD COLUMN repository_name TEXT;
ALTER TABLE projects ADD COLUMN repository_url TEXT;
