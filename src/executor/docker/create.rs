//! Making a container: the plan in the engine's terms, with everything on it that no plan may leave
//! out.

use std::collections::HashMap;

use bollard::{
    models::{
        ContainerCreateBody, DeviceMapping, HealthConfig, HostConfig, HostConfigLogConfig, Mount as BollardMount,
        MountBindOptions, MountBindOptionsPropagationEnum, MountType, PortBinding, ResourcesUlimits, RestartPolicy,
        RestartPolicyNameEnum,
    },
    query_parameters::CreateContainerOptionsBuilder,
};

use super::{Docker, DockerSettings, gpus, seal};
use crate::{
    executor::{ContainerPlan, EngineError, Mount, Net, Powers, Propagation},
    fault,
};

/// What root may still do inside. The engine's default is this and MKNOD, NET_RAW, AUDIT_WRITE,
/// SETPCAP and SETFCAP. Package managers, `su` and sshd need what is here; the others are for
/// making devices, forging packets on the shared bridge and granting capabilities, the last of
/// which `no-new-privileges` makes useless anyway.
const CAPABILITIES: [&str; 9] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID", "SYS_CHROOT"];

/// What root may do in a container that mounts: nothing but that. It covers every `mount` call, so such a
/// container runs programs of ours alone.
const MOUNTING: [&str; 1] = ["SYS_ADMIN"];
/// The device through which a program serves a file system.
const FUSE: &str = "/dev/fuse";

/// The kernel's period for CPU quotas, in microseconds.
const CPU_PERIOD: i64 = 100_000;

/// When the whole machine is out of memory, a run dies before the daemon and the engine do.
const OOM_SCORE: i64 = 500;

/// The smallest log file, in bytes: one that is turned over many times a second loses lines to
/// anybody.
const SMALLEST_LOG: u64 = 1 << 20;

impl Docker {
    pub(super) async fn create_container(&self, plan: &ContainerPlan) -> Result<String, EngineError> {
        check_limits(plan)?;
        let mut body = body(&self.settings, plan);
        if !plan.gpus.is_empty() {
            gpus::hand_out(self.gpu_access().await?, &plan.gpus, &mut body)?;
        }
        self.ensure_network().await?;
        fault::point("engine.create.before");
        let mut made = self.create_once(&plan.name, body.clone()).await;
        if let Err(error) = &made
            && self.mends_network(error, &self.settings.network).await?
        {
            made = self.create_once(&plan.name, body).await;
        }
        fault::point("engine.create.after");
        match made {
            Err(EngineError::Conflict(why)) => self.adopt(&plan.name, why).await,
            other => other,
        }
    }

    async fn create_once(&self, name: &str, body: ContainerCreateBody) -> Result<String, EngineError> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let launch = self.settings.timeouts.launch;
        let made = self.connection.call(launch, |api| api.create_container(Some(options), body)).await?;
        for warning in made.warnings {
            // A kernel that does not count swap is told of here, once for each container.
            tracing::debug!(container.name = name, "The engine warns: {warning}");
        }
        Ok(made.id)
    }

    /// Finds the container that has the name already.
    async fn adopt(&self, name: &str, why: String) -> Result<String, EngineError> {
        match self.inspect_container(name).await? {
            Some(ours) => Ok(ours.id),
            None => Err(EngineError::Conflict(why)),
        }
    }
}

/// Refuses a plan that leaves a limit out: to the engine a zero means unlimited.
fn check_limits(plan: &ContainerPlan) -> Result<(), EngineError> {
    for (what, amount) in [
        ("cpu", u64::from(plan.cpu_millis)),
        ("memory", plan.memory_bytes),
        ("pids", u64::from(plan.pids)),
        ("log buffer", plan.log_buffer_bytes),
    ] {
        if amount == 0 {
            return Err(EngineError::Refused(format!("container {} has no {what} limit", plan.name)));
        }
    }
    Ok(())
}

/// Puts the plan into the engine's terms.
fn body(settings: &DockerSettings, plan: &ContainerPlan) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(plan.image.clone()),
        hostname: plan.hostname.clone(),
        user: plan.user.clone(),
        working_dir: plan.working_dir.clone(),
        // An empty list takes the image's entry point away; none leaves it.
        entrypoint: plan.entrypoint.clone(),
        cmd: (!plan.command.is_empty()).then(|| plan.command.clone()),
        env: Some(gpus::environment(&plan.env)),
        labels: Some(seal::seal(&settings.mac_key, &settings.box_id, &plan.name, &plan.labels)),
        exposed_ports: Some(plan.ports.iter().map(|port| format!("{}/tcp", port.container)).collect()),
        // A run's health is not the image's to say, and each check is a process and two events.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() }),
        host_config: Some(host_config(settings, plan)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(settings: &DockerSettings, plan: &ContainerPlan) -> HostConfig {
    let memory = i64::try_from(plan.memory_bytes).unwrap_or(i64::MAX);
    HostConfig {
        // A quota rather than NanoCpus, which the engine refuses above the cores that it sees.
        cpu_period: Some(CPU_PERIOD),
        cpu_quota: Some((i64::from(plan.cpu_millis) * CPU_PERIOD / 1000).max(1000)),
        memory: Some(memory),
        // Memory and swap together, so none of it is swap.
        memory_swap: Some(memory),
        shm_size: (plan.shm_bytes > 0).then(|| i64::try_from(plan.shm_bytes).unwrap_or(i64::MAX)),
        pids_limit: Some(i64::from(plan.pids)),
        oom_score_adj: Some(OOM_SCORE),
        cgroup_parent: settings.cgroup_parent.clone(),
        ulimits: settings
            .unlimited_memlock
            .then(|| vec![ResourcesUlimits { name: Some("memlock".into()), soft: Some(-1), hard: Some(-1) }]),
        cap_drop: Some(vec!["ALL".into()]),
        cap_add: Some(capabilities(plan.powers)),
        security_opt: Some(security_options(plan.powers)),
        devices: (plan.powers == Powers::Fuse).then(|| vec![device(FUSE)]),
        // Process 1 ignores the signals that it does not handle. A shell or a trainer that does not
        // handle SIGTERM would sit out the whole grace period; the small init passes it on, and
        // reaps what data loaders leave behind. It costs nothing that could be measured.
        init: Some(true),
        network_mode: Some(match plan.net {
            Net::Bridge => settings.network.clone(),
            Net::Host => "host".into(),
        }),
        port_bindings: Some(port_bindings(settings, plan)),
        mounts: Some(plan.mounts.iter().map(bind).collect()),
        log_config: Some(log_config(plan.log_buffer_bytes)),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        auto_remove: Some(false),
        ..HostConfig::default()
    }
}

fn capabilities(powers: Powers) -> Vec<String> {
    match powers {
        Powers::Ordinary => CAPABILITIES.map(String::from).into(),
        Powers::Fuse => MOUNTING.map(String::from).into(),
    }
}

fn security_options(powers: Powers) -> Vec<String> {
    let mut options = vec!["no-new-privileges".to_owned()];
    if powers == Powers::Fuse {
        // The engine's own AppArmor profile forbids every mount. Ignored where there is no AppArmor.
        options.push("apparmor=unconfined".to_owned());
    }
    options
}

fn device(path: &str) -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(path.into()),
        path_in_container: Some(path.into()),
        cgroup_permissions: Some("rw".into()),
    }
}

fn port_bindings(settings: &DockerSettings, plan: &ContainerPlan) -> HashMap<String, Option<Vec<PortBinding>>> {
    plan.ports
        .iter()
        .map(|port| {
            let binding = PortBinding {
                host_ip: Some(settings.publish_address.to_string()),
                host_port: Some(port.host.map_or_else(String::new, |port| port.to_string())),
            };
            (format!("{}/tcp", port.container), Some(vec![binding]))
        })
        .collect()
}

fn bind(mount: &Mount) -> BollardMount {
    BollardMount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.to_string_lossy().into_owned()),
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        bind_options: Some(MountBindOptions {
            propagation: Some(match mount.propagation {
                Propagation::Private => MountBindOptionsPropagationEnum::RPRIVATE,
                Propagation::FromHost => MountBindOptionsPropagationEnum::RSLAVE,
                Propagation::Both => MountBindOptionsPropagationEnum::RSHARED,
            }),
            // Engines from 25 on make all that is mounted beneath it read-only as well, which depends on
            // whether it was there in time. What is mounted by itself says by itself who may write.
            read_only_non_recursive: (mount.read_only && mount.propagation != Propagation::Private).then_some(true),
            ..MountBindOptions::default()
        }),
        ..BollardMount::default()
    }
}

/// Two files of half the buffer each. A follower is always in the newer or the older one, so it
/// loses nothing until it is half the buffer behind; compressing the older one would only slow the
/// writer down.
fn log_config(buffer: u64) -> HostConfigLogConfig {
    HostConfigLogConfig {
        typ: Some("local".into()),
        config: Some(HashMap::from([
            ("max-size".into(), (buffer / 2).max(SMALLEST_LOG).to_string()),
            ("max-file".into(), "2".into()),
            ("compress".into(), "false".into()),
        ])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::PortMapping;

    fn plan() -> ContainerPlan {
        ContainerPlan {
            name: "run".into(),
            image: "image".into(),
            cpu_millis: 1500,
            memory_bytes: 1 << 30,
            pids: 100,
            log_buffer_bytes: 1 << 20,
            ..ContainerPlan::default()
        }
    }

    #[test]
    fn a_plan_without_a_limit_is_refused() {
        assert!(check_limits(&plan()).is_ok());
        for broken in [
            ContainerPlan { cpu_millis: 0, ..plan() },
            ContainerPlan { memory_bytes: 0, ..plan() },
            ContainerPlan { pids: 0, ..plan() },
            ContainerPlan { log_buffer_bytes: 0, ..plan() },
        ] {
            assert!(matches!(check_limits(&broken), Err(EngineError::Refused(_))));
        }
    }

    #[test]
    fn nothing_of_a_plan_reaches_past_its_limits() {
        let settings = DockerSettings::new("box", [0; 32]);
        let mut plan = plan();
        plan.ports = vec![PortMapping { container: 80, host: None }];
        plan.mounts = vec![Mount { source: "/a".into(), target: "/b".into(), read_only: true, ..Mount::default() }];
        let host = body(&settings, &plan).host_config.unwrap();
        assert_eq!((host.cpu_quota, host.memory, host.memory_swap), (Some(150_000), Some(1 << 30), Some(1 << 30)));
        assert_eq!(host.privileged, None);
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        let bound = &host.mounts.unwrap()[0];
        assert_eq!(bound.read_only, Some(true));
        assert_eq!(bound.bind_options.as_ref().unwrap().propagation, Some(MountBindOptionsPropagationEnum::RPRIVATE));
        let port = host.port_bindings.unwrap().remove("80/tcp").unwrap().unwrap().remove(0);
        assert_eq!((port.host_ip.as_deref(), port.host_port.as_deref()), (Some("127.0.0.1"), Some("")));
        assert_eq!((host.devices, host.network_mode.as_deref()), (None, Some("gradientd")));
        assert!(!host.cap_add.unwrap().contains(&"SYS_ADMIN".to_owned()));
    }

    #[test]
    fn a_container_that_mounts_may_do_nothing_else() {
        let settings = DockerSettings::new("box", [0; 32]);
        let shared =
            Mount { source: "/a".into(), target: "/b".into(), propagation: Propagation::Both, ..Mount::default() };
        let plan = ContainerPlan { powers: Powers::Fuse, net: Net::Host, mounts: vec![shared], ..plan() };
        let host = body(&settings, &plan).host_config.unwrap();
        assert_eq!((host.privileged, host.cap_drop), (None, Some(vec!["ALL".to_owned()])));
        assert_eq!(host.cap_add, Some(vec!["SYS_ADMIN".to_owned()]));
        assert!(host.security_opt.unwrap().contains(&"no-new-privileges".to_owned()));
        let devices = host.devices.unwrap();
        assert_eq!(devices.len(), 1);
        assert_eq!(devices[0].path_on_host.as_deref(), Some("/dev/fuse"));
        assert_eq!(host.network_mode.as_deref(), Some("host"));
        let bound = host.mounts.unwrap().remove(0).bind_options.unwrap();
        assert_eq!(bound.propagation, Some(MountBindOptionsPropagationEnum::RSHARED));
    }

    #[test]
    fn what_a_read_only_mount_lets_appear_keeps_its_own_mind_about_writing() {
        let settings = DockerSettings::new("box", [0; 32]);
        let mount = |propagation| Mount { source: "/a".into(), target: "/b".into(), read_only: true, propagation };
        let plan = ContainerPlan { mounts: vec![mount(Propagation::FromHost), mount(Propagation::Private)], ..plan() };
        let mounts = body(&settings, &plan).host_config.unwrap().mounts.unwrap();
        let options: Vec<_> = mounts.into_iter().map(|mount| mount.bind_options.unwrap()).collect();
        assert_eq!(options[0].propagation, Some(MountBindOptionsPropagationEnum::RSLAVE));
        assert_eq!(options[0].read_only_non_recursive, Some(true));
        assert_eq!(options[1].read_only_non_recursive, None);
    }
}
