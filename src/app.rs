//! The one place that builds every room and hands it to the others.

use std::{
    collections::BTreeSet, io::Write, net::Ipv4Addr, net::Ipv6Addr, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc,
};

use anyhow::Context;
use axum::Extension;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::{
        guard::Guard,
        router,
        server::{self, Door, Server},
        shell::Shell,
        tls::TlsDoor,
    },
    auth::{ApiKey, Certificates, Sealer},
    cli,
    config::{Config, GpuAccessChoice},
    domain::{
        board::Board,
        gpu::Inventory,
        id::IdSource,
        notebook::Limits,
        time::{Clock, Timestamp},
        web_name::Names,
    },
    executor::{
        GpuAccess,
        docker::{Docker, DockerSettings},
    },
    gpu::{
        GpuInventory,
        nvml::{NvmlGpus, NvmlSettings},
    },
    gradient, host, proxy, push,
    reconcile::{self, Works, gpus::Types},
    service::{self, Services},
    storage::{
        archive::ArchiveLimits,
        dataset::{DatasetLimits, DatasetStore},
        layout::DataDir,
        upload::{UploadLimits, UploadStore},
    },
    store::{self, Store},
    ui,
};

/// The operating system's random generator.
struct SystemRandom;

impl IdSource for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        use rand::TryRng;
        rand::rngs::SysRng.try_fill_bytes(bytes).expect("the operating system gives random bytes");
    }
}

/// The system's clock.
struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// Returns the system's clock.
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// The rooms that both the daemon and the subcommands need.
pub struct Rooms {
    pub services: Services,
    pub store: Store,
    pub data: DataDir,
    pub board: Arc<Board>,
    log_hub: service::RunLogHub,
    ids: Arc<dyn IdSource>,
    clock: Arc<dyn Clock>,
    /// Signs the labels of containers.
    label_key: [u8; 32],
}

/// Opens what is in the data directory and builds the services on it. Blocks on the disk.
///
/// A daemon may have the directory at the same time: SQLite lets a second process in, and nothing else
/// is touched here.
///
/// # Errors
/// In words that say what to do.
pub fn open(config: &Config) -> anyhow::Result<Rooms> {
    let ids: Arc<dyn IdSource> = Arc::new(SystemRandom);
    let clock = clock();
    let data = DataDir::create(&config.data.dir).with_context(|| {
        format!("cannot use {} as data directory; choose another with --data-dir", config.data.dir.display())
    })?;
    let sealer = Arc::new(Sealer::open_or_create(&data.keys().join("secrets.key"), Arc::clone(&ids))?);
    let store = Store::open(&data.database(), &data.backups())
        .with_context(|| format!("cannot open the database {}", data.database().display()))?;
    // Until NVML has been asked, the types are those of a machine without GPUs.
    let types = types(config);
    let catalogue = types.catalogue(&Inventory::default()).or_else(|_| {
        Types { specs: Vec::new(), default: None, aliases: Vec::new(), ..types }.catalogue(&Inventory::default())
    })?;
    let board = Arc::new(Board::new(catalogue));
    let limits = &config.limits;
    let uploads = UploadStore::at(
        &data.uploads(),
        UploadLimits {
            max_bytes: limits.upload.0,
            archive: ArchiveLimits { max_entries: limits.upload_files, max_bytes: limits.upload_unpacked.0 },
            keep: config.retention.uploads.0,
        },
    );
    let storage = &config.storage;
    let datasets = DatasetStore::open(
        &data,
        DatasetLimits { max_file_bytes: storage.file.0, max_version_files: storage.version_files },
    );
    let log_hub = service::RunLogHub::default();
    let settings = service::Settings {
        jobs_waiting_per_team: u32::try_from(limits.jobs_waiting_per_team).unwrap_or(u32::MAX),
        longest_time_limit: limits.job_time.0,
        sessions_kept: config.retention.sessions.0,
        sign_in_links_kept: config.retention.sign_in_links.0,
        publish_address: config.engine.publish_address,
        cpu_capacity_millis: cpu_capacity(config),
        memory_capacity_bytes: memory_capacity(config),
        avoid_busy_gpus: config.gpu.avoid_busy,
        names: workload_names(config),
        s3_sources: config.s3_sources.enabled,
        storage: service::StorageSettings {
            team_quota_bytes: config.storage.team_quota.0,
            cache_bytes: config.storage.cache.0,
            longest_signed_url: config.storage.signed_url.0,
            import_dirs: config.storage.import_dirs.clone(),
            import_local: config.storage.import_local,
            gc_grace: config.storage.gc_grace.0,
            fsck_bytes_per_second: config.storage.fsck_rate.0,
        },
        notebooks: service::notebook_draft::NotebookRules {
            limits: Limits {
                shutdown: Some(config.notebooks.shutdown.0),
                idle: Some(config.notebooks.idle.0).filter(|idle| !idle.is_zero()),
            },
            longest_shutdown: config.notebooks.longest_shutdown.0,
        },
        terminals: service::live_terminals::TerminalRules {
            detached: config.terminals.detached.0,
            per_workload: config.terminals.per_workload as usize,
        },
        tensorboards: service::tensorboards::TensorBoardRules {
            image: config.tensorboards.image.clone(),
            idle: Some(config.tensorboards.idle.0).filter(|idle| !idle.is_zero()),
        },
    };
    let label_key = sealer.derive("gradientd 2026 labels of containers");
    let services = Services::new(
        store.clone(),
        Arc::clone(&clock),
        Arc::clone(&ids),
        sealer,
        data.clone(),
        Arc::clone(&board),
        Arc::clone(&log_hub),
        uploads,
        datasets,
        settings,
    );
    Ok(Rooms { services, store, data, board, log_hub, ids, clock, label_key })
}

/// Opens the services alone, for a subcommand.
///
/// # Errors
/// As [`open`]; and when the database is older than this program while a daemon works on it, which
/// knows nothing of today's schema.
pub fn open_services(config: &Config) -> anyhow::Result<Services> {
    let database = config.data.dir.join("gradientd.db");
    let older =
        store::is_older(&database).with_context(|| format!("cannot open the database {}", database.display()))?;
    // Held until the database has been brought up to date.
    let _claimed = older
        .then(|| cli::data_dir::DataDir::claim(&config.data.dir))
        .transpose()
        .context("the daemon that runs is older than this program: restart the daemon")?;
    Ok(open(config)?.services)
}

/// Runs the daemon until `stop`.
///
/// # Errors
/// When it cannot start, in words that say what to do; or when the database turns out to be damaged.
pub async fn serve(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = server::bind(config.server.listen, "--listen").await?;
    let tls_listener = server::bind(config.server.tls_listen, "--set server.tls_listen=ADDRESS:PORT").await?;
    let workload_listener = proxy::listener::bind(config.server.workload_listen).await?;
    let workers = proxy::workers::Workers::start().context("cannot start the threads of the proxy")?;
    let rooms = open(&config)?;
    rooms.services.upload_store().remove_unfinished().context("cannot clear broken uploads away")?;
    rooms.services.dataset_store().remove_unfinished().context("cannot clear broken uploads away")?;
    let certificates = Arc::new(certificates(&rooms, &config)?);
    first_start(&rooms, &config).await?;

    let gpus: Arc<dyn GpuInventory> = Arc::new(NvmlGpus::start(NvmlSettings {
        library: config.gpu.nvml_library.clone(),
        ..NvmlSettings::default()
    })?);
    let box_id = rooms.services.box_id().await?;
    let docker = Docker::connect(docker_settings(&config, box_id.clone(), rooms.label_key));
    let works = Works {
        services: rooms.services.clone(),
        store: rooms.store.clone(),
        executor: Arc::new(docker),
        data: rooms.data.clone(),
        board: Arc::clone(&rooms.board),
        log_hub: Arc::clone(&rooms.log_hub),
        flights: Arc::default(),
        clock: Arc::clone(&rooms.clock),
        died: reconcile::engine::Died::default(),
        asides: reconcile::asides::Asides::default(),
        settings: Arc::new(loop_settings(&config, box_id)),
        stop: stop.clone(),
        tasks: TaskTracker::new(),
    };
    reconcile::gpus::start(&works, gpus, types(&config), config.gpu.poll_interval.0).await;
    reconcile::disk::start(&works);
    reconcile::engine::start(&works);
    reconcile::workloads::start(&works);
    reconcile::samples::start(&works);
    reconcile::collect::start(&works);
    reconcile::notebooks::start(&works);
    reconcile::notebook_data::start(&works);
    reconcile::tensorboards::start(&works);
    reconcile::forks::start(&works);
    reconcile::terminals::start(&works);
    reconcile::sources::start(&works);
    reconcile::imports::start(&works);
    reconcile::usage::start(&works);
    reconcile::gc::start(&works);
    reconcile::fsck::start(&works);
    if let Some(port) = works.settings.push_port {
        let door = push::Door {
            port,
            gateway: reconcile::gateway::start(&works),
            services: rooms.services.clone(),
            board: Arc::clone(&rooms.board),
            clock: Arc::clone(&rooms.clock),
            stop: stop.clone(),
        };
        works.tasks.spawn(door.keep_open());
    }
    reconcile::certificates::start(&works, Arc::clone(&certificates));
    let damage = tokio::spawn(look_for_damage(rooms.store.clone(), stop.clone()));

    let shell = Shell {
        guard: Guard::new(config.server.listen, &config.server.hosts).and(config.server.tls_listen),
        body_bytes: config.limits.body.0,
        ids: Arc::clone(&rooms.ids),
    };
    let pages = gradient::router(rooms.services.clone(), stop.clone()).merge(ui::router());
    let door = TlsDoor { certificates: Arc::clone(&certificates), port: tls_listener.local_addr()?.port() };
    let routes = router::api(rooms.services.clone(), shell, pages, stop.clone()).layer(Extension(door));
    let routes = gradient::worded(routes);
    let (listen, tls, served) = (config.server.listen, config.server.tls_listen, config.server.workload_listen);
    tracing::info!("listening on http://{listen} and https://{tls}, and for what containers serve on http://{served}");
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "systemd could not be told that the daemon is ready");
    }
    let grace = config.server.shutdown_grace.0;
    let proxy = proxy::Proxy::new(
        rooms.services.clone(),
        Arc::clone(&rooms.clock),
        workload_names(&config),
        control(&config),
        stop.clone(),
    );
    let server = Server::new(routes, stop, grace, config.limits.connections);
    tokio::join!(
        server.serve(listener, Door::Plain),
        server.serve(tls_listener, Door::Tls(certificates)),
        proxy::listener::serve(workload_listener, workers, proxy, grace, config.limits.connections),
    );
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);

    works.tasks.close();
    if tokio::time::timeout(grace, works.tasks.wait()).await.is_err() {
        tracing::warn!("some work was still under way after {grace:?}; the next start goes on with it");
    }
    rooms.store.close().await;
    damage.await.context("the check of the database")?
}

/// Opens what the TLS listener shows: the admin's certificate where there is one, or one of the box's own.
fn certificates(rooms: &Rooms, config: &Config) -> anyhow::Result<Certificates> {
    let (server, clock) = (&config.server, Arc::clone(&rooms.clock));
    let made = match (&server.tls_certificate, &server.tls_key) {
        (Some(certificate), Some(key)) => Certificates::given(certificate.clone(), key.clone(), clock),
        _ => Certificates::own(&rooms.data.keys(), names(config), &*rooms.ids, clock),
    };
    made.context("cannot speak TLS")
}

/// Returns what the box is reached by, as far as it is known at the start.
fn names(config: &Config) -> BTreeSet<String> {
    let server = &config.server;
    let mut names: BTreeSet<String> =
        [Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string(), "localhost".to_owned()].into();
    let listened = [server.listen.ip(), server.tls_listen.ip()].into_iter().filter(|ip| !ip.is_unspecified());
    names.extend(listened.map(|ip| ip.to_string()));
    names.extend(server.hosts.iter().map(|host| host.to_ascii_lowercase()));
    let hostname = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    names.extend((!hostname.is_empty() && hostname.chars().all(is_name)).then_some(hostname));
    names
}

/// Looks over the database while the daemon works, and ends the daemon when it is damaged: going on
/// would spread it.
async fn look_for_damage(store: Store, stop: CancellationToken) -> anyhow::Result<()> {
    let checked = tokio::task::spawn_blocking(move || store.check()).await.context("the check of the database")?;
    match checked {
        Err(error @ store::StoreError::Damaged(_)) => {
            stop.cancel();
            Err(error.into())
        }
        // Closed meanwhile, or a passing fault: the next start looks again.
        _ => Ok(()),
    }
}

/// Makes team, admin and key at the very first start, and tells how to sign in.
async fn first_start(rooms: &Rooms, config: &Config) -> anyhow::Result<()> {
    let path = rooms.data.admin_key();
    let file = path.clone();
    let Some(made) = rooms.services.first_start(move |key| keep_key(&file, key)).await? else { return Ok(()) };
    let link = cli::sign_in::link(config.server.listen, &made.link);
    cli::print(&format!(
        "First start. The admin's key is in {}.\nSign in, once and within {} minutes: {link}\nAnother link: {}\n",
        path.display(),
        config.retention.sign_in_links.0.as_secs() / 60,
        cli::sign_in::command(config)
    ))?;
    Ok(())
}

fn keep_key(path: &Path, key: &ApiKey) -> std::io::Result<()> {
    let draft = path.with_extension("part");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    writeln!(file, "{}", key.reveal())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

/// Returns the names under which what containers serve is reached.
fn workload_names(config: &Config) -> Names {
    let server = &config.server;
    Names {
        address: server.workload_listen.ip(),
        port: server.workload_listen.port(),
        domain: server.workload_domain.as_ref().map(|domain| domain.to_ascii_lowercase()),
        https: server.workload_https,
        cookies_by_path: server.workload_cookies_by_path,
        hosts: server.hosts.clone(),
    }
}

/// Returns where the web UI is, when that is the same for everybody who can reach it.
fn control(config: &Config) -> Option<String> {
    let listen = config.server.listen;
    listen.ip().is_loopback().then(|| format!("http://{listen}"))
}

fn types(config: &Config) -> Types {
    Types {
        cores: u32::try_from(cpu_capacity(config) / 1000).unwrap_or(u32::MAX).max(1),
        memory_bytes: memory_capacity(config),
        specs: config.scheduler.machine_types.clone(),
        default: config.scheduler.default_machine_type.clone(),
        aliases: config.scheduler.aliases.clone().into_iter().collect(),
    }
}

fn cpu_capacity(config: &Config) -> u64 {
    let all = u64::from(host::cores()) * 1000;
    all.saturating_sub(config.scheduler.cpu_reserve_millis.into()).max(1000)
}

fn memory_capacity(config: &Config) -> u64 {
    let all = host::Host::default().look().map_or(4 << 30, |reading| reading.memory.total_bytes);
    // However large the reserve, half of the machine stays for jobs.
    all.saturating_sub(config.scheduler.memory_reserve.0).max(all / 2)
}

/// Returns what `config` says about the engine.
pub fn docker_settings(config: &Config, box_id: String, mac_key: [u8; 32]) -> DockerSettings {
    DockerSettings {
        socket: config.engine.socket.clone(),
        box_id,
        mac_key,
        publish_address: config.engine.publish_address,
        network: config.engine.network.clone(),
        cgroup_parent: None,
        gpu_access: match config.engine.gpu_access {
            GpuAccessChoice::Auto => None,
            GpuAccessChoice::Runtime => Some(GpuAccess::Runtime),
            GpuAccessChoice::DeviceRequest => Some(GpuAccess::DeviceRequest),
            GpuAccessChoice::Cdi => Some(GpuAccess::Cdi),
            GpuAccessChoice::Devices => Some(GpuAccess::Devices),
        },
        unlimited_memlock: false,
        timeouts: crate::executor::docker::CallTimeouts::default(),
    }
}

fn loop_settings(config: &Config, box_id: String) -> reconcile::Settings {
    let (engine, retention) = (&config.engine, &config.retention);
    reconcile::Settings {
        box_id,
        stop_grace: engine.stop_grace.0,
        prepare_parallel: engine.prepare_parallel as usize,
        start_parallel: engine.start_parallel.max(1) as usize,
        pids: engine.pids,
        shared_memory_percent: engine.shared_memory_percent,
        log_buffer_bytes: engine.log_buffer.0,
        log_bytes: config.limits.job_log.0,
        publish_address: engine.publish_address,
        push_port: Some(engine.push_port).filter(|port| *port != 0),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        cpu_capacity_millis: cpu_capacity(config),
        memory_capacity_bytes: memory_capacity(config),
        avoid_busy_gpus: config.gpu.avoid_busy,
        keep_events: retention.events.0,
        keep_idempotency: retention.idempotency.0,
        keep_raw_metrics: retention.metrics_raw.0,
        keep_minute_metrics: retention.metrics_minute.0,
        disk_warn_percent: config.disk.warn_percent,
        disk_refuse_percent: config.disk.refuse_percent,
        disk_min_free_bytes: config.disk.min_free.0,
        gc_interval: config.storage.gc_interval.0,
        fsck_interval: config.storage.fsck_interval.0,
        fsck_percent: config.storage.fsck_percent,
        notebook_ready: config.notebooks.ready.0,
        sources: reconcile::SourceSettings {
            enabled: config.s3_sources.enabled,
            image: config.s3_sources.image.clone(),
            memory_bytes: config.s3_sources.memory.0,
            cache_bytes: config.s3_sources.cache.0,
            flush: config.s3_sources.flush.0,
            fuse: host::Fuse::default(),
        },
        tensorboard_ready: config.tensorboards.ready.0,
    }
}
