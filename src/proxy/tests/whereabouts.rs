//! That nobody is led to a container that was given the address of theirs.

use super::*;
use crate::proxy::upstream::{Failure, Upstreams};

/// Says on each answer by which connection it came.
async fn counting(listener: TcpListener) {
    for number in 1.. {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut bytes = Vec::new();
            while next_request(&mut stream, &mut bytes).await.is_some() {
                stream.write_all(&ok(&format!("by connection {number};"))).await.unwrap();
            }
        });
    }
}

#[tokio::test]
async fn a_connection_to_one_container_is_never_used_for_anothers() {
    let rig = Rig::new(|_| ok("")).await;
    let other: JobId = running_job(&rig.api, rig.port).await.parse().unwrap();
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = upstream.local_addr().unwrap().port();
    tokio::spawn(counting(upstream));
    // All on one connection, and so on one thread with one store of connections to containers.
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let mut ask = async |run: &JobId, mark: &str| {
        let host = format!("{run}-{port}.localhost:{}", rig.address.port());
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\r\n", rig.api.key);
        stream.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut stream, mark).await
    };
    ask(&rig.run, "by connection 1;").await;
    ask(&rig.run, "by connection 1;").await;
    rig.api.board.set_addresses(vec![located(&other)]);
    ask(&other, "by connection 2;").await;
    // And back, in a further container.
    rig.api.board.set_addresses(vec![located(&rig.run)]);
    ask(&rig.run, "by connection 3;").await;
}

#[tokio::test]
async fn where_a_container_was_is_forgotten_at_its_end() {
    let rig = Rig::new(|_| ok("a stranger")).await;
    assert!(rig.get("/", "").await.ends_with("a stranger"));
    rig.api.board.forget_address(&located(&rig.run).container);
    let answer = rig.get("/", "").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("the engine has not said yet where"), "{answer}");
    assert_eq!(rig.reached().len(), 1);
}

#[tokio::test]
async fn an_address_of_two_leads_to_the_one_that_came_last() {
    let rig = Rig::new(|_| ok("the second")).await;
    let other = running_job(&rig.api, rig.port).await;
    rig.api.board.set_addresses(vec![located(&rig.run), located(&other.parse().unwrap())]);
    assert!(rig.get("/", "").await.starts_with("HTTP/1.1 503"));
    assert_eq!(rig.reached(), Vec::<String>::new());
    let key = &rig.api.key;
    let host = rig.host().replace(&rig.id, &other);
    let asked = format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n");
    assert!(rig.say(&asked).await.ends_with("the second"));
}

#[tokio::test]
async fn a_connection_that_was_made_too_late_carries_nothing() {
    let rig = Rig::new(|_| ok("")).await;
    let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = stranger.local_addr().unwrap().port();
    let reach = rig.api.board.reach(&rig.run).unwrap();
    // Between the look at the board and the connection.
    rig.api.board.forget_address(&located(&rig.run).container);
    for upgrade in [false, true] {
        let upstreams = Arc::new(Upstreams::default());
        let request = http::Request::new(stream::Body::Empty);
        let answered = if upgrade {
            upstreams.upgrade(&reach, port, request).await
        } else {
            upstreams.send(&reach, port, request).await
        };
        assert!(matches!(answered, Err(Failure::Ended)));
        let (mut reached, _) = stranger.accept().await.unwrap();
        assert_eq!(read_all(&mut reached).await, "");
    }
}
