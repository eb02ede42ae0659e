//! Images: looking them up and fetching them.

use std::collections::HashMap;

use bollard::{
    auth::DockerCredentials, models::CreateImageInfo, models::ImageInspect, query_parameters::CreateImageOptionsBuilder,
};
use futures_util::StreamExt;

use super::{Docker, failure, reference};
use crate::{
    domain::storage_care::ImagesUsage,
    executor::{EngineError, Image, Progress, RegistryCredentials},
    fault,
};

impl Docker {
    pub(super) async fn inspect_image(&self, reference: &str) -> Result<Option<Image>, EngineError> {
        let found = self.connection.call(self.settings.timeouts.quick, |api| api.inspect_image(reference)).await;
        match found {
            Ok(found) => Ok(Some(image(found))),
            Err(EngineError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn count_images(&self) -> Result<ImagesUsage, EngineError> {
        let images = self
            .connection
            .call(self.settings.timeouts.quick, |api| {
                api.list_images(None::<bollard::query_parameters::ListImagesOptions>)
            })
            .await?;
        let bytes = |image: &bollard::models::ImageSummary| u64::try_from(image.size).unwrap_or(0);
        Ok(ImagesUsage { count: images.len() as u64, bytes: images.iter().map(bytes).sum() })
    }

    pub(super) async fn pull_image(
        &self,
        reference: &str,
        credentials: Option<&RegistryCredentials>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Image, EngineError> {
        let (repository, tag) = reference::split(reference);
        let options = CreateImageOptionsBuilder::default().from_image(repository).tag(tag).build();
        let with = credentials.map(|credentials| DockerCredentials {
            username: Some(credentials.username.clone()),
            password: Some(credentials.password.clone()),
            serveraddress: reference::registry(repository).map(str::to_owned),
            ..DockerCredentials::default()
        });
        fault::point("engine.pull.before");
        let mut steps = Box::pin(self.connection.bollard().await?.create_image(Some(options), None, with));
        let mut layers = Layers::default();
        let idle = self.settings.timeouts.idle;
        loop {
            let step = match tokio::time::timeout(idle, steps.next()).await {
                Err(_) => return Err(failure::late(idle)),
                Ok(None) => break,
                Ok(Some(step)) => step.map_err(|error| classify(failure::read(error), credentials.is_some()))?,
            };
            if layers.take(step) {
                progress(layers.progress());
            }
        }
        fault::point("engine.pull.after");
        let separator = if tag.contains(':') { '@' } else { ':' };
        let name = format!("{repository}{separator}{tag}");
        self.inspect_image(&name).await?.ok_or_else(|| EngineError::NotFound(format!("image {name} is gone again")))
    }
}

/// Tells apart why a registry gave nothing. The engine answers 404 or 500 before the first line and
/// an error line after it, all with the registry's words, so only the words are left to go by.
fn classify(error: EngineError, with_credentials: bool) -> EngineError {
    const UNKNOWN: [&str; 4] =
        ["manifest unknown", "name unknown", "repository name not known", "not found: does not exist"];
    const DENIED: [&str; 6] = [
        "unauthorized",
        "no basic auth credentials",
        "authentication required",
        "incorrect username or password",
        "access to the resource is denied",
        "access forbidden",
    ];
    let (EngineError::NotFound(words)
    | EngineError::Unauthorized(words)
    | EngineError::Conflict(words)
    | EngineError::Refused(words)) = error
    else {
        return error;
    };
    let said = words.to_lowercase();
    let says = |any: &[&str]| any.iter().any(|words| said.contains(words));
    if says(&UNKNOWN) {
        EngineError::NotFound(words)
    } else if said.contains("repository does not exist or may require") && !with_credentials && !says(&DENIED[..4]) {
        // Some registries say the same for both. Without credentials a mistyped name is likelier.
        EngineError::NotFound(words)
    } else if says(&DENIED) {
        EngineError::Unauthorized(words)
    } else if said.contains("not found") || said.contains("does not exist") {
        EngineError::NotFound(words)
    } else {
        EngineError::Refused(words)
    }
}

/// The layers of an image on their way, by the engine's short id.
#[derive(Default)]
struct Layers(HashMap<String, Layer>);

#[derive(Default)]
struct Layer {
    done_bytes: u64,
    total_bytes: u64,
    /// Unpacked, or here already.
    finished: bool,
}

impl Layers {
    /// Takes one line of the engine's; returns whether it changed anything.
    fn take(&mut self, step: CreateImageInfo) -> bool {
        let (Some(id), Some(status)) = (step.id, step.status) else { return false };
        // The first line carries the tag where the others carry a layer.
        if status.starts_with("Pulling from") {
            return false;
        }
        let bytes = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
        let detail = step.progress_detail.unwrap_or_default();
        let layer = self.0.entry(id).or_default();
        match status.as_str() {
            "Downloading" => {
                layer.done_bytes = layer.done_bytes.max(bytes(detail.current));
                layer.total_bytes = layer.total_bytes.max(bytes(detail.total)).max(layer.done_bytes);
            }
            "Download complete" | "Verifying Checksum" | "Extracting" => {
                layer.total_bytes = layer.total_bytes.max(bytes(detail.total));
                layer.done_bytes = layer.total_bytes;
            }
            "Pull complete" | "Already exists" => {
                layer.done_bytes = layer.total_bytes;
                layer.finished = true;
            }
            _ => {}
        }
        true
    }

    fn progress(&self) -> Progress {
        let layers = self.0.values();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Progress {
            done_bytes: layers.clone().map(|layer| layer.done_bytes).sum(),
            total_bytes: layers.clone().map(|layer| layer.total_bytes).sum(),
            layers_done: count(layers.filter(|layer| layer.finished).count()),
            layers_total: count(self.0.len()),
        }
    }
}

pub(super) fn image(found: ImageInspect) -> Image {
    let config = found.config.unwrap_or_default();
    Image {
        id: found.id.unwrap_or_default(),
        digests: found.repo_digests.unwrap_or_default(),
        size_bytes: found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
        entrypoint: config.entrypoint.unwrap_or_default(),
        command: config.cmd.unwrap_or_default(),
        env: config.env.unwrap_or_default(),
        working_dir: config.working_dir.filter(|dir| !dir.is_empty()),
        user: config.user.filter(|user| !user.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    fn step(id: &str, status: &str, current: i64, total: i64) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.into()),
            status: Some(status.into()),
            progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn layers_add_up() {
        let mut layers = Layers::default();
        assert!(!layers.take(step("latest", "Pulling from a/b", 0, 0)));
        layers.take(step("one", "Already exists", 0, 0));
        layers.take(step("two", "Pulling fs layer", 0, 0));
        layers.take(step("two", "Downloading", 30, 100));
        layers.take(step("three", "Downloading", 5, 50));
        let progress = Progress { done_bytes: 35, total_bytes: 150, layers_done: 1, layers_total: 3 };
        assert_eq!(layers.progress(), progress);
        layers.take(step("two", "Download complete", 0, 0));
        layers.take(step("two", "Extracting", 10, 100));
        layers.take(step("two", "Pull complete", 0, 0));
        let progress = Progress { done_bytes: 105, total_bytes: 150, layers_done: 2, layers_total: 3 };
        assert_eq!(layers.progress(), progress);
    }

    #[test]
    fn a_registry_s_words_tell_what_is_wrong() {
        let refused = |words: &str| EngineError::Refused(words.into());
        let kind = |words: &str, with| match classify(refused(words), with) {
            EngineError::NotFound(_) => "not found",
            EngineError::Unauthorized(_) => "unauthorized",
            _ => "refused",
        };
        let hidden = "pull access denied for me/x, repository does not exist or may require 'docker login': denied: \
                      requested access to the resource is denied";
        assert_eq!(kind(hidden, false), "not found");
        assert_eq!(kind(hidden, true), "unauthorized");
        assert_eq!(kind("manifest for h/x:v9 not found: manifest unknown: manifest unknown", false), "not found");
        assert_eq!(kind("Get https://h/v2/x/manifests/latest: no basic auth credentials", false), "unauthorized");
        assert_eq!(kind("unauthorized: authentication required", true), "unauthorized");
        assert_eq!(kind("Get http://h/v2/: dial tcp 127.0.0.1:1: connect: connection refused", false), "refused");
    }
}
