//! Every route of the API, and what is laid around them.

use std::sync::Arc;

use axum::{Extension, Router, routing::any};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use super::{
    KeyBook, artifacts, box_now, caller, dataset_archive, dataset_files, dataset_multipart, dataset_tags, datasets,
    diff, events, experiments, file_listing, file_tasks, file_uploads, files, gpus, health, imports, integrations,
    job_charts, job_logs, job_metrics, jobs, keys, known_files, lineage, machine_types, metrics, notebooks, openapi,
    projects, queue, secrets, session,
    shell::{self, Shell},
    signed, signed_artifacts, storage, storage_providers, tensorboard_members, tensorboard_sessions, tensorboards,
    terminals, tls, uploads, versions, workloads,
};
use crate::service::Services;

/// Where the API begins.
pub(super) const ROOT: &str = "/api/v1";

/// The routes that need a key or a session. A new resource is added here.
fn closed_routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .merge(session::routes())
        .merge(keys::routes())
        .merge(projects::routes())
        .merge(secrets::routes())
        .merge(jobs::routes())
        .merge(experiments::routes())
        .merge(job_logs::routes())
        .merge(job_charts::routes())
        .merge(job_metrics::routes())
        .merge(artifacts::routes())
        .merge(notebooks::routes())
        .merge(integrations::routes())
        .merge(tensorboards::routes())
        .merge(tensorboard_members::routes())
        .merge(tensorboard_sessions::routes())
        .merge(files::routes())
        .merge(file_uploads::routes())
        .merge(file_tasks::routes())
        .merge(workloads::routes())
        .merge(terminals::routes())
        .merge(uploads::routes())
        .merge(storage_providers::routes())
        .merge(datasets::routes())
        .merge(versions::routes())
        .merge(dataset_files::routes())
        .merge(file_listing::routes())
        .merge(known_files::routes())
        .merge(dataset_archive::routes())
        .merge(dataset_multipart::routes())
        .merge(dataset_tags::routes())
        .merge(lineage::routes())
        .merge(diff::routes())
        .merge(signed::routes())
        .merge(imports::routes())
        .merge(storage::routes())
        .merge(events::routes())
        .merge(machine_types::routes())
        .merge(gpus::routes())
        .merge(queue::routes())
        .merge(box_now::routes())
        .merge(metrics::routes())
}

/// The routes for everybody.
fn open_routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .merge(session::open_routes())
        .merge(health::open_routes())
        .merge(signed::open_routes())
        .merge(signed_artifacts::open_routes())
        .merge(tls::open_routes())
}

/// Returns the description of the whole API.
pub fn document() -> utoipa::openapi::OpenApi {
    let nested = |routes| OpenApiRouter::new().nest(ROOT, routes).into_openapi();
    openapi::describe(nested(closed_routes()), nested(open_routes()))
}

/// Puts the API together with the `pages` of the web UI, which answer what is not under `/api`.
/// Streams end when `shutdown` is cancelled; handlers get it as an extension.
pub fn api(services: Services, shell: Shell, pages: Router, shutdown: CancellationToken) -> Router {
    let book: Arc<dyn KeyBook> = Arc::new(services.clone());
    let (closed, _) = OpenApiRouter::new().nest(ROOT, closed_routes()).merge(metrics::routes()).split_for_parts();
    let (open, _) = OpenApiRouter::new().nest(ROOT, open_routes()).split_for_parts();
    let routes = caller::closed(closed, book)
        .merge(open)
        .merge(openapi::route(document()))
        // A mistyped path of the API must not get a page.
        .route("/api", any(shell::not_found))
        .route("/api/{*rest}", any(shell::not_found))
        .layer(Extension(shutdown))
        .with_state(services)
        .merge(pages);
    shell.wrap(routes)
}

#[cfg(test)]
pub mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    use axum::body::Body;
    use http::{Request, StatusCode};
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;
    use crate::{
        api::guard::Guard,
        auth::Sealer,
        domain::{
            board::{Board, Load, LoopReport, Waiting},
            caller::{Caller, Scope},
            gpu::{Gpu, GpuHealth, GpuKind, GpuProcess, GpuReading, Inventory, Link},
            id::{IdSource, JobId, TeamId, UserId},
            machine_type::Catalogue,
            time::{Clock, Timestamp},
        },
        service,
        storage::{
            archive::ArchiveLimits,
            dataset::{DatasetLimits, DatasetStore},
            layout::DataDir,
            upload::{UploadLimits, UploadStore},
        },
        store::{self, Store, teams, workloads},
    };

    /// Stands still.
    struct Noon;
    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp(1_769_860_800_000_000)
        }
    }

    /// Counts, so that the same calls make the same ids.
    struct Counter(AtomicU32);
    impl IdSource for Counter {
        fn fill(&self, bytes: &mut [u8]) {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            let digest = blake3::hash(&count.to_le_bytes());
            for (byte, random) in bytes.iter_mut().zip(digest.as_bytes().iter().cycle()) {
                *byte = *random;
            }
        }
    }

    /// The whole API over real services in a directory of its own.
    pub struct Api {
        _dir: tempfile::TempDir,
        pub board: Arc<Board>,
        pub store: Store,
        pub services: Services,
        router: Router,
        /// The first key.
        pub key: String,
        /// The token of the first sign-in link.
        pub link: String,
    }

    pub struct Answer {
        pub status: StatusCode,
        pub headers: http::HeaderMap,
        pub body: Value,
        pub text: String,
        pub bytes: bytes::Bytes,
    }

    impl Answer {
        /// The status and the code of a problem.
        pub fn problem(&self) -> (u16, &str) {
            (self.status.as_u16(), self.body["code"].as_str().unwrap_or_default())
        }
    }

    impl Api {
        pub async fn new() -> Self {
            Self::with_quota(0).await
        }

        /// One whose teams may keep so many bytes each.
        pub async fn with_quota(team_quota_bytes: u64) -> Self {
            Self::with_limits(team_quota_bytes, 10_000).await
        }

        /// One whose teams may keep so many bytes each, and versions so many files.
        pub async fn with_limits(team_quota_bytes: u64, max_version_files: u64) -> Self {
            Self::with(team_quota_bytes, max_version_files, |_| Router::new().fallback(|| async { "a page" })).await
        }

        /// One with something else where the pages would be.
        pub async fn with_pages(pages: impl FnOnce(Services) -> Router) -> Self {
            Self::with(0, 10_000, pages).await
        }

        /// The same with something around all of it.
        pub fn wrapped(mut self, wrap: impl FnOnce(Router) -> Router) -> Self {
            self.router = wrap(self.router);
            self
        }

        async fn with(team_quota_bytes: u64, max_version_files: u64, pages: impl FnOnce(Services) -> Router) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let data = DataDir::create(dir.path()).unwrap();
            let store = Store::open(&data.database(), &data.backups()).unwrap();
            let ids: Arc<dyn IdSource> = Arc::new(Counter(0.into()));
            let sealer = Sealer::open_or_create(&data.keys().join("secrets"), ids.clone()).unwrap();
            let board = Arc::new(Board::new(Catalogue::generate(4, 8 << 30, &Inventory::default())));
            let limits = UploadLimits {
                max_bytes: 1 << 20,
                archive: ArchiveLimits { max_entries: 100, max_bytes: 1 << 20 },
                keep: Duration::from_secs(3600),
            };
            let settings = service::Settings {
                jobs_waiting_per_team: 100,
                longest_time_limit: Duration::from_secs(86_400),
                sessions_kept: Duration::from_secs(86_400),
                sign_in_links_kept: Duration::from_secs(900),
                publish_address: std::net::Ipv4Addr::LOCALHOST.into(),
                cpu_capacity_millis: 4000,
                memory_capacity_bytes: 8 << 30,
                avoid_busy_gpus: true,
                notebooks: Default::default(),
                terminals: Default::default(),
                tensorboards: service::tensorboards::TensorBoardRules { image: "tensorboard".to_owned(), idle: None },
                names: Default::default(),
                s3_sources: true,
                storage: service::StorageSettings {
                    team_quota_bytes,
                    longest_signed_url: Duration::from_secs(86_400),
                    ..service::StorageSettings::default()
                },
            };
            let uploads = UploadStore::at(&data.uploads(), limits);
            let limits = DatasetLimits { max_file_bytes: 64 << 20, max_version_files };
            let datasets = DatasetStore::open(&data, limits);
            let services = Services::new(
                store.clone(),
                Arc::new(Noon),
                ids.clone(),
                Arc::new(sealer),
                data,
                board.clone(),
                Arc::default(),
                uploads,
                datasets,
                settings,
            );
            let first = services.first_start(|_| Ok(())).await.unwrap().unwrap();
            let guard = Guard::new("127.0.0.1:7070".parse().unwrap(), &[]);
            let shell = Shell { guard, body_bytes: 1 << 20, ids };
            let pages = pages(services.clone());
            let router = api(services.clone(), shell, pages, CancellationToken::new());
            Self {
                _dir: dir,
                board,
                store,
                router,
                services,
                key: first.key.reveal().to_owned(),
                link: first.link.reveal().to_owned(),
            }
        }

        /// Asks with the first key.
        pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
            let bearer = format!("Bearer {}", self.key);
            self.send(method, path, &[("authorization", &bearer)], body).await
        }

        pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
            let json = [headers, &[("content-type", "application/json")]].concat();
            match body {
                Some(body) => self.send_bytes(method, path, &json, body.to_string()).await,
                None => self.send_bytes(method, path, headers, Body::empty()).await,
            }
        }

        /// Puts a file, with the first key.
        pub async fn put(&self, path: &str, body: impl Into<Body>) -> Answer {
            let bearer = format!("Bearer {}", self.key);
            self.send_bytes("PUT", path, &[("authorization", &bearer)], body).await
        }

        pub async fn send_bytes(
            &self,
            method: &str,
            path: &str,
            headers: &[(&str, &str)],
            body: impl Into<Body>,
        ) -> Answer {
            let path = if path.starts_with('/') { path.to_owned() } else { format!("/api/v1/{path}") };
            let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
            request = request.header("x-request-id", "r1");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
            let (parts, body) = response.into_parts();
            let bytes = axum::body::to_bytes(body, 1 << 24).await.unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let body = serde_json::from_str(&text).unwrap_or(Value::Null);
            Answer { status: parts.status, headers: parts.headers, body, text, bytes }
        }

        /// Returns the key of somebody in another team.
        pub async fn stranger(&self, scope: Scope) -> String {
            let (team, user): (TeamId, UserId) = ("tother0".parse().unwrap(), "uother000".parse().unwrap());
            let made = (team.clone(), user.clone());
            let write = self.store.write(move |tx| {
                if teams::name(tx, &made.0)?.is_none() {
                    teams::insert(tx, &made.0, "others", Noon.now())?;
                    teams::insert_user(tx, &made.1, &made.0, "other", Noon.now())?;
                }
                Ok::<_, store::StoreError>(())
            });
            write.await.unwrap();
            let caller = Caller { user, team, key: "k0000000000".parse().unwrap(), scope: Scope::Admin };
            let (_, key) = self.services.create_key(&caller, "other".to_owned(), scope, None).await.unwrap();
            format!("Bearer {}", key.reveal())
        }

        /// Makes a dataset and begins a version of it; returns the version's path.
        pub async fn draft(&self, name: &str) -> String {
            let made = self.ask("POST", "datasets", Some(json!({ "name": name }))).await;
            assert!(made.status == 201 || made.body["code"] == "name_taken", "{}", made.text);
            let version = self.ask("POST", &format!("datasets/{name}/versions"), None).await;
            assert_eq!(version.status, 201, "{}", version.text);
            format!("datasets/{name}/versions/{}", version.body["version"].as_str().unwrap())
        }

        /// Makes a version of some files and commits it; returns the version's path.
        pub async fn committed(&self, name: &str, files: &[(&str, &str)]) -> String {
            let path = self.draft(name).await;
            for (file, text) in files {
                let put = self.put(&format!("{path}/files/{file}"), text.to_string()).await;
                assert!(put.status.is_success(), "{}", put.text);
            }
            let committed = self.ask("POST", &format!("{path}/commit"), None).await;
            assert_eq!(committed.status, 200, "{}", committed.text);
            path
        }
    }

    /// A box of two GPUs: a job holds one, a stranger uses the other, and another job waits.
    pub async fn busy_box() -> Api {
        let api = Api::new().await;
        let gpu = |uuid: &str, index| Gpu {
            uuid: uuid.into(),
            index,
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            memory_bytes: 80 << 30,
            kind: GpuKind::Whole,
            numa_node: Some(0),
            pci_bus_id: format!("0000:0{index}:00.0"),
            minor: Some(index),
            compute_capability: Some((9, 0)),
        };
        let inventory = Inventory {
            driver_version: Some("570.1".to_owned()),
            cuda_version: Some("12.8".to_owned()),
            gpus: vec![gpu("GPU-a", 0), gpu("GPU-b", 1)],
            links: [(("GPU-a".into(), "GPU-b".into()), Link::NvLink(4))].into(),
            unavailable: None,
        };
        let process = |pid, container: Option<&str>| GpuProcess {
            pid,
            memory_bytes: Some(1 << 30),
            user: Some("alice".to_owned()),
            command: Some("python train.py".to_owned()),
            container: container.map(str::to_owned),
        };
        let reading = |uuid: &str, processes| GpuReading {
            memory_used_bytes: Some(1 << 30),
            utilization_percent: Some(50),
            temperature_celsius: Some(60),
            power_milliwatts: Some(350_500),
            processes,
            ..GpuReading::blank(uuid.into(), GpuHealth::Healthy)
        };
        api.board.set_catalogue(Catalogue::generate(4, 8 << 30, &inventory));
        api.board.set_inventory(inventory);
        api.board.set_readings(vec![
            reading("GPU-a", vec![process(10, Some("ours"))]),
            reading("GPU-b", vec![process(20, None)]),
        ]);
        api.board.set_host(Some(Load {
            hostname: "box".to_owned(),
            cores: 4,
            cpu_percent: Some(12.5),
            memory_total_bytes: 16 << 30,
            memory_used_bytes: 2 << 30,
            disk_total_bytes: 100 << 30,
            disk_free_bytes: 60 << 30,
        }));
        let error = Some("the engine does not answer".to_owned());
        let report = LoopReport { last_run: Noon.now(), took: Duration::from_millis(12), error };
        api.board.report("workloads", report);
        let mut ids = Vec::new();
        for name in ["holds", "waits"] {
            let body = json!({ "name": name, "image": "busybox", "command": "true", "timeLimitSeconds": 600 });
            let made = api.ask("POST", "jobs", Some(body)).await;
            assert_eq!(made.status, 201, "{}", made.text);
            ids.push(made.body["id"].as_str().unwrap().parse::<JobId>().unwrap());
        }
        let (holds, waits) = (ids[0].clone(), ids[1].clone());
        let holder = holds.clone();
        let placed = api.store.write(move |tx| {
            let workload = workloads::get(tx, &holder)?.unwrap();
            workloads::place(tx, &workload, &["GPU-a".into()], Noon.now())
        });
        placed.await.unwrap();
        api.board.set_queue(vec![Waiting {
            id: waits,
            position: 1,
            reason: "waits for 1 GPU".to_owned(),
            held_by: vec![holds],
            expected_start: Some(Noon.now()),
            expected_if_idle: None,
        }]);
        api
    }

    #[tokio::test]
    async fn everything_but_the_open_routes_needs_a_key() {
        let api = Api::new().await;
        let mut closed = 0;
        for (path, item) in document().paths.paths {
            let item = serde_json::to_value(item).unwrap();
            for method in item.as_object().unwrap().keys() {
                let names = [("{id}", "p00000000"), ("{dataset}", "ds0000000000000"), ("{version}", "v000000")];
                let path = names.iter().fold(path.clone(), |path, (name, value)| path.replace(name, value));
                let path =
                    path.replace("{name}", "x").replace("{path}", "x").replace("{tag}", "x").replace("{part}", "1");
                let answer = api.send(&method.to_uppercase(), &path, &[], None).await;
                let open = path.contains("/v1/signed/")
                    || path.ends_with("/healthz")
                    || path.ends_with("/ca.pem")
                    || (path.ends_with("/session") && method == "post");
                assert_eq!(answer.status == 401, !open, "{method} {path}: {}", answer.status);
                closed += usize::from(!open);
            }
        }
        assert!(closed > 15);
        assert_eq!(api.send("GET", "/metrics", &[], None).await.status, 401);
        assert_eq!(api.send("GET", "openapi.json", &[], None).await.status, 200);
    }

    #[tokio::test]
    async fn what_is_not_there_is_a_problem_under_the_api_and_a_page_elsewhere() {
        let api = Api::new().await;
        for path in ["/api", "/api/v1", "/api/v1/nothing", "/api/v2/jobs"] {
            let answer = api.ask("GET", path, None).await;
            assert_eq!((answer.status.as_u16(), &answer.body["code"]), (404, &json!("not_found")), "{path}");
        }
        assert_eq!(api.ask("GET", "/jobs/js0123456789ab", None).await.text, "a page");
        let answer = api.ask("DELETE", "queue", None).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (405, &json!("method_not_allowed")));
    }
}
