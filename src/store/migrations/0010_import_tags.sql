-- Tags that a version gets when an import has brought and committed it: until then nobody who asks for a tag
-- is to be given half a version.
ALTER TABLE imports ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
