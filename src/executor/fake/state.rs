//! What the engine in memory has, and what happens to it.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use super::{
    super::{
        ContainerPlan, ContainerState, EngineError, EngineEvent, EngineTime, GpuAccess, Image, LogChunk, Mount,
        Propagation, RegistryCredentials, Stream,
    },
    FakeFault,
    exec::Exec,
};
use crate::domain::time::Timestamp;

/// When the fake's time begins: 2026-01-01T00:00:00Z, in seconds since 1970.
const EPOCH: i64 = 1_767_225_600;

#[derive(Default)]
pub(super) struct State {
    pub(super) containers: Vec<Container>,
    pub(super) images: BTreeMap<String, Image>,
    /// What a registry would give, and to whom.
    pub(super) registry: BTreeMap<String, (Image, Option<RegistryCredentials>)>,
    pub(super) faults: VecDeque<FakeFault>,
    pub(super) events: Vec<EngineEvent>,
    pub(super) execs: Vec<Exec>,
    pub(super) away: bool,
    /// How often the engine went away: a stream from before is broken even if nobody read it then.
    pub(super) departures: u32,
    pub(super) ids: u64,
    /// Nanoseconds since the fake's time began.
    pub(super) time: u64,
    pub(super) gpu_access: Option<Result<GpuAccess, String>>,
    /// Of every container; when nothing was said, each has one of this machine's own, the first 127.0.0.1.
    pub(super) address: Option<IpAddr>,
    /// Loopback when nothing was said.
    pub(super) gateway: Option<IpAddr>,
    /// What containers of an image do, whatever they are told.
    pub(super) scripts: BTreeMap<String, Vec<String>>,
    /// Directories whose file system the host does not share.
    pub(super) unshared: Vec<PathBuf>,
}

pub(super) struct Container {
    pub(super) id: String,
    pub(super) plan: ContainerPlan,
    /// Made by somebody else.
    pub(super) foreign: bool,
    pub(super) state: ContainerState,
    pub(super) error: Option<String>,
    pub(super) exit_code: Option<i64>,
    pub(super) oom_killed: bool,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) heeds_stop: bool,
    pub(super) log: Vec<LogChunk>,
}

impl State {
    pub(super) fn reachable(&self) -> Result<(), EngineError> {
        if self.away { Err(EngineError::Unreachable("the fake engine is away".into())) } else { Ok(()) }
    }

    pub(super) fn address(&self, container: &Container) -> IpAddr {
        let number = u32::from_str_radix(&container.id, 16).expect("an id is a number that counts from 1");
        self.address.unwrap_or(IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() - 1 + number)))
    }

    pub(super) fn at(&self, id: &str) -> Option<usize> {
        self.containers.iter().position(|container| container.id == id || container.plan.name == id)
    }

    pub(super) fn ours(&self, id: &str) -> Result<usize, EngineError> {
        let found = self.at(id).filter(|at| !self.containers[*at].foreign);
        found.ok_or_else(|| EngineError::NotFound(format!("No such container: {id}")))
    }

    /// Returns why a container cannot start whose mounts want to see what is mounted later, in the words of
    /// the real engine.
    pub(super) fn refuses_to_share(&self, at: usize) -> Option<EngineError> {
        let wanted = |mount: &Mount| match mount.propagation {
            Propagation::Private => None,
            Propagation::FromHost => Some("shared or slave"),
            Propagation::Both => Some("shared"),
        };
        self.containers[at].plan.mounts.iter().find_map(|mount| {
            let wanted = wanted(mount).filter(|_| self.unshared.iter().any(|dir| mount.source.starts_with(dir)))?;
            let source = mount.source.display();
            let words = format!("path {source} is mounted on {source} but it is not a {wanted} mount");
            Some(EngineError::Refused(words))
        })
    }

    pub(super) fn image(&self, reference: &str) -> Option<&Image> {
        self.images.get(reference).or_else(|| self.images.values().find(|image| image.id == reference))
    }

    pub(super) fn add(&mut self, plan: ContainerPlan, foreign: bool) -> String {
        self.ids += 1;
        let id = format!("{:064x}", self.ids);
        self.containers.push(Container {
            id: id.clone(),
            plan,
            foreign,
            state: ContainerState::Created,
            error: None,
            exit_code: None,
            oom_killed: false,
            started_at: None,
            finished_at: None,
            heeds_stop: true,
            log: Vec::new(),
        });
        self.tell(self.containers.len() - 1, "create");
        id
    }

    pub(super) fn remove(&mut self, at: usize) {
        if self.containers[at].state == ContainerState::Running {
            self.end(at, 137);
        }
        self.tell(at, "destroy");
        self.containers.remove(at);
    }

    /// Starts a container and does its script up to the first wait.
    pub(super) fn run(&mut self, at: usize) {
        let now = self.now();
        let container = &mut self.containers[at];
        container.state = ContainerState::Running;
        container.started_at = Some(now);
        self.tell(at, "start");
        let script = self.script(at);
        let mut words = script.iter().map(String::as_str);
        loop {
            match (words.next(), &mut words) {
                (Some("print"), rest) => self.print(at, Stream::Stdout, rest.next().unwrap_or_default()),
                (Some("error"), rest) => self.print(at, Stream::Stderr, rest.next().unwrap_or_default()),
                (Some("wait"), _) => return,
                (Some("stubborn"), _) => {
                    self.containers[at].heeds_stop = false;
                    return;
                }
                (Some("oom"), _) => {
                    self.containers[at].oom_killed = true;
                    self.tell(at, "oom");
                    return self.end(at, 137);
                }
                (Some("exit"), rest) => {
                    let code = rest.next().and_then(|code| code.parse().ok());
                    return self.end(at, code.expect("a script says with what code it exits"));
                }
                (Some(word), _) => panic!("the fake engine knows no command {word:?}"),
                (None, _) => return self.end(at, 0),
            }
        }
    }

    /// Returns what a container does: its image's script, or its entry point and then its command.
    pub(super) fn script(&self, at: usize) -> Vec<String> {
        let plan = &self.containers[at].plan;
        let own = || plan.entrypoint.iter().flatten().chain(&plan.command).cloned().collect();
        self.scripts.get(&plan.image).cloned().unwrap_or_else(own)
    }

    pub(super) fn end(&mut self, at: usize, code: i64) {
        let now = self.now();
        let container = &mut self.containers[at];
        container.state = ContainerState::Exited;
        container.exit_code = Some(code);
        container.finished_at = Some(now);
        self.tell(at, "die");
    }

    /// Prints a line. Every second line has the time of the one before, as happens on an engine.
    pub(super) fn print(&mut self, at: usize, stream: Stream, text: &str) {
        let lines = self.containers[at].log.len();
        if lines.is_multiple_of(2) {
            self.time += 1;
        }
        let time = EngineTime { seconds: EPOCH, nanos: u32::try_from(self.time).unwrap_or(u32::MAX) };
        let bytes = format!("{text}\n").into();
        self.containers[at].log.push(LogChunk { stream, time, bytes });
    }

    pub(super) fn tell(&mut self, at: usize, action: &str) {
        if self.containers[at].foreign {
            return;
        }
        let now = self.now();
        let container = &self.containers[at];
        self.events.push(EngineEvent {
            container_id: container.id.clone(),
            container_name: container.plan.name.clone(),
            action: action.into(),
            at: now,
            exit_code: container.exit_code.filter(|_| action == "die"),
        });
    }

    pub(super) fn now(&mut self) -> Timestamp {
        self.time += 1000;
        Timestamp(EPOCH * 1_000_000 + i64::try_from(self.time / 1000).unwrap_or(i64::MAX))
    }
}
