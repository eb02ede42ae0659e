//! Building images on a real engine.

use std::{collections::BTreeMap, fs, sync::Mutex};

use gradientd::executor::BuildPlan;

use super::rig::{BUSYBOX, DockerRig, Rig, docker, refused, run, text};

fn plan(rig: &DockerRig, context: &std::path::Path) -> BuildPlan {
    BuildPlan {
        tag: format!("gradientd-test/{}", rig.settings.box_id),
        context: context.into(),
        dockerfile: "docker/Dockerfile".into(),
        labels: BTreeMap::from([("gradientd.test".into(), "a label".into())]),
        cpu_millis: 1000,
        memory_bytes: 256 << 20,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_built_from_what_is_not_ignored() {
    let Some(rig) = DockerRig::new().await else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("docker")).unwrap();
    let dockerfile =
        format!("FROM {BUSYBOX}\nCOPY . /work\nRUN echo step; ls /work > /list\nCMD [\"cat\",\"/list\"]\n");
    fs::write(dir.path().join("docker/Dockerfile"), dockerfile).unwrap();
    fs::write(dir.path().join(".dockerignore"), "*.secret\n").unwrap();
    fs::write(dir.path().join("a.secret"), "x").unwrap();
    // Longer than all the pieces that are read ahead.
    fs::write(dir.path().join("big"), vec![7; 3 << 20]).unwrap();

    let lines = Mutex::new(Vec::new());
    let plan = plan(&rig, dir.path());
    let image = rig.engine().build(&plan, &|line| lines.lock().unwrap().push(line.to_owned())).await.unwrap();
    assert!(image.id.starts_with("sha256:"));
    assert_eq!(image.command, ["cat", "/list"]);
    assert!(lines.lock().unwrap().iter().any(|line| line == "step"), "{lines:?}");
    assert_eq!(
        docker(&["inspect", "--format", "{{index .Config.Labels \"gradientd.test\"}}", &image.id]).trim(),
        "a label"
    );

    let (end, log) = run(rig.engine(), &rig.image_s_own(&image.id)).await;
    assert_eq!(text(&log), "big\ndocker\n");
    rig.engine().remove(&end.id).await.unwrap();
    docker(&["rmi", &plan.tag]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fails_tells_what_it_printed_last() {
    let Some(rig) = DockerRig::new().await else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("docker")).unwrap();
    let dockerfile = format!("FROM {BUSYBOX}\nRUN echo the reason; exit 9\n");
    fs::write(dir.path().join("docker/Dockerfile"), dockerfile).unwrap();
    let why = refused(rig.engine().build(&plan(&rig, dir.path()), &|_| {}).await);
    assert!(why.contains("non-zero code: 9") && why.contains("the reason"), "{why}");

    fs::remove_file(dir.path().join("docker/Dockerfile")).unwrap();
    let why = refused(rig.engine().build(&plan(&rig, dir.path()), &|_| {}).await);
    assert!(why.contains("Dockerfile"), "{why}");
    let why = refused(rig.engine().build(&plan(&rig, &dir.path().join("missing")), &|_| {}).await);
    assert!(why.contains("cannot read"), "{why}");
}
