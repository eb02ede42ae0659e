//! Large files that come in parts, in any order, over days and restarts if need be.
//!
//! ```text
//! incoming/multipart/ID/facts.json   which version and path it is for
//! incoming/multipart/ID/N            part N, counted from 1; here when it is whole
//! ```

use std::{
    fs::File,
    io::{self, Read, Write},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{BlobWriter, Blobs, Replaced, TreeError, VersionFiles, hashed::PIECE_BYTES};
use crate::{
    domain::{
        content::Content,
        id::{DatasetId, MultipartId, VersionId},
        time::Timestamp,
        user_path::UserPath,
    },
    fault,
    storage::{beneath::Beneath, layout::MULTIPART},
};

const FACTS: &str = "facts.json";

/// The multipart uploads of one team.
#[derive(Debug, Clone)]
pub struct Multiparts {
    blobs: Arc<Blobs>,
}

/// What is known of a multipart upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultipartFacts {
    pub dataset: DatasetId,
    pub version: VersionId,
    pub path: UserPath,
    pub executable: bool,
    pub created_at: Timestamp,
}

/// A part that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Counted from 1.
    pub number: u32,
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FactsJson {
    dataset: DatasetId,
    version: VersionId,
    /// The path's bytes: a path need not be text.
    path: Vec<u8>,
    executable: bool,
    created_at: i64,
}

impl Multiparts {
    pub(super) fn new(blobs: Arc<Blobs>) -> Self {
        Self { blobs }
    }

    /// Begins an upload.
    pub fn begin(&self, id: &MultipartId, facts: &MultipartFacts) -> Result<(), TreeError> {
        let json = serde_json::to_vec(&FactsJson {
            dataset: facts.dataset.clone(),
            version: facts.version.clone(),
            path: facts.path.as_bytes().to_vec(),
            executable: facts.executable,
            created_at: facts.created_at.0,
        });
        // Whole or not there at all: an upload is what has its facts.
        let aside = self.blobs.new_name();
        let dir = self.blobs.incoming.dir_or_new(&aside, 0o700)?;
        dir.new_file(FACTS.as_bytes(), 0o600)?.write_all(&json.map_err(io::Error::from)?)?;
        Ok(self.blobs.incoming.move_to(&aside, &self.all()?, id.as_str().as_bytes())?)
    }

    /// Returns what is known of an upload.
    ///
    /// # Errors
    /// [`TreeError::NotFound`].
    pub fn facts(&self, id: &MultipartId) -> Result<MultipartFacts, TreeError> {
        let (mut file, _) = match self.of(id)?.file(&name_path(FACTS.as_bytes())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(TreeError::NotFound),
            opened => opened?,
        };
        let mut json = Vec::new();
        file.read_to_end(&mut json)?;
        let facts: FactsJson = serde_json::from_slice(&json).map_err(io::Error::from)?;
        let path = UserPath::from_bytes(&facts.path).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(MultipartFacts {
            dataset: facts.dataset,
            version: facts.version,
            path,
            executable: facts.executable,
            created_at: Timestamp(facts.created_at),
        })
    }

    /// Lists the uploads that go on, with what is known of them, in the order of their ids.
    pub fn list(&self) -> Result<Vec<(MultipartId, MultipartFacts)>, TreeError> {
        let mut uploads = Vec::new();
        for id in self.ids()? {
            match self.facts(&id) {
                Ok(facts) => uploads.push((id, facts)),
                Err(TreeError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(uploads)
    }

    /// Begins part `number`, in place of one that has come before.
    pub fn part(&self, id: &MultipartId, number: u32) -> Result<PartWriter, TreeError> {
        let dir = self.of(id)?;
        let aside = self.blobs.new_name();
        let file = self.blobs.incoming.new_file(&aside, 0o600)?;
        Ok(PartWriter { blobs: self.blobs.clone(), dir, number, aside, file, bytes: 0 })
    }

    /// Lists the parts that have come whole, in order.
    pub fn parts(&self, id: &MultipartId) -> Result<Vec<Part>, TreeError> {
        let dir = self.of(id)?;
        let mut parts = Vec::new();
        dir.each_name(|name| {
            if let Some(number) = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()) {
                parts.push(Part { number, bytes: dir.facts_of(name)?.size_bytes });
            }
            Ok(())
        })?;
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }

    /// Joins the parts and puts the file at its path in `version`, the one that the facts name. The
    /// parts stay: remove them with [`Multiparts::abort`] when the file is durable. Till then this
    /// can be done again.
    ///
    /// # Errors
    /// [`TreeError::MissingPart`] when a number from 1 to the last is missing.
    pub fn complete(&self, id: &MultipartId, version: &VersionFiles) -> Result<(Content, Replaced), TreeError> {
        let facts = self.facts(id)?;
        let writer = self.join(id)?;
        fault::point("dataset.multipart.joined");
        version.put_written(&facts.path, writer, facts.executable, None)
    }

    /// Removes an upload with its parts. One that is gone is no error.
    pub fn abort(&self, id: &MultipartId) -> Result<(), TreeError> {
        let aside = self.blobs.new_name();
        match self.all()?.move_to(id.as_str().as_bytes(), &self.blobs.incoming, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            moved => moved?,
        }
        Ok(self.blobs.incoming.remove_tree(&aside)?)
    }

    /// Removes the uploads to which no part has come since `before`, and returns them.
    pub fn expire(&self, before: Timestamp) -> Result<Vec<MultipartId>, TreeError> {
        let all = self.all()?;
        let mut expired = Vec::new();
        for id in self.ids()? {
            // Each part that comes changes the directory.
            match all.facts_of(id.as_str().as_bytes()) {
                Ok(facts) if facts.modified_at < before => {
                    self.abort(&id)?;
                    expired.push(id);
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        Ok(expired)
    }

    /// Opens all parts, in order.
    ///
    /// # Errors
    /// [`TreeError::MissingPart`] when a number from 1 to the last is missing.
    pub fn open_parts(&self, id: &MultipartId) -> Result<Vec<File>, TreeError> {
        let parts = self.parts(id)?;
        let dir = self.of(id)?;
        let mut files = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
            if part.number != number {
                return Err(TreeError::MissingPart { number });
            }
            files.push(dir.file(&name_path(number.to_string().as_bytes()))?.0);
        }
        if files.is_empty() { Err(TreeError::MissingPart { number: 1 }) } else { Ok(files) }
    }

    fn join(&self, id: &MultipartId) -> Result<BlobWriter, TreeError> {
        let mut writer = self.blobs.writer()?;
        let mut piece = vec![0; PIECE_BYTES];
        for mut part in self.open_parts(id)? {
            loop {
                match part.read(&mut piece)? {
                    0 => break,
                    read => writer.write(&piece[..read])?,
                }
            }
        }
        Ok(writer)
    }

    fn all(&self) -> io::Result<Beneath> {
        self.blobs.incoming.dir(&name_path(MULTIPART.as_bytes()))
    }

    fn of(&self, id: &MultipartId) -> Result<Beneath, TreeError> {
        match self.all()?.dir(&name_path(id.as_str().as_bytes())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(TreeError::NotFound),
            dir => Ok(dir?),
        }
    }

    fn ids(&self) -> io::Result<Vec<MultipartId>> {
        let mut ids = Vec::new();
        self.all()?.each_name(|name| {
            ids.extend(std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()));
            Ok(())
        })?;
        ids.sort_unstable();
        Ok(ids)
    }
}

/// A part that is being received. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct PartWriter {
    blobs: Arc<Blobs>,
    dir: Beneath,
    number: u32,
    aside: Vec<u8>,
    file: File,
    bytes: u64,
}

impl PartWriter {
    /// Takes the next bytes, best 256 KiB or more at once.
    ///
    /// # Errors
    /// [`TreeError::TooLarge`] when the part alone is larger than a file may be.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), TreeError> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.blobs.check_size(self.bytes)?;
        Ok(self.file.write_all(bytes)?)
    }

    /// Makes this the part of its number, and returns its size. It is not durable yet.
    ///
    /// # Errors
    /// [`TreeError::NotFound`] when the upload was ended meanwhile.
    pub fn finish(self) -> Result<Part, TreeError> {
        let name = self.number.to_string();
        match self.blobs.incoming.move_to(&self.aside, &self.dir, name.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(TreeError::NotFound),
            moved => Ok(moved.map(|()| Part { number: self.number, bytes: self.bytes })?),
        }
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        let _ = self.blobs.incoming.remove_file(&self.aside);
    }
}

/// Returns one plain name as a path.
fn name_path(name: &[u8]) -> UserPath {
    UserPath::from_bytes(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{Yard, all, yard},
        *,
    };

    fn id() -> MultipartId {
        "mp0123456789abcdef".parse().unwrap()
    }

    fn begun(yard: &Yard) -> Multiparts {
        let facts = MultipartFacts {
            dataset: "ds0123456789abc".parse().unwrap(),
            version: "v000001".parse().unwrap(),
            path: UserPath::from_bytes(b"big/\xff").unwrap(),
            executable: true,
            created_at: Timestamp(5),
        };
        let multiparts = yard.team.multiparts();
        multiparts.begin(&id(), &facts).unwrap();
        assert_eq!(multiparts.list().unwrap(), [(id(), facts)]);
        multiparts
    }

    fn send(multiparts: &Multiparts, number: u32, bytes: &[u8]) {
        let mut part = multiparts.part(&id(), number).unwrap();
        part.write(bytes).unwrap();
        assert_eq!(part.finish().unwrap(), Part { number, bytes: bytes.len() as u64 });
    }

    #[test]
    fn parts_in_any_order_make_one_file_and_a_part_can_come_again() {
        let yard = yard();
        let version = yard.version(1);
        let multiparts = begun(&yard);
        send(&multiparts, 2, b"world");
        send(&multiparts, 1, b"wrong");
        drop(multiparts.part(&id(), 3).unwrap());
        // A restart keeps what has come.
        yard.store.remove_unfinished().unwrap();
        send(&multiparts, 1, b"hello ");
        let sizes: Vec<_> = multiparts.parts(&id()).unwrap().iter().map(|part| part.bytes).collect();
        assert_eq!(sizes, [6, 5]);
        let (content, _) = multiparts.complete(&id(), &version).unwrap();
        assert_eq!((content.hash.0, content.executable), (*blake3::hash(b"hello world").as_bytes(), true));
        assert_eq!(multiparts.complete(&id(), &version).unwrap().0, content, "done again after a crash");
        multiparts.abort(&id()).unwrap();
        multiparts.abort(&id()).unwrap();
        assert!(matches!(multiparts.complete(&id(), &version), Err(TreeError::NotFound)));
        assert!(matches!(multiparts.part(&id(), 1), Err(TreeError::NotFound)));
        assert_eq!(all(&version).len(), 1);
        assert_eq!(yard.unfinished(), [""; 0]);
    }

    #[test]
    fn a_missing_part_is_named() {
        let yard = yard();
        let version = yard.version(1);
        let multiparts = begun(&yard);
        assert!(matches!(multiparts.complete(&id(), &version), Err(TreeError::MissingPart { number: 1 })));
        send(&multiparts, 1, b"a");
        send(&multiparts, 3, b"c");
        assert!(matches!(multiparts.complete(&id(), &version), Err(TreeError::MissingPart { number: 2 })));
        assert_eq!(all(&version), []);
    }

    #[test]
    fn an_upload_to_which_nothing_comes_any_more_expires() {
        let yard = yard();
        let multiparts = begun(&yard);
        assert_eq!(multiparts.expire(Timestamp(0)).unwrap(), []);
        assert_eq!(multiparts.expire(Timestamp(i64::MAX)).unwrap(), [id()]);
        assert_eq!(multiparts.list().unwrap(), []);
        let mut names = std::fs::read_dir(yard.data.team_blobs(yard.team.team()).join("incoming/multipart")).unwrap();
        assert!(names.next().is_none());
    }
}
