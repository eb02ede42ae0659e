//! A version on S3: filled through this box and past it, committed, continued by a child, and brought to
//! the disk.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use gradientd::{
    domain::{
        content::{ContentHash, EntryKind, Totals},
        user_path::UserPath,
    },
    storage::{
        dataset::{DatasetLimits, DatasetStore, ListQuery, TreeError},
        layout::DataDir,
        s3::{FilesError, Offered, S3Bucket, S3Error, S3Files, S3Item},
    },
};
use tokio_util::sync::CancellationToken;

use super::{
    bucket::{NO_LIMIT, bytes, pieces},
    proxy::{Fault, Proxy, answer, s3_answer},
    server::{REACH, SECRET, Server, place},
};

const TEAM: &str = "tabc123";
const DATASET: &str = "ds0123456789abc";

/// A data directory of its own.
pub(super) struct Yard {
    dir: tempfile::TempDir,
    store: DatasetStore,
}

impl Yard {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::create(&dir.path().join("data")).unwrap();
        let limits = DatasetLimits { max_file_bytes: 1 << 40, max_version_files: 1_000_000 };
        Self { store: DatasetStore::open(&data, limits), dir }
    }

    pub(super) fn version(&self, bucket: S3Bucket, number: u32) -> S3Files {
        let (team, dataset) = (TEAM.parse().unwrap(), DATASET.parse().unwrap());
        let version = format!("v{number:06}").parse().unwrap();
        let local = self.store.team(&team).unwrap().version(&dataset, &version);
        S3Files::new(bucket, &team, &dataset, &version, local)
    }

    /// Names in the team's `incoming/`.
    pub(super) fn unfinished(&self) -> Vec<String> {
        let read = fs::read_dir(self.dir.path().join("data/teams").join(TEAM).join("blobs/incoming")).unwrap();
        read.map(|entry| entry.unwrap().file_name().into_string().unwrap()).filter(|name| name != "multipart").collect()
    }
}

pub(super) fn path(text: &str) -> UserPath {
    text.parse().unwrap()
}

pub(super) async fn put(files: &S3Files, at: &str, bytes: &[u8]) {
    files.put(&path(at), false, pieces(bytes), NO_LIMIT, None).await.unwrap();
}

pub(super) fn object(number: u32, at: &str) -> String {
    format!("{TEAM}/datasets/{DATASET}/v{number:06}/{at}")
}

pub(super) async fn committed(files: &S3Files) -> Totals {
    files.freeze(|_| {}).await.unwrap()
}

async fn materialise(files: &S3Files) -> Result<Totals, FilesError> {
    files.materialise(|_| {}, &CancellationToken::new()).await
}

fn hash(bytes: &[u8]) -> ContentHash {
    ContentHash(*blake3::hash(bytes).as_bytes())
}

#[tokio::test]
async fn a_version_is_filled_listed_and_committed_whoever_put_its_files_there() {
    let (server, yard) = (Server::start(), Yard::new());
    let files = yard.version(server.bucket(), 1);
    put(&files, "a/one.txt", b"one").await;
    put(&files, "b.bin", &bytes(20 << 20)).await;
    files.put(&path("run.sh"), true, pieces(b"#!/bin/sh"), NO_LIMIT, None).await.unwrap();
    let (_, replaced) = files.put(&path("a/one.txt"), false, pieces(b"uno"), NO_LIMIT, None).await.unwrap();
    assert!(replaced);
    // Somebody with another tool, who also made a folder.
    server.bucket().put_small(&object(1, "a/two ü.txt"), Bytes::from_static(b"two")).await.unwrap();

    let page = files.list(&ListQuery { delimiter: true, limit: 10, ..ListQuery::default() }).await.unwrap();
    let keys: Vec<_> = page.items.iter().map(|item| String::from_utf8(item.key()).unwrap()).collect();
    assert_eq!((keys, page.next), (vec!["a/".to_owned(), "b.bin".to_owned(), "run.sh".to_owned()], None));
    let page = files.list(&ListQuery { prefix: b"a/".to_vec(), limit: 1, ..ListQuery::default() }).await.unwrap();
    let [S3Item::File { path: first, bytes: 3, content: Some(content) }] = page.items.as_slice() else {
        panic!("{page:?}");
    };
    assert_eq!((first, content.hash), (&path("a/one.txt"), hash(b"uno")));
    let query = ListQuery { prefix: b"a/".to_vec(), limit: 1, after: page.next, ..ListQuery::default() };
    let rest = files.list(&query).await.unwrap();
    assert!(matches!(rest.items.as_slice(), [S3Item::File { content: None, .. }]), "{rest:?}");
    assert_eq!(rest.next, None);

    let counted = AtomicU64::new(0);
    let totals = files.freeze(|now| counted.store(now.files, Ordering::Relaxed)).await.unwrap();
    assert_eq!((totals, counted.into_inner()), (Totals { files: 4, bytes: (20 << 20) + 15 }, 4));
    assert_eq!(files.freeze(|_| {}).await.unwrap(), totals);
    let entries: Vec<_> = files.local().manifest().unwrap().entries().map(Result::unwrap).collect();
    let found: Vec<_> = entries.iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(found, ["a/one.txt", "a/two ü.txt", "b.bin", "run.sh"]);
    for (entry, bytes) in entries.iter().zip([&b"uno"[..], b"two", &bytes(20 << 20), b"#!/bin/sh"]) {
        let EntryKind::File(content) = entry.kind else { panic!("{entry:?}") };
        assert_eq!((content.hash, content.executable), (hash(bytes), entry.path == path("run.sh")), "{}", entry.path);
    }
    assert_eq!(yard.unfinished(), Vec::<String>::new());
}

#[tokio::test]
async fn a_page_of_a_draft_costs_a_page_wherever_it_is() {
    let (server, yard) = (Server::start(), Yard::new());
    let files = yard.version(server.bucket(), 1);
    for number in 0..12 {
        put(&files, &format!("a/{number:02}"), b"x").await;
        put(&files, &format!("d{number:02}/x"), b"x").await;
    }
    for (prefix, delimiter, found) in [("", false, 24), ("", true, 13), ("a/", true, 12)] {
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let proxy = Proxy::before(server.port, []).await;
            let bucket = S3Bucket::open(&place(proxy.port), SECRET, REACH).unwrap();
            let begun = after.is_some();
            let query = ListQuery { prefix: prefix.as_bytes().to_vec(), delimiter, limit: 4, after };
            let page = yard.version(bucket, 1).list(&query).await.unwrap();
            let lists: Vec<String> = proxy.seen().into_iter().filter(|head| head.contains("list-type")).collect();
            assert_eq!(lists.len(), 1, "{lists:?}");
            assert!(lists[0].contains("max-keys=5"), "{lists:?}");
            assert_eq!((lists[0].contains("start-after="), lists[0].contains("delimiter=")), (begun, delimiter));
            seen.extend(page.items.iter().map(S3Item::key));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!(seen.is_sorted() && seen.len() == found, "{prefix} {delimiter}: {seen:?}");
    }
}

#[tokio::test]
async fn only_what_did_not_come_through_here_is_read_for_a_commit_and_only_once() {
    let (server, yard) = (Server::start(), Yard::new());
    let files = yard.version(server.bucket(), 1);
    put(&files, "known", b"known").await;
    server.bucket().put_small(&object(1, "unknown"), Bytes::from_static(b"unknown")).await.unwrap();
    let proxy = Proxy::before(server.port, []).await;
    let bucket = S3Bucket::open(&place(proxy.port), SECRET, REACH).unwrap();
    let read = || proxy.seen().iter().filter(|head| reads_an_object(head)).cloned().collect::<Vec<_>>();
    committed(&yard.version(bucket.clone(), 1)).await;
    assert!(read().len() == 1 && read()[0].contains("/unknown "), "{:?}", read());
    files.local().thaw().unwrap();
    committed(&yard.version(bucket, 1)).await;
    assert_eq!(read().len(), 1);
}

fn reads_an_object(head: &str) -> bool {
    head.starts_with("GET") && !head.contains("list-type")
}

#[tokio::test]
async fn what_no_disk_could_hold_is_not_committed() {
    let yard = Yard::new();
    // This server keeps objects as files, so what another would list is played.
    let object = |key: &str| {
        let facts = "<Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified><ETag>\"e\"</ETag>";
        format!("<Contents><Key>{}</Key>{facts}</Contents>", object(1, key))
    };
    let headers = "etag: \"e\"\r\nlast-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n";
    for (keys, words) in
        [(["a", "a/b"], "“a” is a file"), (["b", "a"], "out of order"), (["a", "b/../c"], "no path of a file")]
    {
        let list = format!("<ListBucketResult>{}</ListBucketResult>", keys.map(object).concat());
        let proxy =
            Proxy::before(1, [answer(200, "", &list), answer(200, headers, "x"), answer(200, headers, "x")]).await;
        let files = yard.version(S3Bucket::open(&place(proxy.port), SECRET, REACH).unwrap(), 1);
        let error = files.freeze(|_| {}).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(!files.local().is_frozen());
        assert_eq!(yard.unfinished(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_name_that_s3_cannot_have_is_refused_with_the_reason() {
    let (server, yard) = (Server::start(), Yard::new());
    let files = yard.version(server.bucket(), 1);
    let long = format!("{0}/{0}/{0}/{0}", "x".repeat(250));
    for bad in [&b"\xff"[..], b"a\nb", b"", long.as_bytes()] {
        let bad = UserPath::from_bytes(bad).unwrap();
        let error = files.put(&bad, false, pieces(b"x"), NO_LIMIT, None).await.unwrap_err();
        assert!(matches!(error, FilesError::NoKey { .. }), "{error}");
    }
}

#[tokio::test]
async fn files_and_directories_are_removed_and_the_version_with_all_it_has() {
    let (server, yard) = (Server::start(), Yard::new());
    let (files, other) = (yard.version(server.bucket(), 1), yard.version(server.bucket(), 2));
    for at in ["a/b", "a/c/d", "ab", "e"] {
        put(&files, at, b"12345").await;
        put(&other, at, b"12345").await;
    }
    assert_eq!(files.remove(&path("a")).await.unwrap(), Totals { files: 2, bytes: 10 });
    assert_eq!(files.remove(&path("e")).await.unwrap(), Totals { files: 1, bytes: 5 });
    assert!(matches!(files.remove(&path("e")).await, Err(FilesError::S3(S3Error::NotFound(_)))));
    assert_eq!(files.totals().await.unwrap(), Totals { files: 1, bytes: 5 });
    assert_eq!(files.remove_all().await.unwrap(), Totals { files: 1, bytes: 5 });
    assert_eq!(files.remove_all().await.unwrap(), Totals::default());
    assert!(!files.local().dir().root().exists());
    assert_eq!(other.totals().await.unwrap().files, 4);
}

#[tokio::test]
async fn a_child_has_its_parents_files_without_their_bytes_coming_here() {
    let (server, yard) = (Server::start(), Yard::new());
    let parent = yard.version(server.bucket(), 1);
    put(&parent, "a/one", &bytes(9 << 20)).await;
    parent.put(&path("a/run"), true, pieces(b"run"), NO_LIMIT, None).await.unwrap();
    committed(&parent).await;
    let proxy = Proxy::before(server.port, []).await;
    let child = yard.version(S3Bucket::open(&place(proxy.port), SECRET, REACH).unwrap(), 2);
    let totals = Totals { files: 2, bytes: (9 << 20) + 3 };
    assert_eq!(child.copy_from(&parent, |_| {}).await.unwrap(), totals);
    assert_eq!(child.copy_from(&parent, |_| {}).await.unwrap(), totals);
    assert_eq!(committed(&child).await, totals);
    assert!(
        !proxy.seen().iter().any(|head| head.starts_with("GET") && !head.contains("list-type")),
        "{:?}",
        proxy.seen()
    );
    let entries = |files: &S3Files| files.local().manifest().unwrap().entries().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(entries(&child), entries(&parent));
}

#[tokio::test]
async fn what_a_draft_has_need_not_be_sent_again() {
    let (server, yard) = (Server::start(), Yard::new());
    let files = yard.version(server.bucket(), 1);
    put(&files, "a", b"one").await;
    put(&files, "b", b"two").await;
    server.bucket().put_small(&object(1, "c"), Bytes::from_static(b"three")).await.unwrap();
    let offer = |at: &str, bytes: &[u8], executable| Offered { path: path(at), hash: hash(bytes), executable };
    let offered =
        [offer("a", b"one", true), offer("b", b"other", false), offer("c", b"three", false), offer("d", b"one", false)];
    assert_eq!(files.missing(&offered).await.unwrap(), [1, 2, 3]);
    let (_, content) = files.head(&path("a")).await.unwrap().unwrap();
    assert!(content.unwrap().executable);
}

#[tokio::test]
async fn a_committed_version_is_brought_to_the_disk_whole_and_compared() {
    let (server, yard) = (Server::start(), Yard::new());
    let files = yard.version(server.bucket(), 1);
    let large = bytes(20 << 20);
    put(&files, "large", &large).await;
    put(&files, "empty", b"").await;
    files.put(&path("d/run"), true, pieces(b"run"), NO_LIMIT, None).await.unwrap();
    for number in 0..60 {
        put(&files, &format!("d/{number}"), format!("file {}", number % 50).as_bytes()).await;
    }
    let totals = committed(&files).await;
    let seen = AtomicU64::new(0);
    let told = |now: Totals| {
        assert!(seen.swap(now.files, Ordering::Relaxed) <= now.files && now.bytes <= totals.bytes);
    };
    assert_eq!(files.materialise(told, &CancellationToken::new()).await.unwrap(), totals);
    assert_eq!(seen.load(Ordering::Relaxed), totals.files);
    let tree = files.local().tree();
    assert!(fs::read(tree.join("large")).unwrap() == large);
    assert_eq!(fs::read(tree.join("d/57")).unwrap(), b"file 7");
    let mode = |at: &str| std::os::unix::fs::MetadataExt::mode(&fs::metadata(tree.join(at)).unwrap()) & 0o7777;
    assert_eq!((mode("d/run"), mode("empty")), (0o555, 0o444));
    assert_eq!(yard.unfinished(), Vec::<String>::new());
    // Again, without asking anybody: the server is away.
    drop(server);
    assert_eq!(materialise(&files).await.unwrap(), totals);
}

#[tokio::test]
async fn an_object_that_was_changed_or_taken_away_is_named_and_nothing_is_mounted() {
    let (server, yard) = (Server::start(), Yard::new());
    for (large, number) in [(false, 1), (true, 2)] {
        let files = yard.version(server.bucket(), number);
        let sent = bytes(if large { 3 << 20 } else { 100 });
        put(&files, "a", b"good").await;
        put(&files, "b", &sent).await;
        committed(&files).await;
        let mut wrong = sent.clone();
        wrong[50] ^= 1;
        fs::write(server.object(&object(number, "b")), &wrong).unwrap();
        let error = materialise(&files).await.unwrap_err();
        assert!(
            matches!(&error, FilesError::Differs { key, expected, found }
            if *key == object(number, "b") && *expected == hash(&sent) && *found == hash(&wrong)),
            "{error}"
        );
        let read = files.get(&path("b"), None).await.unwrap().stream.try_collect::<Vec<_>>().await;
        assert!(matches!(read, Err(FilesError::Differs { .. })));
        fs::remove_file(server.object(&object(number, "b"))).unwrap();
        let error = materialise(&files).await.unwrap_err();
        assert!(matches!(&error, FilesError::Gone(key) if *key == object(number, "b")), "{error}");
        assert!(!files.local().tree().exists());
        fs::write(server.object(&object(number, "b")), &sent).unwrap();
        materialise(&files).await.unwrap();
        assert!(fs::read(files.local().tree().join("b")).unwrap() == sent);
    }
}

#[tokio::test]
async fn a_try_that_broke_off_is_gone_on_with_and_not_begun_anew() {
    let (server, yard) = (Server::start(), Yard::new());
    let files = yard.version(server.bucket(), 1);
    for number in 0..40 {
        put(&files, &format!("{number:02}"), format!("file {number}").as_bytes()).await;
    }
    committed(&files).await;
    let refused = (0..60).map(|number| if number < 20 { Fault::None } else { s3_answer(403, "AccessDenied") });
    let proxy = Proxy::before(server.port, refused).await;
    let broken = yard.version(S3Bucket::open(&place(proxy.port), SECRET, REACH).unwrap(), 1);
    let error = materialise(&broken).await.unwrap_err();
    assert!(matches!(error, FilesError::S3(S3Error::Forbidden { .. })), "{error}");
    assert!(!files.local().tree().exists());

    let counting = Proxy::before(server.port, []).await;
    let again = yard.version(S3Bucket::open(&place(counting.port), SECRET, REACH).unwrap(), 1);
    assert_eq!(materialise(&again).await.unwrap().files, 40);
    let asked = counting.seen().len();
    // 20 came; of those, 11 may have been on their way to the disk when the 21st was refused.
    assert!((20..=31).contains(&asked), "asked for {asked} of 40 files again");
    assert_eq!(fs::read(files.local().tree().join("39")).unwrap(), b"file 39");
}

#[tokio::test]
async fn it_can_be_called_off_and_leaves_no_tree() {
    let (server, yard) = (Server::start(), Yard::new());
    let files = yard.version(server.bucket(), 1);
    put(&files, "a", &bytes(5 << 20)).await;
    committed(&files).await;
    let proxy = Proxy::before(server.port, [Fault::Silence]).await;
    let slow = yard.version(S3Bucket::open(&place(proxy.port), SECRET, REACH).unwrap(), 1);
    let cancel = CancellationToken::new();
    let (result, ()) = tokio::join!(slow.materialise(|_| {}, &cancel), async {
        while proxy.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    assert!(matches!(result, Err(FilesError::Cancelled)));
    assert!(!files.local().tree().exists());
}

#[tokio::test]
async fn a_version_in_a_bucket_that_is_away_fails_in_words_and_goes_on_later() {
    let (server, yard) = (Server::start(), Yard::new());
    let files = yard.version(server.bucket(), 1);
    put(&files, "a", b"x").await;
    let away = yard.version(S3Bucket::open(&place(super::server::free_port()), SECRET, REACH).unwrap(), 1);
    let errors = [
        away.freeze(|_| {}).await.unwrap_err(),
        away.list(&ListQuery { limit: 1, ..ListQuery::default() }).await.unwrap_err(),
        away.put(&path("b"), false, pieces(b"x"), NO_LIMIT, None).await.unwrap_err(),
        away.remove_all().await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, FilesError::S3(S3Error::Unreachable { .. })), "{error}");
    }
    committed(&files).await;
    assert!(matches!(files.get(&path("b"), None).await.err(), Some(FilesError::Tree(TreeError::NotFound))));
}
