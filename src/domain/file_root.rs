//! Which tree of files is meant: a notebook's, or the team's own.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::id::{InvalidId, NotebookId};

/// Files that people work with without a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum FileRoot {
    /// `/storage` of the team.
    Storage,
    /// `/notebooks` of a notebook.
    Notebook(NotebookId),
}

/// How [`FileRoot::Storage`] is written.
const STORAGE: &str = "storage";

impl fmt::Display for FileRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage => f.write_str(STORAGE),
            Self::Notebook(id) => id.fmt(f),
        }
    }
}

impl From<FileRoot> for String {
    fn from(root: FileRoot) -> Self {
        root.to_string()
    }
}

impl TryFrom<String> for FileRoot {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl FromStr for FileRoot {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text == STORAGE { Ok(Self::Storage) } else { text.parse().map(Self::Notebook) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_reads_back_as_itself_and_nothing_else_is_one() {
        for text in ["storage", "n012345678"] {
            assert_eq!(text.parse::<FileRoot>().unwrap().to_string(), text);
        }
        for bad in ["", "Storage", "notebooks", "..", "js0123456789ab"] {
            assert!(bad.parse::<FileRoot>().is_err(), "{bad}");
        }
    }
}
