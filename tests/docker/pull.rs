//! Fetching images from a registry.

use std::sync::Mutex;

use gradientd::executor::{EngineError, RegistryCredentials};

use super::{
    registry::{PASSWORD, Registry, USER},
    rig::{DockerRig, Rig, docker},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_tells_how_far_it_is_and_fetches_one_tag() {
    let Some(rig) = DockerRig::new().await else { return };
    let Some(mut registry) = Registry::start(false).await else { return };
    registry.publish("tool", &["latest", "other"], "one");
    let name = format!("{}/tool", registry.address);

    let seen = Mutex::new(Vec::new());
    let image = rig.engine().pull(&name, None, &|progress| seen.lock().unwrap().push(progress)).await.unwrap();
    let last = seen.lock().unwrap().last().cloned().unwrap();
    assert_eq!((last.layers_done, last.layers_total), (1, 1));
    assert!(last.done_bytes >= 1 << 20 && last.done_bytes == last.total_bytes, "{last:?}");
    assert_eq!(rig.engine().image(&name).await.unwrap(), Some(image.clone()));
    assert_eq!(rig.engine().image(&format!("{name}:other")).await.unwrap(), None);

    let digest = image.digests[0].clone();
    docker(&["rmi", &name]);
    let again = rig.engine().pull(&digest, None, &|_| {}).await.unwrap();
    assert_eq!(again.digests, image.digests);
    docker(&["rmi", &digest]);

    let missing = rig.engine().pull(&format!("{name}:nothing"), None, &|_| {}).await;
    assert!(matches!(missing, Err(EngineError::NotFound(_))), "{missing:?}");
    let missing = rig.engine().pull(&format!("{}/nothing", registry.address), None, &|_| {}).await;
    assert!(matches!(missing, Err(EngineError::NotFound(_))), "{missing:?}");
    let bad = rig.engine().pull("Not An Image", None, &|_| {}).await;
    assert!(matches!(bad, Err(EngineError::Refused(_))), "{bad:?}");

    registry.stop();
    let down = rig.engine().pull(&name, None, &|_| {}).await;
    assert!(matches!(&down, Err(EngineError::Refused(why)) if why.contains("refused")), "{down:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_image_needs_the_right_password() {
    let Some(rig) = DockerRig::new().await else { return };
    let Some(registry) = Registry::start(true).await else { return };
    registry.publish("private", &["v1"], "two");
    let name = format!("{}/private:v1", registry.address);
    let as_user = |password: &str| RegistryCredentials { username: USER.into(), password: password.into() };

    for credentials in [None, Some(as_user("wrong"))] {
        let answer = rig.engine().pull(&name, credentials.as_ref(), &|_| {}).await;
        let Err(error) = answer else { panic!("pulled without the password") };
        assert!(matches!(error, EngineError::Unauthorized(_)), "{error:?}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    rig.engine().pull(&name, Some(&as_user(PASSWORD)), &|_| {}).await.unwrap();
    docker(&["rmi", &name]);
}
