//! Logs as only a real engine makes them: long lines, and more than its buffer holds at once.

use futures_util::StreamExt;
use gradientd::executor::ContainerPlan;

use super::rig::{DockerRig, Rig, launch, run, soon, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_line_longer_than_the_engine_s_buffer_comes_in_pieces() {
    let Some(rig) = DockerRig::new().await else { return };
    // The second is cut exactly where it ends.
    let script =
        "head -c 40000 /dev/zero | tr '\\0' x; echo; head -c 32768 /dev/zero | tr '\\0' y; echo; printf 'no end'";
    let (_, log) = run(rig.engine(), &rig.shell(script)).await;
    let pieces: Vec<_> = log.iter().map(|chunk| (chunk.bytes.len(), chunk.bytes.ends_with(b"\n"))).collect();
    let expected = format!("{}\n{}\nno end", "x".repeat(40_000), "y".repeat(32_768));
    assert!(text(&log).trim_end() == expected, "{pieces:?}");
    assert!(pieces.iter().all(|(length, _)| *length <= (16 << 10) + 1), "{pieces:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_text_come_through() {
    let Some(rig) = DockerRig::new().await else { return };
    let (_, log) = run(rig.engine(), &rig.shell("printf '\\377\\000\\r10%%\\r20%%\\033[31mred\\n'")).await;
    let bytes: Vec<u8> = log.iter().flat_map(|chunk| chunk.bytes.iter().copied()).collect();
    assert_eq!(bytes, b"\xff\0\r10%\r20%\x1b[31mred\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_is_lost_when_the_engine_turns_its_files_over() {
    let Some(rig) = DockerRig::new().await else { return };
    // On the engine's disk these lines take some 11 MB, so its buffer of twice 8 MB is turned over
    // once, most likely while the follower is far behind.
    let plan = ContainerPlan { log_buffer_bytes: 16 << 20, ..rig.shell("seq 1000000 1300000") };
    let id = launch(rig.engine(), &plan).await;
    let mut log = rig.engine().logs(&id, None).await.unwrap();
    let mut next = 1_000_000;
    soon("reading the whole log", async {
        while let Some(chunk) = log.next().await {
            let chunk = chunk.unwrap();
            let line = std::str::from_utf8(&chunk.bytes).unwrap();
            assert_eq!(line, format!("{next}\n"));
            next += 1;
        }
    })
    .await;
    assert_eq!(next, 1_300_001);
}
