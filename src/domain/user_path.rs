//! Paths that people and containers name: relative, inside one tree, never out of it.
//!
//! On Linux a name is bytes, and a container may make any. A path is therefore kept as bytes and
//! shown escaped, so that no name can put colours or line breaks into a log or a terminal.

use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt, path::Path};

/// The longest path, in bytes: Linux's own limit.
pub const MAX_PATH_BYTES: usize = 4096;
/// The longest single name, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// Why a text is not a path inside a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    #[error("is absolute: give a path relative to the tree")]
    Absolute,
    #[error("contains “..”, which would leave the tree")]
    Parent,
    #[error("contains a NUL byte")]
    Nul,
    #[error("is longer than {MAX_PATH_BYTES} bytes, or has a name longer than {MAX_NAME_BYTES}")]
    TooLong,
}

/// Most names on the way to a file that somebody puts.
pub const MAX_DEPTH: usize = 256;

/// Why a path is not made for anybody, although the system could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnfitPath {
    #[error("is empty: name a file")]
    Empty,
    #[error("has control characters in it: leave them out")]
    Control,
    #[error("has a backslash in it: directories are divided by “/”")]
    Backslash,
    #[error("has more than {MAX_DEPTH} names on the way: put it less deep")]
    TooDeep,
}

/// A path inside a tree: components joined by `/`, none of them empty, `.` or `..`. The empty path
/// is the tree itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct UserPath(Vec<u8>);

impl UserPath {
    /// Returns the tree itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads a path. Empty and `.` components are dropped, as every Unix tool does.
    ///
    /// # Errors
    /// See [`InvalidPath`]; nothing is repaired that could change which file is meant.
    pub fn from_bytes(text: &[u8]) -> Result<Self, InvalidPath> {
        if text.len() > MAX_PATH_BYTES {
            return Err(InvalidPath::TooLong);
        }
        if text.contains(&0) {
            return Err(InvalidPath::Nul);
        }
        if text.starts_with(b"/") {
            return Err(InvalidPath::Absolute);
        }
        let mut path = Vec::with_capacity(text.len());
        for component in text.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(InvalidPath::Parent),
                long if long.len() > MAX_NAME_BYTES => return Err(InvalidPath::TooLong),
                name => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(name);
                }
            }
        }
        Ok(Self(path))
    }

    /// Returns the path as bytes, without a slash at either end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path for calls that take one.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Returns whether this is the tree itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Says whether people and programs elsewhere can be expected to cope with a file here. What runs
    /// leave behind need not pass; what comes from outside must.
    ///
    /// # Errors
    /// [`UnfitPath`].
    pub fn check_fit(&self) -> Result<(), UnfitPath> {
        if self.is_root() {
            return Err(UnfitPath::Empty);
        }
        if self.0.utf8_chunks().any(|chunk| chunk.valid().chars().any(char::is_control)) {
            return Err(UnfitPath::Control);
        }
        if self.0.contains(&b'\\') {
            return Err(UnfitPath::Backslash);
        }
        if self.depth() > MAX_DEPTH { Err(UnfitPath::TooDeep) } else { Ok(()) }
    }

    /// Returns the names on the way, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// Returns how many names the path has.
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// Returns the last name; `None` for the tree itself.
    pub fn name(&self) -> Option<&[u8]> {
        self.components().last()
    }

    /// Returns the directory that holds this; `None` for the tree itself.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// Returns the path of `name`, one that a directory listing gave, in here.
    ///
    /// # Errors
    /// [`InvalidPath`] when the result would be too long, or `name` is not one plain name.
    pub fn join(&self, name: &[u8]) -> Result<Self, InvalidPath> {
        match name {
            b"" | b"." | b".." => return Err(InvalidPath::Parent),
            name if name.contains(&b'/') => return Err(InvalidPath::Absolute),
            _ => {}
        }
        let mut path = self.0.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self::from_bytes(&path)
    }

    /// Returns the path as text. A name that is not UTF-8 comes out with `U+FFFD` in it, and can
    /// then only be fetched with its whole tree.
    pub fn to_text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl std::str::FromStr for UserPath {
    type Err = InvalidPath;
    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        Self::from_bytes(text.as_bytes())
    }
}

/// Escaped and cut, for messages.
impl fmt::Display for UserPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for UserPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "“{self}”")
    }
}

/// Returns a name from outside in a form that is safe to print: control characters, bytes that are
/// not UTF-8 and characters that turn the direction of writing are escaped, and what is longer than
/// 120 characters is cut.
pub fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 120;
    let mut text = String::new();
    let mut length = 0;
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if length == LONGEST {
                return text + "…";
            }
            length += 1;
            let turns =
                matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
            if c.is_control() || turns { text.extend(c.escape_default()) } else { text.push(c) }
        }
        for byte in chunk.invalid() {
            if length == LONGEST {
                return text + "…";
            }
            length += 1;
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_read_as_unix_tools_read_it() {
        let path: UserPath = "./a//b/./c/".parse().unwrap();
        assert_eq!(path.as_bytes(), b"a/b/c");
        assert_eq!(path.name(), Some(&b"c"[..]));
        assert_eq!(path.parent().unwrap().as_bytes(), b"a/b");
        assert!("./.".parse::<UserPath>().unwrap().is_root());
    }

    #[test]
    fn a_path_that_leaves_the_tree_is_refused() {
        assert_eq!("/etc".parse::<UserPath>(), Err(InvalidPath::Absolute));
        assert_eq!("a/../b".parse::<UserPath>(), Err(InvalidPath::Parent));
        assert_eq!("a\0b".parse::<UserPath>(), Err(InvalidPath::Nul));
        assert_eq!("x".repeat(256).parse::<UserPath>(), Err(InvalidPath::TooLong));
        assert_eq!("x/".repeat(3000).parse::<UserPath>(), Err(InvalidPath::TooLong));
    }

    #[test]
    fn a_path_that_others_would_stumble_over_is_not_made() {
        let refused = |bytes: &[u8]| UserPath::from_bytes(bytes).unwrap().check_fit().is_err();
        let deep = "a/".repeat(MAX_DEPTH + 1);
        for bad in [&b""[..], b".", b"a\nb", b"a\x1b[31m", b"a\x7f", "a\u{85}b".as_bytes(), b"a\\b", deep.as_bytes()] {
            assert!(refused(bad), "{bad:?}");
        }
        let almost = "a/".repeat(MAX_DEPTH);
        for good in [&b"a"[..], b"a b/c", b"\xff", "größe/日本".as_bytes(), b"..a", b".hidden", almost.as_bytes()] {
            assert!(!refused(good), "{good:?}");
        }
    }

    #[test]
    fn a_hostile_name_is_shown_escaped_and_cut() {
        assert_eq!(shown(b"a\x1b[31m\n\xff"), "a\\u{1b}[31m\\n\\xff");
        assert_eq!(shown("\u{202e}gpj.exe".as_bytes()), "\\u{202e}gpj.exe");
        assert_eq!(shown(&[b'x'; 5000]).chars().count(), 121);
    }

    proptest! {
        #[test]
        fn what_is_accepted_never_leaves_the_tree_and_reads_back(bytes in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'/'), any::<u8>()], 0..40)) {
            if let Ok(path) = UserPath::from_bytes(&bytes) {
                prop_assert!(path.components().all(|name| name != b".." && name != b"." && !name.contains(&0)));
                prop_assert_eq!(UserPath::from_bytes(path.as_bytes()), Ok(path));
            }
        }
    }
}
