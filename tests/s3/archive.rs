//! A version on S3 as one archive.

use std::{
    io::Read,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use gradientd::{
    domain::time::Timestamp,
    storage::{
        bundle::BundleKind,
        dataset::TreeError,
        s3::{FilesError, S3Files},
    },
};
use tokio::runtime::Handle;

use super::{
    bucket::{NO_LIMIT, bytes, pieces},
    files::{Yard, committed, object, path, put},
    server::Server,
};

/// Writes an archive, and returns how it ended with what came.
async fn archive(files: &S3Files, prefix: &str, kind: BundleKind) -> (Result<u64, FilesError>, Vec<u8>) {
    let (files, prefix, runtime) = (files.clone(), path(prefix), Handle::current());
    let out = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&out);
    let ended = tokio::task::spawn_blocking(move || {
        let mut out = into.lock().unwrap();
        files.export(&prefix, kind, Timestamp(1_700_000_000_000_000), &runtime, &mut *out).map(|done| done.files)
    });
    let ended = ended.await.unwrap();
    (ended, Arc::into_inner(out).unwrap().into_inner().unwrap())
}

fn unpacked(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut held = Vec::new();
        entry.read_to_end(&mut held).unwrap();
        (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap(), held)
    };
    archive.entries().unwrap().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_holds_what_the_version_holds_committed_or_not_and_keeps_nothing_here() {
    let (server, yard) = (Server::start(), Yard::new());
    let files = yard.version(server.bucket(), 1);
    let large = bytes(9 << 20);
    put(&files, "a/large", &large).await;
    files.put(&path("run.sh"), true, pieces(b"#!"), NO_LIMIT, None).await.unwrap();
    put(&files, "a-b", b"").await;
    // Past this box: its hash is not known before the commit.
    server.bucket().put_small(&object(1, "a/direct"), Bytes::from_static(b"direct")).await.unwrap();
    let whole = |name: &str, mode, bytes: &[u8]| (name.to_owned(), mode, bytes.to_vec());
    for frozen in [false, true] {
        if frozen {
            committed(&files).await;
        }
        let (ended, out) = archive(&files, "", BundleKind::Tar).await;
        assert_eq!(ended.unwrap(), 4);
        let wanted = [
            whole("a-b", 0o644, b""),
            whole("a/direct", 0o644, b"direct"),
            whole("a/large", 0o644, &large),
            whole("run.sh", 0o755, b"#!"),
        ];
        assert!(unpacked(&out) == wanted, "frozen: {frozen}");
        let (_, part) = archive(&files, "a", BundleKind::Tar).await;
        assert!(unpacked(&part) == [whole("direct", 0o644, b"direct"), whole("large", 0o644, &large)]);
        let (_, one) = archive(&files, "a/direct", BundleKind::Tar).await;
        assert!(unpacked(&one) == [whole("direct", 0o644, b"direct")]);
        assert_eq!(archive(&files, "", BundleKind::Zip).await.0.unwrap(), 4);
        let (none, _) = archive(&files, "none", BundleKind::Tar).await;
        assert!(matches!(none, Err(FilesError::Tree(TreeError::NotFound))), "{none:?}");
    }
    assert!(!files.local().tree().exists());
    assert_eq!(yard.unfinished(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_changed_or_removed_in_the_bucket_breaks_it_off() {
    let (server, yard) = (Server::start(), Yard::new());
    let files = yard.version(server.bucket(), 1);
    put(&files, "a", b"first").await;
    put(&files, "b", b"as it was").await;
    put(&files, "c", b"last").await;
    committed(&files).await;
    let change = |bytes: &'static [u8]| {
        let bucket = server.bucket();
        async move { bucket.put_small(&object(1, "b"), Bytes::from_static(bytes)).await.unwrap() }
    };
    for other in [&b"as it is!"[..], b"short", b"far longer than it was"] {
        change(other).await;
        let (ended, out) = archive(&files, "", BundleKind::Tar).await;
        assert!(ended.is_err(), "{other:?}");
        assert!(!out.windows(4).any(|window| window == b"last"), "it ends in the middle");
    }
    server.bucket().delete(&object(1, "b")).await.unwrap();
    let (gone, _) = archive(&files, "", BundleKind::Tar).await;
    assert!(matches!(gone, Err(FilesError::Gone(_))), "{gone:?}");
    change(b"as it was").await;
    assert_eq!(archive(&files, "", BundleKind::Tar).await.0.unwrap(), 3);
}
