//! Which job made a version or whose files it holds, which jobs and notebooks read it, which versions grew out of
//! which.

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
        id::{JobId, NotebookId, VersionId},
        import::ChosenFiles,
        time::Timestamp,
    },
    service::{
        Services,
        lineage::{Edge, Graph, Node, Reader, VersionLineage},
    },
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(dataset)).routes(routes!(version))
}

/// A dataset's versions, and the jobs and notebooks around them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GraphView {
    nodes: Vec<NodeView>,
    edges: Vec<EdgeView>,
}

/// A version, a job, a notebook, or the team's `/storage`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NodeView {
    /// `version`, `job`, `notebook` or `storage`.
    kind: &'static str,
    id: String,
    /// A version's tags, or the name of a job or notebook.
    label: String,
    /// Of the version or job; null for a job that was deleted, and for what has none.
    state: Option<&'static str>,
}

/// From what something came to what came of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EdgeView {
    from: String,
    to: String,
    /// `parent` between versions; `input` or `public` from a version to the job or notebook that reads it;
    /// `output` from a job to the version that it made; `files` from a notebook or `/storage` to the version that
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
    /// Newest first.
    read_by: Vec<JobUse>,
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

/// A job that read a version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobUse {
    #[schema(value_type = String)]
    job: JobId,
    name: String,
    /// The notebook that it is a session of; null for a job.
    #[schema(value_type = Option<String>)]
    notebook: Option<NotebookId>,
    /// Null for a job that was deleted.
    state: Option<&'static str>,
    /// `input` or `public`.
    role: &'static str,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl From<Graph> for GraphView {
    fn from(graph: Graph) -> Self {
        let nodes = graph.nodes.into_iter().map(|node| match node {
            Node::Version { id, tags, state } => {
                NodeView { kind: "version", id: id.to_string(), label: tags.join(", "), state: Some(state.as_str()) }
            }
            Node::Job { id, name, state } => {
                NodeView { kind: "job", id: id.to_string(), label: name, state: state.map(|state| state.as_str()) }
            }
            Node::Notebook { id, name } => NodeView { kind: "notebook", id: id.to_string(), label: name, state: None },
            Node::Storage => NodeView {
                kind: "storage",
                id: FileRoot::Storage.to_string(),
                label: "/storage".to_owned(),
                state: None,
            },
        });
        let edges = graph.edges.into_iter().map(|edge| match edge {
            Edge::Parent { parent, child } => {
                EdgeView { from: parent.to_string(), to: child.to_string(), role: "parent" }
            }
            Edge::Reads { version, by, role } => {
                let to = match by {
                    Reader::Job(id) => id.to_string(),
                    Reader::Notebook(id) => id.to_string(),
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
        let state = |used: &VersionUse| used.state.map(|state| state.as_str());
        Self {
            parent: lineage.parent,
            children: lineage.children,
            made_by: lineage.made_by.map(|used| JobLabel { state: state(&used), job: used.job, name: used.job_name }),
            made_from: lineage.made_from.into_iter().map(FilesLabel::from).collect(),
            read_by: lineage
                .read_by
                .into_iter()
                .map(|used| JobUse {
                    state: state(&used),
                    job: used.job,
                    name: used.job_name,
                    role: used.role.as_str(),
                    notebook: used.notebook,
                    at: used.at,
                })
                .collect(),
        }
    }
}

/// Draw the lineage of a dataset
///
/// Its newest versions, with the jobs and notebooks of your team that made or read them.
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
