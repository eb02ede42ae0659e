//! A bucket: what is put comes back, in parts, in order, by URL.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use gradientd::{
    domain::content::{ContentHash, Totals},
    storage::{
        dataset::TreeError,
        s3::{FilesError, S3Bucket, S3Error},
    },
};

use super::server::Server;

pub const NO_LIMIT: u64 = 1 << 40;

/// Bytes that are the same each time and do not repeat soon.
pub fn bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

pub fn pieces(bytes: &[u8]) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + use<> {
    let pieces: Vec<_> = bytes.chunks(50_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

async fn read(bucket: &S3Bucket, key: &str) -> Vec<u8> {
    let got = bucket.get(key, None, None).await.unwrap();
    got.stream.try_collect::<Vec<_>>().await.unwrap().concat()
}

#[tokio::test]
async fn what_is_put_comes_back_whole_or_in_parts_with_its_hash() {
    let server = Server::start();
    let bucket = server.bucket();
    for (key, length) in
        [("t/empty", 0), ("t/small file ü#%?+.bin", 70_000), ("t/exactly", 8 << 20), ("t/large", 20 << 20)]
    {
        let sent = bytes(length);
        let stored = bucket.put(key, pieces(&sent), NO_LIMIT, None, None).await.unwrap();
        assert_eq!(stored.hash, ContentHash(*blake3::hash(&sent).as_bytes()), "{key}");
        assert_eq!(stored.bytes, length as u64);
        assert!(read(&bucket, key).await == sent, "{key} came back otherwise");
        let known = bucket.head(key).await.unwrap().unwrap();
        assert_eq!((known.bytes, &known.etag), (length as u64, &stored.etag), "{key}");
        assert_eq!(std::fs::metadata(server.object(key)).unwrap().len(), length as u64, "any tool can read it");
    }
    let got = bucket.get("t/large", Some(9_000_000..9_000_010), None).await.unwrap();
    assert_eq!((got.object.bytes, got.range.clone()), (20 << 20, 9_000_000..9_000_010));
    assert_eq!(got.stream.try_collect::<Vec<_>>().await.unwrap().concat(), bytes(20 << 20)[9_000_000..9_000_010]);
    assert!(bucket.head("t/none").await.unwrap().is_none());
    assert!(matches!(bucket.get("t/none", None, None).await, Err(S3Error::NotFound(key)) if key == "t/none"));
}

#[tokio::test]
async fn what_is_refused_or_ends_half_way_leaves_nothing() {
    let server = Server::start();
    let bucket = server.bucket();
    let other = ContentHash([7; 32]);
    for length in [1000, 20 << 20] {
        let wrong = bucket.put("a", pieces(&bytes(length)), NO_LIMIT, Some(other), None).await;
        assert!(matches!(wrong, Err(FilesError::Tree(TreeError::HashMismatch { expected, .. })) if expected == other));
        let large = bucket.put("a", pieces(&bytes(length)), length as u64 - 1, None, None).await;
        assert!(matches!(large, Err(FilesError::Tree(TreeError::TooLarge { .. }))));
        let broken = pieces(&bytes(length)).chain(stream::iter([Err(std::io::ErrorKind::ConnectionReset.into())]));
        assert!(matches!(bucket.put("a", broken, NO_LIMIT, None, None).await, Err(FilesError::Source(_))));
        assert!(bucket.head("a").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_listing_goes_on_after_any_key_in_the_order_of_bytes() {
    let server = Server::start();
    let bucket = server.bucket();
    let keys = ["p/a", "p/a-b", "p/a.d/x", "p/a.d/y", "p/b/c/d", "p/b/e", "p/z", "p/ü"];
    for key in keys.iter().rev().chain(&["other", "p.x"]) {
        bucket.put_small(key, Bytes::from_static(b"x")).await.unwrap();
    }
    for limit in [1, 3, 100] {
        let (mut found, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = bucket.page("p/", false, after.as_deref(), limit).await.unwrap();
            found.extend(page.objects.into_iter().map(|object| object.key));
            if !page.more {
                break;
            }
            after = found.last().cloned();
        }
        assert_eq!(found, keys, "{limit} at a time");
    }
    let all: Vec<_> = bucket.all("p/").map_ok(|object| object.key).try_collect().await.unwrap();
    assert_eq!(all, keys);

    let page = bucket.page("p/", true, None, 100).await.unwrap();
    assert_eq!(
        page.objects.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(),
        ["p/a", "p/a-b", "p/z", "p/ü"]
    );
    assert_eq!(page.directories, ["p/a.d/", "p/b/"]);
    let rest = bucket.page("p/", true, Some("p/a.d/"), 100).await.unwrap();
    assert_eq!(rest.directories, ["p/b/"]);
    assert_eq!(rest.objects.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["p/z", "p/ü"]);

    assert_eq!(
        bucket.delete_prefix("p/").await.unwrap(),
        Totals { files: keys.len() as u64, bytes: keys.len() as u64 }
    );
    assert_eq!(bucket.delete_prefix("p/").await.unwrap(), Totals::default());
    let left: Vec<_> = bucket.all("").map_ok(|object| object.key).try_collect().await.unwrap();
    assert_eq!(left, ["other", "p.x"]);
}

#[tokio::test]
async fn an_object_is_copied_and_removed_and_removed_again() {
    let server = Server::start();
    let bucket = server.bucket();
    bucket.put_small("a/ü b#", Bytes::from_static(b"one")).await.unwrap();
    bucket.copy("a/ü b#", "c/d%e").await.unwrap();
    bucket.delete("a/ü b#").await.unwrap();
    bucket.delete("a/ü b#").await.unwrap();
    assert_eq!(read(&bucket, "c/d%e").await, b"one");
    assert!(matches!(bucket.copy("a/ü b#", "x").await, Err(S3Error::NotFound(_))));
}

#[tokio::test]
async fn an_object_that_was_changed_is_not_taken_for_the_old_one() {
    let server = Server::start();
    let bucket = server.bucket();
    let old = bucket.put_small("a", Bytes::from_static(b"one")).await.unwrap();
    bucket.put_small("a", Bytes::from_static(b"two")).await.unwrap();
    assert!(matches!(bucket.get("a", None, old.as_deref()).await, Err(S3Error::Changed(key)) if key == "a"));
}

#[tokio::test]
async fn a_signed_url_is_good_for_its_method_its_key_and_its_time() {
    let server = Server::start();
    let bucket = server.bucket();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    let minute = std::time::Duration::from_secs(60);
    let put = bucket.signed(&http::Method::PUT, "t/ä b.txt", minute).await.unwrap();
    let get = bucket.signed(&http::Method::GET, "t/ä b.txt", minute).await.unwrap();
    let (status, text, wrong) = tokio::task::spawn_blocking(move || {
        let wrong = [
            agent.get(&put).call().unwrap().status(),
            agent.get(get.replace("b.txt", "c.txt")).call().unwrap().status(),
            agent.get(get.replace("X-Amz-Expires=60", "X-Amz-Expires=600")).call().unwrap().status(),
        ];
        let status = agent.put(&put).send(&b"hello"[..]).unwrap().status();
        (status, agent.get(&get).call().unwrap().body_mut().read_to_string().unwrap(), wrong)
    })
    .await
    .unwrap();
    assert_eq!((status.as_u16(), text.as_str()), (200, "hello"));
    assert!(wrong.iter().all(|status| status.as_u16() == 403), "{wrong:?}");
}
