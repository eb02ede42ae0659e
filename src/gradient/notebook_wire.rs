//! A notebook as the client asks for it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{
    clusters,
    experiment_wire::{command, given},
    job_wire::variables,
    workspace,
};
use crate::{
    api::Problem,
    domain::workload::Command,
    service::{
        job_draft::{DraftPassword, DraftWorkspace, JobDraft},
        notebook_draft::{Limit, NotebookDraft},
    },
};

/// What a notebook is asked to be. What this box has no use for (`isPreemptible`, …) is left unread. It
/// holds passwords, so it is never printed.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NotebookWire {
    name: Option<String>,
    pub project_id: Option<String>,
    container: Option<String>,
    machine_type: Option<String>,
    cluster_id: Option<String>,
    /// In Base64.
    command: Option<String>,
    container_user: Option<String>,
    environment: Value,
    /// In hours.
    shutdown_timeout: Option<i64>,
    is_public: Option<bool>,
    workspace: Option<String>,
    workspace_ref: Option<String>,
    workspace_username: Option<String>,
    workspace_password: Option<String>,
    registry_username: Option<String>,
    registry_password: Option<String>,
}

/// What a start says of the notebook that it is of.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StartWire {
    pub notebook_id: String,
    notebook_name: Option<String>,
    machine_type: Option<String>,
    cluster_id: Option<String>,
    /// In hours.
    shutdown_timeout: Option<i64>,
}

impl NotebookWire {
    /// Makes a draft of it, in the project with this id.
    pub fn draft(self, project: Option<String>) -> Result<NotebookDraft, Problem> {
        clusters::require(self.cluster_id.as_deref().unwrap_or_default())?;
        let Some(image) = given(self.container) else {
            let detail = "name the image by its container: the numbers that the cloud had for some mean nothing here";
            return Err(Problem::invalid("missing_field", "container", detail));
        };
        let env = variables("environment", self.environment)?;
        let workspace = repository(self.workspace.as_deref().unwrap_or_default())?;
        let workspace =
            workspace::over(workspace, self.workspace_ref, self.workspace_username, self.workspace_password);
        Ok(NotebookDraft {
            run: JobDraft {
                name: given(self.name),
                project,
                image: Some(image),
                command: command(self.command)?.map(Command::Shell),
                machine_type: given(self.machine_type),
                env: Some(env),
                workspace: Some(workspace),
                registry_username: given(self.registry_username),
                registry_password: given(self.registry_password).map(DraftPassword::Given),
                user: given(self.container_user),
                ..JobDraft::default()
            },
            is_public: self.is_public,
            shutdown: shutdown(self.shutdown_timeout)?,
            ..NotebookDraft::default()
        })
    }
}

impl StartWire {
    /// Makes a draft of what is to be another than it was.
    pub fn draft(self) -> Result<NotebookDraft, Problem> {
        clusters::require(self.cluster_id.as_deref().unwrap_or_default())?;
        let run =
            JobDraft { name: given(self.notebook_name), machine_type: given(self.machine_type), ..JobDraft::default() };
        Ok(NotebookDraft { run, shutdown: shutdown(self.shutdown_timeout)?, ..NotebookDraft::default() })
    }
}

/// Reads where the files come from. The client sends no directory with a notebook.
fn repository(address: &str) -> Result<DraftWorkspace, Problem> {
    workspace::remote(address).map_err(|_| {
        let detail = "the workspace of a notebook is the address of a git repository: bring other files as a dataset, or upload them once it runs";
        Problem::invalid("bad_workspace", "workspace", detail)
    })
}

fn shutdown(hours: Option<i64>) -> Result<Option<Limit>, Problem> {
    let read = |hours: i64| {
        let hours = u64::try_from(hours).ok().filter(|hours| *hours > 0);
        let seconds = hours.and_then(|hours| hours.checked_mul(3600)).ok_or_else(|| {
            let detail = "shutdownTimeout is a number of hours, at least 1: leave it out for the usual time";
            Problem::invalid("out_of_range", "shutdownTimeout", detail)
        })?;
        Ok(Limit::After(Duration::from_secs(seconds)))
    };
    hours.map(read).transpose()
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
    use serde_json::json;

    use super::*;

    fn draft(wire: Value) -> Result<NotebookDraft, Problem> {
        serde_json::from_value::<NotebookWire>(wire).unwrap().draft(None)
    }

    #[test]
    fn what_the_client_always_sends_asks_for_nothing() {
        let bare = json!({
            "container": "x", "machineType": "cpu-small", "projectId": "p", "isPreemptible": false, "isPublic": false,
            "workspace": "none",
        });
        let draft = draft(bare).unwrap();
        assert!(matches!(draft.run.workspace, Some(DraftWorkspace::Empty)));
        assert!(draft.run.command.is_none() && draft.run.name.is_none() && draft.shutdown.is_none());
        assert_eq!(draft.is_public, Some(false));
    }

    #[test]
    fn a_repository_has_its_reference_and_credentials_beside_it() {
        let wire = json!({
            "container": "x", "workspace": "https://of:url@h/r.git", "workspaceRef": "v1", "workspaceUsername": "ada",
            "workspacePassword": "", "command": BASE64.encode("jupyter lab"), "shutdownTimeout": 3,
            "environment": { "A": 1 },
        });
        let draft = draft(wire).unwrap();
        let Some(DraftWorkspace::Git { url, reference, username, password: Some(DraftPassword::Given(password)) }) =
            draft.run.workspace
        else {
            panic!("no repository");
        };
        assert_eq!((url.as_str(), reference.as_deref()), ("https://h/r.git", Some("v1")));
        assert_eq!((username.as_deref(), password.as_str()), (Some("ada"), "url"));
        assert_eq!(draft.run.command, Some(Command::Shell("jupyter lab".to_owned())));
        assert_eq!(draft.shutdown, Some(Limit::After(Duration::from_secs(3 * 3600))));
        assert_eq!(draft.run.env.unwrap()["A"], "1");
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_name() {
        for (field, value) in [
            ("container", json!("")),
            ("workspace", json!("s3://bucket/code.zip")),
            ("workspace", json!("./code")),
            ("workspace", json!("https://h/code.zip")),
            ("shutdownTimeout", json!(0)),
            ("shutdownTimeout", json!(-5)),
            ("shutdownTimeout", json!(i64::MAX)),
            ("command", json!("not Base64!")),
            ("environment", json!([])),
        ] {
            let mut wire = json!({ "container": "x" });
            wire[field] = value.clone();
            let Err(problem) = draft(wire) else { panic!("{field} {value}") };
            assert_eq!(problem.status(), 422, "{field} {value}");
        }
    }
}
