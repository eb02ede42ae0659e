//! The network that containers are on: a bridge of the box's own, where they do not reach each other.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::atomic::Ordering,
};

use bollard::{
    models::{Network, NetworkCreateRequest},
    query_parameters::ListNetworksOptionsBuilder,
};

use super::{Docker, seal};
use crate::{executor::EngineError, fault};

impl Docker {
    /// Makes the network unless it is known to be there.
    pub(super) async fn ensure_network(&self) -> Result<(), EngineError> {
        // The engine's own three are always there.
        if matches!(self.settings.network.as_str(), "bridge" | "host" | "none") {
            return Ok(());
        }
        if self.network_ready.load(Ordering::Relaxed) {
            return Ok(());
        }
        // An engine before API 1.44 makes as many networks of one name as it is asked for, so our
        // own calls ask one after another.
        let _one_at_a_time = self.network_making.lock().await;
        if self.network_ready.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.networks().await?.is_empty() {
            self.make_network().await?;
        }
        // Another process may have made one at the same time. Everybody keeps the oldest.
        for later in self.networks().await?.into_iter().skip(1) {
            let quick = self.settings.timeouts.quick;
            // One that is in use cannot be removed, and whoever uses it will leave.
            let _ = self.connection.call(quick, |api| api.remove_network(&later)).await;
        }
        self.network_ready.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Returns the network by its id, made if need be. A name is no good to a build: while another
    /// process makes one of the same name, the engine takes it for either and gives up midway.
    pub(super) async fn network_for_build(&self) -> Result<String, EngineError> {
        self.ensure_network().await?;
        Ok(self.networks().await?.into_iter().next().unwrap_or_else(|| self.settings.network.clone()))
    }

    /// Looks again whether the network is there when `error` says that something is wrong with it,
    /// which what failed called `called`; tells whether that is worth another try.
    pub(super) async fn mends_network(&self, error: &EngineError, called: &str) -> Result<bool, EngineError> {
        let (EngineError::NotFound(why) | EngineError::Refused(why)) = error else { return Ok(false) };
        if !why.contains(&format!("network {called}")) {
            return Ok(false);
        }
        self.network_ready.store(false, Ordering::Relaxed);
        self.ensure_network().await?;
        Ok(true)
    }

    /// Returns this machine's address on the network as it is now; `None` when there is no network, or
    /// none that leads here. Makes nothing.
    pub async fn gateway_now(&self) -> Result<Option<IpAddr>, EngineError> {
        match self.settings.network.as_str() {
            // Those containers are on this machine's own network.
            "host" => Ok(Some(IpAddr::V4(Ipv4Addr::LOCALHOST))),
            "none" => Ok(None),
            _ => Ok(self.named_networks().await?.first().and_then(gateway_of)),
        }
    }

    /// Returns the same, making the network if need be.
    pub(super) async fn make_gateway(&self) -> Result<Option<IpAddr>, EngineError> {
        self.ensure_network().await?;
        if let Some(address) = self.gateway_now().await? {
            return Ok(Some(address));
        }
        // Somebody may have removed it since it was last seen.
        self.network_ready.store(false, Ordering::Relaxed);
        self.ensure_network().await?;
        self.gateway_now().await
    }

    /// Returns the ids of the networks of our name, the oldest first.
    async fn networks(&self) -> Result<Vec<String>, EngineError> {
        Ok(self.named_networks().await?.into_iter().filter_map(|network| network.id).collect())
    }

    async fn named_networks(&self) -> Result<Vec<Network>, EngineError> {
        let filters = HashMap::from([("name", vec![self.settings.network.as_str()])]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let found = self.connection.call(self.settings.timeouts.quick, |api| api.list_networks(Some(options))).await?;
        let mut named: Vec<_> = found
            .into_iter()
            // The engine's filter is content with a part of the name.
            .filter(|network| network.name.as_deref() == Some(&self.settings.network))
            .collect();
        named.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        Ok(named)
    }

    async fn make_network(&self) -> Result<(), EngineError> {
        let request = NetworkCreateRequest {
            name: self.settings.network.clone(),
            driver: Some("bridge".into()),
            options: Some(HashMap::from([("com.docker.network.bridge.enable_icc".into(), "false".into())])),
            labels: Some(HashMap::from([(seal::BOX.into(), self.settings.box_id.clone())])),
            ..NetworkCreateRequest::default()
        };
        fault::point("engine.network.before");
        let made = self.connection.call(self.settings.timeouts.launch, |api| api.create_network(request)).await;
        fault::point("engine.network.after");
        match made {
            Ok(_) | Err(EngineError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Returns this machine's address on a network; that of version 4 where there are two.
fn gateway_of(network: &Network) -> Option<IpAddr> {
    let configs = network.ipam.as_ref()?.config.as_ref()?;
    // Some engines write it as they write the subnet, with its length.
    let written = configs.iter().filter_map(|config| config.gateway.as_deref()?.split('/').next());
    written.filter_map(|text| text.parse().ok()).min_by_key(IpAddr::is_ipv6)
}
