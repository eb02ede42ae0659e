//! Where containers reach this machine, on a real engine.

use std::net::IpAddr;

use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::rig::{DockerRig, Rig, docker, run, text};

/// Listens on `gateway` and greets the first who comes.
async fn greet(gateway: IpAddr) -> u16 {
    let listener = TcpListener::bind((gateway, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"greetings\n").await.unwrap();
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_reaches_what_listens_there_also_on_a_network_that_was_made_anew() {
    let network = format!("gradientd-test-gateway-{}", std::process::id());
    let Some(rig) = DockerRig::with(|settings| settings.network = network.clone()).await else { return };
    assert_eq!(rig.docker().gateway_now().await.unwrap(), None, "a look makes nothing");
    for _ in 0..2 {
        let gateway = rig.engine().gateway().await.unwrap().unwrap();
        assert_eq!(rig.docker().gateway_now().await.unwrap(), Some(gateway));
        let port = greet(gateway).await;
        let (end, log) = run(rig.engine(), &rig.shell(&format!("nc {gateway} {port} </dev/null"))).await;
        assert_eq!(text(&log), "greetings\n");
        rig.engine().remove(&end.id).await.unwrap();
        docker(&["network", "rm", &network]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_s_own_networks_have_one_or_none() {
    for (network, loopback) in [("host", Some(true)), ("none", None), ("bridge", Some(false))] {
        let Some(rig) = DockerRig::with(|settings| settings.network = network.into()).await else { return };
        let gateway = rig.engine().gateway().await.unwrap();
        assert_eq!(gateway.map(|address| address.is_loopback()), loopback, "{network}");
    }
}
