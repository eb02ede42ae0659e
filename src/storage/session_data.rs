//! What a notebook's session sees at `/datasets`: a directory of links that change while it runs.
//!
//! A container's mounts are settled when it is made, so each link leads to something that was mounted then:
//! the versions of the session's own team, versions of other teams that were asked for by then, and one
//! directory for those of other teams that are asked for later. Into that one a version is put as a tree of
//! its own, whose files are further names of the same inodes: nothing is copied, and nothing else of that
//! team can be seen from there.
//!
//! All of it is mounted read-only, and only the daemon writes here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use rustix::fs::Mode;

use super::{
    beneath::{Beneath, DIRECTORY, Kind},
    copy_tree::copy_entry,
    descent::{Met, Visitor, descend},
    layout::RunDir,
};
use crate::domain::id::{DatasetId, VersionId};

/// The directories of a session's data.
#[derive(Debug, Clone)]
pub struct SessionDir(RunDir);

impl SessionDir {
    pub fn of(run: RunDir) -> Self {
        Self(run)
    }

    /// Makes what is mounted, or finds it.
    pub fn create(&self) -> io::Result<()> {
        open_dir(&self.0.datasets())?;
        open_dir(&self.0.linked())
    }

    /// Returns every link with where it leads, by name.
    pub fn links(&self) -> io::Result<BTreeMap<String, String>> {
        let mut links = BTreeMap::new();
        for entry in fs::read_dir(self.0.datasets())? {
            let entry = entry?;
            let target = fs::read_link(entry.path())?;
            let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
            links.insert(text(&entry.file_name()), text(target.as_os_str()));
        }
        Ok(links)
    }

    /// Lets `name` lead to `target` of the container, in one step.
    pub fn link(&self, name: &str, target: &str) -> io::Result<()> {
        let making = self.0.root().join("link");
        match fs::remove_file(&making) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(target, &making)?;
        fs::rename(making, self.0.datasets().join(name))
    }

    /// Takes a link away. One that is gone is no error.
    pub fn unlink(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.datasets().join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes a tree with all that is in `from`, or finds it, and returns its name. Nothing is left of it where it
    /// fails. One at a time for a version. Blocks for as long as there are files and `goes_on` says so.
    ///
    /// # Errors
    /// [`io::ErrorKind::Interrupted`] when it does not go on.
    pub fn take(
        &self,
        from: &Path,
        dataset: &DatasetId,
        version: &VersionId,
        goes_on: &dyn Fn() -> bool,
    ) -> io::Result<String> {
        let name = linked_name(dataset, version);
        let run = Beneath::open(self.0.root())?;
        let into = Beneath::open(&self.0.linked())?;
        if into.facts_of(name.as_bytes()).is_ok() {
            return Ok(name);
        }
        let making = format!("making-{name}");
        run.remove_tree(making.as_bytes())?;
        let made = run.dir_or_new(making.as_bytes(), 0o755).and_then(|tree| {
            let here = (Vec::new(), tree.reopen()?);
            descend(&Beneath::open(from)?, &mut Links { into: &tree, here, goes_on })?;
            match run.move_to_new(making.as_bytes(), &into, name.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => run.remove_tree(making.as_bytes()),
                moved => moved,
            }
        });
        if made.is_err() {
            run.remove_tree(making.as_bytes())?;
        }
        made.map(|()| name)
    }

    /// Says whether [`SessionDir::take`] has made a version's tree.
    pub fn has_taken(&self, dataset: &DatasetId, version: &VersionId) -> bool {
        fs::symlink_metadata(self.0.linked().join(linked_name(dataset, version))).is_ok()
    }

    /// Removes the trees that [`SessionDir::take`] made, but for these. Blocks.
    pub fn keep_taken(&self, keep: &BTreeSet<String>) -> io::Result<()> {
        let linked = match Beneath::open(&self.0.linked()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            linked => linked?,
        };
        let mut over = Vec::new();
        linked.each_name(|name| {
            if !std::str::from_utf8(name).is_ok_and(|name| keep.contains(name)) {
                over.push(name.to_vec());
            }
            Ok(())
        })?;
        over.iter().try_for_each(|name| linked.remove_tree(name))
    }

    /// Returns the versions of other teams that its container has mounted. The first answer stays: a
    /// container that was half made must be found again as it is.
    pub fn bound(&self, now: impl FnOnce() -> Vec<Bound>) -> io::Result<Vec<Bound>> {
        match self.known_bound()? {
            Some(known) => Ok(known),
            None => {
                let bound = now();
                let making = self.making_bound();
                fs::write(&making, serde_json::to_vec(&bound)?)?;
                fs::rename(making, self.0.bound())?;
                Ok(bound)
            }
        }
    }

    /// Returns the same once there is an answer.
    pub fn known_bound(&self) -> io::Result<Option<Vec<Bound>>> {
        match fs::read(self.0.bound()) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn making_bound(&self) -> PathBuf {
        self.0.bound().with_extension("part")
    }
}

/// A version of another team that a session's container has mounted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bound {
    pub team: crate::domain::id::TeamId,
    pub dataset: DatasetId,
    pub version: VersionId,
}

/// Returns the name of a version among those that were taken.
pub fn linked_name(dataset: &DatasetId, version: &VersionId) -> String {
    format!("{dataset}-{version}")
}

/// Makes a directory that a container may read, or finds it.
pub fn open_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// Gives every file of a tree a further name in another one.
struct Links<'a> {
    into: &'a Beneath,
    /// The directory that was written to last, with its path: entries come directory by directory.
    here: (Vec<u8>, Beneath),
    goes_on: &'a dyn Fn() -> bool,
}

impl Visitor for Links<'_> {
    type Error = io::Error;

    fn meet(&mut self, met: &Met<'_>) -> io::Result<bool> {
        if !(self.goes_on)() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "nobody wants it any more"));
        }
        let parent = &met.path[..met.path.len().saturating_sub(met.name.len() + 1)];
        if self.here.0 != parent {
            let mut dir = self.into.reopen()?;
            for name in parent.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
                dir = Beneath(rustix::fs::openat(&dir.0, name, DIRECTORY, Mode::empty())?);
            }
            self.here = (parent.to_vec(), dir);
        }
        let here = &self.here.1;
        match met.inode.kind {
            Kind::Directory => {
                here.dir_or_new(met.name, 0o755)?;
                Ok(true)
            }
            Kind::Link => here.new_link(&met.dir.link_target(met.name)?, met.name).map(|()| false),
            Kind::File => match here.new_hard_link(met.dir, met.name, met.name) {
                // Full of names, or another disk: the bytes are there a second time then.
                Err(error) if matches!(error.kind(), io::ErrorKind::TooManyLinks | io::ErrorKind::CrossesDevices) => {
                    copy_entry(met.dir, met.name, here, met.name, &mut |_| std::ops::ControlFlow::Continue(()))
                        .map(|_| false)
                        .map_err(io::Error::other)
                }
                linked => linked.map(|()| false),
            },
            Kind::Other => Ok(false),
        }
    }

    fn fail(&mut self, _: &[u8], error: io::Error) -> io::Result<()> {
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::storage::layout::DataDir;

    fn session() -> (tempfile::TempDir, SessionDir, RunDir) {
        let temp = tempfile::tempdir().unwrap();
        let run = DataDir::create(temp.path()).unwrap().run(&"js0123456789ab".parse().unwrap());
        run.create().unwrap();
        let session = SessionDir::of(run.clone());
        session.create().unwrap();
        (temp, session, run)
    }

    #[test]
    fn a_link_changes_in_one_step_and_goes() {
        let (_temp, session, run) = session();
        session.link("a", "/one").unwrap();
        session.link("a", "/two").unwrap();
        // Left by a kill between the two steps.
        symlink("/old", run.root().join("link")).unwrap();
        session.link("b", "/three").unwrap();
        let links: Vec<_> = session.links().unwrap().into_iter().collect();
        let pair = |name: &str, target: &str| (name.to_owned(), target.to_owned());
        assert_eq!(links, [pair("a", "/two"), pair("b", "/three")]);
        session.unlink("a").unwrap();
        session.unlink("a").unwrap();
        assert_eq!(session.links().unwrap().len(), 1);
    }

    #[test]
    fn a_version_is_taken_without_a_copy_and_given_back() {
        let (temp, session, run) = session();
        let tree = temp.path().join("tree");
        fs::create_dir_all(tree.join("deep/er")).unwrap();
        fs::write(tree.join("deep/er/file"), "x").unwrap();
        symlink("deep", tree.join("link")).unwrap();
        let (dataset, version) = ("dst364npcw6ccok".parse().unwrap(), "fo5rp4m".parse().unwrap());
        let broken_off = session.take(&tree, &dataset, &version, &|| false).unwrap_err();
        assert_eq!(broken_off.kind(), io::ErrorKind::Interrupted);
        assert!(!session.has_taken(&dataset, &version));
        assert!(
            fs::read_dir(run.root())
                .unwrap()
                .all(|entry| { !entry.unwrap().file_name().to_str().unwrap().starts_with("making") })
        );
        let name = session.take(&tree, &dataset, &version, &|| true).unwrap();
        assert_eq!(session.take(&tree, &dataset, &version, &|| true).unwrap(), name);
        assert!(session.has_taken(&dataset, &version));
        let taken = run.linked().join(&name);
        let same =
            |path: &str| fs::metadata(taken.join(path)).unwrap().ino() == fs::metadata(tree.join(path)).unwrap().ino();
        assert!(same("deep/er/file"));
        assert_eq!(fs::read_link(taken.join("link")).unwrap(), Path::new("deep"));
        assert_eq!(fs::metadata(taken.join("deep")).unwrap().mode() & 0o777, 0o755);
        session.keep_taken(&BTreeSet::from([name.clone()])).unwrap();
        assert!(taken.exists());
        session.keep_taken(&BTreeSet::new()).unwrap();
        assert!(!taken.exists() && tree.join("deep/er/file").exists());
    }

    #[test]
    fn what_a_container_was_made_with_is_asked_once() {
        let (_temp, session, _) = session();
        let bound = Bound {
            team: "tabc123".parse().unwrap(),
            dataset: "dst364npcw6ccok".parse().unwrap(),
            version: "fo5rp4m".parse().unwrap(),
        };
        assert_eq!(session.known_bound().unwrap(), None);
        assert_eq!(session.bound(|| vec![bound.clone()]).unwrap(), std::slice::from_ref(&bound));
        assert_eq!(session.bound(Vec::new).unwrap(), [bound]);
    }
}
