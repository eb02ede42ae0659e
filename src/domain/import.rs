//! Imports: files that are brought into a version from elsewhere.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    content::Totals,
    dataset::ImportState,
    file_root::FileRoot,
    id::{DatasetId, ImportId, ProviderId, TeamId, VersionId},
    storage_provider::S3Place,
    time::Timestamp,
    user_path::{InvalidPath, UserPath},
};

/// Something that is being brought into a version, or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub seq: i64,
    pub id: ImportId,
    pub team: TeamId,
    pub dataset: DatasetId,
    pub version: VersionId,
    /// The version's row.
    pub version_seq: i64,
    pub user_name: String,
    pub source: ImportSource,
    /// Directory of the version that it all goes into; empty is the top.
    pub prefix: String,
    /// Whether the version is committed when everything is there.
    pub commits: bool,
    /// Tags that the version gets when everything is there.
    pub tags: Vec<String>,
    /// Whether who asked for it might publish when they did.
    pub may_publish: bool,
    pub state: ImportState,
    /// What went wrong and what to do.
    pub message: Option<String>,
    /// What came, once it is over.
    pub totals: Option<Totals>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// Where an import's files come from. What is secret of it is sealed beside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ImportSource {
    /// One file, or the files in one archive.
    #[serde(rename_all = "camelCase")]
    Url {
        /// Without query and user: they are often a password, so the whole is sealed.
        shown: String,
        /// Whether a tar is unpacked and not kept as a file.
        unpack: bool,
    },
    /// Everything beneath a prefix of a storage provider of the team.
    #[serde(rename_all = "camelCase")]
    Provider { provider: ProviderId, name: String, prefix: String },
    /// Everything beneath a prefix of some bucket. The secret key is sealed.
    #[serde(rename_all = "camelCase")]
    Bucket { place: S3Place, prefix: String },
    /// A directory of this machine that the admin allows to import from.
    #[serde(rename_all = "camelCase")]
    Directory { path: PathBuf },
    /// Files of a notebook or of the team's `/storage`.
    Files(ChosenFiles),
}

/// Files that somebody chose in a tree that containers have mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChosenFiles {
    pub root: FileRoot,
    /// What the notebook was called then: it may be renamed or deleted.
    pub name: String,
    /// Directory whose entries are chosen; they keep their paths from there on.
    pub beneath: SavedPath,
    /// Files and directories in it; all that is in it when empty.
    pub paths: Vec<SavedPath>,
}

/// A path as it is saved: as text where it is text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PathBytes", into = "PathBytes")]
pub struct SavedPath(pub UserPath);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PathBytes {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<SavedPath> for PathBytes {
    fn from(SavedPath(path): SavedPath) -> Self {
        match str::from_utf8(path.as_bytes()) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(path.as_bytes().to_vec()),
        }
    }
}

impl TryFrom<PathBytes> for SavedPath {
    type Error = InvalidPath;
    fn try_from(saved: PathBytes) -> Result<Self, InvalidPath> {
        match saved {
            PathBytes::Text(text) => text.parse().map(Self),
            PathBytes::Bytes(bytes) => UserPath::from_bytes(&bytes).map(Self),
        }
    }
}

impl ChosenFiles {
    /// Says for people which files are meant.
    pub fn words(&self) -> String {
        /// Paths that are named; the rest is counted.
        const NAMED: usize = 3;
        let mut words = match &self.root {
            FileRoot::Storage => "/storage".to_owned(),
            FileRoot::Notebook(id) => format!("/notebooks of {} ({id})", self.name),
        };
        if !self.beneath.0.is_root() {
            words = format!("{words}: {}", self.beneath.0);
        }
        if self.paths.is_empty() {
            return words;
        }
        let named: Vec<_> = self.paths.iter().take(NAMED).map(|path| format!("“{}”", path.0)).collect();
        let more = match self.paths.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{words}: {}{more}", named.join(", "))
    }
}

impl ImportSource {
    /// Returns the kind's word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Url { .. } => "url",
            Self::Provider { .. } | Self::Bucket { .. } => "s3",
            Self::Directory { .. } => "directory",
            Self::Files(_) => "files",
        }
    }

    /// Says for people where the files come from.
    pub fn words(&self) -> String {
        match self {
            Self::Url { shown, .. } => shown.clone(),
            Self::Provider { name, prefix, .. } => format!("{name}: {prefix}"),
            Self::Bucket { place, prefix } => format!("s3://{}/{prefix}", place.bucket),
            Self::Directory { path } => path.display().to_string(),
            Self::Files(chosen) => chosen.words(),
        }
    }
}

/// Which imports a list shows. Everything that is set must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportFilter {
    /// Only those that are not over.
    pub live: bool,
    /// Only those of files that are there.
    pub root: Option<FileRoot>,
}

/// How far an import is. Totals are `None` until they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImportProgress {
    pub done: Totals,
    pub total_files: Option<u64>,
    pub total_bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(root: &str, beneath: &str, paths: &[&[u8]]) -> ChosenFiles {
        ChosenFiles {
            root: root.parse().unwrap(),
            name: "mnist".to_owned(),
            beneath: SavedPath(beneath.parse().unwrap()),
            paths: paths.iter().map(|path| SavedPath(UserPath::from_bytes(path).unwrap())).collect(),
        }
    }

    #[test]
    fn chosen_files_are_saved_whatever_their_names_and_read_back() {
        let chosen = chosen("n012345678", "größe", &[b"a/b", b"caf\xe9", "日本".as_bytes()]);
        let source = ImportSource::Files(chosen);
        let saved = serde_json::to_string(&source).unwrap();
        assert!(saved.contains("a/b"), "{saved}");
        assert_eq!(serde_json::from_str::<ImportSource>(&saved).unwrap(), source);
        let planted = saved.replace("a/b", "../b");
        assert!(serde_json::from_str::<ImportSource>(&planted).is_err());
    }

    #[test]
    fn chosen_files_are_named_for_people() {
        assert_eq!(chosen("storage", "", &[]).words(), "/storage");
        let many: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
        assert_eq!(
            chosen("n012345678", "in", &many).words(),
            "/notebooks of mnist (n012345678): in: “a”, “b”, “c” and 2 more"
        );
    }
}
