//! One line of a manifest: a file or a link, as JSON.
//!
//! ```json
//! {"path":"bin/run","bytes":12,"blake3":"af13…","executable":true}
//! {"path":"latest","link":"v2"}
//! ```
//! What is not UTF-8 is in `pathBase64` or `linkBase64` instead.

use std::{borrow::Cow, io};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::domain::{
    content::{Content, ContentHash, Entry, EntryKind},
    user_path::UserPath,
};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    path: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blake3: Option<ContentHash>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    executable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    link: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link_base64: Option<String>,
}

/// Appends the line of `entry`, with its end.
pub(super) fn write_line(entry: &Entry, lines: &mut Vec<u8>) -> io::Result<()> {
    let (path, path_base64) = text_or_base64(entry.path.as_bytes());
    let mut line =
        Line { path, path_base64, bytes: None, blake3: None, executable: false, link: None, link_base64: None };
    match &entry.kind {
        EntryKind::File(content) => {
            line.bytes = Some(content.bytes);
            line.blake3 = Some(content.hash);
            line.executable = content.executable;
        }
        EntryKind::Link(target) => (line.link, line.link_base64) = text_or_base64(target),
    }
    serde_json::to_writer(&mut *lines, &line)?;
    lines.push(b'\n');
    Ok(())
}

/// Reads one line, without its end.
pub(super) fn read_line(line: &[u8]) -> io::Result<Entry> {
    let line: Line<'_> = serde_json::from_slice(line)?;
    let path = bytes_of(line.path, line.path_base64)?.ok_or_else(bad)?;
    let path = read_path(&path)?;
    let kind = match (bytes_of(line.link, line.link_base64)?, line.bytes, line.blake3) {
        (Some(target), None, None) => EntryKind::Link(target),
        (None, Some(bytes), Some(hash)) => EntryKind::File(Content { hash, bytes, executable: line.executable }),
        _ => return Err(bad()),
    };
    Ok(Entry { path, kind })
}

/// Reads a path that must be one as it stands.
pub(super) fn read_path(bytes: &[u8]) -> io::Result<UserPath> {
    match UserPath::from_bytes(bytes) {
        Ok(path) if path.as_bytes() == bytes && !path.is_root() => Ok(path),
        _ => Err(bad()),
    }
}

/// Returns the text, or what stands for it where it is none.
pub(super) fn text_or_base64(bytes: &[u8]) -> (Option<Cow<'_, str>>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.into()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// Undoes [`text_or_base64`].
pub(super) fn bytes_of(text: Option<Cow<'_, str>>, base64: Option<String>) -> io::Result<Option<Vec<u8>>> {
    match (text, base64) {
        (Some(text), None) => Ok(Some(text.into_owned().into_bytes())),
        (None, Some(base64)) => STANDARD.decode(base64).map(Some).map_err(|_| bad()),
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(bad()),
    }
}

pub(super) fn bad() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the manifest is damaged")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_reads_as_people_would_write_it() {
        let content = Content { hash: ContentHash([0; 32]), bytes: 3, executable: true };
        let mut lines = Vec::new();
        write_line(&Entry { path: "a/ü".parse().unwrap(), kind: EntryKind::File(content) }, &mut lines).unwrap();
        let link = EntryKind::Link(b"\xff".to_vec());
        write_line(&Entry { path: UserPath::from_bytes(b"\xfe").unwrap(), kind: link }, &mut lines).unwrap();
        let zeros = "0".repeat(64);
        let wanted = format!(
            "{{\"path\":\"a/ü\",\"bytes\":3,\"blake3\":\"{zeros}\",\"executable\":true}}\n\
             {{\"pathBase64\":\"/g==\",\"linkBase64\":\"/w==\"}}\n"
        );
        assert_eq!(String::from_utf8(lines).unwrap(), wanted);
    }

    #[test]
    fn a_line_that_could_mean_two_things_or_leave_the_tree_is_refused() {
        let hash = "0".repeat(64);
        for bad in [
            "{}".to_owned(),
            r#"{"path":"a"}"#.to_owned(),
            format!(r#"{{"path":"../a","bytes":1,"blake3":"{hash}"}}"#),
            format!(r#"{{"path":"a//b","bytes":1,"blake3":"{hash}"}}"#),
            format!(r#"{{"path":"a","bytes":1,"blake3":"{hash}","link":"b"}}"#),
            format!(r#"{{"path":"a","pathBase64":"YQ==","bytes":1,"blake3":"{hash}"}}"#),
        ] {
            assert!(read_line(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_entry_reads_back_as_itself(
            path in proptest::collection::vec(1u8.., 1..20),
            target in proptest::collection::vec(1u8.., 1..20),
            bytes: u64, executable: bool, hash: [u8; 32], is_link: bool,
        ) {
            if let Ok(path) = UserPath::from_bytes(&path) && !path.is_root() {
                let content = Content { hash: ContentHash(hash), bytes, executable };
                let kind = if is_link { EntryKind::Link(target) } else { EntryKind::File(content) };
                let entry = Entry { path, kind };
                let mut line = Vec::new();
                write_line(&entry, &mut line).unwrap();
                prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
                prop_assert_eq!(read_line(&line[..line.len() - 1]).unwrap(), entry);
            }
        }
    }
}
