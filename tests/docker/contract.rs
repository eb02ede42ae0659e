//! What every executor promises. Each test runs against the fake and against a real engine.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use gradientd::{
    domain::{terminal::TtySize, time::Timestamp},
    executor::{
        ContainerPlan, ContainerState, EngineError, ExecPlan, ExecSession, Executor, Mount, Propagation, Stream,
    },
};
use tokio::io::AsyncWriteExt;

use super::rig::{DEADLINE, DockerRig, FakeRig, Rig, Step, ended, launch, run, soon, text};

macro_rules! contract {
    ($($name:ident,)*) => {
        mod fake {
            use super::*;
            $(#[tokio::test] async fn $name() { super::$name(&FakeRig::new()).await; })*
        }
        mod docker {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")] async fn $name() {
                if let Some(rig) = DockerRig::new().await {
                    super::$name(&rig).await;
                }
            })*
        }
    };
}

contract! {
    creating_twice_makes_one_container,
    a_container_of_somebody_else_is_a_conflict_and_is_left_alone,
    exit_codes_are_exact,
    running_out_of_memory_is_seen,
    a_start_that_fails_leaves_the_container_created_with_the_reason,
    starting_again_is_harmless,
    a_stop_is_heeded_before_its_grace_is_over,
    a_stop_kills_after_its_grace,
    stopping_and_removing_what_has_ended_or_is_gone_is_harmless,
    a_container_removed_by_hand_is_gone,
    labels_come_back_as_they_were_given,
    an_image_that_is_not_here_is_not_found,
    a_plan_without_a_limit_is_refused,
    what_the_host_does_not_share_is_refused_in_words,
    logs_are_complete_and_in_order,
    logs_can_be_resumed_from_any_time,
    a_followed_log_ends_with_the_container,
    the_gateway_is_an_address_of_this_machine,
    events_tell_a_container_s_life,
    usage_is_sampled_until_the_end,
    a_terminal_echoes_has_its_size_and_ends_with_its_code,
    a_large_paste_into_a_terminal_arrives_whole,
    a_command_without_a_terminal_reads_to_the_end_of_its_input,
    a_command_runs_in_a_container_of_ours_that_runs_alone,
    a_terminal_ends_with_its_container,
    an_engine_that_was_away_is_spoken_to_again,
}

fn print(text: &str) -> Step {
    Step::Print(text.into())
}

async fn creating_twice_makes_one_container(rig: &dyn Rig) {
    let plan = rig.plan(&[Step::Wait]);
    let first = rig.engine().create(&plan).await.unwrap();
    let second = rig.engine().create(&plan).await.unwrap();
    assert_eq!(first, second);
    rig.engine().start(&first).await.unwrap();
    assert_eq!(rig.engine().create(&plan).await.unwrap(), first, "also while it runs");
    assert_eq!(rig.engine().list().await.unwrap().len(), 1);
}

async fn a_container_of_somebody_else_is_a_conflict_and_is_left_alone(rig: &dyn Rig) {
    let plan = rig.plan(&[Step::Wait]);
    rig.put_foreign(&plan.name);
    let engine = rig.engine();
    assert!(matches!(engine.create(&plan).await, Err(EngineError::Conflict(_))));
    assert_eq!(engine.list().await.unwrap(), []);
    assert_eq!(engine.inspect(&plan.name).await.unwrap(), None);
    assert!(matches!(engine.start(&plan.name).await, Err(EngineError::NotFound(_))));
    engine.stop(&plan.name, Duration::ZERO).await.unwrap();
    engine.remove(&plan.name).await.unwrap();
    assert!(rig.foreign_exists(&plan.name));
}

async fn the_gateway_is_an_address_of_this_machine(rig: &dyn Rig) {
    let engine = rig.engine();
    let gateway = engine.gateway().await.unwrap().unwrap();
    std::net::TcpListener::bind((gateway, 0)).unwrap();
    assert_eq!(engine.gateway().await.unwrap(), Some(gateway));
    rig.cut().await;
    assert!(matches!(engine.gateway().await, Err(EngineError::Unreachable(_))));
    rig.mend().await;
    assert_eq!(engine.gateway().await.unwrap(), Some(gateway));
}

async fn exit_codes_are_exact(rig: &dyn Rig) {
    for code in [0, 3, 255] {
        let (end, _) = run(rig.engine(), &rig.plan(&[Step::Exit(code)])).await;
        assert_eq!((end.exit_code, end.oom_killed, end.error), (Some(i64::from(code)), false, None));
        assert!(end.started_at.unwrap() <= end.finished_at.unwrap());
    }
}

async fn running_out_of_memory_is_seen(rig: &dyn Rig) {
    let (end, _) = run(rig.engine(), &rig.plan(&[Step::Oom])).await;
    assert!(end.oom_killed);
    assert_eq!(end.exit_code, Some(137));
    let begun = end.started_at.unwrap();
    // The present second may be left out.
    let told = soon("word of it", async {
        loop {
            let told = rig.engine().memory_kills(&end.id, begun).await.unwrap();
            if !told.is_empty() {
                return told;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(told.len(), 1);
    assert!(told[0] >= begun, "{told:?} after {begun}");
    let later = rig.engine().memory_kills(&end.name, Timestamp(told[0].0 + 1)).await.unwrap();
    assert_eq!(later, [], "nothing since");
}

async fn a_start_that_fails_leaves_the_container_created_with_the_reason(rig: &dyn Rig) {
    let id = rig.engine().create(&rig.unstartable()).await.unwrap();
    let Err(EngineError::Refused(why)) = rig.engine().start(&id).await else { panic!("it started") };
    let seen = rig.engine().inspect(&id).await.unwrap().unwrap();
    assert_eq!((seen.state, seen.exit_code, seen.started_at), (ContainerState::Created, None, None));
    assert!(why.contains(seen.error.as_deref().unwrap_or(&why)), "{why} is not {:?}", seen.error);
    rig.engine().remove(&id).await.unwrap();
    assert_eq!(rig.engine().inspect(&id).await.unwrap(), None);
}

async fn starting_again_is_harmless(rig: &dyn Rig) {
    let waiting = launch(rig.engine(), &rig.plan(&[Step::Wait])).await;
    let before = rig.engine().inspect(&waiting).await.unwrap().unwrap();
    rig.engine().start(&waiting).await.unwrap();
    assert_eq!(rig.engine().inspect(&waiting).await.unwrap().unwrap(), before);
    assert_eq!(before.state, ContainerState::Running);

    let (end, _) = run(rig.engine(), &rig.plan(&[print("once")])).await;
    rig.engine().start(&end.id).await.unwrap();
    assert_eq!(rig.engine().inspect(&end.id).await.unwrap().unwrap(), end, "what has run does not run again");
}

async fn a_stop_is_heeded_before_its_grace_is_over(rig: &dyn Rig) {
    let id = launch(rig.engine(), &rig.plan(&[Step::Wait])).await;
    let begun = Instant::now();
    rig.engine().stop(&id, DEADLINE).await.unwrap();
    assert!(begun.elapsed() < DEADLINE);
    let end = rig.engine().inspect(&id).await.unwrap().unwrap();
    assert_eq!((end.state, end.exit_code), (ContainerState::Exited, Some(143)));
}

async fn a_stop_kills_after_its_grace(rig: &dyn Rig) {
    let id = launch(rig.engine(), &rig.plan(&[print("ready"), Step::Stubborn])).await;
    let mut log = rig.engine().logs(&id, None).await.unwrap();
    soon("the container's first line", log.next()).await.unwrap().unwrap();
    let begun = Instant::now();
    rig.engine().stop(&id, Duration::from_secs(1)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "it was not given its grace");
    let end = rig.engine().inspect(&id).await.unwrap().unwrap();
    assert_eq!((end.state, end.exit_code, end.oom_killed), (ContainerState::Exited, Some(137), false));
}

async fn stopping_and_removing_what_has_ended_or_is_gone_is_harmless(rig: &dyn Rig) {
    let engine = rig.engine();
    let (end, _) = run(engine, &rig.plan(&[Step::Exit(3)])).await;
    engine.stop(&end.id, Duration::from_secs(1)).await.unwrap();
    assert_eq!(engine.inspect(&end.id).await.unwrap().unwrap(), end);
    for _ in 0..2 {
        engine.remove(&end.id).await.unwrap();
        engine.stop(&end.id, Duration::from_secs(1)).await.unwrap();
    }
    engine.remove("gradientd-test-nothing").await.unwrap();
    let running = launch(engine, &rig.plan(&[Step::Wait])).await;
    engine.remove(&running).await.unwrap();
    assert_eq!(engine.inspect(&running).await.unwrap(), None);
}

async fn a_container_removed_by_hand_is_gone(rig: &dyn Rig) {
    let id = launch(rig.engine(), &rig.plan(&[Step::Wait])).await;
    rig.remove_by_hand(&id);
    assert_eq!(rig.engine().inspect(&id).await.unwrap(), None);
    assert_eq!(rig.engine().list().await.unwrap(), []);
    assert!(matches!(rig.engine().logs(&id, None).await.err(), Some(EngineError::NotFound(_))));
    assert!(matches!(rig.engine().start(&id).await, Err(EngineError::NotFound(_))));
}

async fn labels_come_back_as_they_were_given(rig: &dyn Rig) {
    let mut plan = rig.plan(&[Step::Wait]);
    plan.labels = [("gradientd.run", "js1"), ("other", "ü \"quoted\", and\nlonger")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let id = rig.engine().create(&plan).await.unwrap();
    let listed = rig.engine().list().await.unwrap().remove(0);
    assert_eq!((listed.id, listed.name, listed.labels), (id, plan.name, plan.labels));
    assert_eq!(listed.state, ContainerState::Created);
}

async fn an_image_that_is_not_here_is_not_found(rig: &dyn Rig) {
    let missing = "gradientd-test/missing";
    assert_eq!(rig.engine().image(missing).await.unwrap(), None);
    let plan = ContainerPlan { image: missing.into(), ..rig.plan(&[Step::Wait]) };
    assert!(matches!(rig.engine().create(&plan).await, Err(EngineError::NotFound(_))));
    assert_eq!(rig.engine().list().await.unwrap(), []);
    let known = rig.plan(&[]).image;
    let image = rig.engine().image(&known).await.unwrap().unwrap();
    let all = rig.engine().images().await.unwrap();
    assert!(all.count >= 1 && all.bytes >= image.size_bytes, "{all:?}");
    assert_eq!(rig.engine().image(&image.id).await.unwrap().unwrap().id, image.id);
    let by_id = ContainerPlan { image: image.id, ..rig.plan(&[Step::Exit(0)]) };
    rig.engine().create(&by_id).await.unwrap();
}

async fn a_plan_without_a_limit_is_refused(rig: &dyn Rig) {
    let plan = ContainerPlan { memory_bytes: 0, ..rig.plan(&[Step::Wait]) };
    assert!(matches!(rig.engine().create(&plan).await, Err(EngineError::Refused(_))));
    assert_eq!(rig.engine().list().await.unwrap(), []);
}

async fn what_the_host_does_not_share_is_refused_in_words(rig: &dyn Rig) {
    let Some(dir) = rig.unshared() else { return };
    let engine = rig.engine();
    let plan = |propagation| {
        let mount = Mount { source: dir.clone(), target: "/in".into(), propagation, ..Mount::default() };
        ContainerPlan { mounts: vec![mount], ..rig.plan(&[Step::Wait]) }
    };
    for (propagation, words) in
        [(Propagation::FromHost, "not a shared or slave mount"), (Propagation::Both, "not a shared mount")]
    {
        let id = engine.create(&plan(propagation)).await.unwrap();
        let Err(EngineError::Refused(why)) = engine.start(&id).await else { panic!("{propagation:?} started") };
        assert!(why.contains(words), "{why}");
        engine.remove(&id).await.unwrap();
    }
    launch(engine, &plan(Propagation::Private)).await;
}

async fn logs_are_complete_and_in_order(rig: &dyn Rig) {
    let steps: Vec<Step> = (0..500).map(|n| print(&format!("line {n}"))).collect();
    let (_, log) = run(rig.engine(), &rig.plan(&steps)).await;
    let expected: String = (0..500).map(|n| format!("line {n}\n")).collect();
    assert_eq!(text(&log), expected);
    assert!(log.iter().all(|chunk| chunk.stream == Stream::Stdout));
    assert!(log.windows(2).all(|pair| pair[0].time <= pair[1].time));

    let (_, log) = run(rig.engine(), &rig.plan(&[Step::Error("to stderr".into())])).await;
    assert_eq!((log[0].stream, &log[0].bytes[..]), (Stream::Stderr, &b"to stderr\n"[..]));
}

async fn logs_can_be_resumed_from_any_time(rig: &dyn Rig) {
    let steps: Vec<Step> = (0..40).map(|n| print(&format!("line {n}"))).collect();
    let (end, whole) = run(rig.engine(), &rig.plan(&steps)).await;
    assert_eq!(whole.len(), 40);
    for from in [0, 1, 20, 39] {
        let since = whole[from].time;
        let first = whole.iter().position(|chunk| chunk.time >= since).unwrap();
        let resumed = rig.engine().logs(&end.id, Some(since)).await.unwrap().map(Result::unwrap);
        let resumed: Vec<_> = soon("resuming a log", resumed.collect()).await;
        assert_eq!(resumed, whole[first..], "from line {from}");
    }
}

async fn a_followed_log_ends_with_the_container(rig: &dyn Rig) {
    let id = launch(rig.engine(), &rig.plan(&[print("one"), Step::Wait])).await;
    let mut log = rig.engine().logs(&id, None).await.unwrap();
    let first = soon("the first line", log.next()).await.unwrap().unwrap();
    assert_eq!(&first.bytes[..], b"one\n");
    rig.engine().stop(&id, Duration::from_secs(5)).await.unwrap();
    assert!(soon("the log's end", log.next()).await.is_none());
}

async fn events_tell_a_container_s_life(rig: &dyn Rig) {
    let mut events = rig.engine().events().await.unwrap();
    let (end, _) = run(rig.engine(), &rig.plan(&[Step::Exit(7)])).await;
    rig.engine().remove(&end.id).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&("destroy".to_owned(), None)) {
        let event = soon("the next event", events.next()).await.unwrap().unwrap();
        assert_eq!((&event.container_id, &event.container_name), (&end.id, &end.name));
        seen.push((event.action, event.exit_code));
    }
    let named = |action: &str, code| (action.to_owned(), code);
    assert_eq!(seen, [named("create", None), named("start", None), named("die", Some(7)), named("destroy", None)]);
}

async fn usage_is_sampled_until_the_end(rig: &dyn Rig) {
    let plan = rig.plan(&[Step::Wait]);
    let id = launch(rig.engine(), &plan).await;
    let mut usage = rig.engine().usage(&id).await.unwrap();
    let sample = soon("a sample", usage.next()).await.unwrap().unwrap();
    assert_eq!(sample.memory_limit_bytes, plan.memory_bytes);
    assert!(sample.memory_bytes > 0 && sample.memory_bytes <= plan.memory_bytes);
    assert!((0.0..=200.0).contains(&sample.cpu_percent), "{sample:?}");
    rig.engine().stop(&id, Duration::from_secs(5)).await.unwrap();
    let rest = soon("the samples' end", usage.collect::<Vec<_>>()).await;
    assert!(rest.iter().all(Result::is_ok), "{rest:?}");
}

fn terminal(size: TtySize) -> ExecPlan {
    let env = [("TERM".to_owned(), "dumb".to_owned())].into();
    ExecPlan { command: vec!["/bin/sh".into()], env, tty: Some(size) }
}

/// Reads until what came ends with, or has, `mark`; returns all that came.
async fn reads(session: &mut ExecSession, mark: &str) -> String {
    let mut seen = Vec::new();
    let what = format!("{mark:?} in a terminal");
    soon(&what, async {
        while !String::from_utf8_lossy(&seen).contains(mark) {
            let Some(piece) = session.output.next().await else {
                panic!("it ended after {}", String::from_utf8_lossy(&seen))
            };
            seen.extend_from_slice(&piece.unwrap());
        }
    })
    .await;
    String::from_utf8_lossy(&seen).into_owned()
}

async fn types(session: &mut ExecSession, text: &str) {
    soon("typing", session.input.write_all(text.as_bytes())).await.unwrap();
}

/// Waits until it is known with what code a command ended.
async fn code_of(engine: &dyn Executor, session: &mut ExecSession) -> i64 {
    soon("a command's end", async {
        while let Some(Ok(_)) = session.output.next().await {}
        loop {
            if let Some(code) = engine.exec_end(&session.id).await.unwrap() {
                return code;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn a_terminal_echoes_has_its_size_and_ends_with_its_code(rig: &dyn Rig) {
    let engine = rig.engine();
    let id = launch(engine, &rig.plan(&[Step::Wait])).await;
    let mut session = engine.exec(&id, &terminal(TtySize::new(100, 30).unwrap())).await.unwrap();
    assert_eq!(engine.exec_end(&session.id).await.unwrap(), None, "it runs");
    types(&mut session, "echo one two\n").await;
    // Once as it is typed, once as it is printed.
    let seen = reads(&mut session, "\r\none two\r\n").await;
    assert!(seen.contains("echo one two"), "{seen}");
    types(&mut session, "stty size\n").await;
    reads(&mut session, "\r\n30 100\r\n").await;
    engine.resize_exec(&session.id, TtySize::new(61, 17).unwrap()).await.unwrap();
    types(&mut session, "stty size\n").await;
    reads(&mut session, "\r\n17 61\r\n").await;
    types(&mut session, "exit 7\n").await;
    assert_eq!(code_of(engine, &mut session).await, 7);
    engine.resize_exec(&session.id, TtySize::default()).await.expect("what has ended is left alone");
    assert_eq!(engine.inspect(&id).await.unwrap().unwrap().state, ContainerState::Running);
}

async fn a_large_paste_into_a_terminal_arrives_whole(rig: &dyn Rig) {
    let engine = rig.engine();
    let id = launch(engine, &rig.plan(&[Step::Wait])).await;
    let mut session = engine.exec(&id, &terminal(TtySize::default())).await.unwrap();
    // Lines short enough for a terminal that gathers them, many times as many as it gathers.
    for line in 0..400 {
        types(&mut session, &format!("echo {line} {}\n", "x".repeat(60))).await;
        // Echoed and printed: reading keeps it from waiting for us.
        reads(&mut session, &format!("\n{line} {}", "x".repeat(60))).await;
    }
    types(&mut session, "exit 0\n").await;
    assert_eq!(code_of(engine, &mut session).await, 0);
}

async fn a_command_without_a_terminal_reads_to_the_end_of_its_input(rig: &dyn Rig) {
    let engine = rig.engine();
    let id = launch(engine, &rig.plan(&[Step::Wait])).await;
    let plan = ExecPlan { command: vec!["cat".into()], ..ExecPlan::default() };
    let mut session = engine.exec(&id, &plan).await.unwrap();
    types(&mut session, "one\ntwo\n").await;
    reads(&mut session, "one\ntwo\n").await;
    session.input.shutdown().await.unwrap();
    assert_eq!(code_of(engine, &mut session).await, 0);
}

async fn a_command_runs_in_a_container_of_ours_that_runs_alone(rig: &dyn Rig) {
    let engine = rig.engine();
    let plan = terminal(TtySize::default());
    let (end, _) = run(engine, &rig.plan(&[Step::Exit(0)])).await;
    assert!(matches!(engine.exec(&end.id, &plan).await, Err(EngineError::Conflict(_))));
    engine.remove(&end.id).await.unwrap();
    assert!(matches!(engine.exec(&end.id, &plan).await, Err(EngineError::NotFound(_))));
    let foreign = rig.plan(&[Step::Wait]).name;
    rig.put_foreign(&foreign);
    assert!(matches!(engine.exec(&foreign, &plan).await, Err(EngineError::NotFound(_))));
}

async fn a_terminal_ends_with_its_container(rig: &dyn Rig) {
    let engine = rig.engine();
    let id = launch(engine, &rig.plan(&[Step::Wait])).await;
    let mut session = engine.exec(&id, &terminal(TtySize::default())).await.unwrap();
    engine.stop(&id, Duration::ZERO).await.unwrap();
    soon("the terminal's end", async { while session.output.next().await.is_some_and(|piece| piece.is_ok()) {} }).await;
}

async fn an_engine_that_was_away_is_spoken_to_again(rig: &dyn Rig) {
    let engine = rig.engine();
    let id = launch(engine, &rig.plan(&[print("before"), Step::Wait])).await;
    let mut events = engine.events().await.unwrap();
    let mut log = engine.logs(&id, None).await.unwrap();
    soon("the first line", log.next()).await.unwrap().unwrap();
    rig.cut().await;
    assert!(matches!(soon("the log breaks", log.next()).await, Some(Err(EngineError::Unreachable(_)))));
    let broken = soon("the events break", async {
        loop {
            if let Err(error) = events.next().await.expect("a broken stream says so") {
                return error;
            }
        }
    })
    .await;
    assert!(matches!(broken, EngineError::Unreachable(_)), "{broken:?}");
    assert!(matches!(engine.inspect(&id).await, Err(EngineError::Unreachable(_))));
    assert!(matches!(engine.list().await, Err(EngineError::Unreachable(_))));
    assert!(matches!(engine.create(&rig.plan(&[Step::Wait])).await, Err(EngineError::Unreachable(_))));
    assert!(matches!(engine.stop(&id, Duration::ZERO).await, Err(EngineError::Unreachable(_))));
    rig.mend().await;
    assert_eq!(engine.inspect(&id).await.unwrap().unwrap().state, ContainerState::Running);
    engine.stop(&id, Duration::from_secs(5)).await.unwrap();
    assert_eq!(ended(engine, &id).await.exit_code, Some(143));
}
