//! One run through an archive that remembers every name: what is there, and what is done with it.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Write},
};

use super::{
    ArchiveError, ArchiveLimits, Problem, reading,
    rules::{Rules, Taker, stays_inside},
};
use crate::{
    domain::user_path::{UserPath, shown},
    storage::beneath::Beneath,
};

/// Bytes of all names together, implied directories included: what the walk keeps in memory.
const MAX_NAMES_BYTES: u64 = 64 << 20;

/// What entries are written to.
pub trait Sink {
    fn directory(&mut self, path: &UserPath) -> io::Result<()>;
    /// Opens a new file; one that is there is replaced, not written into, for it may have a second
    /// name by now.
    fn file(&mut self, path: &UserPath, executable: bool) -> io::Result<Option<File>>;
    fn link(&mut self, path: &UserPath, target: &[u8]) -> io::Result<()>;
    fn hard_link(&mut self, path: &UserPath, from: &UserPath) -> io::Result<()>;
}

/// Writes nothing.
pub struct NoSink;

impl Sink for NoSink {
    fn directory(&mut self, _: &UserPath) -> io::Result<()> {
        Ok(())
    }
    fn file(&mut self, _: &UserPath, _: bool) -> io::Result<Option<File>> {
        Ok(None)
    }
    fn link(&mut self, _: &UserPath, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn hard_link(&mut self, _: &UserPath, _: &UserPath) -> io::Result<()> {
        Ok(())
    }
}

/// Writes beneath a directory.
pub struct TreeSink<'a> {
    root: &'a Beneath,
    /// The directory written to last: entries mostly come directory by directory.
    last: Option<(UserPath, Beneath)>,
}

impl<'a> TreeSink<'a> {
    pub fn new(root: &'a Beneath) -> Self {
        Self { root, last: None }
    }

    /// Opens a directory, making what is missing of it.
    fn dir(&mut self, path: &UserPath) -> io::Result<&Beneath> {
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let mut here = self.root.reopen()?;
            for name in path.components() {
                here = here.make_dir(name)?;
            }
            self.last = Some((path.clone(), here));
        }
        self.last.as_ref().map(|(_, dir)| dir).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Opens the directory that `path` is in, with nothing named `path` in it.
    fn place<'p>(&mut self, path: &'p UserPath) -> io::Result<(&Beneath, &'p [u8])> {
        let name = path.name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let dir = self.dir(&path.parent().unwrap_or_default())?;
        Ok((dir, name))
    }
}

impl Sink for TreeSink<'_> {
    fn directory(&mut self, path: &UserPath) -> io::Result<()> {
        self.dir(path).map(drop)
    }

    fn file(&mut self, path: &UserPath, executable: bool) -> io::Result<Option<File>> {
        let (dir, name) = self.place(path)?;
        let mode = if executable { 0o777 } else { 0o666 };
        match dir.new_file(name, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                dir.remove_file(name)?;
                dir.new_file(name, mode).map(Some)
            }
            made => made.map(Some),
        }
    }

    fn link(&mut self, path: &UserPath, target: &[u8]) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        dir.new_link(target, name)
    }

    fn hard_link(&mut self, path: &UserPath, from: &UserPath) -> io::Result<()> {
        let source = self.root.dir(&from.parent().unwrap_or_default())?;
        let (dir, name) = self.place(path)?;
        dir.new_hard_link(&source, from.name().unwrap_or_default(), name)
    }
}

/// What an archive has laid at a path so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Laid {
    Directory,
    File,
    Link,
}

/// One run through an archive.
pub struct Walk<S> {
    rules: Rules,
    sink: S,
    laid: HashMap<UserPath, Laid>,
    names_bytes: u64,
    files: u64,
    directories: u64,
}

impl<S: Sink> Walk<S> {
    pub fn new(limits: ArchiveLimits, sink: S) -> Self {
        let rules = Rules::new(limits);
        Self { rules, sink, laid: HashMap::new(), names_bytes: 0, files: 0, directories: 0 }
    }

    /// Returns files and links, directories, and bytes.
    pub fn totals(&self) -> (u64, u64, u64) {
        (self.files, self.directories, self.rules.bytes())
    }

    /// Notes what lies at `path`, and that everything above it is a directory.
    fn lay(&mut self, name: &[u8], path: &UserPath, laid: Laid) -> Result<(), ArchiveError> {
        let mut above = path.parent().unwrap_or_default();
        while !above.is_root() {
            match self.laid.get(&above) {
                // Everything above this was seen to when it was laid.
                Some(Laid::Directory) => break,
                Some(_) => return Err(Problem::Through(above.to_string()).of(name)),
                None => {
                    // It costs as much as one with an entry of its own.
                    self.rules.count()?;
                    self.note(name, above.clone(), Laid::Directory)?;
                }
            }
            above = above.parent().unwrap_or_default();
        }
        self.note(name, path.clone(), laid)
    }

    fn note(&mut self, name: &[u8], path: UserPath, laid: Laid) -> Result<(), ArchiveError> {
        self.names_bytes += path.as_bytes().len() as u64;
        if self.names_bytes > MAX_NAMES_BYTES {
            return Err(Problem::TooManyNames(MAX_NAMES_BYTES).of(name));
        }
        self.directories += u64::from(laid == Laid::Directory);
        self.laid.insert(path, laid);
        Ok(())
    }
}

impl<S: Sink> Taker for Walk<S> {
    fn rules(&mut self) -> &mut Rules {
        &mut self.rules
    }

    fn directory(&mut self, name: &[u8]) -> Result<(), ArchiveError> {
        let path = self.rules.path(name)?;
        if path.is_root() {
            return Ok(());
        }
        match self.laid.get(&path) {
            // Also one that was implied by an entry inside it.
            Some(Laid::Directory) => return Ok(()),
            Some(_) => return Err(Problem::Replaces.of(name)),
            None => self.lay(name, &path, Laid::Directory)?,
        }
        Ok(self.sink.directory(&path)?)
    }

    fn file(&mut self, name: &[u8], executable: bool, _: u64, data: &mut dyn Read) -> Result<(), ArchiveError> {
        let path = self.rules.leaf(name)?;
        match self.laid.get(&path) {
            // Appending a newer version is how tar updates an archive.
            Some(Laid::File) => {}
            Some(_) => return Err(Problem::Replaces.of(name)),
            None => self.lay(name, &path, Laid::File)?,
        }
        self.files += 1;
        let mut file = self.sink.file(&path, executable)?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = match data.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(reading(name, error)),
            };
            self.rules.spend(name, length as u64)?;
            if let Some(file) = &mut file {
                file.write_all(&buffer[..length])?;
            }
        }
    }

    fn link(&mut self, name: &[u8], target: &[u8]) -> Result<(), ArchiveError> {
        let path = self.rules.leaf(name)?;
        if self.laid.contains_key(&path) {
            return Err(Problem::Replaces.of(name));
        }
        stays_inside(&path, target).map_err(|problem| problem.of(name))?;
        self.lay(name, &path, Laid::Link)?;
        self.files += 1;
        Ok(self.sink.link(&path, target)?)
    }

    fn hard_link(&mut self, name: &[u8], from: &[u8]) -> Result<(), ArchiveError> {
        let path = self.rules.leaf(name)?;
        let nowhere = || Problem::HardLink(shown(from)).of(name);
        let source = UserPath::from_bytes(from).map_err(|_| nowhere())?;
        if self.laid.get(&source) != Some(&Laid::File) {
            return Err(nowhere());
        }
        if self.laid.contains_key(&path) {
            return Err(Problem::Replaces.of(name));
        }
        self.lay(name, &path, Laid::File)?;
        self.files += 1;
        Ok(self.sink.hard_link(&path, &source)?)
    }
}
