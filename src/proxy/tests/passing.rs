//! Requests and answers on their way: heads, bodies, prefixes, and what may not be smuggled.

use super::*;

#[tokio::test]
async fn a_request_goes_to_the_container_and_its_answer_back() {
    let rig = Rig::new(|_| ok("hello")).await;
    let answer = rig.get("/a/b?c=%20d", "X-Mine: 1\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    let request = rig.reached().remove(0);
    assert!(request.starts_with("GET /a/b?c=%20d HTTP/1.1\r\n"), "{request}");
    let lower = request.to_lowercase();
    assert!(lower.contains("x-mine: 1") && lower.contains(&format!("host: {}", rig.host())), "{request}");
    assert!(!lower.contains("gdk_") && !lower.contains("authorization"), "{request}");
    assert!(lower.contains("x-forwarded-for: 127.0.0.1") && lower.contains("x-forwarded-proto: http"), "{request}");
    let traffic = rig.api.board.reach(&rig.run).unwrap().traffic.now();
    assert_eq!((traffic.requests, traffic.open_requests, traffic.bytes_out), (1, 0, 5));
    assert!(traffic.time_to_first_byte.is_some());
}

#[tokio::test]
async fn one_connection_to_a_container_serves_many_requests() {
    let rig = Rig::new(|request| ok(if request.starts_with("GET /1") { "one" } else { "two" })).await;
    let (host, key) = (rig.host(), &rig.api.key);
    let ask = |path: &str, end: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nConnection: {end}\r\n\r\n")
    };
    let answer = rig.say(&format!("{}{}", ask("/1", "keep-alive"), ask("/2", "close"))).await;
    assert!(answer.contains("\r\n\r\none") && answer.ends_with("\r\n\r\ntwo"), "{answer}");
}

#[tokio::test]
async fn an_answer_before_the_end_of_its_request_is_the_last_of_its_connection() {
    let rig = Rig::new(|_| ok("")).await;
    let hasty = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("{}-{}.localhost", rig.id, hasty.local_addr().unwrap().port());
    tokio::spawn(async move {
        for answer in ["one", "two"] {
            let (mut stream, _) = hasty.accept().await.unwrap();
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(&ok(answer)).await.unwrap();
            tokio::spawn(async move { read_all(&mut stream).await });
        }
    });
    let key = &rig.api.key;
    let head = |method: &str| format!("{method} / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n");
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let half = format!("{}Content-Length: 1000\r\n\r\nhalf", head("POST"));
    stream.write_all(half.as_bytes()).await.unwrap();
    read_until(&mut stream, "\r\n\r\none").await;
    let answer = rig.say(&format!("{}Connection: close\r\n\r\n", head("GET"))).await;
    assert!(answer.ends_with("\r\n\r\ntwo"), "{answer}");
}

#[tokio::test]
async fn by_path_the_prefix_is_taken_off_and_told() {
    let rig = Rig::new(|_| b"HTTP/1.1 302 Found\r\nLocation: /login\r\nSet-Cookie: a=1; Path=/; Domain=localhost\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let (id, key, port) = (&rig.id, &rig.api.key, rig.port);
    let by_path = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:7071\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n")
    };
    let answer = rig.say(&by_path(&format!("/w/{id}-{port}/a?b"))).await;
    assert_eq!(header_of(&answer, "location"), Some(format!("/w/{id}-{port}/login").as_str()), "{answer}");
    assert_eq!(header_of(&answer, "set-cookie"), Some(format!("a=1; Path=/w/{id}-{port}/").as_str()));
    assert!(header_of(&answer, "content-security-policy").unwrap().starts_with("sandbox"), "{answer}");
    let request = rig.reached().remove(0);
    assert!(request.starts_with("GET /a?b HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains(&format!("x-forwarded-prefix: /w/{id}-{port}\r\n")), "{request}");
    let answer = rig.say(&by_path(&format!("/w/{id}?x=y"))).await;
    assert_eq!(header_of(&answer, "location"), Some(format!("/w/{id}/?x=y").as_str()), "{answer}");
}

#[tokio::test]
async fn a_request_of_two_lengths_smuggles_nothing() {
    let rig = Rig::new(|_| ok("one")).await;
    let smuggled =
        format!("GET /smuggled HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n", rig.host(), rig.api.key);
    for lengths in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", 5 + smuggled.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", 5 + smuggled.len()),
    ] {
        let text = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{lengths}\r\n0\r\n\r\n{smuggled}",
            rig.host(),
            rig.api.key
        );
        let answer = rig.say(&text).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    for bad in [
        "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "Content-Length: 3, 4\r\n\r\nabcd",
        "Content-Length: +3\r\n\r\nabc",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ] {
        let text = format!("POST / HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{bad}", rig.host(), rig.api.key);
        let answer = rig.say(&text).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad}: {answer}");
    }
    let reached = rig.reached();
    assert!(reached.iter().all(|request| !request.contains("smuggled")), "{reached:?}");
    assert!(reached.iter().all(|request| !request.to_lowercase().contains("content-length")), "{reached:?}");
}

#[tokio::test]
async fn an_answer_that_is_cut_short_is_never_whole() {
    let rig = Rig::new(|request| {
        if request.starts_with("GET /length") {
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf".to_vec()
        } else {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nhalf\r\n".to_vec()
        }
    })
    .await;
    let answer = rig.get("/length", "").await;
    assert!(answer.contains("content-length: 100") && answer.ends_with("half"), "{answer}");
    let answer = rig.get("/chunks", "").await;
    assert!(answer.contains("half") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn whoever_is_not_there_is_said_to_be_not_there() {
    let rig = Rig::new(|_| Vec::new()).await;
    let answer = rig.get("/", "").await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("broken_off"), "{answer}");
    let free = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let (id, key, port) = (&rig.id, &rig.api.key, rig.address.port());
    let ask = |accept: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: {id}-{free}.localhost:{port}\r\nAuthorization: Bearer {key}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        )
    };
    let answer = rig.say(&ask("*/*")).await;
    assert!(
        answer.starts_with("HTTP/1.1 502") && answer.contains(&format!("nothing listens on port {free} of {id}")),
        "{answer}"
    );
    let answer = rig.say(&ask("text/html")).await;
    assert!(
        answer.contains("<h1>Bad Gateway</h1>") && answer.contains(&format!("http://127.0.0.1:7070/jobs/{id}")),
        "{answer}"
    );
    rig.api.board.set_addresses(Vec::new());
    assert!(rig.get("/", "").await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn http2_is_spoken_to_those_who_begin_with_it() {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let rig = Rig::new(|_| ok("two")).await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("http://{}/x", rig.host()))
        .header("authorization", format!("Bearer {}", rig.api.key))
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "two");
    let request = rig.reached().remove(0).to_lowercase();
    assert!(request.starts_with("get /x http/1.1\r\n") && request.contains("cookie: a=1; b=2\r\n"), "{request}");
    assert!(request.contains(&format!("host: {}\r\n", rig.host())), "{request}");
}
