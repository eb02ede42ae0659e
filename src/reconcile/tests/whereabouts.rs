//! Where containers are, and how soon that is forgotten: an engine gives the address of one that has ended to
//! the next one that starts.

use super::*;
use crate::domain::{id::JobId, whereabouts::Located};

impl Rig {
    /// Submits a job that runs until it is told to end, and returns its run and its container's name.
    async fn waiting(&self) -> (JobId, String) {
        let job = self.submit(&["wait"]).await;
        let run = self.until(&job, |workload| workload.state == State::Running).await;
        (run.id.clone(), launch::container_name("box", &run))
    }

    async fn reached(&self, run: &JobId) -> IpAddr {
        let wait = async {
            loop {
                match self.works.board.reach(run) {
                    Some(reach) => return reach.address,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it is reached")
    }
}

#[tokio::test]
async fn where_a_container_was_is_forgotten_when_the_engine_tells_of_its_end() {
    let rig = Rig::new().await;
    // No loop looks: what is known of an end was heard.
    engine::start(&rig.works);
    // Told when it listens.
    rig.works.store.changes().workloads.notified().await;
    let plan = crate::executor::ContainerPlan {
        name: "c".to_owned(),
        image: "image:latest".to_owned(),
        command: vec!["wait".to_owned()],
        cpu_millis: 100,
        memory_bytes: 1 << 20,
        pids: 10,
        log_buffer_bytes: 1 << 20,
        ..Default::default()
    };
    let id = rig.works.executor.create(&plan).await.unwrap();
    rig.works.executor.start(&id).await.unwrap();
    let run: JobId = "js000000000001".parse().unwrap();
    let located = Located { run: run.clone(), container: "c".to_owned(), address: [172, 18, 0, 2].into() };
    rig.works.board.set_addresses(vec![located]);
    let way = rig.works.board.reach(&run).unwrap();
    rig.engine.finish(&id, 0);
    let forgotten = async {
        while rig.works.board.reach(&run).is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), forgotten).await.unwrap();
    assert!(way.stay.is_over());
}

#[tokio::test]
async fn a_list_that_is_late_brings_no_dead_containers_address_back() {
    let rig = Rig::new().await;
    rig.run();
    let (run, container) = rig.waiting().await;
    rig.reached(&run).await;
    // The engine has told of its end and lists it as running, again and again.
    engine::note_end(&rig.works, &container);
    for _ in 0..3 {
        let (later, _) = rig.waiting().await;
        rig.reached(&later).await;
        assert!(rig.works.board.reach(&run).is_none());
    }
}

#[tokio::test]
async fn of_two_at_one_address_the_newer_one_is_reached() {
    let rig = Rig::new().await;
    rig.engine.set_address([127, 0, 78, 1].into());
    rig.run();
    let (first, _) = rig.waiting().await;
    assert_eq!(rig.reached(&first).await, IpAddr::from([127, 0, 78, 1]));
    let (second, _) = rig.waiting().await;
    rig.reached(&second).await;
    assert!(rig.works.board.reach(&first).is_none());
}
