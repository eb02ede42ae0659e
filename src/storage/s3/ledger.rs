//! What is known of the files of a draft on S3: a line for each that came through here, or was read
//! when it was committed. The bucket alone says what is there; a line holds for an object only as long
//! as its size and etag are those of the line. Losing lines costs reading objects again.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::Object;
use crate::{
    domain::{
        content::{Content, ContentHash},
        user_path::UserPath,
    },
    storage::layout::VersionDir,
};

/// One line. Paths on S3 are UTF-8.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    path: String,
    bytes: u64,
    blake3: ContentHash,
    etag: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    executable: bool,
}

/// The ledger of one version.
#[derive(Debug, Clone)]
pub struct Ledger {
    path: PathBuf,
}

/// A ledger as it was when it was opened: 16 bytes of memory for each line.
#[derive(Debug)]
pub struct Index {
    file: Option<File>,
    /// Hashes of what lines are for, with where those begin, sorted.
    lines: Vec<(u64, u64)>,
}

/// Writes many lines.
pub struct LedgerWriter(BufWriter<File>);

impl Ledger {
    /// Names the ledger; nothing is touched.
    pub fn of(dir: &VersionDir) -> Self {
        Self { path: dir.ledger() }
    }

    /// Adds a line. Others may do so at the same time. Blocks.
    pub fn add(&self, path: &UserPath, content: &Content, etag: Option<&str>) -> io::Result<()> {
        let mut writer = self.writer()?;
        writer.add(path, content, etag)?;
        writer.finish()
    }

    /// Adds many lines.
    pub fn writer(&self) -> io::Result<LedgerWriter> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        Ok(LedgerWriter(BufWriter::new(File::options().create(true).append(true).open(&self.path)?)))
    }

    /// Returns its size in bytes.
    pub fn size(&self) -> io::Result<u64> {
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            facts => Ok(facts?.len()),
        }
    }

    /// Reads the ledger. Blocks. Lines that a crash cut off are left out.
    pub fn open(&self) -> io::Result<Index> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Index { file: None, lines: Vec::new() });
            }
            file => file?,
        };
        let mut reader = BufReader::with_capacity(256 << 10, &file);
        let (mut lines, mut text, mut at) = (Vec::new(), Vec::new(), 0);
        loop {
            text.clear();
            let read = reader.read_until(b'\n', &mut text)? as u64;
            if read == 0 {
                break;
            }
            if let Ok(line) = serde_json::from_slice::<Line>(&text) {
                lines.push((key_of(&line.path, line.bytes, &line.etag), at));
            }
            at += read;
        }
        lines.sort_unstable();
        Ok(Index { file: Some(file), lines })
    }
}

impl LedgerWriter {
    /// Adds a line; none for an object whose etag is not known.
    pub fn add(&mut self, path: &UserPath, content: &Content, etag: Option<&str>) -> io::Result<()> {
        let (Some(etag), Ok(path)) = (etag, std::str::from_utf8(path.as_bytes())) else { return Ok(()) };
        let line = Line {
            path: path.to_owned(),
            bytes: content.bytes,
            blake3: content.hash,
            etag: etag.to_owned(),
            executable: content.executable,
        };
        // The break comes first too, so that what a crash cut off spoils one line at most; and the
        // line goes in one piece, so that those who write at the same time do not mix theirs.
        let text = format!("\n{}\n", serde_json::to_string(&line)?);
        if self.0.buffer().len() + text.len() > self.0.capacity() {
            self.0.flush()?;
        }
        self.0.write_all(text.as_bytes())
    }

    /// Writes what is left. Not durable: see the module.
    pub fn finish(mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Index {
    /// Returns what is known of the bytes of an object that stands for `path`.
    pub fn find(&self, path: &UserPath, object: &Object) -> io::Result<Option<Content>> {
        let (Some(file), Some(etag), Ok(path)) = (&self.file, &object.etag, std::str::from_utf8(path.as_bytes()))
        else {
            return Ok(None);
        };
        let key = key_of(path, object.bytes, etag);
        let first = self.lines.partition_point(|(line, _)| *line < key);
        let end = self.lines.partition_point(|(line, _)| *line <= key);
        // The last one holds.
        for (_, at) in self.lines[first..end].iter().rev() {
            let line: Line = serde_json::from_slice(&read_line(file, *at)?)?;
            if line.path == path && line.bytes == object.bytes && line.etag == *etag {
                return Ok(Some(Content { hash: line.blake3, bytes: line.bytes, executable: line.executable }));
            }
        }
        Ok(None)
    }
}

fn key_of(path: &str, bytes: u64, etag: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(path.as_bytes()).update(&[0]).update(etag.as_bytes()).update(&[0]).update(&bytes.to_le_bytes());
    let mut key = [0; 8];
    hasher.finalize_xof().fill(&mut key);
    u64::from_le_bytes(key)
}

fn read_line(file: &File, at: u64) -> io::Result<Vec<u8>> {
    let mut line = vec![0; 1024];
    loop {
        let read = file.read_at(&mut line, at)?;
        if let Some(end) = line[..read].iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return Ok(line);
        }
        if read < line.len() {
            line.truncate(read);
            return Ok(line);
        }
        line.resize(line.len() * 2, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(byte: u8) -> Content {
        Content { hash: ContentHash([byte; 32]), bytes: 10, executable: byte == 3 }
    }

    fn object(etag: &str) -> Object {
        Object { key: "k".to_owned(), bytes: 10, etag: Some(etag.to_owned()) }
    }

    #[test]
    fn the_last_line_for_an_object_holds_and_none_for_another() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger { path: dir.path().join("v/ledger.jsonl") };
        let path: UserPath = "a/ü\"b".parse().unwrap();
        assert_eq!(ledger.open().unwrap().find(&path, &object("x")).unwrap(), None);
        for (byte, etag) in [(1, "x"), (2, "y"), (3, "x")] {
            ledger.add(&path, &content(byte), Some(etag)).unwrap();
        }
        let index = ledger.open().unwrap();
        assert_eq!(index.find(&path, &object("x")).unwrap(), Some(content(3)));
        assert_eq!(index.find(&path, &object("y")).unwrap(), Some(content(2)));
        assert_eq!(index.find(&path, &object("z")).unwrap(), None);
        assert_eq!(index.find(&path, &Object { bytes: 11, ..object("x") }).unwrap(), None);
        assert_eq!(index.find(&"b".parse().unwrap(), &object("x")).unwrap(), None);
    }

    #[test]
    fn a_line_that_a_crash_cut_off_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger { path: dir.path().join("ledger.jsonl") };
        let path: UserPath = "a".parse().unwrap();
        ledger.add(&path, &content(1), Some("x")).unwrap();
        let mut file = File::options().append(true).open(&ledger.path).unwrap();
        file.write_all(b"\n{\"path\":\"a\",\"by").unwrap();
        ledger.add(&path, &content(2), Some("y")).unwrap();
        let index = ledger.open().unwrap();
        assert_eq!(index.find(&path, &object("x")).unwrap(), Some(content(1)));
        assert_eq!(index.find(&path, &object("y")).unwrap(), Some(content(2)));
    }

    #[test]
    fn long_ledgers_are_read_in_whatever_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger { path: dir.path().join("ledger.jsonl") };
        let path = |number: usize| format!("{}/{number}", "d".repeat(200)).parse::<UserPath>().unwrap();
        let mut writer = ledger.writer().unwrap();
        for number in 0..3000 {
            writer.add(&path(number), &content(1), Some(&"e".repeat(number))).unwrap();
        }
        writer.finish().unwrap();
        let index = ledger.open().unwrap();
        for number in (0..3000).step_by(97) {
            assert!(index.find(&path(number), &object(&"e".repeat(number))).unwrap().is_some(), "{number}");
        }
    }
}
