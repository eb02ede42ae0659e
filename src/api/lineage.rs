//! Which job made a version or whose files it holds, which jobs, notebooks and TensorBoards read it, which versions
//! grew out of which.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Path, Problem, datasets::named, versions::both};
use crate::{
    domain::{
        caller::Caller,
        dataset::VersionUse,
        file_root::FileRoot,
        id::{JobId, NotebookId, TensorBoardId, VersionId},
        import::ChosenFiles,
        time::Timestamp,
    },
    service::{
        Services,
        lineage::{Edge, Graph, Node, Reader, VersionLineage},
        run_name::parents,
    },
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(dataset)).routes(routes!(version))
}

/// A dataset's versions, and the jobs, notebooks and TensorBoards around them. Each is there once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GraphView {
    nodes: Vec<NodeView>,
    edges: Vec<EdgeView>,
}

/// A version, a job, a notebook, a TensorBoard, or the team's `/storage`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NodeView {
    /// `version`, `job`, `notebook`, `tensorboard` or `storage`.
    kind: &'static str,
    id: String,
    /// A version's tags, or the name of a job, notebook or TensorBoard.
    label: String,
    /// Of the version or job; null for a job that was deleted, and for what has none.
    state: Option<&'static str>,
    /// Whether there is no such job, notebook or TensorBoard any more.
    gone: bool,
}

/// From what something came to what came of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EdgeView {
    from: String,
    to: String,
    /// `parent` between versions; `input` or `public` from a version to the job, notebook or TensorBoard that
    /// reads it; `output` from a job to the version that it made; `files` from a notebook or `/storage` to the version that
    /// files of it came into.
    role: &'static str,
}

/// What a version came of and what came of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct VersionLineageView {
    #[schema(value_type = Option<String>)]
    parent: Option<VersionId>,
    #[schema(value_type = Vec<String>)]
    children: Vec<VersionId>,
    made_by: Option<JobLabel>,
    /// Files of notebooks and of `/storage` that were brought into it, newest first.
    made_from: Vec<FilesLabel>,
    /// Newest first; a notebook or a TensorBoard once, however many sessions of it read the version.
    read_by: Vec<ReaderView>,
}

/// A job that made a version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobLabel {
    #[schema(value_type = String)]
    job: JobId,
    name: String,
    /// Null for a job that was deleted.
    state: Option<&'static str>,
}

/// Files that were brought into a version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FilesLabel {
    /// Id of a notebook, which may be gone since, or `storage`.
    root: String,
    /// What the notebook was called then.
    name: String,
    /// For people: which files of it.
    words: String,
}

impl From<ChosenFiles> for FilesLabel {
    fn from(chosen: ChosenFiles) -> Self {
        Self { words: chosen.words(), root: chosen.root.to_string(), name: chosen.name }
    }
}

/// A job, notebook or TensorBoard that read a version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReaderView {
    /// `job`, `notebook` or `tensorboard`.
    kind: &'static str,
    /// The job, or the newest session that read it.
    #[schema(value_type = String)]
    job: JobId,
    /// The notebook that this is a session of; null for everything else.
    #[schema(value_type = Option<String>)]
    notebook: Option<NotebookId>,
    /// The TensorBoard that this is a session of; null for everything else.
    #[schema(value_type = Option<String>)]
    tensorboard: Option<TensorBoardId>,
    /// Of the job, notebook or TensorBoard.
    name: String,
    /// Of the job or session; null for one that was deleted.
    state: Option<&'static str>,
    /// Whether there is no such job, notebook or TensorBoard any more.
    gone: bool,
    /// `input` or `public`.
    role: &'static str,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl From<VersionUse> for ReaderView {
    fn from(used: VersionUse) -> Self {
        let kind = used.kind.as_str();
        let (notebook, tensorboard) = parents(used.kind);
        Self {
            kind,
            job: used.job,
            notebook,
            tensorboard,
            name: used.title,
            state: used.state.map(|state| state.as_str()),
            gone: used.is_gone,
            role: used.role.as_str(),
            at: used.at,
        }
    }
}

impl From<Graph> for GraphView {
    fn from(graph: Graph) -> Self {
        let node = |kind, id: &dyn std::fmt::Display, label, state, gone| NodeView {
            kind,
            id: id.to_string(),
            label,
            state,
            gone,
        };
        let nodes = graph.nodes.into_iter().map(|drawn| match drawn {
            Node::Version { id, tags, state } => node("version", &id, tags.join(", "), Some(state.as_str()), false),
            Node::Job { id, name, state } => node("job", &id, name, state.map(|state| state.as_str()), state.is_none()),
            Node::Notebook { id, name, is_gone } => node("notebook", &id, name, None, is_gone),
            Node::TensorBoard { id, name, is_gone } => node("tensorboard", &id, name, None, is_gone),
            Node::Storage => node("storage", &FileRoot::Storage, "/storage".to_owned(), None, false),
        });
        let edges = graph.edges.into_iter().map(|edge| match edge {
            Edge::Parent { parent, child } => {
                EdgeView { from: parent.to_string(), to: child.to_string(), role: "parent" }
            }
            Edge::Reads { version, by, role } => {
                let to = match by {
                    Reader::Job(id) => id.to_string(),
                    Reader::Notebook(id) => id.to_string(),
                    Reader::TensorBoard(id) => id.to_string(),
                };
                EdgeView { from: version.to_string(), to, role: role.as_str() }
            }
            Edge::Brings { root, version } => {
                EdgeView { from: root.to_string(), to: version.to_string(), role: "files" }
            }
            Edge::Makes { job, version } => EdgeView { from: job.to_string(), to: version.to_string(), role: "output" },
        });
        Self { nodes: nodes.collect(), edges: edges.collect() }
    }
}

impl From<VersionLineage> for VersionLineageView {
    fn from(lineage: VersionLineage) -> Self {
        let made_by = lineage.made_by.map(|used| JobLabel {
            job: used.job,
            name: used.title,
            state: used.state.map(|state| state.as_str()),
        });
        Self {
            parent: lineage.parent,
            children: lineage.children,
            made_by,
            made_from: lineage.made_from.into_iter().map(FilesLabel::from).collect(),
            read_by: lineage.read_by.into_iter().map(ReaderView::from).collect(),
        }
    }
}

/// Draw the lineage of a dataset
///
/// Its newest versions, with the jobs, notebooks and TensorBoards of your team that made or read them.
#[utoipa::path(
    get, path = "/datasets/{dataset}/lineage", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name")),
    responses((status = 200, body = GraphView)),
)]
async fn dataset(
    State(services): State<Services>,
    caller: Caller,
    Path(dataset): Path<String>,
) -> Result<Json<GraphView>, Problem> {
    Ok(Json(services.dataset_lineage(&caller, named(&dataset)?).await?.into()))
}

/// Tell the lineage of a version
#[utoipa::path(
    get, path = "/datasets/{dataset}/versions/{version}/lineage", tag = "datasets",
    params(("dataset" = String, Path, description = "Id or name"), ("version" = String, Path, description = "Id, tag or `latest`")),
    responses((status = 200, body = VersionLineageView)),
)]
async fn version(
    State(services): State<Services>,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Json<VersionLineageView>, Problem> {
    let (dataset, version) = both(&path)?;
    Ok(Json(services.version_lineage(&caller, dataset, version).await?.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        api::router::tests::Api,
        domain::{id::JobId, time::Timestamp},
        store::{StoreError, workloads},
    };

    fn named<'a>(items: &'a Value, kind: &str) -> Vec<&'a Value> {
        items.as_array().unwrap().iter().filter(|item| item["kind"] == kind).collect()
    }

    #[tokio::test]
    async fn what_has_sessions_is_there_once_under_its_name_also_when_they_are_gone() {
        let api = Api::new().await;
        let version = api.committed("logs", &[("events", "x")]).await;
        let new = json!({ "name": "sweep", "members": [{ "dataset": "logs" }] });
        let board = api.ask("POST", "tensorboards", Some(new)).await.body["id"].as_str().unwrap().to_owned();
        let path = format!("tensorboards/{board}");
        let mut sessions = Vec::new();
        for _ in 0..2 {
            let started = api.ask("POST", &format!("{path}/start"), None).await;
            assert_eq!(started.status, 200, "{}", started.text);
            sessions.push(started.body["session"]["id"].as_str().unwrap().parse::<JobId>().unwrap());
            api.ask("POST", &format!("{path}/stop"), None).await;
        }
        assert_ne!(sessions[0], sessions[1]);
        let refused = api.ask("DELETE", &version, None).await;
        assert!(refused.text.contains(&format!("(TensorBoard {board})")), "{}", refused.text);
        api.ask("PATCH", &path, Some(json!({ "name": "renamed" }))).await;

        for gone in [false, true] {
            let graph = api.ask("GET", "datasets/logs/lineage", None).await.body;
            let node = json!({ "kind": "tensorboard", "id": board, "label": "renamed", "state": null, "gone": false });
            assert_eq!((named(&graph["nodes"], "tensorboard"), named(&graph["nodes"], "job").len()), (vec![&node], 0));
            let edge = json!({ "from": version.rsplit('/').next().unwrap(), "to": board, "role": "input" });
            assert_eq!(graph["edges"], json!([edge]));
            let lineage = api.ask("GET", &format!("{version}/lineage"), None).await.body;
            let [read] = lineage["readBy"].as_array().unwrap().as_slice() else { panic!("{lineage:#}") };
            assert_eq!(
                (&read["tensorboard"], &read["name"], &read["gone"]),
                (&json!(board), &json!("renamed"), &json!(false))
            );
            assert!(
                sessions.iter().any(|id| read["job"] == id.as_str()) && read["state"].is_null() == gone,
                "{read:#}"
            );
            let sessions = sessions.clone();
            let deleted = api.store.write(move |tx| {
                for id in &sessions {
                    if let Some(session) = workloads::get(tx, id)? {
                        workloads::delete(tx, &session, Timestamp(1))?;
                    }
                }
                Ok::<_, StoreError>(())
            });
            deleted.await.unwrap();
        }

        assert_eq!(api.ask("DELETE", &path, None).await.status, 204);
        let graph = api.ask("GET", "datasets/logs/lineage", None).await.body;
        let [node] = named(&graph["nodes"], "tensorboard")[..] else { panic!("{graph:#}") };
        assert_eq!((&node["gone"], &node["label"]), (&json!(true), &json!("sweep")), "what it was called when it read");
    }
}
