//! A job as the client asks for it: everything in the query, most of it as text.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{clusters, workspace};
use crate::{
    api::Problem,
    domain::{
        id::UploadId,
        workload::{Command, Port},
    },
    service::job_draft::{DraftMount, DraftPassword, DraftWorkspace, JobDraft},
};

/// The image of a job that names none: the cloud's.
const CONTAINER: &str = "paperspace/tensorflow-python";

/// What a job is asked to be. What this box has no use for (`isPreemptible`, `nodeAttrs`, …) is left
/// unread. It holds passwords, so it is never printed.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct JobWire {
    name: String,
    pub project_id: String,
    project: String,
    container: String,
    command: String,
    machine_type: String,
    ports: String,
    env_vars: String,
    working_directory: String,
    workspace_file_name: String,
    registry_username: String,
    registry_password: String,
    use_dockerfile: String,
    rel_dockerfile_path: String,
    datasets: String,
    build_only: String,
    registry_target: String,
    registry_target_username: String,
    registry_target_password: String,
    is_public: String,
    experiment_id: String,
    /// By its name.
    cluster: String,
    cluster_id: String,
}

/// A dataset to read or to write.
#[derive(Deserialize)]
struct DatasetWire {
    id: String,
    name: Option<String>,
    #[serde(default)]
    output: bool,
}

impl JobWire {
    /// Makes a draft of it. `upload` is the workspace that came along; `project` the one that its id
    /// names.
    pub fn draft(self, upload: Option<UploadId>, project: Option<String>) -> Result<JobDraft, Problem> {
        clusters::require(&self.cluster_id)?;
        clusters::require(&self.cluster)?;
        self.refuse_elsewhere()?;
        let env = self.env()?;
        let (outputs, datasets): (Vec<_>, Vec<_>) =
            json::<Vec<DatasetWire>>("datasets", &self.datasets)?.into_iter().partition(|dataset| dataset.output);
        let mounts = |list: Vec<DatasetWire>| {
            list.into_iter().map(|dataset| DraftMount { reference: dataset.id, name: dataset.name }).collect()
        };
        let workspace = match upload {
            Some(id) => DraftWorkspace::Upload(id.to_string()),
            None => workspace::remote(&self.workspace_file_name)?,
        };
        let builds = is_true(&self.use_dockerfile);
        let dockerfile = || {
            let path = given(self.rel_dockerfile_path).unwrap_or_else(|| "Dockerfile".to_owned());
            path.strip_prefix("./").map_or(path.clone(), str::to_owned)
        };
        Ok(JobDraft {
            name: given(self.name),
            project: project.or(given(self.project)),
            // The client names its default also where a Dockerfile is to be used.
            image: (!builds).then(|| given(self.container).unwrap_or_else(|| CONTAINER.to_owned())),
            build: builds.then(dockerfile),
            command: given(self.command).map(Command::Shell),
            machine_type: given(self.machine_type),
            env: Some(env),
            working_directory: given(self.working_directory),
            workspace: Some(workspace),
            registry_username: given(self.registry_username),
            registry_password: given(self.registry_password).map(DraftPassword::Given),
            ports: Some(ports(&self.ports)?),
            datasets: Some(mounts(datasets)),
            outputs: Some(mounts(outputs)),
            ..JobDraft::default()
        })
    }

    /// Refuses what would be passed over to the owner's loss.
    fn refuse_elsewhere(&self) -> Result<(), Problem> {
        if !self.experiment_id.is_empty() {
            let detail = "an experiment makes its runs itself: start it, or leave --experimentId out";
            return Err(Problem::invalid("not_here", "experimentId", detail));
        }
        if is_true(&self.build_only) {
            let detail = "this box builds an image only to run it: leave --buildOnly out";
            return Err(Problem::invalid("not_here", "buildOnly", detail));
        }
        if !self.registry_target.is_empty() {
            let detail = "images that are built here stay on this box: leave --registryTarget out";
            return Err(Problem::invalid("not_here", "registryTarget", detail));
        }
        for (field, value) in [
            ("registryTargetUsername", &self.registry_target_username),
            ("registryTargetPassword", &self.registry_target_password),
        ] {
            if !value.is_empty() {
                let detail = format!("images that are built here are sent to no registry: leave --{field} out");
                return Err(Problem::invalid("not_here", field, detail));
            }
        }
        if is_true(&self.is_public) {
            let detail = "only your team sees a job on this box: leave --isPublic out, and for others write what it makes into a public dataset";
            return Err(Problem::invalid("not_here", "isPublic", detail));
        }
        Ok(())
    }

    /// Reads the environment.
    fn env(&self) -> Result<BTreeMap<String, String>, Problem> {
        const FIELD: &str = "envVars";
        let mut read: Value = json(FIELD, &self.env_vars)?;
        // From some versions of the client it is the JSON of a text that is JSON.
        if let Value::String(inner) = &read {
            read = json(FIELD, inner)?;
        }
        variables(FIELD, read)
    }
}

/// Reads an environment. Numbers and truth values become their text.
pub fn variables(field: &str, read: Value) -> Result<BTreeMap<String, String>, Problem> {
    let variables = match read {
        Value::Null => return Ok(BTreeMap::new()),
        Value::Object(variables) => variables,
        _ => {
            let detail = format!("{field} is a JSON object: {{\"NAME\": \"value\"}}");
            return Err(Problem::invalid("bad_env", field, detail));
        }
    };
    let text = |(name, value): (String, Value)| match value {
        Value::String(text) => Ok((name, text)),
        Value::Null => Ok((name, String::new())),
        Value::Bool(_) | Value::Number(_) => Ok((name, value.to_string())),
        Value::Array(_) | Value::Object(_) => {
            let field = format!("{field}.{}", name.chars().filter(|c| !c.is_control()).take(64).collect::<String>());
            Err(Problem::invalid("bad_env", field, "the value of a variable is a text or a number"))
        }
    };
    variables.into_iter().map(text).collect()
}

/// Reads a parameter that is JSON; nothing when it is empty.
fn json<T: DeserializeOwned + Default>(field: &str, text: &str) -> Result<T, Problem> {
    if text.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(text).map_err(|error| Problem::invalid("bad_json", field, format!("{field}: {error}")))
}

/// Reads `host:container`, or a port of the container alone, with commas between several.
pub fn ports(text: &str) -> Result<Vec<Port>, Problem> {
    let number = |text: &str| {
        text.trim().parse().map_err(|_| {
            let detail = "ports are written as host:container with commas between them, such as 8080:80,6006:6006";
            Problem::invalid("bad_port", "ports", detail)
        })
    };
    let port = |text: &str| match text.split_once(':') {
        Some((host, container)) => Ok(Port { container: number(container)?, host: Some(number(host)?) }),
        None => Ok(Port { container: number(text)?, host: None }),
    };
    text.split(',').filter(|part| !part.trim().is_empty()).map(port).collect()
}

/// An empty parameter is one that is left out.
fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// The client writes truth as Python does, people write it as they like.
pub fn is_true(text: &str) -> bool {
    ["true", "1", "yes", "on", "y", "t"].contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(query: &[(&str, &str)]) -> Result<JobDraft, Problem> {
        let query = serde_urlencoded::to_string(query).unwrap();
        serde_urlencoded::from_str::<JobWire>(&query).unwrap().draft(None, None)
    }

    #[test]
    fn what_is_left_out_or_empty_has_the_cloud_s_default() {
        for query in [&[][..], &[("container", ""), ("command", ""), ("envVars", ""), ("ports", "")]] {
            let draft = draft(query).unwrap();
            assert_eq!(draft.image.as_deref(), Some(CONTAINER));
            assert!(draft.command.is_none() && draft.build.is_none());
            assert!(matches!(draft.workspace, Some(DraftWorkspace::Empty)));
        }
    }

    #[test]
    fn an_environment_is_read_from_json_once_or_twice_over() {
        let once = r#"{"A": "1", "B": 2.5, "C": true, "D": null}"#;
        let twice = serde_json::to_string(once).unwrap();
        for text in [once, &twice] {
            let env = draft(&[("envVars", text)]).unwrap().env.unwrap();
            let values: Vec<_> = env.values().map(String::as_str).collect();
            assert_eq!(values, ["1", "2.5", "true", ""]);
        }
    }

    #[test]
    fn ports_are_of_the_host_and_then_of_the_container() {
        let ports = draft(&[("ports", "8080:80, 6006")]).unwrap().ports.unwrap();
        assert_eq!(ports, [Port { container: 80, host: Some(8080) }, Port { container: 6006, host: None }]);
    }

    #[test]
    fn a_dockerfile_takes_the_place_of_the_image() {
        let built = [("useDockerfile", "True"), ("container", CONTAINER), ("relDockerfilePath", "./docker/Dockerfile")];
        let draft = draft(&built).unwrap();
        assert_eq!((draft.image, draft.build.as_deref()), (None, Some("docker/Dockerfile")));
    }

    #[test]
    fn datasets_are_read_or_written() {
        let text = r#"[{"id": "d:v", "name": "in"}, {"id": "e", "name": "out", "output": true}]"#;
        let draft = draft(&[("datasets", text)]).unwrap();
        let mount = |reference: &str, name: &str| DraftMount { reference: reference.into(), name: Some(name.into()) };
        assert_eq!(draft.datasets.unwrap(), [mount("d:v", "in")]);
        assert_eq!(draft.outputs.unwrap(), [mount("e", "out")]);
    }

    #[test]
    fn what_is_not_to_be_public_is_as_it_would_be() {
        assert!(draft(&[("isPublic", "False")]).is_ok() && draft(&[("isPublic", "")]).is_ok());
    }

    #[test]
    fn what_cannot_be_read_or_had_is_refused_by_its_name() {
        for (field, value) in [
            ("envVars", "{"),
            ("envVars", "[]"),
            ("envVars", r#"{"A": []}"#),
            ("envVars", "\"\\\"x\\\"\""),
            ("ports", "a:b"),
            ("ports", "70000"),
            ("ports", "1:2:3"),
            ("datasets", "{}"),
            ("datasets", r#"[{"name": "x"}]"#),
            ("buildOnly", "True"),
            ("registryTarget", "example.com/me/image"),
            ("registryTargetUsername", "ada"),
            ("registryTargetPassword", "pa55"),
            ("experimentId", "e0123456789abc"),
            ("isPublic", "True"),
        ] {
            let Err(problem) = draft(&[(field, value)]) else { panic!("{field} {value}") };
            assert_eq!(problem.status(), 422, "{field} {value}");
        }
    }
}
