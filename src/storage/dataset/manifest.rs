//! The list of all files of a version that is committed, written once.
//!
//! ```text
//! frame   zstd: the first 1024 lines, one for each file or link, in the order of the paths' bytes
//! frame   zstd: the next 1024
//! …
//! frame   skippable: the totals, and for each frame where it begins and its first path (JSON),
//!         then the length of this frame (4 bytes, little end first) and "gradient"
//! ```
//! So `zstdcat` reads it as plain JSON lines, and any path is found by unpacking one frame. Never is
//! all of it in memory.

use std::{borrow::Cow, fs::File, io, os::unix::fs::FileExt, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    ListPage, ListQuery, Listed,
    manifest_line::{bad, bytes_of, read_line, read_path, text_or_base64},
};
use crate::domain::{
    content::{Entry, Totals},
    user_path::UserPath,
};

/// Any of sixteen numbers makes a frame that is skipped; this one is ours.
const SKIPPABLE: [u8; 4] = 0x184D_2A5Fu32.to_le_bytes();
const ENDING: &[u8; 8] = b"gradient";
/// Magic number and length before the index, length and ending after it.
const AROUND: usize = 8 + 12;

/// A manifest, open for reading.
#[derive(Debug, Clone)]
pub struct Manifest {
    file: Arc<File>,
    index: Arc<Index>,
    /// Where the frames of lines end.
    end: u64,
}

/// What is known of a manifest without unpacking it.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) totals: Totals,
    pub(super) frames: Vec<Frame>,
}

/// Where a frame of lines begins.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) at: u64,
    pub(super) first: UserPath,
}

#[derive(Serialize, Deserialize)]
struct IndexJson<'a> {
    files: u64,
    bytes: u64,
    #[serde(borrow)]
    frames: Vec<FrameJson<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FrameJson<'a> {
    at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    path: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
}

impl Index {
    /// Returns the frame that ends a manifest.
    pub(super) fn to_frame(&self) -> io::Result<Vec<u8>> {
        let frames = self.frames.iter().map(|frame| {
            let (path, path_base64) = text_or_base64(frame.first.as_bytes());
            FrameJson { at: frame.at, path, path_base64 }
        });
        let json = IndexJson { files: self.totals.files, bytes: self.totals.bytes, frames: frames.collect() };
        let json = serde_json::to_vec(&json)?;
        let length = u32::try_from(json.len() + AROUND).map_err(|_| io::Error::other("the manifest is too long"))?;
        Ok([&SKIPPABLE[..], &(length - 8).to_le_bytes(), &json, &length.to_le_bytes(), ENDING].concat())
    }

    fn from_json(json: &[u8]) -> io::Result<Self> {
        let json: IndexJson<'_> = serde_json::from_slice(json)?;
        let totals = Totals { files: json.files, bytes: json.bytes };
        let frame = |frame: FrameJson<'_>| {
            let path = bytes_of(frame.path, frame.path_base64)?.ok_or_else(bad)?;
            Ok(Frame { at: frame.at, first: read_path(&path)? })
        };
        Ok(Self { totals, frames: json.frames.into_iter().map(frame).collect::<io::Result<_>>()? })
    }
}

impl Manifest {
    /// Opens the manifest at `path`.
    ///
    /// # Errors
    /// `InvalidData` when it is damaged, `NotFound`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut ending = [0; 12];
        file.read_exact_at(&mut ending, size.checked_sub(12).ok_or_else(bad)?)?;
        let [a, b, c, d, ..] = ending;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let end = size.checked_sub(length as u64).ok_or_else(bad)?;
        if &ending[4..] != ENDING || length < AROUND {
            return Err(bad());
        }
        let mut frame = vec![0; length];
        file.read_exact_at(&mut frame, end)?;
        if frame[..4] != SKIPPABLE {
            return Err(bad());
        }
        let index = Index::from_json(&frame[8..length - 12])?;
        Ok(Self { file: Arc::new(file), index: Arc::new(index), end })
    }

    pub fn totals(&self) -> Totals {
        self.index.totals
    }

    /// Returns all entries in the order of their paths' bytes, reading as it goes.
    pub fn entries(&self) -> Entries {
        Entries { manifest: self.clone(), frame: 0, lines: Vec::new(), at: 0, line: 0, failed: false }
    }

    /// Returns the entries from the first path on that is `key` or sorts after it.
    pub fn entries_from(&self, key: &[u8]) -> io::Result<Entries> {
        let mut entries = self.entries();
        entries.skip_to(key)?;
        Ok(entries)
    }

    /// Returns what stands at `path`.
    pub fn entry(&self, path: &UserPath) -> io::Result<Option<Entry>> {
        let first = self.entries_from(path.as_bytes())?.next().transpose()?;
        Ok(first.filter(|entry| entry.path == *path))
    }

    /// Lists a page.
    pub fn list(&self, query: &ListQuery) -> io::Result<ListPage> {
        let mut page = ListPage::default();
        let prefix = query.prefix.as_slice();
        let begin = match &query.after {
            // Nothing comes between these bytes and the same with a NUL.
            Some(after) if after.as_slice() >= prefix => [after, &b"\0"[..]].concat(),
            _ => prefix.to_vec(),
        };
        let mut entries = self.entries_from(&begin)?;
        while let Some(entry) = entries.next().transpose()? {
            let path = entry.path.as_bytes();
            let Some(rest) = path.strip_prefix(prefix) else { break };
            let slash = rest.iter().position(|byte| *byte == b'/').filter(|_| query.delimiter);
            let item = match slash {
                None => Listed::Entry(entry),
                Some(slash) => {
                    let dir = &path[..prefix.len() + slash];
                    // The byte after the slash: the first path that is not in the directory.
                    entries.skip_to(&[dir, b"0"].concat())?;
                    match read_path(dir) {
                        Ok(path) => Listed::Directory(path),
                        // The prefix ends before a slash that a path begins with; none does.
                        Err(_) => continue,
                    }
                }
            };
            if query.is_due(&item.key()) && !page.push(item, query) {
                break;
            }
        }
        Ok(page)
    }

    /// Unpacks the lines of one frame.
    fn lines_of(&self, frame: usize) -> io::Result<Vec<u8>> {
        let begin = self.index.frames[frame].at;
        let end = self.index.frames.get(frame + 1).map_or(self.end, |next| next.at);
        let length = end.checked_sub(begin).and_then(|length| usize::try_from(length).ok()).ok_or_else(bad)?;
        let mut packed = vec![0; length];
        self.file.read_exact_at(&mut packed, begin)?;
        zstd::stream::decode_all(packed.as_slice()).map_err(|_| bad())
    }
}

/// The entries of a manifest, in order. Ends after an error.
#[derive(Debug)]
pub struct Entries {
    manifest: Manifest,
    /// The frame to unpack next.
    frame: usize,
    lines: Vec<u8>,
    at: usize,
    /// Where the line began that was read last.
    line: usize,
    failed: bool,
}

impl Entries {
    /// Goes on, never back, to the first path that is `key` or sorts after it.
    pub fn skip_to(&mut self, key: &[u8]) -> io::Result<()> {
        let frames = &self.manifest.index.frames;
        let holds = frames.partition_point(|frame| frame.first.as_bytes() <= key).saturating_sub(1);
        if holds >= self.frame {
            self.frame = holds;
            self.lines.clear();
            self.at = 0;
        }
        while let Some(entry) = self.next().transpose()? {
            if entry.path.as_bytes() >= key {
                // Once more, next time.
                self.at = self.line;
                break;
            }
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<Option<Entry>> {
        while self.at >= self.lines.len() {
            if self.frame >= self.manifest.index.frames.len() {
                return Ok(None);
            }
            self.lines = self.manifest.lines_of(self.frame)?;
            self.at = 0;
            self.frame += 1;
        }
        self.line = self.at;
        let rest = &self.lines[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or_else(bad)?;
        let entry = read_line(&rest[..length])?;
        self.at += length + 1;
        Ok(Some(entry))
    }
}

impl Iterator for Entries {
    type Item = io::Result<Entry>;
    fn next(&mut self) -> Option<io::Result<Entry>> {
        if self.failed {
            return None;
        }
        let entry = self.read().transpose();
        self.failed = matches!(entry, Some(Err(_)));
        entry
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{
        super::{
            TreeError,
            testing::{path, yard},
        },
        *,
    };
    use crate::domain::content::EntryKind;

    fn link(at: &str) -> Entry {
        Entry { path: path(at), kind: EntryKind::Link(b"x".to_vec()) }
    }

    #[test]
    fn any_tool_for_zstd_reads_it_as_plain_lines() {
        let yard = yard();
        let version = yard.version(1);
        version.put_small(&path("a/b"), b"hello", true).unwrap();
        version.put(&path("c"), &EntryKind::Link(b"a/b".to_vec())).unwrap();
        let totals = version.freeze(&|_| {}).unwrap();
        assert_eq!(totals, Totals { files: 2, bytes: 5 });
        let lines = zstd::stream::decode_all(fs::File::open(version.dir().manifest()).unwrap()).unwrap();
        let hash = blake3::hash(b"hello");
        let wanted = format!(
            "{{\"path\":\"a/b\",\"bytes\":5,\"blake3\":\"{hash}\",\"executable\":true}}\n{{\"path\":\"c\",\"link\":\"a/b\"}}\n"
        );
        assert_eq!(String::from_utf8(lines).unwrap(), wanted);
    }

    #[test]
    fn a_manifest_without_files_is_whole_and_empty() {
        let yard = yard();
        let manifest = yard.version(1).manifest_writer().unwrap().finish().unwrap();
        assert_eq!((manifest.totals(), manifest.entries().count()), (Totals::default(), 0));
        assert_eq!(manifest.list(&ListQuery::default()).unwrap(), ListPage::default());
    }

    #[test]
    fn what_is_out_of_order_or_in_the_way_is_refused() {
        let yard = yard();
        let version = yard.version(1);
        let mut writer = version.manifest_writer().unwrap();
        writer.push(&link("a")).unwrap();
        writer.push(&link("a-b")).unwrap();
        assert!(writer.push(&link("a-b")).is_err());
        assert!(writer.push(&link("a")).is_err());
        let error = writer.push(&link("a/b")).unwrap_err();
        assert!(matches!(error, TreeError::NotADirectory(at) if at == path("a")));
        drop(writer);
        assert!(!version.is_frozen());
        assert_eq!(yard.unfinished(), [""; 0]);
    }

    #[test]
    fn a_damaged_manifest_is_an_error_and_never_a_shorter_one() {
        let yard = yard();
        let version = yard.version(1);
        let mut writer = version.manifest_writer().unwrap();
        (0..3000).for_each(|n| writer.push(&link(&format!("{n:04}"))).unwrap());
        writer.finish().unwrap();
        let whole = fs::read(version.dir().manifest()).unwrap();
        for cut in [0, 5, 11, whole.len() / 2, whole.len() - 1] {
            fs::write(version.dir().manifest(), &whole[..cut]).unwrap();
            assert_eq!(Manifest::open(&version.dir().manifest()).unwrap_err().kind(), cut_kind(), "{cut}");
        }
        let mut flipped = whole.clone();
        flipped[100] ^= 1;
        fs::write(version.dir().manifest(), flipped).unwrap();
        let read: io::Result<Vec<_>> = version.manifest().unwrap().entries().collect();
        assert!(read.is_err());
    }

    fn cut_kind() -> io::ErrorKind {
        io::ErrorKind::InvalidData
    }
}
