//! A service that is wrong, away, slow or out of order: what is tried again, and what is said.

use bytes::Bytes;
use futures_util::TryStreamExt;
use gradientd::{
    domain::storage_provider::S3Place,
    storage::s3::{Reach, S3Bucket, S3Error},
};

use super::{
    bucket::{NO_LIMIT, bytes, pieces},
    proxy::{Fault, Proxy, s3_answer},
    server::{BUCKET, REACH, SECRET, Server, free_port, place},
};

async fn check(place: &S3Place, secret: &str) -> Result<(), S3Error> {
    S3Bucket::open(place, secret, REACH).unwrap().check("t000000", "nonce").await
}

#[tokio::test]
async fn a_good_place_passes_the_check_and_keeps_nothing_of_it() {
    let server = Server::start();
    check(&place(server.port), SECRET).await.unwrap();
    let left: Vec<_> = server.bucket().all("").try_collect().await.unwrap();
    assert_eq!(left, []);
}

#[tokio::test]
async fn each_wrong_setting_is_named() {
    let server = Server::start();
    let good = place(server.port);
    let cases = [
        (S3Place { bucket: "others".to_owned(), ..good.clone() }, SECRET, "bucket", "no bucket “others”"),
        (S3Place { access_key_id: "nobody".to_owned(), ..good.clone() }, SECRET, "secretAccessKey", "refuses the key"),
        (good, "swordfish", "secretAccessKey", "SignatureDoesNotMatch"),
        (place(free_port()), SECRET, "endpoint", "cannot be reached (Connection refused"),
        (
            S3Place { endpoint: Some("http://no.such.host.invalid".to_owned()), ..place(0) },
            SECRET,
            "endpoint",
            "cannot be reached",
        ),
    ];
    for (place, secret, setting, words) in cases {
        let error = check(&place, secret).await.unwrap_err();
        assert_eq!(error.setting(), setting, "{error}");
        let said = error.to_string();
        assert!(said.contains(words) && !said.contains(secret), "{said}");
    }
}

#[tokio::test]
async fn a_service_that_answers_badly_is_asked_again_and_then_said_to_be_out_of_order() {
    let server = Server::start();
    for (status, code) in [(500, "InternalError"), (503, "SlowDown"), (429, "TooManyRequests")] {
        let again = vec![s3_answer(status, code); REACH.again];
        let proxy = Proxy::before(server.port, again.clone()).await;
        let bucket = S3Bucket::open(&place(proxy.port), SECRET, REACH).unwrap();
        bucket.put_small("a", Bytes::from_static(b"x")).await.unwrap();
        proxy.then(again.into_iter().chain([s3_answer(status, code)]));
        let error = bucket.put_small("a", Bytes::from_static(b"x")).await.unwrap_err();
        let words = error.to_string();
        assert!(matches!(error, S3Error::Busy { status: found, .. } if found == status), "{words}");
        assert!(error.is_passing() && words.contains(&format!("words of {code}")), "{words}");
        assert_eq!(proxy.seen().len(), 2 * (REACH.again + 1));
    }
}

#[tokio::test]
async fn a_refusal_is_not_asked_again() {
    let server = Server::start();
    let cases = [
        (403, "AccessDenied", "secretAccessKey"),
        (404, "NoSuchBucket", "bucket"),
        (301, "PermanentRedirect", "region"),
        (400, "AuthorizationHeaderMalformed", "region"),
        (400, "EntityTooSmall", "endpoint"),
    ];
    for (status, code, setting) in cases {
        let proxy = Proxy::before(server.port, [s3_answer(status, code)]).await;
        let bucket = S3Bucket::open(&place(proxy.port), SECRET, REACH).unwrap();
        let error = bucket.page("", false, None, 10).await.unwrap_err();
        assert_eq!((error.setting(), error.is_passing()), (setting, false), "{error}");
        assert_eq!(proxy.seen().len(), 1, "{error}");
    }
}

#[tokio::test]
async fn a_service_that_says_nothing_is_given_up_in_time() {
    let server = Server::start();
    let proxy = Proxy::before(server.port, vec![Fault::Silence; 9]).await;
    let reach = Reach { silence: std::time::Duration::from_millis(200), ..REACH };
    let bucket = S3Bucket::open(&place(proxy.port), SECRET, reach).unwrap();
    let error = bucket.head("a").await.unwrap_err();
    assert!(matches!(error, S3Error::Slow { .. }), "{error}");
}

#[tokio::test]
async fn a_download_that_is_cut_goes_on_where_it_was_cut() {
    let server = Server::start();
    let sent = bytes(3 << 20);
    server.bucket().put("a", pieces(&sent), NO_LIMIT, None, None).await.unwrap();
    let proxy = Proxy::before(server.port, [Fault::Cut(1 << 20), Fault::Cut(1 << 20)]).await;
    let bucket = S3Bucket::open(&place(proxy.port), SECRET, REACH).unwrap();
    let got = bucket.get("a", None, None).await.unwrap();
    assert!(got.stream.try_collect::<Vec<_>>().await.unwrap().concat() == sent);
    assert_eq!(proxy.seen().len(), 3);
    assert!(proxy.seen()[1].to_ascii_lowercase().contains("range: bytes="));
}

#[tokio::test]
async fn a_part_of_an_upload_that_fails_is_sent_again() {
    let server = Server::start();
    // The first request begins the upload.
    let proxy = Proxy::before(server.port, [Fault::None, s3_answer(503, "SlowDown"), Fault::Cut(0)]).await;
    let bucket = S3Bucket::open(&place(proxy.port), SECRET, REACH).unwrap();
    let sent = bytes(20 << 20);
    bucket.put("a", pieces(&sent), NO_LIMIT, None, None).await.unwrap();
    assert!(std::fs::read(server.object("a")).unwrap() == sent);
}

#[tokio::test]
async fn an_upload_whose_server_goes_away_fails_in_words() {
    let server = Server::start();
    let proxy = Proxy::before(server.port, [Fault::None, Fault::None]).await;
    proxy.then(vec![s3_answer(500, "InternalError"); 30]);
    let bucket = S3Bucket::open(&place(proxy.port), SECRET, REACH).unwrap();
    let error = bucket.put("a", pieces(&bytes(30 << 20)), NO_LIMIT, None, None).await.unwrap_err();
    assert!(error.to_string().contains("answered 500"), "{error}");
    assert!(!server.object("a").exists(), "{BUCKET}");
}
