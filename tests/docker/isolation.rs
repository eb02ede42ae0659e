//! What a container may not do, and the limits that really hold, on a real engine.

use gradientd::executor::{ContainerPlan, Mount, PortMapping};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::rig::{BUSYBOX, DockerRig, Rig, docker, ended, launch, run, soon, text};

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_inside() {
    let Some(rig) = DockerRig::new().await else { return };
    let plan = rig.shell(
        "grep -E 'CapEff|NoNewPrivs' /proc/self/status; df -k /dev/shm | tail -1; cat /proc/self/oom_score_adj; \
         cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null",
    );
    let (end, log) = run(rig.engine(), &plan).await;
    let said = text(&log);
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE and SYS_CHROOT.
    assert!(said.contains("CapEff:\t00000000000404fb"), "{said}");
    assert!(said.contains("NoNewPrivs:\t1"), "{said}");
    assert!(said.contains(" 16384 "), "{said}");
    assert!(said.contains("\n500\n"), "{said}");
    assert!(said.contains("67108864"), "{said}");
    let host = docker(&["inspect", "--format", "{{json .HostConfig}}", &end.id]);
    let host: serde_json::Value = serde_json::from_str(&host).unwrap();
    assert_eq!((&host["CpuQuota"], &host["CpuPeriod"]), (&100_000.into(), &100_000.into()));
    assert_eq!((&host["MemorySwap"], &host["PidsLimit"]), (&(64 << 20).into(), &64.into()));
    assert_eq!(host["LogConfig"]["Type"], "local");
    assert_eq!((&host["Privileged"], &host["AutoRemove"]), (&false.into(), &false.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_bomb_is_contained() {
    let Some(rig) = DockerRig::new().await else { return };
    let plan =
        ContainerPlan { pids: 10, ..rig.shell("for i in $(seq 30); do sleep 5 & done 2>&1 | head -n 1; exit 4") };
    let (_, log) = run(rig.engine(), &plan).await;
    assert!(text(&log).contains("can't fork"), "{}", text(&log));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_mount_cannot_be_written_or_remounted() {
    let Some(rig) = DockerRig::new().await else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "given").unwrap();
    let mount = |target: &str, read_only| Mount {
        source: dir.path().into(),
        target: target.into(),
        read_only,
        ..Mount::default()
    };
    let plan = ContainerPlan {
        mounts: vec![mount("/in", true), mount("/out", false)],
        ..rig.shell(
            "cat /in/file; echo x > /in/file || echo refused; mount -o remount,rw,bind /in || echo kept; \
             echo made > /out/new",
        )
    };
    let (_, log) = run(rig.engine(), &plan).await;
    let said = text(&log);
    assert!(said.contains("given") && said.contains("refused") && said.contains("kept"), "{said}");
    assert_eq!(std::fs::read_to_string(dir.path().join("new")).unwrap(), "made\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_reaches_a_container_and_another_container_does_not() {
    let Some(rig) = DockerRig::new().await else { return };
    let plan = ContainerPlan {
        ports: vec![PortMapping { container: 8080, host: None }],
        ..rig.shell("echo up; while :; do echo hello | nc -l -p 8080; done")
    };
    let id = launch(rig.engine(), &plan).await;
    let seen = rig.engine().inspect(&id).await.unwrap().unwrap();
    let (ip, port) = (seen.ip.unwrap(), seen.ports[&8080]);

    let other = rig.shell(&format!("echo | timeout 3 nc {ip} 8080 || echo unreachable"));
    let (_, log) = run(rig.engine(), &other).await;
    let said = text(&log);
    assert!(said.contains("unreachable") && !said.contains("hello"), "{said}");

    for address in [format!("{ip}:8080"), format!("127.0.0.1:{port}")] {
        let said = soon("the container answers", async {
            loop {
                // Between two calls its server is not listening.
                let Ok(mut stream) = tokio::net::TcpStream::connect(&address).await else { continue };
                let mut said = String::new();
                let asked = stream.write_all(b"\n").await;
                if asked.is_ok() && stream.read_to_string(&mut said).await.is_ok() && !said.is_empty() {
                    return said;
                }
            }
        })
        .await;
        assert_eq!(said, "hello\n", "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_not_there_exits_as_a_shell_would_say() {
    let Some(rig) = DockerRig::new().await else { return };
    for (command, code) in [("/no/such/program", 127), ("/etc/passwd", 126)] {
        let plan = ContainerPlan { command: vec![command.into()], ..rig.shell("") };
        let (end, log) = run(rig.engine(), &plan).await;
        assert_eq!(end.exit_code, Some(code), "{}", text(&log));
        assert!(text(&log).contains(command), "{}", text(&log));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_s_labels_neither_claim_a_container_nor_lose_it() {
    let Some(rig) = DockerRig::new().await else { return };
    let image = format!("gradientd-test/{}", rig.settings.box_id);
    let change = ["LABEL gradientd.run=forged gradientd.sealed=[] gradientd.mac=00 gradientd.box=other"];
    let base = docker(&["create", BUSYBOX, "true"]);
    docker(&["commit", "--change", change[0], base.trim(), &image]);
    docker(&["rm", base.trim()]);
    let plan = ContainerPlan { image: image.clone(), ..rig.shell("exit 5") };
    let id = launch(rig.engine(), &plan).await;
    assert_eq!(ended(rig.engine(), &id).await.exit_code, Some(5));
    let listed = rig.engine().list().await.unwrap().remove(0);
    assert!(listed.labels.is_empty(), "{:?}", listed.labels);
    rig.engine().remove(&id).await.unwrap();
    docker(&["rmi", &image]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_made_again_when_somebody_removed_it() {
    let network = format!("gradientd-test-net-{}", std::process::id());
    let Some(rig) = DockerRig::with(|settings| settings.network.clone_from(&network)).await else { return };
    let first = rig.engine().create(&rig.shell("exit 0")).await.unwrap();
    docker(&["network", "rm", &network]);
    rig.engine().start(&first).await.unwrap();
    assert_eq!(ended(rig.engine(), &first).await.exit_code, Some(0));
    rig.engine().remove(&first).await.unwrap();
    docker(&["network", "rm", &network]);
    let (end, _) = run(rig.engine(), &rig.shell("exit 0")).await;
    rig.engine().remove(&end.id).await.unwrap();
    docker(&["network", "rm", &network]);
}
