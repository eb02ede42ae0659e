//! Makes a placed workload's container and starts it.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::Context;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{
    Works, ending, inputs, notebook_launch,
    pump::Pumps,
    setup_log::SetupLog,
    source_act,
    source_plan::OPEN_LABEL,
    source_words,
    sources::SOURCES,
    tensorboard_launch,
    workloads::{ATTEMPT_LABEL, WORKLOAD_LABEL, may_pass, record},
};
use crate::{
    auth::Secret,
    domain::{
        id::JobId,
        notebook,
        tensorboard::Logs,
        time::Timestamp,
        workload::{Command, Kind, Password, Reason, Spec, Workload, Workspace, secret_name},
    },
    executor::{ContainerPlan, EngineError, Mount, Net, PortMapping, Powers, Propagation},
    host,
    service::blocking,
    storage::{
        layout::{DataDir, RunDir},
        workspace::{self, Contents},
    },
    store::{session_mounts, tensorboard_sessions, workloads},
};

/// Where the workspace is, and where commands start unless told otherwise.
const WORKSPACE: &str = "/home/paperspace";
pub(super) const STORAGE: &str = "/storage";
const ARTIFACTS: &str = "/artifacts";
/// Shared memory is part of a container's memory; more than this is rarely of use.
const LARGEST_SHARED_MEMORY: u64 = 64 << 30;
const SMALLEST_SHARED_MEMORY: u64 = 64 << 20;

/// How long a name that is taken by nothing visible is taken to be that of a container being made.
const BEING_MADE: Duration = Duration::from_secs(30);
/// Time between two tries meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Returns the name of the container of a workload's present attempt. Made of the attempt, so that
/// making it a second time finds the first.
pub(super) fn container_name(box_id: &str, workload: &Workload) -> String {
    format!("gradientd-{box_id}-{}-{}", workload.id, workload.attempt)
}

/// Returns the run and the attempt whose container has this name; `None` where it is none of a run.
pub(super) fn run_of_container(box_id: &str, name: &str) -> Option<(JobId, u32)> {
    let (id, attempt) = name.strip_prefix("gradientd-")?.strip_prefix(box_id)?.strip_prefix('-')?.rsplit_once('-')?;
    Some((id.parse().ok()?, attempt.parse().ok()?))
}

/// Makes and starts the container. Done again, it finds what it made and goes on from there.
pub(super) async fn launch(works: &Works, pumps: &Pumps, workload: Workload) -> anyhow::Result<()> {
    let seq = workload.seq;
    let spec = works.store.read(move |connection| workloads::spec(connection, seq)).await?;
    if let Some(words) = inputs::obstacle(works, &workload, &spec).await? {
        // Found since it was prepared; it may have waited for days.
        return refuse(works, workload, Reason::DatasetFailed, words).await;
    }
    let env = match environment(works, &workload, &spec).await? {
        Ok(env) => env,
        Err(missing) => {
            let again = workload.kind.once_more();
            let words = format!("there is no secret “{missing}” any more: set it again, and {again}");
            return refuse(works, workload, Reason::SecretMissing, words).await;
        }
    };
    let plan = plan(works, &workload, &spec, env).await?;
    crate::fault::point("workload.create.before");
    let created = match create(works, &plan).await {
        Ok(id) => id,
        Err(error) if may_pass(&error) => return Err(error).context("making the container"),
        Err(EngineError::NotFound(words)) => {
            // The image was there when the workload was prepared: prepare it again.
            tracing::warn!(run.id = %workload.id, error = words, "{}: the image is gone; preparing again", workload.title());
            let now = works.clock.now();
            let message = "its image was removed while it waited; fetching it again";
            works.store.write(move |tx| workloads::unplace(tx, &workload, message, now)).await?;
            return Ok(());
        }
        Err(error) => return refused(works, workload, error).await,
    };
    crate::fault::point("workload.create.after");
    if let Err(error) = works.executor.start(&created).await {
        if may_pass(&error) {
            return Err(error).context("starting the container");
        }
        if shares(&plan) && note_unshared(works, &error) {
            // It never ran. The next look finds no container, and makes one into which nothing comes.
            works.executor.remove(&created).await.context("removing a container that cannot start")?;
            return Err(error).context("starting the container with a shared mount; going on without");
        }
        return refused(works, workload, error).await;
    }
    crate::fault::point("workload.start.after");
    pumps.ensure(&workload);
    let ports = if spec.ports.is_empty() { BTreeMap::new() } else { published(works, &created).await? };
    // The engine's own start time takes the place of this one when the exit is recorded.
    let now = works.clock.now();
    write_started(works, workload, ports, now).await
}

/// Says whether the container is made so that something may come into it while it runs.
fn shares(plan: &ContainerPlan) -> bool {
    plan.mounts.iter().any(|mount| mount.propagation != Propagation::Private)
}

/// Notes that this machine shares no mounts with containers, if that is what the engine says.
fn note_unshared(works: &Works, error: &EngineError) -> bool {
    let words = error.to_string();
    let Some(mount) = source_words::of_unshared(&words) else { return false };
    works.board.set_unshared(Some(host::not_shared(mount.as_deref().unwrap_or(works.data.root()))));
    true
}

/// Makes the container, or finds it. One that a daemon asked for just before it was killed may be half
/// made: its name is taken, and nothing stands under it yet.
async fn create(works: &Works, plan: &ContainerPlan) -> Result<String, EngineError> {
    let begun = tokio::time::Instant::now();
    loop {
        match works.executor.create(plan).await {
            Err(EngineError::Conflict(_)) if begun.elapsed() < BEING_MADE => tokio::time::sleep(LOOK_AGAIN).await,
            made => return made,
        }
    }
}

/// Notes that a container runs whose start was not recorded: the daemon was killed in between.
pub(super) async fn note_started(works: &Works, pumps: &Pumps, workload: Workload) -> anyhow::Result<()> {
    let name = container_name(&works.settings.box_id, &workload);
    let Some(seen) = works.executor.inspect(&name).await.context("asking when it started")? else { return Ok(()) };
    pumps.ensure(&workload);
    // When it really started: its time limit counts from there, however long nobody looked.
    let at = seen.started_at.unwrap_or_else(|| works.clock.now());
    write_started(works, workload, seen.ports, at).await
}

async fn published(works: &Works, container: &str) -> anyhow::Result<BTreeMap<u16, u16>> {
    Ok(works
        .executor
        .inspect(container)
        .await
        .context("asking for its ports")?
        .map(|seen| seen.ports)
        .unwrap_or_default())
}

async fn write_started(
    works: &Works,
    workload: Workload,
    ports: BTreeMap<u16, u16>,
    at: Timestamp,
) -> anyhow::Result<()> {
    let now = works.clock.now();
    let write = works.store.write(move |tx| workloads::started(tx, &workload, &ports, at, now));
    write.await.context("recording its start")
}

async fn refused(works: &Works, workload: Workload, error: EngineError) -> anyhow::Result<()> {
    let (reason, words) = ending::of_refusal(&error.to_string());
    refuse(works, workload, reason, words).await
}

async fn refuse(works: &Works, workload: Workload, reason: Reason, words: String) -> anyhow::Result<()> {
    SetupLog::new(works, &workload, workload.attempt).say(words.clone()).await;
    let now = works.clock.now();
    let ending = ending::of_failed_setup(&workload, reason, words, now);
    record(works, workload, ending).await
}

async fn plan(
    works: &Works,
    workload: &Workload,
    spec: &Spec,
    env: BTreeMap<String, String>,
) -> anyhow::Result<ContainerPlan> {
    let settings = &works.settings;
    let (data, asked, run) = (works.data.clone(), spec.clone(), workload.clone());
    let seq = workload.seq;
    let inputs = works.store.read(move |connection| session_mounts::of_session(connection, seq)).await?;
    let logs = match &workload.kind {
        Kind::TensorBoard(_) => works.store.read(move |connection| tensorboard_sessions::logs(connection, seq)).await?,
        Kind::Job | Kind::Notebook(_) => Logs::default(),
    };
    let making = blocking(move || match &run.kind {
        Kind::Notebook(notebook) => notebook_launch::mounts(&data, &run, notebook, &asked, &inputs),
        Kind::TensorBoard(_) => tensorboard_launch::mounts(&data, &run, &logs),
        Kind::Job => mounts(&data, &run, &asked),
    });
    let mut mounts = making.await.context("making its directories")?;
    let is_notebook = matches!(workload.kind, Kind::Notebook(_));
    let open = is_notebook && source_act::obstacle(works).is_none();
    if open {
        mounts.push(sources(works, workload).await?);
    }
    let (entrypoint, command) = match spec.command.clone() {
        Command::Image if is_notebook => (Some(notebook_launch::command()), Vec::new()),
        Command::Image => (None, Vec::new()),
        Command::Shell(text) => (Some(vec!["/bin/sh".to_owned(), "-c".to_owned()]), vec![text]),
        Command::Exec(words) => (Some(words), Vec::new()),
    };
    let memory = workload.needs.memory_bytes;
    let shared = memory / 100 * u64::from(settings.shared_memory_percent);
    let mut labels = BTreeMap::from([
        (WORKLOAD_LABEL.to_owned(), workload.id.to_string()),
        (ATTEMPT_LABEL.to_owned(), workload.attempt.to_string()),
    ]);
    if open {
        labels.insert(OPEN_LABEL.to_owned(), "open".to_owned());
    }
    Ok(ContainerPlan {
        name: container_name(&settings.box_id, workload),
        labels,
        // By id: a tag that moved meanwhile must not change what was prepared.
        image: workload.image_id.clone().unwrap_or_else(|| spec.image.clone()),
        entrypoint,
        command,
        env,
        working_dir: Some(
            spec.working_directory
                .clone()
                .unwrap_or_else(|| if is_notebook { notebook::HOME.to_owned() } else { WORKSPACE.to_owned() }),
        ),
        user: spec.user.clone(),
        hostname: Some(workload.subject().1.to_owned()),
        mounts,
        ports: spec.ports.iter().map(|port| PortMapping { container: port.container, host: port.host }).collect(),
        cpu_millis: workload.needs.cpu_millis,
        memory_bytes: memory,
        shm_bytes: spec
            .shared_memory_bytes
            .unwrap_or_else(|| shared.clamp(SMALLEST_SHARED_MEMORY.min(memory), LARGEST_SHARED_MEMORY)),
        pids: settings.pids,
        gpus: workload.gpus.clone(),
        log_buffer_bytes: settings.log_buffer_bytes,
        powers: Powers::Ordinary,
        net: Net::Bridge,
    })
}

/// Returns the mount through which places on S3 come into a session and go again.
async fn sources(works: &Works, workload: &Workload) -> anyhow::Result<Mount> {
    let (data, session) = (works.data.clone(), workload.id.clone());
    let making = blocking(move || data.create_session_sources(&session));
    let source = making.await.context("making the directory of what is mounted for it")?;
    Ok(Mount { source, target: SOURCES.to_owned(), read_only: true, propagation: Propagation::FromHost })
}

/// Makes the directories of a job and returns where they are mounted.
fn mounts(data: &DataDir, workload: &Workload, spec: &Spec) -> anyhow::Result<Vec<Mount>> {
    let run = data.run(&workload.id);
    run.create()?;
    if matches!(spec.workspace, Workspace::Empty) {
        workspace::prepare(&run.workspace(), &Contents::Nothing)?;
    }
    let mut mounts = datasets(data, &run, spec)?;
    let mount = |source, target: &str| Mount { source, target: target.to_owned(), ..Mount::default() };
    let storage = data.create_team_storage(&workload.team)?;
    mounts.extend([mount(storage, STORAGE), mount(run.artifacts(), ARTIFACTS), mount(run.workspace(), WORKSPACE)]);
    Ok(mounts)
}

/// Returns the mounts of what the run reads and writes of datasets. A version is mounted as its tree
/// stands, whose files are linked to those of other versions: read-only, and no capability of a
/// container's root can undo that.
fn datasets(data: &DataDir, run: &RunDir, spec: &Spec) -> std::io::Result<Vec<Mount>> {
    let mut mounts = Vec::with_capacity(spec.inputs.len() + spec.outputs.len());
    for input in &spec.inputs {
        let source = data.version(&input.team, &input.dataset, &input.version).tree();
        mounts.push(Mount { source, target: input.path(), read_only: true, ..Mount::default() });
    }
    for output in &spec.outputs {
        let source = run.create_output(&output.name)?;
        mounts.push(Mount { source, target: output.path(), ..Mount::default() });
    }
    Ok(mounts)
}

/// Returns the container's environment, or the name of a secret that is not there.
async fn environment(
    works: &Works,
    workload: &Workload,
    spec: &Spec,
) -> anyhow::Result<Result<BTreeMap<String, String>, String>> {
    if let Kind::TensorBoard(_) = &workload.kind {
        // It reads what others wrote: it needs no address of anything, and no secret.
        return Ok(Ok([("PYTHONUNBUFFERED".to_owned(), "1".to_owned())].into()));
    }
    let host = works.settings.publish_address.to_string();
    let mut env: BTreeMap<String, String> = [
        ("PS_HOSTNAME", works.settings.hostname.as_str()),
        ("PS_HOST_PUBLIC_IP_ADDRESS", &host),
        ("PS_HOST_PRIVATE_IP_ADDRESS", &host),
        ("PS_JOBSPACE", STORAGE),
        ("PS_MODEL_PATH", ARTIFACTS),
        ("PAPERSPACE_METRIC_WORKLOAD_ID", workload.id.as_str()),
        ("PAPERSPACE_METRIC_WORKLOAD_TYPE", workload.kind.as_str()),
        // Python holds back what it prints to a pipe; a log that comes in lumps helps nobody.
        ("PYTHONUNBUFFERED", "1"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    env.insert("GRADIENTD_ATTEMPT".to_owned(), workload.attempt.to_string());
    if let Kind::Notebook(notebook) = &workload.kind {
        let token = works.services.jupyter_token(&workload.id);
        let name = works.services.settings.names.name_of(notebook);
        env.extend(notebook_launch::environment(notebook, name, token, spec.keep_packages));
    }
    if let Some(address) = push_address(works, workload).await? {
        env.insert("PAPERSPACE_METRIC_PUSHGATEWAY".to_owned(), address);
    }
    for (name, value) in &spec.env {
        let value = match secret_name(value) {
            None => value.clone(),
            Some(secret) => match reveal(works, workload, secret).await? {
                Some(value) => String::from_utf8_lossy(value.reveal()).into_owned(),
                None => return Ok(Err(secret.to_owned())),
            },
        };
        env.insert(name.clone(), value);
    }
    Ok(Ok(env))
}

/// Returns the address to which the attempt pushes its metrics, if it can.
async fn push_address(works: &Works, workload: &Workload) -> anyhow::Result<Option<String>> {
    let Some(port) = works.settings.push_port else { return Ok(None) };
    // Asked each time: a network that was made anew may be elsewhere, and the run keeps what it is told.
    let gateway = match works.executor.gateway().await {
        Ok(gateway) => gateway,
        Err(error) if may_pass(&error) => return Err(error).context("asking for the containers' gateway"),
        // Whatever is wrong with the network, making the container says it better.
        Err(_) => None,
    };
    let Some(gateway) = gateway else { return Ok(None) };
    let secret = works.services.push_secret(&workload.id, workload.attempt);
    // Without a slash at its end: clients put theirs after it.
    Ok(Some(format!("http://{}/{}", SocketAddr::new(gateway, port), secret.reveal())))
}

async fn reveal(works: &Works, workload: &Workload, name: &str) -> anyhow::Result<Option<Secret<Vec<u8>>>> {
    let (team, project) = (workload.team.clone(), workload.project.clone());
    works.services.reveal_secret(team, project, name.to_owned()).await.context("opening a secret")
}

/// Returns the text behind a password, or the name of a secret that is not there.
pub(super) async fn password(
    works: &Works,
    workload: &Workload,
    password: &Password,
) -> anyhow::Result<Result<String, String>> {
    match password {
        Password::Secret(name) => Ok(match reveal(works, workload, name).await? {
            Some(value) => Ok(String::from_utf8_lossy(value.reveal()).into_owned()),
            None => Err(name.clone()),
        }),
        Password::Sealed(text) => {
            let value = works.services.open_password(&BASE64.decode(text)?)?;
            Ok(Ok(String::from_utf8_lossy(value.reveal()).into_owned()))
        }
    }
}

/// Returns every secret value that the workload's log could show, each with its name.
pub(super) async fn secrets_of(works: &Works, workload: &Workload) -> anyhow::Result<Vec<(String, String)>> {
    let seq = workload.seq;
    let spec = works.store.read(move |connection| workloads::spec(connection, seq)).await?;
    let pushes = works.services.push_secret(&workload.id, workload.attempt);
    let mut secrets = vec![("PAPERSPACE_METRIC_PUSHGATEWAY".to_owned(), pushes.reveal().clone())];
    if matches!(workload.kind, Kind::Notebook(_)) {
        // It opens a shell, and whoever may only look sees the log.
        secrets.push(("JUPYTER_TOKEN".to_owned(), works.services.jupyter_token(&workload.id)));
    }
    for name in spec.env.values().filter_map(|value| secret_name(value)) {
        if let Some(value) = reveal(works, workload, name).await? {
            secrets.push((name.to_owned(), String::from_utf8_lossy(value.reveal()).into_owned()));
        }
    }
    Ok(secrets)
}
