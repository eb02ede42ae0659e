//! Reads `.gradient/settings.yaml` among a notebook's files, in which programs write as they like.

use std::{
    io::{self, Read},
    sync::Arc,
};

use crate::{
    domain::{
        id::{NotebookId, TeamId},
        integration::DataProblem,
        integration_file::{self, IntegrationFile},
        user_path::UserPath,
    },
    storage::{
        beneath::Kind,
        files::{FileState, FileTree, FilesError},
        layout::DataDir,
    },
};

/// The file as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SettingsFile {
    pub file: Arc<IntegrationFile>,
    /// Its bytes; `None` when there is none, or none that can be read.
    bytes: Option<Vec<u8>>,
    condition: Option<String>,
}

impl SettingsFile {
    pub(super) fn has_file(&self) -> bool {
        self.bytes.is_some()
    }

    pub(super) fn bytes(&self) -> Option<&[u8]> {
        self.bytes.as_deref()
    }

    /// Returns the state that a change has to find.
    pub(super) fn condition(&self) -> Option<String> {
        self.condition.clone()
    }

    /// One that says this, for tests.
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        Self { file: Arc::new(IntegrationFile::read(text.as_bytes())), ..Self::default() }
    }

    fn bad(message: &str) -> Self {
        let problems = vec![DataProblem { name: None, message: message.to_owned() }];
        Self { file: Arc::new(IntegrationFile { integrations: Vec::new(), problems }), ..Self::default() }
    }
}

pub(super) fn path() -> UserPath {
    UserPath::from_bytes(integration_file::PATH.as_bytes()).unwrap_or_default()
}

/// Reads the file of a notebook. Whatever is there, there is an answer. What was `known` is not parsed again while
/// its bytes are the same: they are read each time and compared, since times and sizes stay as they were where a
/// program sets them, or writes twice in an instant. Blocks.
///
/// # Errors
/// When the notebook's own directory cannot be read.
pub(crate) fn read(
    data: &DataDir,
    team: &TeamId,
    id: &NotebookId,
    known: Option<&SettingsFile>,
) -> io::Result<SettingsFile> {
    let path = path();
    let tree = match FileTree::open(&data.notebook(team, id).home()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SettingsFile::default()),
        tree => tree?,
    };
    match tree.entry(&path) {
        Err(FilesError::NotFound) => return Ok(SettingsFile::default()),
        Err(FilesError::NotADirectory) => {
            return Ok(SettingsFile::bad("there is a link or a file on the way to it: links are not followed"));
        }
        Ok(entry) if entry.inode.kind != Kind::File => {
            return Ok(SettingsFile::bad("it is not a file, or a link to one: links are not followed"));
        }
        _ => {}
    }
    let mut bytes = Vec::new();
    let read = tree.file(&path).and_then(|(file, inode)| {
        // One byte more tells that it is too large.
        file.take(integration_file::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(inode)
    });
    match read {
        Ok(inode) => {
            let file = match known {
                Some(known) if known.bytes.as_ref() == Some(&bytes) => Arc::clone(&known.file),
                _ => Arc::new(IntegrationFile::read(&bytes)),
            };
            Ok(SettingsFile { file, bytes: Some(bytes), condition: Some(FileState::from(inode).to_string()) })
        }
        Err(FilesError::NotFound) => Ok(SettingsFile::default()),
        Err(FilesError::Io(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(SettingsFile::bad("this box may not read it: make it readable for everybody (chmod a+r)"))
        }
        Err(FilesError::Io(error)) => Err(error),
        Err(error) => Ok(SettingsFile::bad(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_stays_as_it_is_is_parsed_once_and_every_other_byte_counts() {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::create(temp.path()).unwrap();
        let (team, id) = ("tabc123".parse().unwrap(), "n012345678".parse().unwrap());
        let none = read(&data, &team, &id, None).unwrap();
        assert!(!none.has_file() && none.file.problems.is_empty());
        let own = data.notebook(&team, &id);
        own.create().unwrap();
        let path = own.home().join(integration_file::PATH);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let version = |name: &str| format!("integrations:\n  a: {{type: dataset, id: m, version: {name}}}\n");
        fs::write(&path, version("v1")).unwrap();
        let first = read(&data, &team, &id, Some(&none)).unwrap();
        let again = read(&data, &team, &id, Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&first.file, &again.file));
        // As long, and in the same instant as far as its times tell.
        let times = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, version("v2")).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(times).unwrap();
        let other = read(&data, &team, &id, Some(&again)).unwrap();
        assert_ne!(other.file, again.file);
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&data, &team, &id, Some(&other)).unwrap(), none);
    }
}
