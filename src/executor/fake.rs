//! Containers in memory, for tests: an engine that can be told to fail, to go away and to lose what
//! it has.
//!
//! A container's command is a little script of its own, done from left to right when it starts:
//! `print TEXT`, `error TEXT` (to stderr), `exit CODE`, `wait` (until it is stopped, or until
//! [`FakeEngine::finish`]), `stubborn` (the same, but it does not heed a stop), `oom` and `nostart`
//! (which the engine refuses to start). A script that ends otherwise exits with 0.

mod exec;
mod state;

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::watch;

use self::state::State;
use super::{
    BuildPlan, ContainerPlan, ContainerState, ContainerSummary, EngineError, EngineEvent, EngineInfo, EngineTime,
    ExecPlan, ExecSession, Executor, GpuAccess, Image, Inspection, LogChunk, Progress, RegistryCredentials, Stream,
    Usage,
};
use crate::domain::{storage_care::ImagesUsage, terminal::TtySize, time::Timestamp};

/// An engine in memory. Clones are the same engine.
#[derive(Clone)]
pub struct FakeEngine {
    state: Arc<Mutex<State>>,
    /// Counts changes, for whoever waits for one.
    changes: watch::Sender<u64>,
}

/// One failure to come: the next call named `call` fails with `error`.
#[derive(Debug, Clone)]
pub struct FakeFault {
    /// The method's name in [`Executor`].
    pub call: &'static str,
    pub when: FaultTime,
    pub error: EngineError,
}

/// How much of a failing call is done all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultTime {
    /// Nothing.
    Before,
    /// The engine took it on and then said no: a start leaves the container as created, with the
    /// error in it. Any other call does nothing.
    During,
    /// Everything; only the answer is lost.
    After,
}

impl Default for FakeEngine {
    fn default() -> Self {
        Self::new()
    }
}

/// What a test does to the engine behind the daemon's back.
impl FakeEngine {
    /// Returns an engine without images or containers that hands out GPUs by its runtime.
    #[must_use]
    pub fn new() -> Self {
        let state = State { gpu_access: Some(Ok(GpuAccess::Runtime)), ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), changes: watch::Sender::new(0) }
    }

    /// Makes the next call of a kind fail. Several faults of one kind come one after another.
    pub fn fail(&self, fault: FakeFault) {
        self.lock().faults.push_back(fault);
    }

    /// Makes the engine unreachable, which breaks open streams, or brings it back.
    pub fn set_reachable(&self, reachable: bool) {
        let mut state = self.lock();
        if !reachable && !state.away {
            state.departures += 1;
        }
        state.away = !reachable;
        self.changed(state);
    }

    /// Says how the engine hands out GPUs.
    pub fn set_gpu_access(&self, access: Result<GpuAccess, String>) {
        self.lock().gpu_access = Some(access);
    }

    /// Makes containers of an image do `script`, whatever they are told: for programs that are no scripts.
    pub fn set_script(&self, image: &str, script: &[&str]) {
        let script = script.iter().map(|word| (*word).to_owned()).collect();
        self.lock().scripts.insert(image.to_owned(), script);
    }

    /// Makes `dir` one whose file system the host does not share.
    pub fn unshare(&self, dir: &Path) {
        self.lock().unshared.push(dir.to_owned());
    }

    /// Moves the containers' network.
    pub fn set_gateway(&self, gateway: IpAddr) {
        self.lock().gateway = Some(gateway);
    }

    /// Says where containers are reached from now on.
    pub fn set_address(&self, address: IpAddr) {
        self.lock().address = Some(address);
    }

    /// Puts an image on the box.
    pub fn put_image(&self, reference: &str) -> Image {
        let image = fake_image(reference);
        self.lock().images.insert(reference.to_owned(), image.clone());
        image
    }

    /// Puts an image into the registry, for anybody or for who knows the credentials.
    pub fn publish_image(&self, reference: &str, credentials: Option<RegistryCredentials>) {
        self.lock().registry.insert(reference.to_owned(), (fake_image(reference), credentials));
    }

    /// Makes a container that belongs to somebody else.
    pub fn put_foreign(&self, name: &str) {
        let mut state = self.lock();
        let plan = ContainerPlan { name: name.into(), ..ContainerPlan::default() };
        state.add(plan, true);
        self.changed(state);
    }

    /// Returns what happened to all containers, in order: their names and the engine's words.
    pub fn history(&self) -> Vec<(String, String)> {
        let pair = |event: &EngineEvent| (event.container_name.clone(), event.action.clone());
        self.lock().events.iter().map(pair).collect()
    }

    /// Returns what a container was made of.
    pub fn plan_of(&self, id: &str) -> Option<ContainerPlan> {
        let state = self.lock();
        state.at(id).map(|at| state.containers[at].plan.clone())
    }

    /// Removes a container as somebody with the engine's socket would.
    pub fn remove_by_hand(&self, id: &str) {
        let mut state = self.lock();
        if let Some(at) = state.at(id) {
            state.remove(at);
        }
        self.changed(state);
    }

    /// Has a process of a container that runs killed for memory; the container goes on.
    pub fn kill_a_process_for_memory(&self, id: &str) {
        let mut state = self.lock();
        if let Some(at) = state.at(id) {
            state.tell(at, "oom");
        }
        self.changed(state);
    }

    /// Ends a container that runs.
    pub fn finish(&self, id: &str, exit_code: i64) {
        let mut state = self.lock();
        if let Some(at) = state.at(id).filter(|at| state.containers[*at].state == ContainerState::Running) {
            state.end(at, exit_code);
        }
        self.changed(state);
    }

    /// Prints from a container that runs.
    pub fn print(&self, id: &str, stream: Stream, text: &str) {
        let mut state = self.lock();
        if let Some(at) = state.at(id) {
            state.print(at, stream, text);
        }
        self.changed(state);
    }

    /// Returns the plan that a container was made from.
    #[must_use]
    pub fn plan(&self, id: &str) -> Option<ContainerPlan> {
        let state = self.lock();
        state.at(id).map(|at| state.containers[at].plan.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    fn changed(&self, state: MutexGuard<'_, State>) {
        drop(state);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Does one call, with the fault planned for it.
    fn call<T>(
        &self,
        name: &'static str,
        act: impl FnOnce(&mut State, Option<&EngineError>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let mut state = self.lock();
        state.reachable()?;
        let planned = state.faults.iter().position(|fault| fault.call == name);
        let fault = planned.and_then(|at| state.faults.remove(at));
        let answer = match &fault {
            Some(fault) if fault.when == FaultTime::Before => Err(fault.error.clone()),
            Some(fault) if fault.when == FaultTime::During && name != "start" => Err(fault.error.clone()),
            Some(fault) if fault.when == FaultTime::During => act(&mut state, Some(&fault.error)),
            Some(fault) => act(&mut state, None).and(Err(fault.error.clone())),
            None => act(&mut state, None),
        };
        self.changed(state);
        answer
    }
}

#[async_trait]
impl Executor for FakeEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        self.call("info", |state, _| {
            Ok(EngineInfo {
                version: "fake".into(),
                api_version: "1.41".into(),
                data_root: "/var/lib/fake".into(),
                storage_driver: "memory".into(),
                cgroup_version: "2".into(),
                gpu_access: state.gpu_access.clone().unwrap_or(Err("it was not said".into())),
            })
        })
    }

    async fn gateway(&self) -> Result<Option<IpAddr>, EngineError> {
        self.call("gateway", |state, _| Ok(Some(state.gateway.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)))))
    }

    async fn list(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        self.call("list", |state, _| {
            let ours = state.containers.iter().filter(|container| !container.foreign);
            Ok(ours
                .map(|container| ContainerSummary {
                    id: container.id.clone(),
                    name: container.plan.name.clone(),
                    labels: container.plan.labels.clone(),
                    state: container.state,
                    ip: (container.state == ContainerState::Running).then(|| state.address(container)),
                })
                .collect())
        })
    }

    async fn create(&self, plan: &ContainerPlan) -> Result<String, EngineError> {
        self.call("create", |state, _| {
            if plan.cpu_millis == 0 || plan.memory_bytes == 0 || plan.pids == 0 || plan.log_buffer_bytes == 0 {
                return Err(EngineError::Refused(format!("container {} lacks a limit", plan.name)));
            }
            if let (false, Some(Err(why))) = (plan.gpus.is_empty(), &state.gpu_access) {
                return Err(EngineError::Refused(format!("this engine cannot hand out GPUs: {why}")));
            }
            if let Some(found) = state.containers.iter().find(|container| container.plan.name == plan.name) {
                let taken = format!("the name {} is taken", plan.name);
                return if found.foreign { Err(EngineError::Conflict(taken)) } else { Ok(found.id.clone()) };
            }
            if state.image(&plan.image).is_none() {
                return Err(EngineError::NotFound(format!("No such image: {}", plan.image)));
            }
            Ok(state.add(plan.clone(), false))
        })
    }

    async fn start(&self, id: &str) -> Result<(), EngineError> {
        self.call("start", |state, refusal| {
            let at = state.ours(id)?;
            if state.containers[at].state != ContainerState::Created {
                return Ok(());
            }
            let refusal = refusal.cloned().or_else(|| state.refuses_to_share(at)).or_else(|| {
                let starts = state.script(at).first().is_none_or(|word| word != "nostart");
                (!starts).then(|| EngineError::Refused("no such device".into()))
            });
            if let Some(refusal) = refusal {
                state.containers[at].error = Some(refusal.to_string());
                return Err(refusal);
            }
            state.run(at);
            Ok(())
        })
    }

    async fn inspect(&self, id: &str) -> Result<Option<Inspection>, EngineError> {
        self.call("inspect", |state, _| {
            let found = state.ours(id).ok().map(|at| &state.containers[at]);
            Ok(found.map(|container| Inspection {
                id: container.id.clone(),
                name: container.plan.name.clone(),
                state: container.state,
                error: container.error.clone(),
                exit_code: container.exit_code,
                oom_killed: container.oom_killed,
                started_at: container.started_at,
                finished_at: container.finished_at,
                image_id: state.image(&container.plan.image).map(|image| image.id.clone()).unwrap_or_default(),
                ip: (container.state == ContainerState::Running).then(|| state.address(container)),
                ports: container
                    .plan
                    .ports
                    .iter()
                    .filter(|_| container.state == ContainerState::Running)
                    .map(|port| (port.container, port.host.unwrap_or(port.container)))
                    .collect(),
            }))
        })
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        let running = |state: &State| {
            let at = state.ours(id).ok()?;
            (state.containers[at].state == ContainerState::Running).then_some(at)
        };
        let asked = self.call("stop", |state, _| {
            let Some(at) = running(state) else { return Ok(true) };
            if state.containers[at].heeds_stop {
                state.end(at, 143);
            }
            Ok(state.containers[at].heeds_stop)
        })?;
        if !asked {
            tokio::time::sleep(grace).await;
            let mut state = self.lock();
            state.reachable()?;
            if let Some(at) = running(&state) {
                state.end(at, 137);
            }
            self.changed(state);
        }
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.call("remove", |state, _| {
            if let Ok(at) = state.ours(id) {
                state.remove(at);
            }
            Ok(())
        })
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>, EngineError> {
        self.call("image", |state, _| Ok(state.image(reference).cloned()))
    }

    async fn images(&self) -> Result<ImagesUsage, EngineError> {
        self.call("images", |state, _| {
            Ok(ImagesUsage {
                count: state.images.len() as u64,
                bytes: state.images.values().map(|image| image.size_bytes).sum(),
            })
        })
    }

    async fn pull(
        &self,
        reference: &str,
        credentials: Option<&RegistryCredentials>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Image, EngineError> {
        let image = self.call("pull", |state, _| {
            let Some((image, asked)) = state.registry.get(reference).cloned() else {
                return Err(EngineError::NotFound(format!("manifest for {reference} not found")));
            };
            let known = |asked: &RegistryCredentials| {
                credentials.is_some_and(|given| given.username == asked.username && given.password == asked.password)
            };
            if !asked.as_ref().is_none_or(known) {
                return Err(EngineError::Unauthorized("no basic auth credentials".into()));
            }
            state.images.insert(reference.to_owned(), image.clone());
            Ok(image)
        })?;
        for done_bytes in [0, image.size_bytes] {
            let layers_done = u32::from(done_bytes > 0);
            progress(Progress { done_bytes, total_bytes: image.size_bytes, layers_done, layers_total: 1 });
        }
        Ok(image)
    }

    async fn build(
        &self,
        plan: &BuildPlan,
        output: &(dyn for<'line> Fn(&'line str) + Send + Sync),
    ) -> Result<Image, EngineError> {
        let steps = std::fs::read_to_string(plan.context.join(&plan.dockerfile))
            .map_err(|error| EngineError::Refused(format!("cannot read {}: {error}", plan.dockerfile)))?;
        self.call("build", |state, _| {
            for step in steps.lines() {
                output(step);
                if step.trim() == "RUN false" {
                    return Err(EngineError::Refused(format!("returned a non-zero code: 1\n{step}")));
                }
            }
            let image = fake_image(&plan.tag);
            state.images.insert(plan.tag.clone(), image.clone());
            Ok(image)
        })
    }

    async fn logs(
        &self,
        id: &str,
        since: Option<EngineTime>,
    ) -> Result<BoxStream<'static, Result<LogChunk, EngineError>>, EngineError> {
        let id = self.call("logs", |state, _| state.ours(id).map(|at| state.containers[at].id.clone()))?;
        // A container that is gone has ended, and so has its log.
        Ok(self.follow(move |state, read| {
            let Some(container) = state.at(&id).map(|at| &state.containers[at]) else { return Next::End };
            while let Some(chunk) = container.log.get(*read) {
                *read += 1;
                if since.is_none_or(|since| chunk.time >= since) {
                    return Next::Item(chunk.clone());
                }
            }
            if container.state == ContainerState::Exited { Next::End } else { Next::Wait }
        }))
    }

    async fn usage(&self, id: &str) -> Result<BoxStream<'static, Result<Usage, EngineError>>, EngineError> {
        let (id, limit) = self.call("usage", |state, _| {
            let container = &state.containers[state.ours(id)?];
            Ok((container.id.clone(), container.plan.memory_bytes))
        })?;
        let engine = self.clone();
        Ok(stream::unfold(engine, move |engine| {
            let id = id.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let state = engine.lock();
                let running = state.at(&id).is_some_and(|at| state.containers[at].state == ContainerState::Running);
                let away = state.reachable();
                drop(state);
                match away {
                    Err(error) => Some((Err(error), engine)),
                    Ok(()) if !running => None,
                    Ok(()) => {
                        let memory_bytes = 16 << 20;
                        let used =
                            Usage { cpu_percent: 50.0, memory_bytes, memory_limit_bytes: limit, ..Usage::default() };
                        Some((Ok(used), engine))
                    }
                }
            }
        })
        .boxed())
    }

    async fn exec(&self, id: &str, plan: &ExecPlan) -> Result<ExecSession, EngineError> {
        self.begin_exec(id, plan)
    }

    async fn resize_exec(&self, exec: &str, size: TtySize) -> Result<(), EngineError> {
        self.set_exec_size(exec, size)
    }

    async fn exec_end(&self, exec: &str) -> Result<Option<i64>, EngineError> {
        self.exit_code_of(exec)
    }

    async fn events(&self) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, EngineError> {
        let from = self.call("events", |state, _| Ok(state.events.len()))?;
        Ok(self.follow(move |state, read| {
            *read = (*read).max(from);
            let next = state.events.get(*read).cloned();
            *read += usize::from(next.is_some());
            next.map_or(Next::Wait, Next::Item)
        }))
    }

    async fn memory_kills(&self, id: &str, since: Timestamp) -> Result<Vec<Timestamp>, EngineError> {
        let is_of = |event: &EngineEvent| event.container_id == id || event.container_name == id;
        self.call("memory_kills", |state, _| {
            let of = state.events.iter().filter(|event| is_of(event) && event.action == "oom" && event.at >= since);
            Ok(of.map(|event| event.at).collect())
        })
    }
}

/// What a stream finds when it looks.
enum Next<T> {
    Item(T),
    Wait,
    End,
}

impl FakeEngine {
    /// Makes a stream that looks at each change, and breaks when the engine goes away.
    fn follow<T: Send + 'static>(
        &self,
        look: impl Fn(&State, &mut usize) -> Next<T> + Send + Sync + 'static,
    ) -> BoxStream<'static, Result<T, EngineError>> {
        let (engine, changes, departures) = (self.clone(), self.changes.subscribe(), self.lock().departures);
        let look = Arc::new(look);
        stream::unfold(Some((engine, changes, 0)), move |following| {
            let look = look.clone();
            async move {
                let (engine, mut changes, mut read) = following?;
                loop {
                    changes.borrow_and_update();
                    let next = {
                        let state = engine.lock();
                        if state.departures != departures {
                            return Some((Err(EngineError::Unreachable("the fake engine went away".into())), None));
                        }
                        look(&state, &mut read)
                    };
                    match next {
                        Next::Item(item) => return Some((Ok(item), Some((engine, changes, read)))),
                        Next::End => return None,
                        Next::Wait => changes.changed().await.ok()?,
                    }
                }
            }
        })
        .boxed()
    }
}

fn fake_image(reference: &str) -> Image {
    let digest = blake3::hash(reference.as_bytes()).to_hex();
    Image {
        id: format!("sha256:{digest}"),
        digests: vec![format!("{reference}@sha256:{digest}")],
        size_bytes: 1 << 20,
        entrypoint: Vec::new(),
        command: Vec::new(),
        env: Vec::new(),
        working_dir: None,
        user: None,
    }
}
