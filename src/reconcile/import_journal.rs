//! What an import of many files has brought already, so that one which was broken off goes on where it
//! was: a line for each file, with the source's own name for its bytes. Losing it costs time alone.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

/// The journal of one import.
pub(super) struct Journal {
    file: File,
    brought: HashMap<String, Line>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    key: String,
    bytes: u64,
    etag: String,
}

impl Journal {
    /// Opens the journal at `path`, or begins one. A line that was cut off counts as none.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut brought = HashMap::new();
        for line in BufReader::new(File::open(path)?).split(b'\n') {
            if let Ok(line) = serde_json::from_slice::<Line>(&line?) {
                brought.insert(line.key.clone(), line);
            }
        }
        // So that what is written next does not go on in the middle of one.
        file.write_all(b"\n")?;
        Ok(Self { file, brought })
    }

    /// Says whether these bytes were brought already.
    pub fn has(&self, key: &str, bytes: u64, etag: Option<&str>) -> bool {
        self.brought.get(key).is_some_and(|line| line.bytes == bytes && Some(line.etag.as_str()) == etag)
    }

    /// Notes that a file is in the version. Without a name for its bytes it is brought again instead.
    pub fn note(&mut self, key: &str, bytes: u64, etag: Option<&str>) -> io::Result<()> {
        let Some(etag) = etag else { return Ok(()) };
        let line = Line { key: key.to_owned(), bytes, etag: etag.to_owned() };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }

    /// Removes it: the import is over.
    pub fn remove(path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_brought_is_known_again_also_after_a_line_that_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.note("a/b", 3, Some("one")).unwrap();
        journal.note("unnamed", 3, None).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"key\":\"half").unwrap();
        let mut journal = Journal::open(&path).unwrap();
        journal.note("c", 1, Some("two")).unwrap();
        let journal = Journal::open(&path).unwrap();
        assert!(journal.has("a/b", 3, Some("one")) && journal.has("c", 1, Some("two")));
        for (key, bytes, etag) in [
            ("a/b", 4, Some("one")),
            ("a/b", 3, Some("two")),
            ("a/b", 3, None),
            ("half", 0, None),
            ("unnamed", 3, None),
        ] {
            assert!(!journal.has(key, bytes, etag), "{key}");
        }
        Journal::remove(&path).unwrap();
        Journal::remove(&path).unwrap();
    }
}
