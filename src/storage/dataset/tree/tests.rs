use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    sync::atomic::Ordering,
    thread,
};

use super::{
    super::testing::{all, path, yard, yard_with},
    *,
};
use crate::storage::dataset::{DatasetLimits, hashed::hash_of};

fn names(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.path.to_text()).collect()
}

#[test]
fn a_small_file_is_stored_once_read_only_and_linked_at_its_path() {
    let yard = yard();
    let version = yard.version(1);
    let (content, replaced) = version.put_small(&path("a/b"), b"hello", false).unwrap();
    assert_eq!(replaced, Replaced::default());
    assert_eq!(content.hash, ContentHash(*blake3::hash(b"hello").as_bytes()));
    version.put_small(&path("c"), b"hello", false).unwrap();
    let (one, two) = (version.tree().join("a/b"), version.tree().join("c"));
    let (one, two) = (fs::metadata(one).unwrap(), fs::metadata(two).unwrap());
    let blob = fs::metadata(yard.team.blobs().path_of(&content)).unwrap();
    assert_eq!((one.ino(), one.mode() & 0o777, one.nlink()), (two.ino(), 0o444, 3));
    assert_eq!(blob.ino(), one.ino());
    let (mut file, found) = version.open_file(&path("a/b")).unwrap();
    assert_eq!((io::read_to_string(&mut file).unwrap(), found), ("hello".to_owned(), content));
    assert_eq!(yard.team.blobs().has(&content.hash), Some(5));
}

#[test]
fn equal_bytes_that_may_be_executed_are_a_file_of_their_own() {
    let yard = yard();
    let version = yard.version(1);
    version.put_small(&path("plain"), b"x", false).unwrap();
    version.put_small(&path("run"), b"x", true).unwrap();
    let mode = |name: &str| fs::metadata(version.tree().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("plain"), mode("run")), (0o444, 0o555));
    let executable = |name: &str| match version.entry(&path(name)).unwrap().unwrap().kind {
        EntryKind::File(content) => content.executable,
        EntryKind::Link(_) => panic!("a link"),
    };
    assert_eq!((executable("plain"), executable("run")), (false, true));
}

#[test]
fn what_is_put_takes_the_place_of_what_was_there_and_tells_it() {
    let yard = yard();
    let version = yard.version(1);
    let (old, _) = version.put_small(&path("f"), b"old", false).unwrap();
    let (_, replaced) = version.put_small(&path("f"), b"new!", false).unwrap();
    assert_eq!(replaced.entry, Some(Entry { path: path("f"), kind: EntryKind::File(old) }));
    // The very same once more: two names of one file, which a rename would leave alone.
    let (new, replaced) = version.put_small(&path("f"), b"new!", false).unwrap();
    assert_eq!(replaced.entry.unwrap().kind, EntryKind::File(new));
    let link = EntryKind::Link(b"../../etc/passwd".to_vec());
    version.put(&path("f"), &link).unwrap();
    assert_eq!(version.entry(&path("f")).unwrap().unwrap().kind, link);
    assert!(matches!(version.open_file(&path("f")), Err(TreeError::NotFound)));
    version.put_small(&path("f"), b"again", false).unwrap();
    assert_eq!(version.totals().unwrap(), Totals { files: 1, bytes: 5 });
    assert_eq!(yard.unfinished(), [""; 0]);
}

#[test]
fn a_file_and_a_directory_cannot_have_the_same_path() {
    let yard = yard();
    let version = yard.version(1);
    version.put_small(&path("dir/file"), b"x", false).unwrap();
    let error = version.put_small(&path("dir"), b"x", false).unwrap_err();
    assert!(matches!(error, TreeError::IsDirectory(at) if at == path("dir")));
    let error = version.put_small(&path("dir/file/new/deep"), b"x", false).unwrap_err();
    assert!(matches!(error, TreeError::NotADirectory(at) if at == path("dir/file")));
    version.put(&path("link"), &EntryKind::Link(b"dir".to_vec())).unwrap();
    let error = version.put_small(&path("link/file2"), b"x", false).unwrap_err();
    assert!(matches!(error, TreeError::NotADirectory(at) if at == path("link")));
    assert_eq!(names(&all(&version)), ["dir/file", "link"]);
}

#[test]
fn a_directory_left_empty_by_a_step_that_failed_is_in_nobodys_way() {
    let yard = yard();
    let version = yard.version(1);
    fs::create_dir_all(version.tree().join("a/b/c")).unwrap();
    assert!(matches!(version.remove(&path("a/b")), Err(TreeError::NotFound)));
    fs::create_dir_all(version.tree().join("a/b/c")).unwrap();
    version.put_small(&path("a"), b"x", false).unwrap();
    assert_eq!(names(&all(&version)), ["a"]);
}

#[test]
fn directories_go_with_their_last_file() {
    let yard = yard();
    let version = yard.version(1);
    for file in ["a/b/one", "a/b/two", "a/c/three", "top"] {
        version.put_small(&path(file), b"12", false).unwrap();
    }
    version.put(&path("a/b/link"), &EntryKind::Link(b"one".to_vec())).unwrap();
    assert_eq!(version.remove(&path("a/b/one")).unwrap(), Totals { files: 1, bytes: 2 });
    assert_eq!(version.remove(&path("a/b")).unwrap(), Totals { files: 2, bytes: 2 });
    assert!(matches!(version.remove(&path("a/b")), Err(TreeError::NotFound)));
    assert!(matches!(version.remove(&path("top/none")), Err(TreeError::NotFound)));
    version.remove(&path("a/c/three")).unwrap();
    assert!(!version.tree().join("a").exists());
    assert_eq!(version.remove(&UserPath::root()).unwrap(), Totals { files: 1, bytes: 2 });
    assert!(version.tree().exists());
    assert_eq!(yard.unfinished(), [""; 0]);
}

#[test]
fn a_link_in_the_tree_leads_nobody_out_of_it() {
    let yard = yard();
    let version = yard.version(1);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "x").unwrap();
    symlink(outside.path(), version.tree().join("out")).unwrap();
    assert!(version.put_small(&path("out/new"), b"x", false).is_err());
    assert!(matches!(version.open_file(&path("out/secret")), Err(TreeError::NotFound)));
    assert_eq!(version.entry(&path("out/secret")).unwrap(), None);
    assert!(matches!(version.remove(&path("out/secret")), Err(TreeError::NotFound)));
    version.remove(&path("out")).unwrap();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn a_streamed_file_has_the_hash_of_all_its_pieces_and_a_wrong_one_leaves_nothing() {
    let yard = yard();
    let version = yard.version(1);
    let bytes: Vec<u8> = (0..1_000_003u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    let expected = ContentHash(*blake3::hash(&bytes).as_bytes());
    let write = |piece: usize| {
        let mut writer = yard.team.blobs().writer().unwrap();
        bytes.chunks(piece).for_each(|chunk| writer.write(chunk).unwrap());
        writer
    };
    let wrong = ContentHash([7; 32]);
    let error = write(1000).finish_expecting(false, &wrong).unwrap_err();
    assert!(matches!(error, TreeError::HashMismatch { found, .. } if found == expected));
    assert_eq!(yard.team.blobs().has(&expected), None);
    let content = write(777).finish_expecting(false, &expected).unwrap();
    assert_eq!(content.bytes, bytes.len() as u64);
    let (again, _) = version.put_written(&path("big"), write(300_000), false, None).unwrap();
    assert_eq!(again, content);
    assert_eq!(hash_of(&version.open_file(&path("big")).unwrap().0).unwrap(), (expected, content.bytes));
}

#[test]
fn without_unnamed_files_the_same_happens_and_nothing_stays_behind() {
    let yard = yard();
    yard.team.blobs().unnamed.store(false, Ordering::Relaxed);
    let version = yard.version(1);
    version.put_small(&path("a"), b"one", false).unwrap();
    let mut writer = yard.team.blobs().writer().unwrap();
    writer.write(b"two").unwrap();
    assert_eq!(yard.unfinished().len(), 1);
    version.put_written(&path("b"), writer, true, None).unwrap();
    drop(yard.team.blobs().writer().unwrap());
    assert_eq!(yard.unfinished(), [""; 0]);
    assert_eq!(version.totals().unwrap(), Totals { files: 2, bytes: 6 });
}

#[test]
fn a_file_without_its_mark_is_hashed_again() {
    let yard = yard();
    let version = yard.version(1);
    let (content, _) = version.put_small(&path("a"), b"hello", false).unwrap();
    let file = version.open_file(&path("a")).unwrap().0;
    rustix::fs::fremovexattr(&file, "user.gradientd.blake3").unwrap();
    assert_eq!(version.entry(&path("a")).unwrap().unwrap().kind, EntryKind::File(content));
}

#[test]
fn bytes_that_are_not_stored_cannot_be_linked() {
    let yard = yard();
    let version = yard.version(1);
    let content = Content { hash: ContentHash([1; 32]), bytes: 1, executable: false };
    assert_eq!(version.link_known(&path("a/b/c"), &content).unwrap(), None);
    let error = version.put(&path("a"), &EntryKind::File(content)).unwrap_err();
    assert!(matches!(error, TreeError::NotStored(hash) if hash == content.hash));
    assert_eq!(fs::read_dir(version.tree()).unwrap().count(), 0);
}

#[test]
fn bytes_that_are_stored_need_not_be_sent_again_to_be_executable() {
    let yard = yard();
    let version = yard.version(1);
    let (plain, _) = version.put_small(&path("a"), b"#!/bin/sh", false).unwrap();
    let content = Content { executable: true, ..plain };
    assert!(version.link_known(&path("b"), &content).unwrap().is_some());
    assert_eq!(version.entry(&path("b")).unwrap().unwrap().kind, EntryKind::File(content));
    assert_eq!(version.entry(&path("a")).unwrap().unwrap().kind, EntryKind::File(plain));
}

#[test]
fn a_blob_that_a_disk_has_cut_is_made_whole_by_the_next_who_sends_it() {
    let yard = yard();
    let version = yard.version(1);
    let (content, _) = version.put_small(&path("a"), b"hello", false).unwrap();
    let blob = yard.team.blobs().path_of(&content);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, "he").unwrap();
    let mut writer = yard.team.blobs().writer().unwrap();
    writer.write(b"hello").unwrap();
    version.put_written(&path("b"), writer, false, None).unwrap();
    assert_eq!(fs::read(version.tree().join("b")).unwrap(), b"hello");
    assert_eq!(fs::read(blob).unwrap(), b"hello");
}

#[test]
fn more_links_than_an_inode_takes_make_a_further_inode() {
    let yard = yard();
    let version = yard.version(1);
    let (content, _) = version.put_small(&path("0"), b"", false).unwrap();
    let blob = yard.team.blobs().path_of(&content);
    // Fill the first inode up, if this file system has an end to it at all.
    let aside = tempfile::tempdir_in(yard.data.root()).unwrap();
    let full = (0..70_000).any(|n| fs::hard_link(&blob, aside.path().join(n.to_string())).is_err());
    for n in 1..5 {
        version.put_small(&path(&n.to_string()), b"", false).unwrap();
    }
    assert_eq!(version.totals().unwrap().files, 5);
    let second = fs::metadata(format!("{}-1", blob.display()));
    assert_eq!(second.is_ok(), full);
    if let Ok(second) = second {
        assert_eq!(second.nlink(), 5);
        let child = yard.unmade(2);
        // And a child links what it can, and finds another inode for what it cannot.
        assert_eq!(child.create_from(&version).unwrap().files, 5);
        assert_eq!(all(&child), all(&version));
    }
}

#[test]
fn a_file_that_is_too_large_is_refused_and_leaves_nothing() {
    let yard = yard_with(DatasetLimits { max_file_bytes: 4, max_version_files: 10 });
    let version = yard.version(1);
    let error = version.put_small(&path("a"), b"12345", false).unwrap_err();
    assert!(matches!(error, TreeError::TooLarge { limit: 4 }));
    let mut writer = yard.team.blobs().writer().unwrap();
    writer.write(b"1234").unwrap();
    assert!(matches!(writer.write(b"5"), Err(TreeError::TooLarge { limit: 4 })));
    assert_eq!(all(&version), []);
}

#[test]
fn many_writers_and_removers_at_once_leave_a_whole_tree() {
    let yard = yard();
    let version = yard.version(1);
    thread::scope(|scope| {
        for writer in 0..4 {
            let version = &version;
            scope.spawn(move || {
                for n in 0..200 {
                    // One path that all write, one of each writer's own in directories that come
                    // and go, all with bytes that others write too.
                    let bytes = format!("bytes {}", n % 7);
                    version.put_small(&path("shared/one"), bytes.as_bytes(), false).unwrap();
                    let own = path(&format!("shared/{}/w{writer}", n % 3));
                    version.put_small(&own, bytes.as_bytes(), n % 2 == 0).unwrap();
                    if n % 5 == 0 {
                        version.remove(&own).unwrap();
                    }
                }
                version.put_small(&path(&format!("last/{writer}")), b"end", false).unwrap();
            });
        }
    });
    let entries: BTreeMap<_, _> = all(&version).into_iter().map(|entry| (entry.path.clone(), entry)).collect();
    for writer in 0..4 {
        assert!(entries.contains_key(&path(&format!("last/{writer}"))));
    }
    for (at, entry) in &entries {
        let EntryKind::File(content) = &entry.kind else { panic!("{at} is a link") };
        let file = version.open_file(at).unwrap().0;
        assert_eq!(hash_of(&file).unwrap(), (content.hash, content.bytes), "{at}");
    }
    assert_eq!(yard.unfinished(), [""; 0]);
}

#[test]
fn a_put_never_loses_its_blob_to_the_sweeper() {
    let yard = yard();
    let version = yard.version(1);
    let blobs = yard.team.blobs();
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for shard in 0..=255u8 {
                    let Some(dir) = blobs.shard(shard).unwrap() else { continue };
                    let _sweeping = blobs.sweeping(shard);
                    let mut unlinked = Vec::new();
                    dir.each_name(|name| {
                        let stat = rustix::fs::statat(&dir.0, name, rustix::fs::AtFlags::empty())?;
                        unlinked.extend((stat.st_nlink == 1).then(|| name.to_vec()));
                        Ok(())
                    })
                    .unwrap();
                    unlinked.iter().for_each(|name| dir.remove_file(name).unwrap());
                }
            }
        });
        for n in 0..500 {
            let bytes = format!("bytes {}", n % 3);
            version.put_small(&path("a"), bytes.as_bytes(), false).unwrap();
            let mut writer = blobs.writer().unwrap();
            writer.write(bytes.as_bytes()).unwrap();
            version.put_written(&path("b"), writer, false, None).unwrap();
            version.remove(&path("a")).unwrap();
            version.remove(&path("b")).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(yard.unfinished(), [""; 0]);
}
