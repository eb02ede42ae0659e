//! Every route of the original client.

use std::sync::Arc;

use axum::{
    Extension, Router,
    routing::{get, post, put},
};
use tokio_util::sync::CancellationToken;

use super::{
    ROOT, clusters, dataset_files, dataset_tags, datasets, entity_tags, environment, experiments, job_artifacts,
    job_logs, jobs, later, machine_types, metrics,
    metrics_stream::{self, Streams},
    metrics_url, notebook_files, notebooks, objects, projects, secrets, storage_providers, teams, tensorboards,
    versions, web, workspace_upload,
};
use crate::{
    api::{KeyBook, caller},
    service::Services,
};

/// Whose secrets there are.
const SECRET_ENTITIES: [&str; 3] = ["teams", "projects", "clusters"];

/// The routes that need a key. A new command is added here.
pub(super) fn closed_routes() -> Router<Services> {
    let mut routes = Router::new();
    for entity in SECRET_ENTITIES {
        routes = routes
            .route(&format!("/{entity}/secrets"), get(secrets::list))
            .route(&format!("/{entity}/secrets/{{*name}}"), put(secrets::set).delete(secrets::delete));
    }
    routes
        .route("/environment", get(environment::get))
        .route("/teams/namespace", get(teams::namespace))
        .route("/projects/", get(projects::list).post(projects::create))
        .route("/projects/{id}/deleteProject", post(projects::delete))
        .route("/jobs/createJob/", post(jobs::create))
        .route("/jobs/getJobList/", get(jobs::list))
        .route("/jobs/getPublicJob", post(jobs::details))
        .route("/jobs/{id}/stop", post(jobs::stop))
        .route("/jobs/{id}/destroy", post(jobs::destroy))
        .route("/jobs/logs", get(job_logs::rows))
        .route("/jobs/artifactsListV2", get(job_artifacts::list))
        .route("/jobs/artifactsGet", get(job_artifacts::summary))
        .route("/jobs/{id}/artifactsDestroy", post(job_artifacts::destroy))
        .route("/entityTags/getTags", get(entity_tags::get))
        .route("/entityTags/updateTags", put(entity_tags::update))
        .route("/clusters/getClusters", get(clusters::list))
        .route("/vmTypes/getVmTypesByClusters", get(machine_types::list))
        .route("/machines/getAvailability/", get(machine_types::availability))
        .merge(experiment_routes())
        .merge(notebook_routes())
        .merge(tensorboard_routes())
        .merge(data_routes())
}

/// Experiments. The client asks the first generation of that API to make them and the second for the rest, or
/// the second for all where it was told a cluster.
fn experiment_routes() -> Router<Services> {
    let one = get(experiments::details).delete(experiments::delete);
    let of = |root: &str| {
        Router::new()
            .route(&format!("{root}/experiments/"), get(experiments::list).post(experiments::create))
            .route(&format!("{root}/experiments/run/"), post(experiments::run))
            .route(&format!("{root}/experiments/{{id}}/"), one.clone())
            .route(&format!("{root}/experiments/{{id}}/start/"), put(experiments::start))
            .route(&format!("{root}/experiments/{{id}}/stop/"), put(experiments::stop))
            .route(&format!("{root}/workspace/get_presigned_url"), get(workspace_upload::presigned))
    };
    of("/experiments/v1").merge(of("/experiments/v2"))
}

/// Notebooks. The client reads one by `GET` with a body.
fn notebook_routes() -> Router<Services> {
    Router::new()
        .route("/notebooks/getNotebooks", get(notebooks::list))
        .route("/notebooks/getNotebook", get(notebooks::details))
        .route("/notebooks/artifactsList", get(notebook_files::list))
        .route("/notebooks/v2/createNotebook", post(notebooks::create))
        .route("/notebooks/v2/startNotebook", post(notebooks::start))
        .route("/notebooks/v2/stopNotebook", post(notebooks::stop))
        .route("/notebooks/v2/forkNotebook", post(notebooks::fork))
        .route("/notebooks/v2/deleteNotebook", post(notebooks::delete))
}

/// TensorBoards. The client looks at one with a slash behind its id, and changes it without.
fn tensorboard_routes() -> Router<Services> {
    let one = get(tensorboards::details).put(tensorboards::change).delete(tensorboards::delete);
    Router::new()
        .route("/tensorboards/v1/", get(tensorboards::list).post(tensorboards::create))
        .route("/tensorboards/v1/{id}", one.clone())
        .route("/tensorboards/v1/{id}/", one)
}

/// Storage providers and datasets.
fn data_routes() -> Router<Services> {
    Router::new()
        .route("/storageProviders", get(storage_providers::list).post(storage_providers::create))
        .route(
            "/storageProviders/{id}",
            get(storage_providers::get).post(storage_providers::update).delete(storage_providers::delete),
        )
        .route("/datasets", get(datasets::list).post(datasets::create))
        .route("/datasets/ref/{reference}", get(datasets::reference))
        .route("/datasets/{dataset}", get(datasets::get).post(datasets::update).delete(datasets::delete))
        .route("/datasets/{dataset}/versions", get(versions::list).post(versions::create))
        .route(
            "/datasets/{dataset}/versions/{version}",
            get(versions::get).post(versions::update).delete(versions::delete),
        )
        .route("/datasets/{dataset}/versions/{version}/s3/preSignedUrls", post(dataset_files::pre_signed))
        .route("/datasets/{dataset}/versions/s3/preSignedUrls", post(dataset_files::without_version))
        .route("/datasets/{dataset}/tags", get(dataset_tags::list))
        .route(
            "/datasets/{dataset}/tags/{*tag}",
            get(dataset_tags::get).put(dataset_tags::set).delete(dataset_tags::delete),
        )
}

/// The routes for whoever has a signed URL, or an address with a pass in it. Not nested: a path is read out of them byte for byte, from
/// the beginning.
fn open_routes() -> Router<Services> {
    let at = |path: &str| format!("{ROOT}{path}");
    let files = get(objects::get).head(objects::head).put(objects::put).delete(objects::delete);
    let watched = |call: &str| at(&format!("{}/metrics/api/v1/{call}", metrics_url::WATCH));
    Router::new()
        .route(&watched("range"), get(metrics::range))
        .route(&watched("list"), get(metrics::list))
        .route(&watched("stream"), get(metrics_stream::stream))
        .route(&at(objects::OBJECTS), files)
        .route(&at(objects::PARTS), put(objects::put_part))
        .route(&at(objects::LISTINGS), get(objects::list))
        .route(&at(workspace_upload::WORKSPACES), post(workspace_upload::post))
}

/// Puts the room together, but for the words of its refusals: see [`super::worded`]. Requests that are held open end when `stop` is cancelled.
pub fn router(services: Services, stop: CancellationToken) -> Router {
    let book: Arc<dyn KeyBook> = Arc::new(services.clone());
    let closed = closed_routes().fallback(later::not_here);
    let closed = caller::closed(closed, book);
    let closed = closed.layer(Extension(stop.clone())).with_state(services.clone());
    let open = open_routes().layer(Extension(stop)).layer(Extension(Streams::default())).with_state(services);
    Router::new().route(&format!("{ROOT}/web/{{namespace}}/{{*rest}}"), get(web::lead)).merge(open).nest(ROOT, closed)
}

#[cfg(test)]
pub mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        api::router::tests::{Answer, Api},
        domain::caller::Scope,
        gradient::worded,
    };

    /// The room as the client sees it.
    pub struct Cloud(pub Api);

    impl Cloud {
        pub async fn new() -> Self {
            let api = Api::with_pages(|services| router(services, CancellationToken::new())).await;
            Self(api.wrapped(worded))
        }

        /// Asks as the client does, with the first key.
        pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
            self.ask_as(&self.0.key, method, path, body).await
        }

        pub async fn ask_as(&self, key: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
            self.0.send(method, &format!("{ROOT}{path}"), &[("x-api-key", key)], body).await
        }

        /// Asks for what has to go well.
        pub async fn get(&self, path: &str) -> Value {
            let answer = self.ask("GET", path, None).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            answer.body
        }
    }

    /// What the client would print of a refusal.
    pub fn printed(answer: &Answer) -> (u16, &str) {
        (answer.status.as_u16(), answer.body["error"]["message"].as_str().unwrap_or_default())
    }

    #[tokio::test]
    async fn without_a_good_key_nothing_is_told() {
        let cloud = Cloud::new().await;
        for key in ["", "gdk_wrong", "a\u{e9}"] {
            let answer = cloud.ask_as(key, "GET", "/projects/", None).await;
            let (status, words) = printed(&answer);
            assert!(status == 401 && !words.is_empty(), "{key}: {}", answer.text);
        }
        let bearer = format!("Bearer {}", cloud.0.key);
        let answer = cloud.0.send("GET", "/gradient/projects/", &[("authorization", &bearer)], None).await;
        assert_eq!(answer.status, 200);
    }

    /// Every call that changes something, with an id that is well formed.
    const CHANGES: &[(&str, &str)] = &[
        ("POST", "/projects/"),
        ("POST", "/projects/p00000000/deleteProject"),
        ("PUT", "/entityTags/updateTags"),
        ("PUT", "/teams/secrets/A"),
        ("DELETE", "/teams/secrets/A"),
        ("PUT", "/projects/secrets/A?projectId=p00000000"),
        ("PUT", "/clusters/secrets/A?clusterId=box"),
        ("POST", "/storageProviders"),
        ("POST", "/storageProviders/spl000000000000"),
        ("DELETE", "/storageProviders/spl000000000000"),
        ("POST", "/datasets"),
        ("POST", "/datasets/ds0000000000000"),
        ("DELETE", "/datasets/ds0000000000000"),
        ("POST", "/datasets/ds0000000000000/versions"),
        ("POST", "/datasets/ds0000000000000/versions/abcdefg"),
        ("DELETE", "/datasets/ds0000000000000/versions/abcdefg"),
        ("PUT", "/datasets/ds0000000000000/tags/t"),
        ("DELETE", "/datasets/ds0000000000000/tags/t"),
        ("POST", "/jobs/createJob/?container=x&machineType=cpu-small&project=new"),
        ("POST", "/jobs/js0000000000ab/stop"),
        ("POST", "/jobs/js0000000000ab/destroy"),
        ("POST", "/jobs/js0000000000ab/artifactsDestroy"),
        ("POST", "/experiments/v1/experiments/"),
        ("POST", "/experiments/v1/experiments/run/"),
        ("POST", "/experiments/v2/experiments/"),
        ("PUT", "/experiments/v2/experiments/e0000000000000/start/"),
        ("PUT", "/experiments/v2/experiments/e0000000000000/stop/"),
        ("DELETE", "/experiments/v2/experiments/e0000000000000/"),
        ("POST", "/notebooks/v2/createNotebook"),
        ("POST", "/notebooks/v2/startNotebook"),
        ("POST", "/notebooks/v2/stopNotebook"),
        ("POST", "/notebooks/v2/forkNotebook"),
        ("POST", "/notebooks/v2/deleteNotebook"),
        ("POST", "/tensorboards/v1/"),
        ("PUT", "/tensorboards/v1/tb0000000000"),
        ("PUT", "/tensorboards/v1/tb0000000000/"),
        ("DELETE", "/tensorboards/v1/tb0000000000"),
        ("DELETE", "/tensorboards/v1/tb0000000000/"),
    ];

    /// A body that every one of them understands.
    fn understood() -> Value {
        json!({
            "name": "n", "storageProviderId": "spl000000000000", "type": "s3", "value": "v", "version": "abcdefg",
            "projectHandle": "new", "container": "x", "machineType": "cpu-small", "message": "m", "entity": "project", "entityId": "p00000000", "tags": ["t"],
            "notebookId": "n000000000", "config": { "bucket": "b", "accessKey": "k", "secretAccessKey": "s" },
        })
    }

    #[tokio::test]
    async fn a_key_that_may_only_look_changes_nothing_on_this_wire_either() {
        let cloud = Cloud::new().await;
        let caller = cloud.0.services.local_admin("admin").await.unwrap();
        cloud.ask("POST", "/projects/", Some(json!({ "name": "new" }))).await;
        let (_, key) = cloud.0.services.create_key(&caller, "looker".to_owned(), Scope::Read, None).await.unwrap();
        for (method, path) in CHANGES {
            let body = (!path.contains("createJob")).then(understood);
            let answer = cloud.ask_as(key.reveal(), method, path, body).await;
            let (status, words) = printed(&answer);
            // What is not there may be said before what may not be done.
            let refused = status == 403 && words.contains("this key may not");
            assert!(
                refused || status == 404 && *method == "DELETE" && path.contains("secrets"),
                "{method} {path}: {}",
                answer.text
            );
        }
    }

    #[tokio::test]
    async fn nonsense_is_refused_everywhere_and_never_our_fault() {
        let cloud = Cloud::new().await;
        let deep = format!("{{\"a\":{}", "[".repeat(10_000));
        let bodies = ["", "{", "[]", "null", "{\"name\": 5, \"tags\": {}}", deep.as_str()];
        let reads = [
            "/projects/?filter=%5B",
            "/datasets?filter[limit]=-9",
            "/jobs/getJobList/?filter=%7B%22filter%22%3A5%7D",
            "/jobs/logs?jobId=%00&line=-1&limit=x",
            "/jobs/artifactsListV2?jobId=../..&startAfter=%ff",
            "/datasets/ref/::::",
            "/datasets/%2e%2e/versions",
            "/entityTags/getTags",
            "/storageProviders/%00",
            "/experiments/v2/experiments/?limit=x&offset=-1&projectHandle[0]=%00&projectHandle[=%ff&tag=%27",
            "/experiments/v2/experiments/e%00/",
            "/experiments/v1/workspace/get_presigned_url",
            "/jobs/logs?experimentId=e%ff&line=-1",
            "/jobs/logs?notebookId=%00&jobId=n%ff",
            "/notebooks/getNotebooks?filter=%7B%22filter%22%3A%7B%22where%22%3A%7B%22projectId%22%3A5%7D%7D%7D",
            "/notebooks/getNotebooks?tagFilter[0]=%27&tagFilter[=%ff",
            "/notebooks/getNotebook",
            "/notebooks/artifactsList?notebookId=..&files=..%2F..%2Fkeys&size=x",
            "/entityTags/getTags?entity=notebook&entityIds=%00",
            "/tensorboards/v1/%00/",
            "/tensorboards/v1/tb%ff",
            "/tensorboards/v1//",
        ];
        for path in reads {
            let answer = cloud.ask("GET", path, None).await;
            assert!(!answer.status.is_server_error(), "{path}: {}", answer.text);
        }
        for (method, path) in CHANGES {
            for body in bodies {
                let headers = [("x-api-key", cloud.0.key.as_str()), ("content-type", "application/json")];
                let answer = cloud.0.send_bytes(method, &format!("{ROOT}{path}"), &headers, body.to_owned()).await;
                assert!(!answer.status.is_server_error(), "{method} {path} {body:.20}: {}", answer.text);
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_here_yet_says_what_to_use_instead() {
        let cloud = Cloud::new().await;
        for path in ["/workflows", "/mlModels/createModelV2", "/experiments/v2/hyperopt/create_and_start/"] {
            let answer = cloud.ask("POST", path, Some(json!({}))).await;
            let (status, words) = printed(&answer);
            assert!(status == 501 && words.contains("not on this box yet"), "{path}: {}", answer.text);
        }
        let answer = cloud.ask("POST", "/graphql", Some(json!({}))).await;
        assert!(answer.body["errors"][0]["message"].as_str().unwrap().contains("deployments"), "{}", answer.text);
        assert_eq!(printed(&cloud.ask("GET", "/nonsense", None).await).0, 404);
        assert_eq!(printed(&cloud.ask("PATCH", "/projects/", None).await).0, 405);
    }

    #[tokio::test]
    async fn what_no_route_has_seen_is_refused_in_the_same_words() {
        let cloud = Cloud::new().await;
        let long = format!("/projects/?filter={}", "a".repeat(62 << 10));
        for (method, path, status) in [
            ("PATCH", "/projects/", 405),
            ("PATCH", "/objects/a/b/c", 405),
            ("DELETE", "/web/team/projects", 405),
            ("GET", long.as_str(), 414),
        ] {
            let answer = cloud.ask(method, path, None).await;
            let (found, words) = printed(&answer);
            assert!(found == status && !words.is_empty(), "{method} {path:.30}: {}", answer.text);
        }
        // The API's own keep their form.
        assert_eq!(cloud.0.send("PATCH", "/api/v1/jobs", &[], None).await.problem(), (405, "method_not_allowed"));
    }

    #[tokio::test]
    async fn links_and_addresses_lead_here() {
        let cloud = Cloud::new().await;
        assert_eq!(cloud.get("/teams/namespace").await, json!("team"));
        let link = cloud.0.send("GET", "/gradient/web/team/projects/p1", &[], None).await;
        assert_eq!((link.status.as_u16(), &link.headers["location"]), (303, &"/projects/p1".parse().unwrap()));
        let variables = cloud.get("/environment").await;
        assert_eq!(variables[0], json!({ "name": "PAPERSPACE_CONFIG_HOST", "value": "http://localhost/gradient" }));
    }
}
