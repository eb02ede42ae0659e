//! What stays open: websockets and streams, and when they end.

use super::*;

#[tokio::test]
async fn a_websocket_is_joined_and_ends_with_its_key() {
    let rig = Rig::new(|_| AGREED.to_vec()).await;
    let key = rig.api.ask("POST", "keys", Some(json!({ "name": "w", "scope": "write" }))).await.body;
    let mut stream = rig.websocket(key["key"].as_str().unwrap()).await;
    stream.write_all(b"ab").await.unwrap();
    assert_eq!(read_until(&mut stream, "abab").await, "abab");
    assert_eq!(rig.api.board.reach(&rig.run).unwrap().traffic.now().open_sockets, 1);
    let revoked = rig.api.ask("DELETE", &format!("keys/{}", key["id"].as_str().unwrap()), None).await;
    assert_eq!(revoked.status, 204);
    assert_eq!(read_all(&mut stream).await, "");
    // The thread that carried it counts it out when it has closed it.
    let counted_out = async {
        while rig.api.board.reach(&rig.run).unwrap().traffic.now().open_sockets > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, counted_out).await.unwrap();
}

#[tokio::test]
async fn who_leaves_the_team_is_cut_off() {
    let rig = Rig::new(|_| AGREED.to_vec()).await;
    let caller = rig.caller().await;
    let (_, key) = rig.api.services.create_user(&caller, "mara".to_owned(), Scope::Write).await.unwrap();
    let mut stream = rig.websocket(key.reveal()).await;
    assert_eq!(rig.api.services.remove_user(&caller, "mara".to_owned()).await.unwrap(), 1);
    assert_eq!(read_all(&mut stream).await, "");
    let again = rig.get_bare("/", &format!("Authorization: Bearer {}\r\n", key.reveal())).await;
    assert!(again.starts_with("HTTP/1.1 401"), "{again}");
}

#[tokio::test]
async fn a_stream_is_passed_on_as_it_comes_and_ends_with_its_key() {
    let (sender, mut chunks) = mpsc::channel::<&'static str>(1);
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = upstream.local_addr().unwrap().port();
    let rig = Rig::new(|_| ok("")).await;
    tokio::spawn(async move {
        let (mut stream, _) = upstream.accept().await.unwrap();
        let mut bytes = Vec::new();
        next_request(&mut stream, &mut bytes).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await.unwrap();
        while let Some(text) = chunks.recv().await {
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    });
    let key = rig.api.ask("POST", "keys", Some(json!({ "name": "w", "scope": "write" }))).await.body;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let (id, port) = (&rig.id, rig.address.port());
    let request = format!(
        "GET /events HTTP/1.1\r\nHost: {id}-{there}.localhost:{port}\r\nAuthorization: Bearer {}\r\n\r\n",
        key["key"].as_str().unwrap()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    for text in ["data: 1\n\n", "data: 2\n\n"] {
        sender.send(text).await.unwrap();
        read_until(&mut stream, text).await;
    }
    rig.api.ask("DELETE", &format!("keys/{}", key["id"].as_str().unwrap()), None).await;
    let rest = read_all(&mut stream).await;
    assert!(!rest.ends_with("0\r\n\r\n"), "cut off, not ended: {rest:?}");
}

#[tokio::test]
async fn what_streams_does_not_hold_up_the_end() {
    let rig = Rig::new(|_| b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n".to_vec()).await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n", rig.host(), rig.api.key);
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, "data: 1").await;
    rig.stop.cancel();
    tokio::time::timeout(PATIENCE / 2, rig.serving).await.expect("the end").unwrap();
}
