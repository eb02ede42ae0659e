//! Uploads in parts that do not get to their end: the parts go, and what could not be told to the
//! service then is found by a note afterwards.

use std::{fs, io, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use gradientd::storage::{
    layout::VersionDir,
    s3::{
        FilesError, S3Bucket, S3Error,
        unfinished::{Sending, SentParts, sendings, sendings_beside},
    },
};

use super::{
    bucket::{NO_LIMIT, bytes, pieces},
    files::{Yard, object, path},
    proxy::{Fault, Proxy, answer, s3_answer},
    server::{REACH, SECRET, Server, place},
};

const SOON: Duration = Duration::from_secs(30);

fn dir(yard: &Yard, server: &Server) -> VersionDir {
    yard.version(server.bucket(), 1).local().dir().clone()
}

/// Counts the uploads whose notes nobody holds, and those of somebody at work.
fn noted(dir: &VersionDir) -> (usize, usize) {
    let found = sendings(dir).unwrap();
    (found.abandoned.len(), found.under_way.len())
}

#[tokio::test]
async fn an_upload_that_fails_or_that_nobody_waits_for_leaves_no_parts_and_no_note() {
    let (server, yard) = (Server::start(), Yard::new());
    let files = yard.version(server.bucket(), 1);
    let sent = bytes(20 << 20);
    let broken = pieces(&sent).chain(stream::iter([Err(io::Error::other("cut off"))]));
    let error = files.put(&path("a"), false, broken, NO_LIMIT, None).await.unwrap_err();
    assert!(matches!(error, FilesError::Source(_)), "{error}");
    assert_eq!((server.parts(), noted(files.local().dir())), (vec![], (0, 0)));

    // It waits for more that never comes, and then whoever waited goes away.
    let endless = pieces(&sent).chain(stream::pending::<io::Result<Bytes>>());
    let (waiting, place) = (files.clone(), path("b"));
    let putting = tokio::spawn(async move { waiting.put(&place, false, endless, NO_LIMIT, None).await });
    until(|| server.parts().len() > 1).await;
    assert_eq!(noted(files.local().dir()), (0, 1));
    putting.abort();
    until(|| server.parts().is_empty() && noted(files.local().dir()) == (0, 0)).await;
    assert_eq!(files.totals().await.unwrap().files, 0);

    files.put(&path("c"), false, pieces(&sent), NO_LIMIT, None).await.unwrap();
    assert_eq!((server.parts(), noted(files.local().dir())), (vec![], (0, 0)));
    assert!(fs::read(server.object(&object(1, "c"))).unwrap() == sent);
}

#[tokio::test]
async fn parts_that_a_service_would_not_forget_are_forgotten_later() {
    let (server, yard) = (Server::start(), Yard::new());
    let dir = dir(&yard, &server);
    // It begins, and then the key is good for nothing any more.
    let proxy = Proxy::before(server.port, [Fault::None]).await;
    proxy.then(vec![s3_answer(403, "AccessDenied"); 9]);
    let bucket = S3Bucket::open(&place(proxy.port), SECRET, REACH).unwrap();
    let key = object(1, "a");
    let error = bucket.put(&key, pieces(&bytes(20 << 20)), NO_LIMIT, None, Some(&dir)).await.unwrap_err();
    assert!(matches!(error, FilesError::S3(S3Error::Forbidden { .. })), "{error}");
    assert!(!server.parts().is_empty());
    let mut found = sendings(&dir).unwrap();
    let left = found.abandoned.pop().unwrap();
    assert!(left.parts().key == key && left.parts().upload.is_some());
    assert_eq!(server.bucket().forget_left(left.parts(), nobody).await.unwrap(), 1);
    left.is_over().unwrap();
    assert_eq!((server.parts(), noted(&dir)), (vec![], (0, 0)));
}

#[tokio::test]
async fn an_upload_whose_name_never_came_is_found_by_its_key_and_no_other_is_touched() {
    let (server, yard) = (Server::start(), Yard::new());
    let dir = dir(&yard, &server);
    let key = object(1, "a");
    drop(Sending::begin(&dir, &key).unwrap());
    let mut at_work = Sending::begin(&dir, &key).unwrap();
    let left = sendings(&dir).unwrap().abandoned.pop().unwrap();
    let own = [left.note().to_owned()];
    let under_way = async || Ok::<_, S3Error>(sendings_beside(&dir, &own).unwrap().under_way);
    let early = server.bucket().forget_left(left.parts(), under_way).await;
    assert!(matches!(early, Err(S3Error::Changed(_))), "another may be the one that was left: {early:?}");
    at_work.is_called("two").unwrap();

    // This server has no list of uploads, so what another would list is played.
    let upload = |key: &str, id: &str| format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>");
    let list = [
        upload(&key, "one"),
        upload(&key, "two"),
        upload(&object(2, "a"), "three"),
        upload(&format!("{key}b"), "four"),
    ];
    let list = format!("<ListMultipartUploadsResult>{}</ListMultipartUploadsResult>", list.concat());
    let proxy = Proxy::before(1, [answer(200, "", &list), answer(204, "", "")]).await;
    let bucket = S3Bucket::open(&place(proxy.port), SECRET, REACH).unwrap();
    assert_eq!(bucket.forget_left(left.parts(), under_way).await.unwrap(), 1);
    let seen = proxy.seen();
    assert!(seen[0].starts_with("GET") && seen[0].contains("uploads=") && seen[0].contains("v000001"), "{seen:?}");
    assert!(seen.len() == 2 && seen[1].starts_with("DELETE") && seen[1].contains("uploadId=one "), "{seen:?}");

    assert_eq!(server.bucket().forget_left(left.parts(), under_way).await.unwrap(), 0, "no list, no error");
    let nothing = SentParts { key, upload: Some("no such".to_owned()) };
    let gone = Proxy::before(1, [s3_answer(404, "NoSuchUpload")]).await;
    let bucket = S3Bucket::open(&place(gone.port), SECRET, REACH).unwrap();
    assert_eq!(bucket.forget_left(&nothing, nobody).await.unwrap(), 1, "what is gone is as good as forgotten");
}

#[tokio::test]
async fn an_upload_that_begins_while_the_service_is_asked_is_not_taken_for_one_that_was_left() {
    let yard = Yard::new();
    let dir = yard.version(S3Bucket::open(&place(1), SECRET, REACH).unwrap(), 1).local().dir().clone();
    let key = object(1, "a");
    for _ in 0..2 {
        drop(Sending::begin(&dir, &key).unwrap());
    }
    let found = sendings(&dir).unwrap();
    assert_eq!((found.abandoned.len(), found.under_way.len()), (2, 0));
    let own: Vec<_> = found.abandoned.iter().map(|left| left.note().to_owned()).collect();
    let list = format!("<R><Upload><Key>{key}</Key><UploadId>new</UploadId></Upload></R>");
    let proxy = Proxy::before(1, [answer(200, "", &list)]).await;
    let bucket = S3Bucket::open(&place(proxy.port), SECRET, REACH).unwrap();
    let under_way = async || {
        // The service has answered, so this is the last moment at which one that it named can begin.
        let mut begun = Sending::begin(&dir, &key).unwrap();
        begun.is_called("new").unwrap();
        let found = sendings_beside(&dir, &own).unwrap().under_way;
        begun.is_over().unwrap();
        Ok::<_, S3Error>(found)
    };
    assert_eq!(bucket.forget_left(found.abandoned[0].parts(), under_way).await.unwrap(), 0);
    assert_eq!(proxy.seen().len(), 1, "{:?}", proxy.seen());
}

async fn nobody() -> Result<Vec<SentParts>, S3Error> {
    Ok(Vec::new())
}

/// Awaits a state of the server.
async fn until(is_so: impl Fn() -> bool) {
    let waited = tokio::time::timeout(SOON, async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("it comes about");
}
