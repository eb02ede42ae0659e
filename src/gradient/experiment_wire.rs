//! An experiment as the client asks for it.

use axum::http::StatusCode;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::Value;

use super::{
    clusters,
    job_wire::{ports, variables},
    workspace, workspace_upload,
};
use crate::{
    api::Problem,
    domain::{experiment::ModelNote, image_ref::ImageRef, workload::Command},
    service::{
        experiments::NewExperiment,
        job_draft::{DraftMount, DraftPassword, DraftWorkspace, JobDraft},
    },
};

/// The kind that runs on one machine.
pub const SINGLE_NODE: u32 = 1;
/// Where a run's artifacts are, which the cloud let one choose.
const ARTIFACTS: &str = "/artifacts";

/// What an experiment is asked to be. What this box has no use for (`isPreemptible`, …) is left
/// unread. It holds passwords, so it is never printed.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ExperimentWire {
    experiment_type_id: Option<u32>,
    name: Option<String>,
    pub project_handle: Option<String>,
    container: Option<String>,
    machine_type: Option<String>,
    /// In Base64.
    command: Option<String>,
    container_user: Option<String>,
    ports: Option<Value>,
    experiment_env: Value,
    working_directory: Option<String>,
    artifact_directory: Option<String>,
    workspace_url: Option<String>,
    workspace_ref: Option<String>,
    workspace_username: Option<String>,
    workspace_password: Option<String>,
    registry_username: Option<String>,
    registry_password: Option<String>,
    registry_url: Option<String>,
    datasets: Option<Vec<DatasetWire>>,
    model_type: Option<String>,
    model_path: Option<String>,
    cluster_id: Option<String>,
}

/// A dataset to read: one of this box by its id, or what lies at an address.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DatasetWire {
    id: Option<String>,
    uri: Option<String>,
    name: Option<String>,
    version_id: Option<String>,
    etag: Option<String>,
}

impl ExperimentWire {
    /// Makes an experiment of it, in the project with this id.
    pub fn experiment(self, project: String, start: bool) -> Result<NewExperiment, Problem> {
        if self.experiment_type_id.unwrap_or(SINGLE_NODE) != SINGLE_NODE {
            return Err(many_nodes());
        }
        clusters::require(self.cluster_id.as_deref().unwrap_or_default())?;
        self.refuse_elsewhere()?;
        let env = variables("experimentEnv", self.experiment_env)?;
        let workspace =
            workspace(self.workspace_url, self.workspace_ref, self.workspace_username, self.workspace_password)?;
        let draft = JobDraft {
            name: given(self.name),
            project: Some(project),
            image: given(self.container),
            command: command(self.command)?.map(Command::Shell),
            machine_type: given(self.machine_type),
            env: Some(env),
            working_directory: given(self.working_directory),
            workspace: Some(workspace),
            registry_username: given(self.registry_username),
            registry_password: given(self.registry_password).map(DraftPassword::Given),
            ports: Some(ports(&port_text(self.ports))?),
            user: given(self.container_user),
            datasets: Some(datasets(self.datasets.unwrap_or_default())?),
            ..JobDraft::default()
        };
        let model = ModelNote { kind: given(self.model_type), path: given(self.model_path) };
        Ok(NewExperiment { draft, of_job: None, model, start })
    }

    /// Refuses what would be passed over to the owner's loss.
    fn refuse_elsewhere(&self) -> Result<(), Problem> {
        let wanted = self.artifact_directory.as_deref().unwrap_or_default().trim_end_matches('/');
        if !wanted.is_empty() && wanted != ARTIFACTS {
            let detail = "artifacts are what a run writes to /artifacts on this box: leave --artifactDirectory out";
            return Err(Problem::invalid("not_here", "artifactDirectory", detail));
        }
        let Some(registry) = self.registry_url.as_deref().and_then(registry_host) else { return Ok(()) };
        let container = self.container.as_deref().unwrap_or_default();
        // What is no name of an image is refused as such.
        let Ok(image) = container.parse::<ImageRef>() else { return Ok(()) };
        // A name and password that were meant for one registry must not be shown to another.
        if image.registry() == Some(&*registry) {
            return Ok(());
        }
        let own = image.registry().unwrap_or("the engine's own registry");
        let detail = format!(
            "“{container}” is an image of {own}, and registryUrl names {registry}: write the container as {registry}/…, or leave --registryUrl out"
        );
        Err(Problem::invalid("bad_registry", "registryUrl", detail))
    }
}

/// Says what there is instead of several machines.
pub fn many_nodes() -> Problem {
    let detail = "experiments of several nodes are not on this box yet: run singlenode, with a machine type of several GPUs and torchrun or mpirun in the command";
    Problem::new(StatusCode::NOT_IMPLEMENTED, "not_here_yet", detail)
}

fn workspace(
    url: Option<String>,
    reference: Option<String>,
    name: Option<String>,
    password: Option<String>,
) -> Result<DraftWorkspace, Problem> {
    let url = url.unwrap_or_default();
    if let Some(upload) = workspace_upload::of_address(&url) {
        return Ok(DraftWorkspace::Upload(upload.to_string()));
    }
    Ok(workspace::over(workspace::remote(&url)?, reference, name, password))
}

fn datasets(wanted: Vec<DatasetWire>) -> Result<Vec<DraftMount>, Problem> {
    let mount = |(at, dataset): (usize, DatasetWire)| match (given(dataset.id), given(dataset.uri)) {
        // The run would read whatever is there now.
        (Some(_), None) if given(dataset.etag).is_some() => {
            let detail =
                "an ETag is of an object on S3: leave --datasetEtag out, and name a version by --datasetVersionId";
            Err(Problem::invalid("not_here", format!("datasets[{at}].etag"), detail))
        }
        (Some(id), None) => {
            let reference = match given(dataset.version_id) {
                Some(version) if id.contains(':') => {
                    let detail = format!("“{id}” names a version already: leave --datasetVersionId {version} out");
                    return Err(Problem::invalid("bad_reference", format!("datasets[{at}].versionId"), detail));
                }
                Some(version) => format!("{id}:{version}"),
                None => id,
            };
            Ok(DraftMount { reference, name: given(dataset.name) })
        }
        (_, Some(_)) => {
            let detail = "a run does not read from an address on this box: import the files into a dataset first, and name that by --datasetId";
            Err(Problem::invalid("not_here", format!("datasets[{at}].uri"), detail))
        }
        (None, None) => {
            Err(Problem::invalid("missing_field", format!("datasets[{at}].id"), "name the dataset by --datasetId"))
        }
    };
    wanted.into_iter().enumerate().map(mount).collect()
}

/// Undoes the Base64 that the client lays around every command.
pub fn command(text: Option<String>) -> Result<Option<String>, Problem> {
    let Some(text) = given(text) else { return Ok(None) };
    let bytes = BASE64.decode(text.trim()).ok();
    match bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(command) => Ok(given(Some(command))),
        None => Err(Problem::invalid("bad_command", "command", "the command is not text in Base64")),
    }
}

/// Returns the host that a registry's address names.
fn registry_host(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
    Some(host).filter(|host| !host.is_empty())
}

/// One port comes as a number from some scripts.
fn port_text(ports: Option<Value>) -> String {
    match ports {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    }
}

pub fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::workload::Port;

    fn experiment(wire: Value) -> Result<NewExperiment, Problem> {
        serde_json::from_value::<ExperimentWire>(wire).unwrap().experiment("p00000000".to_owned(), false)
    }

    #[test]
    fn what_the_client_sends_becomes_a_draft() {
        let wire = json!({
            "experimentTypeId": 1, "projectHandle": "p00000000", "name": "n", "container": "reg.example/a:1",
            "machineType": "C3", "command": BASE64.encode("echo “ü”"), "containerUser": "1000", "ports": 5000,
            "experimentEnv": { "A": 1, "B": "b" }, "workingDirectory": "/w", "artifactDirectory": "/artifacts/",
            "workspaceUrl": "https://h/o/r.git", "workspaceRef": "main", "workspaceUsername": "ada",
            "workspacePassword": "secret:GIT", "registryUsername": "u", "registryPassword": "p",
            "registryUrl": "https://REG.example/v2/", "isPreemptible": true, "unknown": {},
            "datasets": [{ "id": "words:latest", "name": "w", "volumeOptions": { "kind": "dynamic" } }],
            "modelType": "Tensorflow", "modelPath": "/artifacts",
        });
        let NewExperiment { draft, model, .. } = experiment(wire).unwrap();
        assert_eq!(draft.command, Some(Command::Shell("echo “ü”".to_owned())));
        assert_eq!(
            (draft.user.as_deref(), draft.ports),
            (Some("1000"), Some(vec![Port { container: 5000, host: None }]))
        );
        assert_eq!(draft.env.unwrap()["A"], "1");
        assert_eq!(
            draft.datasets.unwrap(),
            [DraftMount { reference: "words:latest".to_owned(), name: Some("w".to_owned()) }]
        );
        let Some(DraftWorkspace::Git { reference, username, password, .. }) = draft.workspace else { panic!() };
        assert_eq!((reference.as_deref(), username.as_deref()), (Some("main"), Some("ada")));
        assert!(matches!(password, Some(DraftPassword::Given(text)) if text == "secret:GIT"));
        assert_eq!(model.kind.as_deref(), Some("Tensorflow"));
    }

    #[test]
    fn what_is_left_out_or_null_is_defaulted() {
        let wire = json!({ "container": "a", "command": null, "experimentEnv": null, "datasets": null, "ports": null });
        let NewExperiment { draft, .. } = experiment(wire).unwrap();
        assert!(draft.command.is_none() && matches!(draft.workspace, Some(DraftWorkspace::Empty)));
    }

    #[test]
    fn a_version_is_named_with_the_dataset_or_beside_it() {
        let reference = |dataset: Value| {
            let made = experiment(json!({ "container": "a", "datasets": [dataset] })).unwrap();
            made.draft.datasets.unwrap().remove(0).reference
        };
        assert_eq!(reference(json!({ "id": "words", "versionId": "abcdefg" })), "words:abcdefg");
        assert_eq!(reference(json!({ "id": "words:abcdefg", "versionId": "" })), "words:abcdefg");
        assert_eq!(reference(json!({ "id": "words" })), "words");
    }

    #[test]
    fn a_workspace_that_was_sent_is_known_by_its_address() {
        let wire = json!({ "workspaceUrl": "s3://gradientd-workspaces/up0123456789abcdef/workspace.zip" });
        let workspace = experiment(wire).unwrap().draft.workspace;
        assert!(matches!(workspace, Some(DraftWorkspace::Upload(id)) if id == "up0123456789abcdef"));
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_what_to_do() {
        for (wire, words) in [
            (json!({ "experimentTypeId": 2 }), "singlenode"),
            (json!({ "experimentTypeId": 3 }), "singlenode"),
            (json!({ "artifactDirectory": "/out" }), "/artifacts"),
            (json!({ "workspaceUrl": "s3://bucket/w.zip" }), "git repository"),
            (json!({ "datasets": [{ "uri": "s3://bucket/data" }] }), "--datasetId"),
            (json!({ "datasets": [{ "name": "n" }] }), "--datasetId"),
            (json!({ "datasets": [{ "id": "words", "etag": "e" }] }), "--datasetEtag"),
            (json!({ "datasets": [{ "id": "words:latest", "versionId": "v" }] }), "names a version already"),
            (json!({ "clusterId": "clg07azjl" }), "its id is box"),
            (json!({ "command": "%" }), "Base64"),
            (json!({ "container": "a:1", "registryUrl": "reg.example" }), "reg.example/"),
            (json!({ "experimentEnv": [] }), "experimentEnv"),
            (json!({ "ports": "a:b" }), "host:container"),
        ] {
            let Err(problem) = experiment(wire.clone()) else { panic!("{wire}") };
            assert!(format!("{problem:?}").contains(words), "{wire}: {problem:?}");
        }
        let own = json!({ "container": "reg.example/a:1", "registryUrl": "https://Reg.example/v1/" });
        assert!(experiment(own).is_ok());
    }
}
