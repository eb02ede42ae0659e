//! Where runs push their metrics, and where the address of it comes from.

use super::*;
use crate::reconcile::{gateway, launch};

#[tokio::test]
async fn a_run_is_told_an_address_that_is_its_own_and_no_log_shows_it() {
    let rig = Rig::new().await;
    rig.engine.set_gateway(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)));
    rig.run();
    let job = rig.submit(&["wait"]).await;
    let workload = rig.until(&job, |workload| workload.started_at.is_some()).await;
    let name = launch::container_name("box", &workload);
    let env = rig.engine.plan_of(&name).unwrap().env;
    let secret = rig.works.services.push_secret(&workload.id, 1);
    assert_eq!(env["PAPERSPACE_METRIC_PUSHGATEWAY"], format!("http://10.1.2.3:7072/{}", secret.reveal()));
    assert_eq!(env["PAPERSPACE_METRIC_WORKLOAD_ID"], workload.id.to_string());
    let masked = launch::secrets_of(&rig.works, &workload).await.unwrap();
    assert!(masked.iter().any(|(_, value)| value == secret.reveal()));
    rig.engine.finish(&name, 0);
    rig.end_of(&job).await;
}

#[tokio::test]
async fn no_log_of_a_notebook_shows_what_opens_its_server() {
    let rig = Rig::new().await;
    let job = rig.submit(&["wait"]).await.job.workload;
    let kind = crate::domain::workload::Kind::Notebook("n012345678".parse().unwrap());
    let session = crate::domain::workload::Workload { kind, ..job };
    let masked = launch::secrets_of(&rig.works, &session).await.unwrap();
    let token = rig.works.services.jupyter_token(&session.id);
    assert!(masked.iter().any(|(_, value)| *value == token));
}

#[tokio::test]
async fn the_address_is_told_again_when_the_network_has_moved_and_kept_while_the_engine_is_away() {
    let rig = Rig::new().await;
    tokio::time::pause();
    let mut told = gateway::start(&rig.works);
    let first = IpAddr::V4(Ipv4Addr::LOCALHOST);
    told.wait_for(|address| *address == Some(first)).await.unwrap();
    rig.engine.set_reachable(false);
    while rig.works.board.loops()["gateway"].error.is_none() {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(*told.borrow(), Some(first));
    let moved = IpAddr::V4(Ipv4Addr::new(10, 9, 8, 7));
    rig.engine.set_gateway(moved);
    rig.engine.set_reachable(true);
    told.wait_for(|address| *address == Some(moved)).await.unwrap();
}
