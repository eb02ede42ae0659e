//! GPUs on a real engine, as far as it can without one.

use gradientd::executor::{ContainerPlan, GpuAccess};

use super::rig::{BUSYBOX, DockerRig, Rig, docker, refused, run, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_container_without_gpus_gets_none_whatever_its_image_says() {
    let Some(rig) = DockerRig::new().await else { return };
    let image = format!("gradientd-test/{}", rig.settings.box_id);
    let base = docker(&["create", BUSYBOX, "true"]);
    docker(&["commit", "--change", "ENV NVIDIA_VISIBLE_DEVICES=all", base.trim(), &image]);
    docker(&["rm", base.trim()]);
    let mut plan = ContainerPlan { image: image.clone(), ..rig.shell("env | grep NVIDIA") };
    plan.env.insert("NVIDIA_VISIBLE_DEVICES".into(), "all".into());
    let (end, log) = run(rig.engine(), &plan).await;
    assert_eq!(text(&log), "NVIDIA_VISIBLE_DEVICES=void\n");
    rig.engine().remove(&end.id).await.unwrap();
    docker(&["rmi", &image]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_request_shows_exactly_the_gpus_given() {
    let Some(rig) = DockerRig::with(|settings| settings.gpu_access = Some(GpuAccess::DeviceRequest)).await else {
        return;
    };
    let plan = ContainerPlan { gpus: vec!["GPU-a".into(), "GPU-c".into()], ..rig.shell("env | grep VISIBLE") };
    let id = rig.engine().create(&plan).await.unwrap();
    let asked = docker(&["inspect", "--format", "{{json .HostConfig.DeviceRequests}}", &id]);
    let asked: serde_json::Value = serde_json::from_str(&asked).unwrap();
    assert_eq!(asked[0]["DeviceIDs"], serde_json::json!(["GPU-a", "GPU-c"]));
    assert_eq!(asked[0]["Count"], 0);
    match rig.engine().start(&id).await {
        Ok(()) => {
            let (_, log) = run(rig.engine(), &plan).await;
            assert_eq!(text(&log), "NVIDIA_VISIBLE_DEVICES=GPU-a,GPU-c\n");
        }
        started => {
            let why = refused(started);
            assert!(why.contains("could not select device driver"), "{why}");
            eprintln!("SKIPPED: this engine has no nvidia-container-runtime-hook, so it was not seen to obey");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_the_engine_lacks_is_refused_by_name() {
    let Some(rig) = DockerRig::with(|settings| settings.gpu_access = Some(GpuAccess::Runtime)).await else { return };
    if docker(&["info", "--format", "{{json .Runtimes}}"]).contains("nvidia") {
        eprintln!("SKIPPED: this engine has NVIDIA's runtime");
        return;
    }
    let plan = ContainerPlan { gpus: vec!["GPU-a".into()], ..rig.shell("true") };
    assert!(refused(rig.engine().create(&plan).await).contains("nvidia"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_is_described() {
    let Some(rig) = DockerRig::new().await else { return };
    let info = rig.engine().info().await.unwrap();
    assert!(!info.version.is_empty() && info.api_version.starts_with("1."), "{info:?}");
    assert!(info.data_root.is_absolute() && !info.storage_driver.is_empty(), "{info:?}");
    assert!(["1", "2"].contains(&&*info.cgroup_version), "{info:?}");
}
