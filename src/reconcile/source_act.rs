//! Does what [`source_step`](super::source_step) decides: starts, ends and clears away the containers that
//! serve places on S3. Every step is harmless twice. What goes wrong comes back in words for a person.

use std::time::Duration;

use futures_util::StreamExt;

use super::{
    Works,
    source_plan::{Keys, Owner, PLACE_LABEL, Places, Serve, SourceId, cleaning, fingerprint, serving},
    source_words,
};
use crate::{
    domain::{integration::S3Source, workload::Workload},
    executor::{ContainerState, ContainerSummary, EngineError, Inspection, Net},
    fault,
    service::{blocking, integrations::SOURCES_OFF},
    storage::s3::guard,
};

/// How long the container that takes a dead mount away may take.
const CLEANING: Duration = Duration::from_secs(30);
/// How much of a program's last words is read, in bytes.
const LAST_WORDS: usize = 64 << 10;

/// What the steps are done with.
pub(super) struct Server {
    works: Works,
}

impl Server {
    pub(super) fn new(works: &Works) -> Self {
        Self { works: works.clone() }
    }

    /// Makes and starts the container of a place. Its files are there some time after.
    pub(super) async fn serve(
        &self,
        id: &SourceId,
        workload: &Workload,
        owner: &Owner,
        source: &S3Source,
    ) -> Result<(), String> {
        let works = &self.works;
        if let Some(why) = obstacle(works) {
            return Err(why);
        }
        let net = self.net(source)?;
        let keys = self.keys(workload, source).await?;
        self.image().await?;
        let (data, own, one, place) = (works.data.clone(), owner.clone(), id.clone(), fingerprint(&id.name, source));
        let made = blocking(move || {
            let dir = data.source(&one.session, &one.name);
            data.create_session_sources(&one.session)?;
            dir.create()?;
            let notebook = data.notebook(&own.team, &own.notebook);
            notebook.create()?;
            std::io::Result::Ok(Places { source: dir.root().to_owned(), cache: notebook.create_unsent(&place)? })
        });
        let places = made.await.map_err(|error| format!("its directories could not be made: {error}"))?;
        let serve = Serve { owner, source, keys: &keys, net };
        let plan = serving(&works.settings.sources, &works.settings.box_id, id, &serve, &places);
        fault::point("source.create.before");
        let created = works.executor.create(&plan).await.map_err(|error| self.refusal(&error))?;
        fault::point("source.create.after");
        if let Err(error) = works.executor.start(&created).await {
            let words = self.refusal(&error);
            // The next try makes it anew, perhaps with other keys.
            let _ = works.executor.remove(&created).await;
            return Err(words);
        }
        fault::point("source.start.after");
        Ok(())
    }

    /// Returns why a container ended by itself, and removes it.
    pub(super) async fn note(&self, id: &SourceId, workload: &Workload, source: &S3Source) -> Result<String, String> {
        let works = &self.works;
        let name = id.container(&works.settings.box_id);
        let seen = works.executor.inspect(&name).await.map_err(|error| error.to_string())?;
        let Some(seen) = seen else { return Ok("its program is gone".to_owned()) };
        // What it said may have its keys in it. Without them nothing of that is told.
        let words = match self.keys(workload, source).await {
            Ok(keys) => self.last_words(&seen, &keys).await,
            Err(why) => why,
        };
        works.executor.remove(&name).await.map_err(|error| error.to_string())?;
        Ok(words)
    }

    async fn last_words(&self, seen: &Inspection, keys: &Keys) -> String {
        if seen.oom_killed {
            return "its program ran out of memory: give it more with s3_sources.memory".to_owned();
        }
        let mut said = Vec::new();
        if let Ok(mut log) = self.works.executor.logs(&seen.id, None).await {
            while let Some(Ok(chunk)) = log.next().await {
                said.extend_from_slice(&chunk.bytes);
                if said.len() > 2 * LAST_WORDS {
                    said.drain(..said.len() - LAST_WORDS);
                }
            }
        }
        source_words::of_program(&String::from_utf8_lossy(&said), keys)
    }

    /// Ends the container of a place once it has sent what was written, and removes it. What could not be
    /// sent in time is kept, and sent when the notebook has the place again.
    pub(super) async fn end(&self, id: &SourceId, container: Option<&ContainerSummary>) -> Result<(), String> {
        let Some(container) = container else { return Ok(()) };
        let works = &self.works;
        let flush = works.settings.sources.flush;
        fault::point("source.stop.before");
        works.executor.stop(&container.id, flush).await.map_err(|error| error.to_string())?;
        fault::point("source.stop.after");
        let seen = works.executor.inspect(&container.id).await.map_err(|error| error.to_string())?;
        let ran = seen.filter(|seen| seen.state == ContainerState::Exited && seen.started_at.is_some());
        if let Some(seen) = ran {
            self.settle(id, container, seen.exit_code == Some(0)).await;
        }
        works.executor.remove(&container.id).await.map_err(|error| error.to_string())
    }

    /// Removes what is kept of a place when all of it was sent, and says so when not.
    async fn settle(&self, id: &SourceId, container: &ContainerSummary, sent: bool) {
        let owner = Owner::of_labels(&container.labels);
        let Some((owner, place)) = owner.zip(container.labels.get(PLACE_LABEL).cloned()) else { return };
        let (session, source) = (&id.session, &id.name);
        if !sent {
            tracing::warn!(%session, source, notebook = %owner.notebook, "a source ended with files that may not be in its bucket yet; they are sent when the notebook has it again");
            return;
        }
        let data = self.works.data.clone();
        let removing = blocking(move || data.notebook(&owner.team, &owner.notebook).remove_unsent(&place));
        if let Err(error) = removing.await {
            tracing::warn!(%session, source, %error, "what was sent could not be removed here");
        }
    }

    /// Takes away what a killed program left mounted.
    pub(super) async fn clean(&self, id: &SourceId) -> Result<(), String> {
        let works = &self.works;
        self.image().await?;
        let source = works.data.source(&id.session, &id.name);
        let plan = cleaning(&works.settings.sources, &works.settings.box_id, id, source.root());
        let name = plan.name.clone();
        // One that a daemon before this made may have done its work already, or not.
        works.executor.remove(&name).await.map_err(|error| self.refusal(&error))?;
        let created = works.executor.create(&plan).await.map_err(|error| self.refusal(&error))?;
        let started = works.executor.start(&created).await;
        if started.is_ok()
            && let Ok(log) = works.executor.logs(&created, None).await
        {
            // The log ends with the container.
            let _ = tokio::time::timeout(CLEANING, log.for_each(|_| std::future::ready(()))).await;
        }
        works.executor.remove(&created).await.map_err(|error| self.refusal(&error))?;
        started.map_err(|error| self.refusal(&error))
    }

    /// Removes the directory of a place in which nothing is mounted.
    pub(super) async fn forget(&self, id: &SourceId) -> Result<(), String> {
        let source = self.works.data.source(&id.session, &id.name);
        blocking(move || source.remove()).await.map_err(|error| format!("its directory could not be removed: {error}"))
    }

    /// Returns the network from which the service is reached.
    fn net(&self, source: &S3Source) -> Result<Net, String> {
        let Some(endpoint) = source.endpoint() else { return Ok(Net::Bridge) };
        let host = host_of(endpoint);
        let refused = match host {
            "localhost" => Some("is this box itself"),
            _ => guard::refusal_of_literal(host),
        };
        match refused {
            None => Ok(Net::Bridge),
            // Only where the admin lets users ask this machine's own services.
            Some(_) if self.works.services.settings.storage.import_local => Ok(Net::Host),
            Some(why) => Err(format!(
                "{host} {why}, where nothing may be mounted from (storage.import_local): give the endpoint an address that containers reach"
            )),
        }
    }

    async fn keys(&self, workload: &Workload, source: &S3Source) -> Result<Keys, String> {
        let secret = self.reveal(workload, &source.secret_access_key).await?;
        Keys::new(&source.access_key_id, &secret).ok_or_else(|| {
            format!("the secret “{}” is no access key: letters, digits and signs alone", source.secret_access_key)
        })
    }

    async fn reveal(&self, workload: &Workload, name: &str) -> Result<String, String> {
        let (team, project) = (workload.team.clone(), workload.project.clone());
        let found = self.works.services.reveal_secret(team, project, name.to_owned()).await;
        match found.map_err(|error| format!("the secret “{name}” could not be opened: {error}"))? {
            Some(value) => Ok(String::from_utf8_lossy(value.reveal()).into_owned()),
            None => Err(format!("there is no secret “{name}”: set it")),
        }
    }

    /// Sees to the image of the program.
    async fn image(&self) -> Result<(), String> {
        let works = &self.works;
        let image = &works.settings.sources.image;
        if works.executor.image(image).await.map_err(|error| error.to_string())?.is_some() {
            return Ok(());
        }
        tracing::info!(image, "fetching the image that mounts places on S3");
        match works.executor.pull(image, None, &|_| ()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(format!(
                "the image {image}, which mounts places on S3, could not be fetched ({error}): load it, or name another with s3_sources.image"
            )),
        }
    }

    fn refusal(&self, error: &EngineError) -> String {
        match error {
            EngineError::Refused(words) => source_words::of_engine(words, self.works.data.root()),
            other => other.to_string(),
        }
    }
}

/// Says why nothing can be mounted for sessions on this box; `None` when nothing is known that speaks
/// against it.
pub(super) fn obstacle(works: &Works) -> Option<String> {
    if !works.settings.sources.enabled {
        return Some(SOURCES_OFF.to_owned());
    }
    works.settings.sources.fuse.obstacle(works.data.root()).or_else(|| (*works.board.unshared()).clone())
}

/// Returns the host of `http(s)://host[:port]`.
fn host_of(endpoint: &str) -> &str {
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_endpoint_is_found_in_every_spelling() {
        for (endpoint, host) in [
            ("http://10.0.0.5:9000", "10.0.0.5"),
            ("https://s3.example.com", "s3.example.com"),
            ("http://[::1]:9000", "[::1]"),
            ("http://[::1]", "[::1]"),
            ("http://localhost", "localhost"),
        ] {
            assert_eq!(host_of(endpoint), host);
        }
    }
}
