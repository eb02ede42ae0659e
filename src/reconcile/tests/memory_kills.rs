//! Processes that are killed for memory while their run goes on.

use super::*;
use crate::domain::workload::Workload;

#[tokio::test]
async fn a_process_that_is_killed_for_memory_is_counted_once_and_told_in_the_log_also_when_nobody_listened() {
    let rig = Rig::new().await;
    rig.run();
    let job = rig.submit(&["print", "hello", "wait"]).await;
    let running = rig.until(&job, |workload| workload.state == State::Running).await;
    let container = rig.engine.inspect(&launch::container_name("box", &running)).await.unwrap().unwrap().id;
    let times = |workload: &Workload| workload.memory_kills.map(|kills| kills.times);
    assert_eq!(times(&running), None);
    rig.engine.kill_a_process_for_memory(&container);
    rig.until(&job, |workload| times(workload) == Some(1)).await;

    // The stream of events breaks; when it is back, the engine tells of all again.
    rig.engine.set_reachable(false);
    rig.until(&job, |_| !rig.works.board.contact().is_good()).await;
    rig.engine.kill_a_process_for_memory(&container);
    rig.engine.set_reachable(true);
    rig.until(&job, |workload| times(workload) == Some(2)).await;

    rig.engine.finish(&container, 0);
    let over = rig.end_of(&job).await;
    assert_eq!((over.state, times(&over)), (State::Stopped, Some(2)), "the run went on, and what is known stays");
    let log =
        rig.works.services.log(&rig.caller, &over.id, service::logs::LogQuery { limit: 10, ..Default::default() });
    let rows = log.await.unwrap().rows;
    let told: Vec<_> = rows.iter().filter(|row| row.text.contains("A process was killed because the")).collect();
    assert_eq!(told.len(), 2, "{rows:?}");
    assert!(told[1].text.ends_with("(2 times by now)"), "{rows:?}");
}
