//! Bringing back what the disk has lost, once its bytes are here again.
//!
//! A committed tree never changes, and this is no exception: a link whose bytes are not those of the
//! manifest any more is exchanged for one to the same content, under the same path, with the same hash,
//! size and mode. Whoever reads the version gets what was committed; only the loss is undone.

use std::{
    collections::{HashMap, HashSet},
    io,
};

use rustix::{fs::RenameFlags, io::Errno};

use super::{
    BlobName, Blobs, TeamFiles, Tree, TreeError, VersionFiles,
    holders::{Ended, each_entry},
    scrub::{hash_on_disk, names_in},
    watch::{CareError, Watch, tell},
};
use crate::{
    domain::{
        content::{Content, ContentHash, Entry, EntryKind, Totals},
        id::{DatasetId, VersionId},
    },
    fault,
    storage::{
        beneath::{Beneath, Kind},
        descent::Inode,
    },
};

/// What became of a damaged content in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    pub hash: ContentHash,
    pub dataset: DatasetId,
    pub version: VersionId,
    /// Files that are whole again.
    pub files: u64,
    /// Files that stay damaged, for nobody has sent their bytes again.
    pub left: u64,
}

/// What came of mending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mending {
    /// Versions in which a content was damaged.
    pub mended: Vec<Mended>,
    /// Versions whose files could not be looked through.
    pub unknown: Vec<(DatasetId, VersionId)>,
}

impl TeamFiles {
    /// Goes through all versions of the team that hold contents of `hashes`, and puts a whole blob in the
    /// place of each damaged one, where there is one. Reads from the disk every file that it judges. Not
    /// durable when it returns, see [`Blobs::durable`]. Harmless beside writers, and beside itself.
    ///
    /// # Errors
    /// [`CareError::Stopped`], and those of the disk but for files that cannot be read.
    pub fn mend(&self, hashes: &HashSet<ContentHash>, watch: Watch<'_>) -> Result<Mending, CareError> {
        let mut mending = Mending::default();
        if hashes.is_empty() {
            return Ok(mending);
        }
        let mut mender = Mender { blobs: self.blobs(), whole: HashMap::new() };
        let mut seen = Totals::default();
        for (dataset, version) in self.version_ids()? {
            let files = self.version(&dataset, &version);
            let mut found: HashMap<ContentHash, (u64, u64)> = HashMap::new();
            let looked = files.open().map_err(Ended::from).and_then(|tree| {
                each_entry(&files, &mut |entry| {
                    seen.files += 1;
                    seen.bytes += entry.bytes();
                    tell(watch, seen).map_err(Ended::Care)?;
                    let EntryKind::File(content) = &entry.kind else { return Ok(()) };
                    if hashes.contains(&content.hash)
                        && let Some(is_mended) = mender.entry(&tree, &files, entry, content)?
                    {
                        let (mended, left) = found.entry(content.hash).or_default();
                        *if is_mended { mended } else { left } += 1;
                    }
                    Ok(())
                })
            });
            match looked {
                Ok(()) => {}
                Err(Ended::Care(error)) => return Err(error),
                Err(Ended::Tree(TreeError::Full)) => return Err(io::Error::from(io::ErrorKind::StorageFull).into()),
                Err(Ended::Tree(_)) => mending.unknown.push((dataset.clone(), version.clone())),
            }
            mending.mended.extend(found.into_iter().map(|(hash, (files, left))| Mended {
                hash,
                dataset: dataset.clone(),
                version: version.clone(),
                files,
                left,
            }));
        }
        Ok(mending)
    }
}

struct Mender<'a> {
    blobs: &'a Blobs,
    /// Inodes that were read, by device and number, and whether each is what it should be.
    whole: HashMap<(u64, u64), bool>,
}

impl Mender<'_> {
    /// Looks at one file of a version. Returns `None` when nothing is wrong with it, and else whether it
    /// is whole now.
    fn entry(
        &mut self,
        tree: &Tree,
        files: &VersionFiles,
        entry: &Entry,
        content: &Content,
    ) -> Result<Option<bool>, TreeError> {
        let found = tree.root().dir(&entry.path.parent().unwrap_or_default());
        let name = entry.path.name().unwrap_or_default();
        let Ok((dir, inode)) = found.and_then(|dir| Inode::of(&dir, name).map(|inode| (dir, inode))) else {
            // Of a draft it was removed this moment; of a committed version it is lost.
            return Ok(files.is_frozen().then_some(false));
        };
        if inode.kind == Kind::File && self.is_whole(&dir, name, &content.hash)? {
            return Ok(None);
        }
        self.replace(files, &dir, name, content, &inode).map(Some)
    }

    /// Reads a file, unless that was done before under another of its names.
    fn is_whole(&mut self, dir: &Beneath, name: &[u8], hash: &ContentHash) -> Result<bool, TreeError> {
        let inode = Inode::of(dir, name)?;
        let key = (inode.device, inode.number);
        if let Some(is_whole) = self.whole.get(&key) {
            return Ok(*is_whole);
        }
        // One that cannot be read is as good as lost.
        let is_whole = hash_on_disk(dir, name).is_ok_and(|found| found == *hash);
        self.whole.insert(key, is_whole);
        Ok(is_whole)
    }

    /// Puts a whole blob in the place of `old`. Returns `false` when there is none.
    fn replace(
        &mut self,
        files: &VersionFiles,
        dir: &Beneath,
        name: &[u8],
        content: &Content,
        old: &Inode,
    ) -> Result<bool, TreeError> {
        let _linking = self.blobs.linking(&content.hash);
        let incoming = &self.blobs.incoming;
        let aside = self.blobs.new_name();
        if !self.has_whole(content)? || !self.blobs.link(content, incoming, &aside)? {
            return Ok(false);
        }
        // Of a content with very many names the further inodes may be damaged and not the first.
        let moved = match self.is_whole(incoming, &aside, &content.hash) {
            Ok(true) => self.exchange(files, dir, name, &aside, old),
            other => other,
        };
        incoming.remove_file(&aside)?;
        fault::point("dataset.mend.replaced");
        moved
    }

    /// Exchanges what stands at `name` for the link `aside`. What somebody has put there meanwhile goes
    /// back to its place: it is newer.
    fn exchange(
        &self,
        files: &VersionFiles,
        dir: &Beneath,
        name: &[u8],
        aside: &[u8],
        old: &Inode,
    ) -> Result<bool, TreeError> {
        let incoming = &self.blobs.incoming;
        let swap = || rustix::fs::renameat_with(&incoming.0, aside, &dir.0, name, RenameFlags::EXCHANGE);
        match swap() {
            Ok(()) => {
                if Inode::of(incoming, aside)?.number != old.number {
                    swap()?;
                }
                Ok(true)
            }
            // Removed meanwhile, and with it the damage.
            Err(Errno::NOENT) => Ok(true),
            // A file system without exchanges: fine where nobody else writes.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if files.is_frozen() => {
                Ok(incoming.move_to(aside, dir, name).map(|()| true)?)
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Says whether a content is stored whole, and makes it so from the same bytes in the other mode, or
    /// from a further inode of them. The caller holds [`Blobs::linking`].
    fn has_whole(&mut self, content: &Content) -> Result<bool, TreeError> {
        let Some(shard) = self.blobs.shard(content.hash.0[0])? else { return Ok(false) };
        match self.is_stored_whole(&shard, content, 0)? {
            Some(true) => return Ok(true),
            // Its name goes when the check finds it damaged; till then it is in the way.
            Some(false) => return Ok(false),
            None => {}
        }
        for name in names_in(&shard)?.iter().filter(|name| name.hash == content.hash) {
            let from = Content { executable: name.executable, ..*content };
            if self.is_stored_whole(&shard, &from, name.number)? == Some(true) {
                return self.blobs.store_from_inode(name, content);
            }
        }
        Ok(false)
    }

    /// Says whether inode `number` of a content is what it should be; `None` when there is none.
    fn is_stored_whole(&mut self, shard: &Beneath, content: &Content, number: u32) -> Result<Option<bool>, TreeError> {
        let name = BlobName { hash: content.hash, executable: content.executable, number }.to_string();
        match self.is_whole(shard, name.as_bytes(), &content.hash) {
            Err(TreeError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            looked => looked.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        ops::ControlFlow,
        os::unix::fs::{MetadataExt, PermissionsExt},
    };

    use super::*;
    use crate::storage::dataset::testing::{Yard, all, path, yard};

    const ON: Watch<'_> = &|_| ControlFlow::Continue(());

    /// Turns bits of a file in place, as a disk does, and takes its name among the blobs away, as the
    /// check does.
    fn damage(yard: &Yard, content: &Content) {
        let blob = yard.team.blobs().path_of(content);
        let mode = if content.executable { 0o555 } else { 0o444 };
        fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&blob, b"rotten").unwrap();
        fs::set_permissions(&blob, fs::Permissions::from_mode(mode)).unwrap();
        fs::remove_file(&blob).unwrap();
    }

    fn mend(yard: &Yard, content: &Content) -> Vec<(String, u64, u64)> {
        let mending = yard.team.mend(&HashSet::from([content.hash]), ON).unwrap();
        assert_eq!(mending.unknown, []);
        let mut found: Vec<_> =
            mending.mended.iter().map(|one| (one.version.to_string(), one.files, one.left)).collect();
        found.sort_unstable();
        found
    }

    fn read(version: &VersionFiles, at: &str) -> Vec<u8> {
        fs::read(version.tree().join(at)).unwrap()
    }

    #[test]
    fn bytes_that_are_sent_again_come_back_to_every_version_that_has_lost_them() {
        let yard = yard();
        let (one, two) = (yard.version(1), yard.unmade(2));
        let content = one.put_small(&path("a"), b"whole!", false).unwrap().0;
        one.put_small(&path("d/twice"), b"whole!", false).unwrap();
        one.put_small(&path("other"), b"other", false).unwrap();
        one.freeze(&|_| {}).unwrap();
        two.create_from(&one).unwrap();
        let before = all(&one);
        damage(&yard, &content);
        let tree = fs::metadata(one.tree()).unwrap().ino();
        let still = [("v000001".to_owned(), 0, 2), ("v000002".to_owned(), 0, 2)];
        assert_eq!(mend(&yard, &content), still, "nobody has sent them");
        let three = yard.version(3);
        three.put_small(&path("again"), b"whole!", false).unwrap();
        assert_eq!(mend(&yard, &content), still.map(|(version, ..)| (version, 2, 0)));
        for version in [&one, &two] {
            for at in ["a", "d/twice"] {
                assert_eq!(read(version, at), b"whole!");
                let facts = fs::metadata(version.tree().join(at)).unwrap();
                assert_eq!(facts.permissions().mode() & 0o777, 0o444);
                assert_eq!(facts.ino(), fs::metadata(three.tree().join("again")).unwrap().ino());
            }
        }
        assert_eq!((all(&one), fs::metadata(one.tree()).unwrap().ino()), (before, tree));
        assert_eq!(mend(&yard, &content), []);
        assert_eq!(yard.unfinished(), [""; 0]);
    }

    #[test]
    fn the_same_bytes_in_the_other_mode_will_do_but_not_other_damaged_ones() {
        let yard = yard();
        let version = yard.version(1);
        let plain = version.put_small(&path("plain"), b"whole!", false).unwrap().0;
        let run = version.put_small(&path("run"), b"whole!", true).unwrap().0;
        version.freeze(&|_| {}).unwrap();
        damage(&yard, &run);
        assert_eq!(mend(&yard, &plain), [("v000001".to_owned(), 1, 0)]);
        assert_eq!(read(&version, "run"), b"whole!");
        assert_eq!(fs::metadata(version.tree().join("run")).unwrap().permissions().mode() & 0o777, 0o555);
        // Both lost, and one of them has its name still.
        damage(&yard, &run);
        let blob = yard.team.blobs().path_of(&plain);
        fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&blob, b"rotten").unwrap();
        assert_eq!(mend(&yard, &plain), [("v000001".to_owned(), 0, 2)]);
    }

    /// Gives a content a further inode with a name in a version, as one with very many names has.
    fn add_further(yard: &Yard, version: &VersionFiles, at: &str, content: &Content) -> std::path::PathBuf {
        let blob = yard.team.blobs().path_of(content);
        let further = blob.with_file_name(format!("{}-1", content.hash));
        assert!(yard.team.blobs().add_inode(content, 1).unwrap());
        let link = version.tree().join(at);
        fs::remove_file(&link).unwrap();
        fs::hard_link(&further, &link).unwrap();
        further
    }

    fn rot(path: &std::path::Path) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(path, b"rotten").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
    }

    /// Does what a check does: reads all, and takes the names of damaged blobs away.
    fn check(yard: &Yard) -> Vec<u32> {
        let all = crate::storage::dataset::ScrubOrder { percent: 100, after: None, bytes_per_second: None };
        let found = yard.team.scrub(&all, &mut |_| {}, ON).unwrap().damaged;
        found.iter().for_each(|damage| yard.team.disown(damage).unwrap());
        found.iter().map(|damage| damage.number).collect()
    }

    #[test]
    fn a_damaged_further_inode_is_mended_from_the_first_and_the_first_from_a_further_one() {
        for first_rots in [false, true] {
            let yard = yard();
            let version = yard.version(1);
            let content = version.put_small(&path("one"), b"whole!", false).unwrap().0;
            version.put_small(&path("two"), b"whole!", false).unwrap();
            let further = add_further(&yard, &version, "two", &content);
            version.freeze(&|_| {}).unwrap();
            let first = yard.team.blobs().path_of(&content);
            let (rotten, sound) = if first_rots { (&first, &further) } else { (&further, &first) };
            let kept = fs::metadata(sound).unwrap().ino();
            rot(rotten);
            assert_eq!(check(&yard), [u32::from(!first_rots)]);
            assert_eq!((rotten.exists(), sound.exists()), (false, true));
            assert_eq!(mend(&yard, &content), [("v000001".to_owned(), 1, 0)], "nobody had to send anything");
            for at in ["one", "two"] {
                assert_eq!(read(&version, at), b"whole!");
            }
            assert_eq!(fs::metadata(sound).unwrap().ino(), kept);
            assert!(first.exists(), "a content has a first inode");
            assert_eq!(check(&yard), [0; 0]);
            assert_eq!(mend(&yard, &content), []);
            assert_eq!(yard.unfinished(), [""; 0]);
        }
    }

    #[test]
    fn what_somebody_puts_into_a_draft_meanwhile_stays() {
        let yard = yard();
        let draft = yard.version(1);
        let content = draft.put_small(&path("a"), b"whole!", false).unwrap().0;
        damage(&yard, &content);
        yard.version(2).put_small(&path("again"), b"whole!", false).unwrap();
        let dir = Beneath::open(&draft.tree()).unwrap();
        let old = Inode::of(&dir, b"a").unwrap();
        draft.put_small(&path("a"), b"newer", false).unwrap();
        let mut mender = Mender { blobs: yard.team.blobs(), whole: HashMap::new() };
        assert!(mender.replace(&draft, &dir, b"a", &content, &old).unwrap());
        assert_eq!(read(&draft, "a"), b"newer");
        assert_eq!(yard.unfinished(), [""; 0]);
    }
}
