//! Files behind URLs: where they lead, and what a broken connection costs.

use futures_util::TryStreamExt;
use gradientd::storage::s3::{
    Reach,
    fetch::{FetchError, Fetched, Fetcher},
};

use super::{
    bucket::{NO_LIMIT, bytes, pieces},
    proxy::{Fault, Proxy, answer},
    server::{REACH, Server},
};

fn fetcher() -> Fetcher {
    Fetcher::new(REACH).unwrap()
}

async fn body(fetched: Fetched) -> Result<Vec<u8>, FetchError> {
    Ok(fetched.stream.try_collect::<Vec<_>>().await?.concat())
}

/// A file of 3 MiB, and the path and query of a URL for it.
async fn file(server: &Server) -> (Vec<u8>, String, String) {
    let sent = bytes(3 << 20);
    let bucket = server.bucket();
    bucket.put("d/train.csv", pieces(&sent), NO_LIMIT, None, None).await.unwrap();
    let url = bucket.signed(&http::Method::GET, "d/train.csv", std::time::Duration::from_secs(600)).await.unwrap();
    let own = format!("http://127.0.0.1:{}", server.port);
    (sent, url.strip_prefix(&own).unwrap().to_owned(), own)
}

/// Passes requests on as if they had been for the server itself, whose signature is over its address.
fn ahead(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

#[tokio::test]
async fn a_file_comes_with_its_name_and_size() {
    let server = Server::start();
    let (sent, path, own) = file(&server).await;
    let fetched = fetcher().fetch(&format!("{own}{path}")).await.unwrap();
    assert_eq!((fetched.name.as_str(), fetched.bytes), ("train.csv", Some(3 << 20)));
    assert!(body(fetched).await.unwrap() == sent);
}

#[tokio::test]
async fn redirects_are_followed_so_far_and_never_to_what_is_not_fetched() {
    let server = Server::start();
    let (sent, path, own) = file(&server).await;
    let to = |url: &str| answer(302, &format!("location: {url}\r\n"), "");
    let proxy = Proxy::before(server.port, [to("/elsewhere"), to(&format!("{own}{path}"))]).await;
    let fetched = fetcher().fetch(&format!("{}/x", ahead(proxy.port))).await.unwrap();
    assert_eq!(fetched.name, "train.csv");
    assert!(body(fetched).await.unwrap() == sent);

    proxy.then([to("file:///etc/passwd")]);
    let error = fetcher().fetch(&format!("{}/x", ahead(proxy.port))).await.err().unwrap();
    assert!(matches!(error, FetchError::BadUrl(_)), "{error}");
    proxy.then(vec![to("/again"); 11]);
    let error = fetcher().fetch(&format!("{}/x", ahead(proxy.port))).await.err().unwrap();
    assert!(matches!(error, FetchError::TooManyRedirects(_)), "{error}");
}

#[tokio::test]
async fn nothing_is_asked_of_this_box_unless_that_is_allowed() {
    let proxy = Proxy::before(1, []).await;
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let reach = Reach { local: false, ..REACH };
        let error = Fetcher::new(reach).unwrap().fetch(&format!("http://{host}:{}/x", proxy.port)).await.err().unwrap();
        assert!(error.to_string().contains("import_local"), "{host}: {error}");
    }
    assert_eq!(proxy.seen().len(), 0);
}

/// Serves a file of its own, with or without what a broken connection needs.
fn served(sent: &str, from: usize, status: u16, headers: &str) -> Fault {
    let range = format!("content-range: bytes {from}-{}/{}\r\n", sent.len() - 1, sent.len());
    answer(status, &format!("{headers}{}", if status == 206 { &range } else { "" }), &sent[from..])
}

/// The same, ended early: the length says more.
fn broken(sent: &str, headers: &str) -> Fault {
    let Fault::Answer(whole) = served(sent, 0, 200, headers) else { unreachable!() };
    Fault::Answer(whole[..whole.len() - 4].to_owned())
}

#[tokio::test]
async fn a_broken_connection_is_taken_up_where_it_broke() {
    let etag = "etag: \"one\"\r\n";
    let sent = "0123456789";
    for (rest, ranges) in [(served(sent, 6, 206, etag), "with ranges"), (served(sent, 0, 200, etag), "without ranges")]
    {
        let proxy = Proxy::before(1, [broken(sent, etag), answer(503, "", ""), rest]).await;
        let fetched = fetcher().fetch(&ahead(proxy.port)).await.unwrap();
        assert_eq!(body(fetched).await.unwrap(), sent.as_bytes(), "{ranges}");
        let asked = proxy.seen()[2].to_ascii_lowercase();
        assert!(asked.contains("range: bytes=6-") && asked.contains("if-range: \"one\""), "{asked}");
    }
}

#[tokio::test]
async fn the_rest_of_another_file_is_not_taken_for_the_rest_of_this_one() {
    let sent = "0123456789";
    let changed = "etag: \"two\"\r\n";
    for rest in
        [served(sent, 6, 206, changed), served(sent, 0, 200, changed), served(sent, 5, 206, "etag: \"one\"\r\n")]
    {
        let proxy = Proxy::before(1, [broken(sent, "etag: \"one\"\r\n"), rest]).await;
        let error = body(fetcher().fetch(&ahead(proxy.port)).await.unwrap()).await.unwrap_err();
        assert!(matches!(error, FetchError::Changed(_)), "{error}");
    }
    for weak in ["", "etag: W/\"one\"\r\n"] {
        let proxy = Proxy::before(1, [broken(sent, weak)]).await;
        let error = body(fetcher().fetch(&ahead(proxy.port)).await.unwrap()).await.unwrap_err();
        assert!(matches!(error, FetchError::Broken { .. }), "{error}");
        assert_eq!(proxy.seen().len(), 1);
    }
}

#[tokio::test]
async fn what_a_server_answers_is_said() {
    let proxy = Proxy::before(1, [answer(404, "", "")]).await;
    let error = fetcher().fetch(&ahead(proxy.port)).await.err().unwrap();
    assert_eq!(error.to_string(), "127.0.0.1 answered 404 Not Found");
    proxy.then(vec![answer(503, "", ""); REACH.again + 1]);
    let error = fetcher().fetch(&ahead(proxy.port)).await.err().unwrap();
    assert!(error.to_string().contains("503"), "{error}");
    assert_eq!(proxy.seen().len(), REACH.again + 2);
    let port = super::server::free_port();
    let error = fetcher().fetch(&ahead(port)).await.err().unwrap();
    assert!(error.to_string().contains("cannot be reached"), "{error}");
}
