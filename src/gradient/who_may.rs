//! Who may do what, tried on every route of this wire and of the API, for both have one table of
//! permissions. The routes are read from the routers themselves: what is added there is tried here, and
//! fails where its body is not known or where it lets through whom it must not.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    ROOT,
    router::{closed_routes, tests::Cloud},
};
use crate::{
    api::router::{document, tests::Answer},
    domain::caller::Scope,
};

/// No answer but a stream's takes so long.
const LONG: Duration = Duration::from_secs(3);

/// In the names of all that the first team has.
const OURS: &str = "kestrel";

/// What changes nothing although it is no `GET`: looking at a job by its id, signing URLs that read, and what
/// is of one's own sign-in.
const HARMLESS: &[(&str, &str)] = &[
    ("POST", "/gradient/jobs/getPublicJob"),
    ("POST", "/gradient/datasets/{dataset}/versions/{version}/s3/preSignedUrls"),
    ("POST", "/gradient/datasets/{dataset}/versions/s3/preSignedUrls"),
    ("POST", "/api/v1/session"),
    ("DELETE", "/api/v1/session"),
    ("POST", "/api/v1/datasets/{dataset}/versions/{version}/signed-urls"),
];

/// What is not there is said here before who may not, and the world has none of it: a multipart upload, an
/// import, a file task, an upload of a file, a terminal, a file to be copied.
const NOT_MADE: &[&str] =
    &["/multipart/{id}", "/imports/{id}", "/file-tasks/{id}", "/uploads/{id}", "/{terminal}", "/{root}/copy"];

/// What the API must be told before it says who may.
const BODIES: &[(&str, &str)] = &[
    ("/api/v1/datasets", r#"{"name": "n"}"#),
    ("/api/v1/datasets/{dataset}/tags/{tag}", r#"{"version": "latest"}"#),
    ("/api/v1/datasets/{dataset}/versions/{version}/imports", r#"{"url": "http://h.example/x"}"#),
    ("/api/v1/datasets/{dataset}/versions/{version}/known", r#"{"files": []}"#),
    ("/api/v1/datasets/{dataset}/versions/{version}/multipart", r#"{"path": "b"}"#),
    ("/api/v1/experiments", r#"{"spec": {"image": "a", "command": "true"}}"#),
    ("/api/v1/files/{root}/copy", r#"{"path": "a", "to": "b"}"#),
    ("/api/v1/files/{root}/move", r#"{"path": "a", "to": "b"}"#),
    ("/api/v1/files/{root}/directories", r#"{"path": "b"}"#),
    ("/api/v1/files/{root}/uploads", r#"{"path": "b", "bytes": 1}"#),
    ("/api/v1/jobs/{id}", r#"{"tags": ["t"]}"#),
    ("/api/v1/keys", r#"{"name": "k", "scope": "read"}"#),
    ("/api/v1/notebooks/{id}/extend", r#"{"seconds": 3600}"#),
    ("/api/v1/notebooks/{id}/integrations/{name}", r#"{"type": "dataset", "ref": "kestrel-data"}"#),
    ("/api/v1/projects", r#"{"name": "n"}"#),
    ("/api/v1/secrets", r#"{"name": "A", "value": "v"}"#),
    (
        "/api/v1/storage-providers",
        r#"{"name": "n", "type": "s3", "bucket": "b", "region": "r", "accessKeyId": "k", "secretAccessKey": "s"}"#,
    ),
    ("/api/v1/storage-providers/{id}", r#"{"name": "n"}"#),
    ("/api/v1/tensorboards/{id}/members", r#"{"members": []}"#),
];

/// What the client names in its body or its query.
const OF_ONE: &[&str] = &[
    "/jobs/getPublicJob",
    "/jobs/logs",
    "/jobs/artifactsListV2",
    "/jobs/artifactsGet",
    "/notebooks/getNotebook",
    "/notebooks/artifactsList",
    "/startNotebook",
    "/stopNotebook",
    "/forkNotebook",
    "/deleteNotebook",
    "/entityTags/getTags",
    "/entityTags/updateTags",
];

/// Whether a route is one of lists, of what a team makes of its own, or of what all teams see.
fn may_answer_strangers(path: &str) -> bool {
    let of_one = path.contains('{') || OF_ONE.iter().any(|route| path.ends_with(route));
    // Every team has its own secrets by these names.
    !of_one || path.ends_with("/secrets/{*name}")
}

/// One team with one of everything, and who else there is.
struct World {
    cloud: Cloud,
    project: String,
    dataset: String,
    version: String,
    job: String,
    experiment: String,
    notebook: String,
    board: String,
    upload: String,
}

impl World {
    async fn new() -> Self {
        let cloud = Cloud::new().await;
        let api = &cloud.0;
        let made = async |path: &str, body: Value| {
            let answer = api.ask("POST", path, Some(body)).await;
            assert!(answer.status.is_success(), "{path}: {}", answer.text);
            answer.body["id"].as_str().unwrap_or_else(|| panic!("{path}: {}", answer.text)).to_owned()
        };
        let named = |kind: &str| format!("{OURS}-{kind}");
        let project = made("projects", json!({ "name": named("project") })).await;
        let run = json!({ "name": named("run"), "image": "busybox", "command": "true", "project": project });
        let job = made("jobs", run.clone()).await;
        let experiment = made("experiments", json!({ "spec": run })).await;
        let notebook = json!({ "name": named("notebook"), "image": "busybox", "project": project });
        let notebook = made("notebooks", notebook).await;
        let board =
            made("tensorboards", json!({ "name": named("board"), "members": [{ "experiment": experiment }] })).await;
        let committed = api.committed(&named("data"), &[("a.txt", "kestrel")]).await;
        let version = committed.rsplit('/').next().unwrap().to_owned();
        let dataset = api.ask("GET", &format!("datasets/{}", named("data")), None).await.body["id"].clone();
        let dataset = dataset.as_str().unwrap().to_owned();
        let tag = format!("datasets/{dataset}/tags/good");
        assert!(api.ask("PUT", &tag, Some(json!({ "version": version }))).await.status.is_success());
        let secret = json!({ "name": "SECRET", "value": "v" });
        assert!(api.ask("PUT", "secrets", Some(secret)).await.status.is_success());
        Self { project, dataset, version, job, experiment, notebook, board, upload: "up0123456789abcdef".into(), cloud }
    }

    /// Writes what is there where a route has names.
    fn at(&self, route: &str) -> String {
        let first = ["projects", "jobs", "experiments", "notebooks", "tensorboards", "datasets"]
            .into_iter()
            .find(|noun| route.contains(&format!("/{noun}/{{")) || route.contains(&format!("/{noun}/v1/{{")));
        let id: &str = match first {
            Some("projects") => &self.project,
            Some("jobs") => &self.job,
            Some("experiments") => &self.experiment,
            Some("notebooks") => &self.notebook,
            Some("tensorboards") => &self.board,
            Some("datasets") => &self.dataset,
            // Well formed, which is looked at first.
            _ if route.contains("/keys/") => "k0000000000",
            _ if route.contains("/secrets/") => "sec000000000000",
            _ if route.to_lowercase().contains("storage") => "spl000000000000",
            _ if route.contains("/imports/") => "im000000000000",
            _ if route.contains("/workloads/") => &self.job,
            _ => "nothing",
        };
        let reference = format!("{}:{}", self.dataset, self.version);
        let names = [
            ("{id}", id),
            ("{root}", &self.notebook),
            ("{terminal}", "tm000000000000"),
            ("{job}", &self.job),
            ("{dataset}", &self.dataset),
            ("{version}", &self.version),
            ("{reference}", &reference),
            ("{tag}", "good"),
            ("{*tag}", "good"),
            ("{name}", "SECRET"),
            ("{*name}", "SECRET"),
            ("{path}", "a.txt"),
            ("{*path}", "a.txt"),
            ("{number}", "1"),
            ("{part}", "1"),
            ("{upload}", &self.upload),
        ];
        let path = names.iter().fold(route.to_owned(), |path, (name, value)| path.replace(name, value));
        if !path.starts_with(ROOT) {
            return path;
        }
        let query = format!(
            "projectId={p}&jobId={j}&experimentId={e}&notebookId={n}&entity=project&entityIds={p}&clusterId=box\
             &workspaceName=workspace.zip&projectHandle={p}&container=x&machineType=cpu-small&region=x",
            p = self.project,
            j = self.job,
            e = self.experiment,
            n = self.notebook,
        );
        let query = match path.as_str() {
            // Each kind of log is asked for by one id.
            "/gradient/jobs/logs" => format!("jobId={}&limit=5", self.job),
            "/gradient/jobs/createJob/" => format!("projectId={}&container=x&machineType=cpu-small", self.project),
            _ => query,
        };
        format!("{path}?{query}")
    }

    /// What a route is told. Every route of the client's finds what it needs in one body.
    fn bodies(&self, method: &str, route: &str) -> Vec<Option<Value>> {
        // The client's `GET` has a body for notebooks alone.
        if method == "HEAD" || method == "GET" && !route.starts_with(ROOT) {
            return vec![None];
        }
        if route.starts_with(ROOT) {
            let body = json!({
                "name": "n", "storageProviderId": "spl000000000000", "type": "s3", "value": "v",
                "version": self.version, "projectHandle": self.project, "projectId": self.project, "container": "x",
                "machineType": "cpu-small", "message": "m", "entity": "project", "entityId": self.project,
                "tags": ["t"], "notebookId": self.notebook, "jobId": self.job, "experiments": [self.experiment],
                "config": { "bucket": "b", "accessKey": "k", "secretAccessKey": "s" },
                "calls": [{ "method": "getObject", "params": { "Key": "a.txt" } }],
            });
            return vec![(!route.contains("createJob")).then_some(body)];
        }
        let known = BODIES.iter().filter(|(path, _)| *path == route);
        let known = known.map(|(_, text)| Some(serde_json::from_str(text).unwrap()));
        [None, Some(json!({}))].into_iter().chain(known).collect()
    }

    /// All that the first team sees of what it has.
    async fn holdings(&self) -> String {
        let mut seen = String::new();
        let one = [
            format!("jobs/{}", self.job),
            format!("experiments/{}", self.experiment),
            format!("notebooks/{}", self.notebook),
            format!("tensorboards/{}", self.board),
            format!("datasets/{}/versions/{}", self.dataset, self.version),
            format!("datasets/{}/versions", self.dataset),
            format!("datasets/{}/versions/{}/files", self.dataset, self.version),
            format!("datasets/{}/tags", self.dataset),
        ];
        let lists = ["projects", "jobs", "experiments", "notebooks", "tensorboards", "datasets", "secrets"];
        for path in one.iter().map(String::as_str).chain(lists) {
            let answer = self.cloud.0.ask("GET", path, None).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            seen.push_str(&format!("{path} {}\n", answer.text));
        }
        seen
    }

    /// Every route with its methods.
    async fn routes(&self) -> Vec<(String, String)> {
        let mut routes = Vec::new();
        for (path, item) in document().paths.paths {
            let item = serde_json::to_value(item).unwrap();
            let methods = item.as_object().unwrap().keys();
            routes.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
        }
        let native = routes.len();
        let printed = format!("{:?}", closed_routes());
        // Beside the routes there is what answers where there is none.
        let is_route = |text: &&str| text.len() > 1 && text.starts_with('/') && !text.contains("__private");
        let mut paths: Vec<_> = printed.split('"').filter(is_route).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            let route = format!("{ROOT}{path}");
            // No route of the client's is for this method, so each says which it is for.
            let answer = self.call(&self.cloud.0.key, "PATCH", &route, None).await.unwrap();
            assert_eq!(answer.status, 405, "{route}: {}", answer.text);
            let allowed = answer.headers["allow"].to_str().unwrap().to_owned();
            routes.extend(allowed.split(',').map(|method| (method.trim().to_owned(), route.clone())));
        }
        assert!(native > 80 && routes.len() - native > 60, "{native} of the API, {} in all", routes.len());
        routes
    }

    /// Asks; `None` where the answer goes on, as that of a stream does.
    async fn call(&self, key: &str, method: &str, route: &str, body: Option<Value>) -> Option<Answer> {
        let (key, path) = (key.trim_start_matches("Bearer "), self.at(route));
        let headers = [("x-api-key", key)];
        tokio::time::timeout(LONG, self.cloud.0.send(method, &path, &headers, body)).await.ok()
    }
}

fn harmless(method: &str, route: &str) -> bool {
    matches!(method, "GET" | "HEAD") || HARMLESS.contains(&(method, route)) || route.contains("/api/v1/signed")
}

#[tokio::test]
async fn a_key_that_may_only_look_changes_nothing_by_any_route() {
    let world = World::new().await;
    let caller = world.cloud.0.services.local_admin("admin").await.unwrap();
    let (_, key) = world.cloud.0.services.create_key(&caller, "looker".to_owned(), Scope::Read, None).await.unwrap();
    let (before, mut wrong) = (world.holdings().await, Vec::new());
    for (method, route) in world.routes().await {
        let mut is_refused = harmless(&method, &route);
        let mut said = Vec::new();
        for body in world.bodies(&method, &route) {
            let Some(answer) = world.call(key.reveal(), &method, &route, body).await else { continue };
            is_refused |= answer.status == 403;
            let done = answer.status.is_success() && !harmless(&method, &route);
            if done || answer.status == 500 {
                wrong.push(format!("{method} {route}: {} {}", answer.status, answer.text));
            }
            said.push(format!("{} {}", answer.status, answer.text));
        }
        let no_secret = method == "DELETE" && route.ends_with("/secrets/{*name}");
        let is_missing = no_secret || NOT_MADE.iter().any(|thing| route.contains(thing));
        is_refused |= is_missing && said.iter().any(|said| said.starts_with("404") || said.starts_with("422"));
        if !is_refused {
            wrong.push(format!("{method} {route} never says that this key may not: {said:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(world.holdings().await, before);
    // What hands out the right to send something is a `GET` here.
    let path = "/gradient/experiments/v1/workspace/get_presigned_url";
    assert_eq!(world.call(key.reveal(), "GET", path, None).await.unwrap().status, 403);
}

#[tokio::test]
async fn another_team_sees_and_changes_nothing_by_any_route() {
    let world = World::new().await;
    let stranger = world.cloud.0.stranger(Scope::Admin).await;
    let (before, mut wrong) = (world.holdings().await, Vec::new());
    let ids = [&world.project, &world.dataset, &world.job, &world.experiment, &world.notebook, &world.board];
    for (method, route) in world.routes().await {
        for body in world.bodies(&method, &route) {
            let Some(answer) = world.call(&stranger, &method, &route, body).await else {
                if !may_answer_strangers(&route) {
                    wrong.push(format!("{method} {route}: it goes on"));
                }
                continue;
            };
            // One answer is a 200 also where it is a refusal, which repeats the id that was asked for.
            let refuses = answer.body["message"].as_str().is_some_and(|said| said.starts_with("there is no"));
            let shows = answer.text.contains(OURS)
                || answer.status.is_success() && !refuses && ids.iter().any(|id| answer.text.contains(id.as_str()));
            let lets_in = answer.status.is_success() && !may_answer_strangers(&route);
            if shows || lets_in || answer.status == 500 {
                wrong.push(format!("{method} {route}: {} {}", answer.status, answer.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(world.holdings().await, before);
}
