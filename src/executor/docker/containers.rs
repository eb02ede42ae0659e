//! Containers that exist: start, look, list, stop, remove.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use bollard::{
    models::{
        ContainerInspectResponse, ContainerStateStatusEnum as Status, ContainerSummaryStateEnum as Listed,
        EndpointSettings,
    },
    query_parameters::{
        InspectContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
        StopContainerOptionsBuilder,
    },
};

use super::{Docker, seal};
use crate::{
    domain::time::Timestamp,
    executor::{ContainerState, ContainerSummary, EngineError, Inspection},
    fault,
};

/// The exit code of what was killed.
const SIGKILL: i64 = 137;

impl Docker {
    pub(super) async fn start_container(&self, id: &str) -> Result<(), EngineError> {
        self.check_ours(id).await?;
        // Asked to start what has run, the engine runs it again. What runs now may have ended by then,
        // so only what never ran is started.
        if self.inspect_container(id).await?.is_some_and(|seen| seen.state != ContainerState::Created) {
            return Ok(());
        }
        fault::point("engine.start.before");
        let mut started = self.start_once(id).await;
        // The network can be removed while no container uses it, also between create and start.
        if let Err(error) = &started
            && self.mends_network(error, &self.settings.network).await?
        {
            started = self.start_once(id).await;
        }
        fault::point("engine.start.after");
        started
    }

    async fn start_once(&self, id: &str) -> Result<(), EngineError> {
        let launch = self.settings.timeouts.launch;
        let started = self.connection.call(launch, |api| api.start_container(id, None::<StartContainerOptions>)).await;
        match started {
            // A 400 and a 409 alike say what is wrong with the container; the name is not in question.
            Err(EngineError::Conflict(why)) => Err(EngineError::Refused(why)),
            other => other,
        }
    }

    pub(super) async fn inspect_container(&self, id: &str) -> Result<Option<Inspection>, EngineError> {
        let quick = self.settings.timeouts.quick;
        let found = self.connection.call(quick, |api| api.inspect_container(id, None::<InspectContainerOptions>)).await;
        let mut seen = match found {
            Ok(found) if self.is_ours(&found) => inspection(found),
            Ok(_) | Err(EngineError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        if let (Some(SIGKILL), false, Some(ended)) = (seen.exit_code, seen.oom_killed, seen.finished_at) {
            seen.oom_killed = self.told_of_oom(&seen.id, ended).await?;
        }
        Ok(Some(seen))
    }

    pub(super) async fn list_containers(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        let label = format!("{}={}", seal::BOX, self.settings.box_id);
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found =
            self.connection.call(self.settings.timeouts.quick, |api| api.list_containers(Some(options))).await?;
        Ok(found.into_iter().filter_map(|found| self.summary(found)).collect())
    }

    fn summary(&self, found: bollard::models::ContainerSummary) -> Option<ContainerSummary> {
        // A container that others link to has further names of the form `/other/alias`.
        let name = found.names?.into_iter().find_map(|name| {
            let name = name.strip_prefix('/')?;
            (!name.contains('/')).then(|| name.to_owned())
        })?;
        let labels = seal::open(&self.settings.mac_key, &self.settings.box_id, &name, &found.labels?)?;
        let state = match found.state? {
            Listed::EMPTY | Listed::CREATED => ContainerState::Created,
            Listed::RUNNING | Listed::PAUSED | Listed::RESTARTING | Listed::STOPPING => ContainerState::Running,
            Listed::EXITED | Listed::DEAD => ContainerState::Exited,
            Listed::REMOVING => ContainerState::Removing,
        };
        let networks = found.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
        let ip = address(&networks).filter(|_| state == ContainerState::Running);
        Some(ContainerSummary { id: found.id?, name, labels, state, ip })
    }

    pub(super) async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        match self.check_ours(id).await {
            Err(EngineError::NotFound(_)) => return Ok(()),
            other => other?,
        }
        // The engine counts whole seconds; a grace period is never cut short.
        let seconds = i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let limit = grace.saturating_add(self.settings.timeouts.teardown);
        fault::point("engine.stop.before");
        let stopped = self.connection.call(limit, |api| api.stop_container(id, Some(options))).await;
        fault::point("engine.stop.after");
        match stopped {
            Ok(()) | Err(EngineError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn remove_container(&self, id: &str) -> Result<(), EngineError> {
        match self.check_ours(id).await {
            Err(EngineError::NotFound(_)) => return Ok(()),
            other => other?,
        }
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let limit = self.settings.timeouts.teardown;
        fault::point("engine.remove.before");
        let removed = self.connection.call(limit, |api| api.remove_container(id, Some(options))).await;
        fault::point("engine.remove.after");
        match removed {
            Ok(()) | Err(EngineError::NotFound(_)) => Ok(()),
            // Another call is at it already, which is as good.
            Err(EngineError::Conflict(why)) if why.contains("already in progress") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Refuses what is not ours. A whole id was given out by us after a look at the seal, and the
    /// engine never gives it to another container; a name may be anybody's by now.
    pub(super) async fn check_ours(&self, id: &str) -> Result<(), EngineError> {
        if id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(());
        }
        match self.inspect_container(id).await? {
            Some(_) => Ok(()),
            None => Err(EngineError::NotFound(format!("no container of this box is called {id}"))),
        }
    }

    /// Tells whether this box made the container.
    pub(super) fn is_ours(&self, found: &ContainerInspectResponse) -> bool {
        let name = found.name.as_deref().unwrap_or_default().trim_start_matches('/');
        found
            .config
            .as_ref()
            .and_then(|config| config.labels.as_ref())
            .is_some_and(|labels| seal::open(&self.settings.mac_key, &self.settings.box_id, name, labels).is_some())
    }
}

fn inspection(found: ContainerInspectResponse) -> Inspection {
    let seen = found.state.unwrap_or_default();
    let state = match seen.status {
        None | Some(Status::EMPTY | Status::CREATED) => ContainerState::Created,
        Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING) => ContainerState::Running,
        // A dead container is one whose removal failed; it has ended all the same.
        Some(Status::EXITED | Status::DEAD) => ContainerState::Exited,
        Some(Status::REMOVING) => ContainerState::Removing,
    };
    let network = found.network_settings.unwrap_or_default();
    let started_at = seen.started_at.as_deref().and_then(moment);
    // A container that runs again still has the end of its last run.
    let finished_at = seen.finished_at.as_deref().and_then(moment).filter(|_| state == ContainerState::Exited);
    Inspection {
        id: found.id.unwrap_or_default(),
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        state,
        error: seen.error.filter(|error| !error.is_empty()),
        // A container that never ran has a code as well: 0, or 128 after a start that failed.
        exit_code: seen.exit_code.filter(|_| state == ContainerState::Exited),
        oom_killed: seen.oom_killed.unwrap_or_default(),
        // The engine notes a start when it has answered, by when a short run may be over.
        started_at: started_at.map(|started| finished_at.map_or(started, |finished| started.min(finished))),
        finished_at,
        image_id: found.image.unwrap_or_default(),
        ip: network.networks.as_ref().and_then(address),
        ports: network
            .ports
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(port, bound)| published(&port, bound))
            .collect(),
    }
}

/// Reads a time; the engine says “never” as the year 1.
fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|time: &Timestamp| time.0 > 0)
}

fn address(networks: &HashMap<String, EndpointSettings>) -> Option<IpAddr> {
    networks.values().find_map(|endpoint| endpoint.ip_address.as_ref()?.parse().ok())
}

/// Reads `8888/tcp` and what it is bound to.
fn published(port: &str, bound: Option<Vec<bollard::models::PortBinding>>) -> Option<(u16, u16)> {
    let container = port.strip_suffix("/tcp")?.parse().ok()?;
    let host = bound?.into_iter().find_map(|binding| binding.host_port?.parse().ok())?;
    Some((container, host))
}
