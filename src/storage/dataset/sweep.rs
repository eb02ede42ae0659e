//! Giving back the room of what nobody needs any more.
//!
//! Which versions are gone for good is decided elsewhere; here their files are removed, and then the
//! blobs that no tree links. A blob may be young and about to be linked: it was just stored, or just
//! found by somebody who sends the same bytes, which renews its time of change. So only those that
//! have not changed for a grace period are removed, under the lock that keeps off whoever links.
//!
//! Removing a link changes a blob too. One whose last links go with a version would have to wait for
//! another grace period, were it not removed together with the link, under the same lock, if it was
//! old enough before.

use std::{collections::HashMap, io, time::Duration};

use rustix::fs::{Mode, OFlags};

use super::{
    BlobName, Blobs, TeamFiles, VersionFiles,
    hashed::marked,
    scrub::names_in,
    watch::{CareError, Watch, tell},
};
use crate::{
    domain::{
        content::{ContentHash, Totals},
        id::{DatasetId, VersionId},
        time::Timestamp,
        user_path::UserPath,
    },
    fault,
    storage::{
        beneath::{Beneath, Kind},
        descent::{Inode, Met, Visitor, descend},
        layout::MULTIPART,
    },
};

/// Contents shared by versions that go together of which a sweep keeps count. Those beyond wait for
/// the next sweep.
const MAX_SHARED: usize = 1_000_000;

/// Whoever finds a blob and is about to link it has renewed it, and does so within this time. What
/// changed later than that is left to the next sweep and its grace period.
const SETTLED: Duration = Duration::from_secs(10);

/// What to remove.
#[derive(Debug, Clone)]
pub struct SweepOrder {
    /// Versions that nobody knows, runs or restores any more.
    pub versions: Vec<(DatasetId, VersionId)>,
    pub now: Timestamp,
    /// How long a blob that nothing links is kept.
    pub grace: Duration,
    /// Only count.
    pub dry_run: bool,
    /// Whether to remove what other processes left half made: only for who has the data directory,
    /// since what belongs to a daemon that runs is not left behind.
    pub leftovers: bool,
}

/// What was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Swept {
    /// Blobs, with those that go with a version.
    pub totals: Totals,
    pub versions: Vec<SweptVersion>,
    /// What was left behind half made.
    pub leftovers: u64,
}

/// What a version gave back: contents that no version linked but those removed. Those that several
/// of them shared count for the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweptVersion {
    pub dataset: DatasetId,
    pub version: VersionId,
    pub totals: Totals,
}

impl SweepOrder {
    /// Returns whether what changed last at `changed_at` is old enough to go.
    fn is_old(&self, changed_at: Timestamp) -> bool {
        changed_at <= self.now.minus(self.grace)
    }

    /// Returns whether a blob is one that nobody needs.
    fn is_garbage(&self, blob: &Inode) -> bool {
        blob.kind == Kind::File && blob.links == 1 && self.is_old(blob.changed_at)
    }
}

impl TeamFiles {
    /// Removes trees that can be had again from elsewhere, and at once the blobs whose last links go
    /// with them, whatever the grace period of others is: their room is wanted now. Returns how much
    /// came free. `now` is the present.
    ///
    /// # Errors
    /// [`CareError::Stopped`] and those of the disk; what is left then is removed by the next sweep.
    pub fn remove_copies(
        &self,
        copies: &[(DatasetId, VersionId)],
        now: Timestamp,
        watch: Watch<'_>,
    ) -> Result<Totals, CareError> {
        let order = SweepOrder { versions: Vec::new(), now, grace: SETTLED, dry_run: false, leftovers: false };
        let mut sweep =
            Sweep { order: &order, blobs: self.blobs(), watch, swept: Swept::default(), shared: HashMap::new() };
        for (dataset, version) in copies {
            // Out of its place first: half a tree there would be taken for a copy.
            let Some(aside) = self.version(dataset, version).set_tree_aside()? else { continue };
            fault::point("dataset.copy.aside");
            let tree = self.blobs().incoming.dir(&UserPath::from_bytes(&aside).unwrap_or_default())?;
            sweep.unlink_all(&tree)?;
            self.blobs().incoming.remove_tree(&aside)?;
        }
        Ok(sweep.swept.totals)
    }

    /// Removes versions and the blobs that nothing links. One sweep at a time; whatever ends it, the
    /// next goes on. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`CareError::Stopped`] and those of the disk; what was removed till then is.
    pub fn sweep(&self, order: &SweepOrder, watch: Watch<'_>) -> Result<Swept, CareError> {
        let mut sweep = Sweep { order, blobs: self.blobs(), watch, swept: Swept::default(), shared: HashMap::new() };
        for (dataset, version) in &order.versions {
            let totals = sweep.version(&self.version(dataset, version))?;
            let (dataset, version) = (dataset.clone(), version.clone());
            sweep.swept.versions.push(SweptVersion { dataset, version, totals });
        }
        for shard in 0..=u8::MAX {
            sweep.shard(shard)?;
        }
        if order.leftovers {
            sweep.leftovers()?;
        }
        Ok(sweep.swept)
    }
}

struct Sweep<'a> {
    order: &'a SweepOrder,
    blobs: &'a Blobs,
    watch: Watch<'a>,
    swept: Swept,
    /// Of contents with further links: how many were met, or when the blob changed as the last one
    /// met was removed.
    shared: HashMap<u64, Shared>,
}

#[derive(Debug, Clone, Copy)]
enum Shared {
    Met(u64),
    Changed(Timestamp),
}

impl Sweep<'_> {
    fn version(&mut self, files: &VersionFiles) -> Result<Totals, CareError> {
        let totals = match Beneath::open(&files.tree()) {
            Ok(tree) => self.unlink_all(&tree)?,
            // Removed before, or never here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Totals::default(),
            Err(error) => return Err(error.into()),
        };
        if !self.order.dry_run {
            fault::point("dataset.sweep.version");
            files.remove_all()?;
        }
        Ok(totals)
    }

    /// Removes all links in a tree, with the blobs that this leaves without any, or counts those.
    fn unlink_all(&mut self, tree: &Beneath) -> Result<Totals, CareError> {
        let mut visit = VersionVisit { sweep: self, totals: Totals::default() };
        descend(tree, &mut visit)?;
        Ok(visit.totals)
    }

    fn gone(&mut self, bytes: u64) -> Result<(), CareError> {
        self.swept.totals.files += 1;
        self.swept.totals.bytes += bytes;
        tell(self.watch, self.swept.totals)
    }

    /// Notes that one more link of a content would go, and returns whether its blob would too.
    fn would_free(&mut self, inode: &Inode) -> bool {
        if !self.order.is_old(inode.changed_at) {
            return false;
        }
        // All but the blob's own name.
        let links = inode.links - 1;
        if links <= 1 {
            return links == 1;
        }
        let room = self.shared.len() < MAX_SHARED;
        match self.shared.get_mut(&inode.number) {
            Some(Shared::Met(met)) => {
                *met += 1;
                *met == links
            }
            _ => {
                if room {
                    self.shared.insert(inode.number, Shared::Met(1));
                }
                false
            }
        }
    }

    /// Removes the link `name` of a removed version, and its blob if that was the last. Returns
    /// whether the blob is gone.
    fn unlink(&mut self, dir: &Beneath, name: &[u8]) -> io::Result<bool> {
        let Some(hash) = mark_of(dir, name) else {
            // Without its mark nobody knows whose link it is; a later sweep finds the blob.
            dir.remove_file(name)?;
            return Ok(false);
        };
        let _sweeping = self.blobs.sweeping(hash.0[0]);
        // Gone by somebody else's hand, who saw to its blob.
        let Some(before) = there(Inode::of(dir, name))? else { return Ok(false) };
        let is_old = self.order.is_old(before.changed_at)
            || matches!(self.shared.get(&before.number), Some(Shared::Changed(at)) if *at == before.changed_at);
        let blob = if is_old { self.name_of(&hash, &before)? } else { None };
        dir.remove_file(name)?;
        let Some((shard, blob)) = blob else { return Ok(false) };
        let Some(after) = there(Inode::of(&shard, blob.as_bytes()))? else { return Ok(false) };
        if after.links == 1 {
            fault::point("dataset.sweep.blob");
            shard.remove_file(blob.as_bytes())?;
            self.shared.remove(&before.number);
            return Ok(true);
        }
        if self.shared.len() < MAX_SHARED {
            self.shared.insert(before.number, Shared::Changed(after.changed_at));
        }
        Ok(false)
    }

    /// Finds the name that an inode has among the blobs. The first inode of a content stays as long
    /// as it has further ones, which are copied from it.
    fn name_of(&self, hash: &ContentHash, inode: &Inode) -> io::Result<Option<(Beneath, String)>> {
        let Some(shard) = self.blobs.shard(hash.0[0])? else { return Ok(None) };
        let executable = inode.mode & 0o100 != 0;
        let is_there = |number| there(Inode::of(&shard, name(hash, executable, number).as_bytes()));
        let found = is_there(0)?.is_some_and(|found| found.number == inode.number && found.device == inode.device);
        // Further inodes are rare; the sweep of the shard sees to them.
        if !found || is_there(1)?.is_some() {
            return Ok(None);
        }
        Ok(Some((shard, name(hash, executable, 0))))
    }

    /// Removes the blobs whose hash begins with `shard` and that nothing links.
    fn shard(&mut self, shard: u8) -> Result<(), CareError> {
        let Some(dir) = self.blobs.shard(shard)? else { return Ok(()) };
        let mut names = names_in(&dir)?;
        // Further inodes before the first, which stays as long as there are any.
        names.sort_unstable_by_key(|name| (name.hash, name.executable, std::cmp::Reverse(name.number)));
        let mut kept: Option<BlobName> = None;
        for name in names {
            let has_further = kept.is_some_and(|kept| (kept.hash, kept.executable) == (name.hash, name.executable));
            let removed = if has_further { None } else { self.blob(&dir, shard, &name.to_string())? };
            match removed {
                Some(bytes) => self.gone(bytes)?,
                None => kept = Some(name),
            }
        }
        Ok(())
    }

    /// Removes one blob if nobody needs it, and returns its size then.
    fn blob(&self, dir: &Beneath, shard: u8, name: &str) -> io::Result<Option<u64>> {
        let look = || -> io::Result<_> {
            Ok(there(Inode::of(dir, name.as_bytes()))?.filter(|inode| self.order.is_garbage(inode)))
        };
        // Most are in use; the lock is for those that seem not to be.
        let Some(inode) = look()? else { return Ok(None) };
        if self.order.dry_run {
            return Ok(Some(inode.bytes));
        }
        let _sweeping = self.blobs.sweeping(shard);
        let Some(inode) = look()? else { return Ok(None) };
        fault::point("dataset.sweep.blob");
        dir.remove_file(name.as_bytes())?;
        Ok(Some(inode.bytes))
    }

    /// Removes what an earlier process left in `incoming/`, if it is old enough.
    fn leftovers(&mut self) -> Result<(), CareError> {
        let mine = format!("{}-", std::process::id());
        let mut left = Vec::new();
        self.blobs.incoming.each_name(|name| {
            if name != MULTIPART.as_bytes() && !name.starts_with(mine.as_bytes()) {
                left.push(name.to_vec());
            }
            Ok(())
        })?;
        for name in left {
            let Ok(inode) = Inode::of(&self.blobs.incoming, &name) else { continue };
            if !self.order.is_old(inode.changed_at) {
                continue;
            }
            self.swept.leftovers += 1;
            if !self.order.dry_run {
                self.blobs.incoming.remove_tree(&name)?;
            }
        }
        Ok(())
    }
}

/// Goes through the tree of one version that is removed.
struct VersionVisit<'a, 'b> {
    sweep: &'a mut Sweep<'b>,
    totals: Totals,
}

impl Visitor for VersionVisit<'_, '_> {
    type Error = CareError;

    fn meet(&mut self, met: &Met<'_>) -> Result<bool, CareError> {
        if met.inode.kind != Kind::File {
            return Ok(true);
        }
        let freed = if self.sweep.order.dry_run {
            self.sweep.would_free(&met.inode)
        } else {
            self.sweep.unlink(met.dir, met.name)?
        };
        if freed {
            self.totals.files += 1;
            self.totals.bytes += met.inode.bytes;
            self.sweep.gone(met.inode.bytes)?;
        } else {
            tell(self.sweep.watch, self.sweep.swept.totals)?;
        }
        Ok(true)
    }

    fn fail(&mut self, _: &[u8], error: io::Error) -> Result<(), CareError> {
        if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error.into()) }
    }
}

/// Tells what is gone from what cannot be looked at.
fn there(found: io::Result<Inode>) -> io::Result<Option<Inode>> {
    match found {
        Ok(inode) => Ok(Some(inode)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn name(hash: &ContentHash, executable: bool, number: u32) -> String {
    BlobName { hash: *hash, executable, number }.to_string()
}

/// Returns the hash that the file `name`, directly in `dir`, carries.
fn mark_of(dir: &Beneath, name: &[u8]) -> Option<ContentHash> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    marked(&rustix::fs::openat(&dir.0, name, flags, Mode::empty()).ok()?.into())
}

#[cfg(test)]
mod tests {
    use std::{fs, ops::ControlFlow};

    use super::*;
    use crate::{
        domain::content::Content,
        storage::dataset::testing::{Yard, all, path, yard},
    };

    const ON: Watch<'_> = &|_| ControlFlow::Continue(());
    const HOUR: Duration = Duration::from_secs(3600);

    /// A sweep of the versions `numbers`, `later` from now.
    fn order(yard: &Yard, numbers: &[u32], later: Duration) -> SweepOrder {
        let dataset = || "ds0123456789abc".parse().unwrap();
        let versions = numbers.iter().map(|number| (dataset(), format!("v{number:06}").parse().unwrap())).collect();
        let probe = yard.data.root().join("probe");
        fs::write(&probe, "").unwrap();
        let dir = Beneath::open(yard.data.root()).unwrap();
        let now = Inode::of(&dir, b"probe").unwrap().changed_at.plus(Duration::from_secs(1)).plus(later);
        SweepOrder { versions, now, grace: HOUR, dry_run: false, leftovers: true }
    }

    fn put(version: &VersionFiles, name: &str, text: &str) -> Content {
        version.put_small(&path(name), text.as_bytes(), false).unwrap().0
    }

    fn blobs(yard: &Yard) -> Vec<String> {
        let mut texts = Vec::new();
        for shard in 0..=u8::MAX {
            let Some(dir) = yard.team.blobs().shard(shard).unwrap() else { continue };
            for name in names_in(&dir).unwrap() {
                let file = dir.file(&UserPath::from_bytes(name.to_string().as_bytes()).unwrap()).unwrap().0;
                texts.push(io::read_to_string(file).unwrap());
            }
        }
        texts.sort_unstable();
        texts
    }

    /// Three versions: the second has all of the first and more, the third shares one file.
    fn three() -> Yard {
        let yard = yard();
        let (one, two, three) = (yard.version(1), yard.unmade(2), yard.version(3));
        put(&one, "a", "all three");
        put(&one, "b", "first and second");
        put(&one, "twice", "first and second");
        one.freeze(&|_| {}).unwrap();
        two.create_from(&one).unwrap();
        put(&two, "c", "second");
        put(&three, "a", "all three");
        put(&three, "d", "third");
        yard
    }

    #[test]
    fn a_version_gives_back_what_no_other_links_and_a_dry_run_says_the_same() {
        for (numbers, freed, left) in [
            (&[1][..], vec![0], vec!["all three", "first and second", "second", "third"]),
            (&[2], vec![6], vec!["all three", "first and second", "third"]),
            (&[1, 2], vec![0, 6 + 16], vec!["all three", "third"]),
            (&[3], vec![5], vec!["all three", "first and second", "second"]),
            (&[1, 2, 3], vec![0, 6 + 16, 9 + 5], vec![]),
        ] {
            let yard = three();
            let order = order(&yard, numbers, HOUR);
            let before = blobs(&yard);
            let planned = yard.team.sweep(&SweepOrder { dry_run: true, ..order.clone() }, ON).unwrap();
            assert_eq!(blobs(&yard), before);
            let swept = yard.team.sweep(&order, ON).unwrap();
            assert_eq!(swept, planned, "{numbers:?}");
            assert_eq!(swept.versions.iter().map(|version| version.totals.bytes).collect::<Vec<_>>(), freed);
            assert_eq!(swept.totals.bytes, freed.iter().sum::<u64>());
            assert_eq!(blobs(&yard), left);
            for number in 1..=3 {
                assert_eq!(yard.unmade(number).dir().root().exists(), !numbers.contains(&number));
            }
            // What is left is whole.
            for number in (1..=3).filter(|number| !numbers.contains(number)) {
                assert!(!all(&yard.unmade(number)).is_empty());
            }
            assert_eq!(yard.team.sweep(&order, ON).unwrap().totals, Totals::default());
        }
    }

    #[test]
    fn copies_that_make_room_give_it_back_at_once_but_not_what_was_just_found() {
        let yard = three();
        put(&yard.version(3), "sent again", "found");
        put(&yard.version(2), "c2", "found");
        let ids = |numbers: &[u32]| order(&yard, numbers, Duration::ZERO).versions;
        let later = order(&yard, &[], SETTLED).now;
        // Shared by both, and by the third: only what no other has goes.
        let freed = yard.team.remove_copies(&ids(&[1, 2]), later, ON).unwrap();
        assert_eq!(freed, Totals { files: 2, bytes: 6 + 16 });
        assert_eq!(blobs(&yard), ["all three", "found", "third"]);
        for number in [1, 2] {
            assert!(!yard.unmade(number).tree().exists());
        }
        assert!(yard.unmade(1).is_frozen(), "what is known of it stays");
        assert_eq!(all(&yard.unmade(3)).len(), 3);
        assert_eq!(yard.unfinished(), [""; 0]);
        assert_eq!(yard.team.remove_copies(&ids(&[1]), later, ON).unwrap(), Totals::default());
        // Somebody sends one of its contents this moment, and is about to link it.
        let now = order(&yard, &[], Duration::ZERO).now;
        let freed = yard.team.remove_copies(&ids(&[3]), now, ON).unwrap();
        assert_eq!((freed, blobs(&yard).len()), (Totals::default(), 3));
        assert_eq!(yard.team.sweep(&order(&yard, &[], HOUR), ON).unwrap().totals.files, 3);
    }

    #[test]
    fn what_is_young_stays_until_it_is_not() {
        let yard = yard();
        let mut writer = yard.team.blobs().writer().unwrap();
        writer.write(b"about to be linked").unwrap();
        writer.finish(false).unwrap();
        let version = yard.version(1);
        put(&version, "young", "of a version just removed");
        put(&yard.version(2), "kept", "kept");
        let swept = yard.team.sweep(&order(&yard, &[1], Duration::ZERO), ON).unwrap();
        assert_eq!((swept.totals.files, blobs(&yard).len()), (0, 3));
        assert!(!version.dir().root().exists());
        let later = yard.team.sweep(&order(&yard, &[], HOUR), ON).unwrap();
        assert_eq!(later.totals, Totals { files: 2, bytes: 18 + 25 });
        assert_eq!(blobs(&yard), ["kept"]);
    }

    #[test]
    fn a_blob_that_is_found_again_is_young_again() {
        let yard = yard();
        let store = || {
            let mut writer = yard.team.blobs().writer().unwrap();
            writer.write(b"again").unwrap();
            writer.finish(false).unwrap()
        };
        let content = store();
        let shard = yard.team.blobs().shard(content.hash.0[0]).unwrap().unwrap();
        let changed = || Inode::of(&shard, content.hash.to_string().as_bytes()).unwrap().changed_at;
        let first = changed();
        while changed() == first {
            store();
        }
        let mut order = order(&yard, &[], Duration::ZERO);
        (order.now, order.grace) = (first, Duration::ZERO);
        assert_eq!(yard.team.sweep(&order, ON).unwrap().totals.files, 0);
        order.now = changed();
        assert_eq!(yard.team.sweep(&order, ON).unwrap().totals.files, 1);
    }

    #[test]
    fn the_first_inode_of_a_content_goes_only_after_its_further_ones() {
        let yard = yard();
        let content = put(&yard.version(1), "a", "first");
        let shard = yard.team.blobs().shard(content.hash.0[0]).unwrap().unwrap();
        // As after so many links that the file system takes no more.
        let further = BlobName { hash: content.hash, executable: false, number: 1 }.to_string();
        let mut file = shard.new_file(further.as_bytes(), 0o444).unwrap();
        io::Write::write_all(&mut file, b"first").unwrap();
        let holder = Beneath::open(yard.data.root()).unwrap();
        holder.new_hard_link(&shard, further.as_bytes(), b"in-use").unwrap();
        yard.team.sweep(&order(&yard, &[1], HOUR), ON).unwrap();
        assert_eq!(blobs(&yard), ["first", "first"]);
        holder.remove_file(b"in-use").unwrap();
        yard.team.sweep(&order(&yard, &[], HOUR * 2), ON).unwrap();
        assert_eq!(blobs(&yard), Vec::<String>::new());
    }

    #[test]
    fn a_sweep_beside_writers_takes_nothing_that_they_put() {
        let yard = yard();
        let mut order = order(&yard, &[], HOUR * 100);
        order.grace = Duration::ZERO;
        let version = yard.version(1);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    yard.team.sweep(&order, ON).unwrap();
                }
            });
            for round in 0..300 {
                // The same few bytes again and again: found, linked, unlinked, swept.
                put(&version, &format!("f{round}"), &format!("text {}", round % 3));
                if round >= 3 {
                    version.remove(&path(&format!("f{}", round - 3))).unwrap();
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        for (entry, wanted) in all(&version).iter().zip(["text 0", "text 1", "text 2"]) {
            let (file, content) = version.open_file(&entry.path).unwrap();
            assert_eq!(io::read_to_string(file).unwrap(), wanted);
            assert!(yard.team.blobs().has(&content.hash).is_some());
        }
    }

    #[test]
    fn what_an_earlier_process_left_goes_and_what_is_being_made_stays() {
        let yard = yard();
        let incoming = yard.data.team_blobs(yard.team.team()).join("incoming");
        fs::create_dir_all(incoming.join("0-7/deep")).unwrap();
        fs::write(incoming.join("0-8"), "x").unwrap();
        let version = yard.version(1);
        let staged = version.stage().unwrap();
        let beside = SweepOrder { leftovers: false, ..order(&yard, &[], HOUR) };
        assert_eq!((yard.team.sweep(&beside, ON).unwrap().leftovers, yard.unfinished().len()), (0, 3));
        let swept = yard.team.sweep(&order(&yard, &[], HOUR), ON).unwrap();
        assert_eq!((swept.leftovers, yard.unfinished().len()), (2, 1));
        staged.tree().put_small(&path("a"), b"x", false).unwrap();
    }
}
