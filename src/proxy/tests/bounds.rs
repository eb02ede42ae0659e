//! How many connections there may be, in all and from one address.

use tokio::net::TcpSocket;

use super::*;

/// Connects from an address of this machine.
async fn connect(rig: &Rig, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(rig.address).await.unwrap()
}

/// Asks on a connection that stays open, and says whether it was answered.
async fn is_answered(rig: &Rig, stream: &mut TcpStream) -> bool {
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nX-API-Key: {}\r\n\r\n", rig.host(), rig.api.key);
    if stream.write_all(request.as_bytes()).await.is_err() {
        return false;
    }
    let mut first = [0; 4096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut first)).await.expect("an answer, or the end");
    matches!(read, Ok(1..))
}

#[tokio::test]
async fn one_address_cannot_take_the_connections_of_all() {
    let rig = Rig::bounded(4).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&rig, "127.0.0.2").await;
        assert!(is_answered(&rig, &mut stream).await);
        open.push(stream);
    }
    assert!(!is_answered(&rig, &mut connect(&rig, "127.0.0.2").await).await, "it has three quarters");
    assert!(is_answered(&rig, &mut connect(&rig, "127.0.0.3").await).await, "another one has not");
    open.pop();
    let again = async { while !is_answered(&rig, &mut connect(&rig, "127.0.0.2").await).await {} };
    tokio::time::timeout(PATIENCE, again).await.expect("a place that is free again is given again");
}

#[tokio::test]
async fn a_proxy_on_this_machine_may_have_all_connections() {
    let rig = Rig::bounded(4).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(&rig, "127.0.0.1").await;
        assert!(is_answered(&rig, &mut stream).await);
        open.push(stream);
    }
}
