//! Files that come piece by piece, over days and restarts.
//!
//! Each is a directory of two files: `data`, which only grows, and `upload.json`, what is known of it.
//! What of a piece came before a connection broke stays: who sends asks where to go on. A piece is on the
//! disk when it was answered for.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{FilesError, Incoming};
use crate::{
    domain::{id::FileUploadId, time::Timestamp},
    storage::beneath::Beneath,
};

const DATA: &str = "data";
const FACTS: &str = "upload.json";

/// What was said of a file when it was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartFile {
    pub id: FileUploadId,
    /// In words of whoever keeps it: which tree it is for.
    pub root: String,
    /// Where it is to be, as bytes.
    pub path: Vec<u8>,
    /// Its whole size.
    pub bytes: u64,
    pub executable: Option<bool>,
    pub overwrite: bool,
    /// The state of the file that it may replace.
    pub if_match: Option<String>,
}

/// The directory of a team's files that come piece by piece.
#[derive(Debug, Clone)]
pub struct Parts(PathBuf);

impl Parts {
    /// Names the directory; nothing is touched.
    pub fn at(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// Begins a file.
    pub fn begin(&self, new: &PartFile) -> io::Result<()> {
        let dir = self.0.join(new.id.as_str());
        fs::DirBuilder::new().create(&dir)?;
        let begun = (|| {
            private(&dir.join(DATA))?.sync_all()?;
            // The last, so that one that has it is whole.
            let mut facts = private(&dir.join(FACTS))?;
            facts.write_all(&serde_json::to_vec(new)?)?;
            facts.sync_all()?;
            File::open(&dir)?.sync_all()?;
            File::open(&self.0)?.sync_all()
        })();
        if begun.is_err() {
            let _ = fs::remove_dir_all(&dir);
        }
        begun
    }

    /// Finds a file, with how many bytes of it are there and when the last of them came.
    pub fn get(&self, id: &FileUploadId) -> io::Result<(PartFile, u64, Timestamp)> {
        let dir = self.0.join(id.as_str());
        let facts = serde_json::from_slice(&fs::read(dir.join(FACTS))?)?;
        let data = File::open(dir.join(DATA))?;
        let inode = super::Inode::of_file(&data)?;
        Ok((facts, inode.bytes, inode.modified_at))
    }

    /// Lists all files that are on their way. One that cannot be read is left out.
    pub fn list(&self) -> io::Result<Vec<(PartFile, u64, Timestamp)>> {
        Ok(self.ids()?.iter().filter_map(|id| self.get(id).ok()).collect())
    }

    /// Opens a file to go on with it after `offset` bytes.
    ///
    /// # Errors
    /// [`FilesError::OtherOffset`] when it is not so many that are there.
    pub fn go_on(&self, id: &FileUploadId, offset: u64) -> Result<File, FilesError> {
        let data = OpenOptions::new().append(true).open(self.0.join(id.as_str()).join(DATA))?;
        let there = data.metadata()?.len();
        if there == offset { Ok(data) } else { Err(FilesError::OtherOffset { there }) }
    }

    /// Returns a file that is whole, to be placed, and open.
    ///
    /// # Errors
    /// [`FilesError::OtherOffset`] when it is not.
    pub fn whole(&self, file: &PartFile) -> Result<(Incoming, File), FilesError> {
        let dir = self.0.join(file.id.as_str());
        let data = OpenOptions::new().read(true).write(true).open(dir.join(DATA))?;
        let there = data.metadata()?.len();
        if there != file.bytes {
            return Err(FilesError::OtherOffset { there });
        }
        Ok((Incoming::kept(Beneath::open(&dir)?, DATA.into()), data))
    }

    /// Forgets a file. One that is gone is no error.
    pub fn remove(&self, id: &FileUploadId) -> io::Result<()> {
        match Beneath::open(&self.0) {
            Ok(dir) => dir.remove_tree(id.as_str().as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Forgets those of which nothing came since `before`, and those that were never quite begun; returns
    /// which.
    pub fn expire(&self, before: Timestamp) -> io::Result<Vec<FileUploadId>> {
        let mut expired = Vec::new();
        for id in self.ids()? {
            let last = match self.get(&id) {
                Ok((.., last)) => last,
                Err(_) => super::Inode::of(&Beneath::open(&self.0)?, id.as_str().as_bytes())?.modified_at,
            };
            if last < before {
                self.remove(&id)?;
                expired.push(id);
            }
        }
        Ok(expired)
    }

    fn ids(&self) -> io::Result<Vec<FileUploadId>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_str().and_then(|name| name.parse().ok())));
        Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::user_path::UserPath,
        storage::files::{Condition, FileTree},
    };

    fn file(last: char, bytes: u64) -> PartFile {
        PartFile {
            id: format!("fu012345678901234{last}").parse().unwrap(),
            root: "storage".to_owned(),
            path: b"big/\xff".to_vec(),
            bytes,
            executable: None,
            overwrite: true,
            if_match: None,
        }
    }

    #[test]
    fn pieces_follow_each_other_and_become_a_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        fs::create_dir(dir.path().join("parts")).unwrap();
        let (parts, new) = (Parts::at(&dir.path().join("parts")), file('a', 10));
        parts.begin(&new).unwrap();
        parts.go_on(&new.id, 0).unwrap().write_all(b"hello").unwrap();
        for wrong in [0, 4, 6] {
            assert!(matches!(parts.go_on(&new.id, wrong), Err(FilesError::OtherOffset { there: 5 })), "{wrong}");
        }
        assert!(matches!(parts.whole(&new), Err(FilesError::OtherOffset { there: 5 })));
        parts.go_on(&new.id, 5).unwrap().write_all(b"world").unwrap();
        assert_eq!((parts.get(&new.id).unwrap().0, parts.get(&new.id).unwrap().1), (new.clone(), 10));
        let tree = FileTree::open(&dir.path().join("tree")).unwrap();
        let path = UserPath::from_bytes(&new.path).unwrap();
        let (incoming, mut data) = parts.whole(&new).unwrap();
        // Refused, it stays as it is and can be finished elsewhere.
        let changed = Condition::Unchanged("0-0-0".to_owned());
        assert!(matches!(tree.place(incoming, &mut data, &path, &changed, None), Err(FilesError::Changed)));
        let (incoming, mut data) = parts.whole(&new).unwrap();
        tree.place(incoming, &mut data, &path, &Condition::New, None).unwrap();
        parts.remove(&new.id).unwrap();
        assert_eq!(io::read_to_string(tree.file(&path).unwrap().0).unwrap(), "helloworld");
        assert!(parts.list().unwrap().is_empty());
    }

    #[expect(clippy::disallowed_methods, reason = "the file system has its own clock")]
    #[test]
    fn what_nobody_goes_on_with_is_forgotten_also_what_was_never_quite_begun() {
        let dir = tempfile::tempdir().unwrap();
        let parts = Parts::at(dir.path());
        parts.begin(&file('a', 1)).unwrap();
        fs::create_dir(dir.path().join("fu012345678901234b")).unwrap();
        assert_eq!(parts.list().unwrap().len(), 1);
        assert!(parts.expire(Timestamp(0)).unwrap().is_empty());
        let micros = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
        let later = Timestamp(i64::try_from(micros).unwrap()).plus(std::time::Duration::from_secs(60));
        assert_eq!(parts.expire(later).unwrap().len(), 2);
        assert!(parts.list().unwrap().is_empty());
        parts.remove(&file('a', 1).id).unwrap();
    }
}
