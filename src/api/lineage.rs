//! Which job made a version, which jobs read it, which versions grew out of which.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, Path, Problem, datasets::named, versions::both};
use crate::{
    domain::{
        caller::Caller,
        dataset::VersionUse,
        id::{JobId, VersionId},
        time::Timestamp,
    },
    service::{
        Services,
        lineage::{Edge, Graph, Node, VersionLineage},
    },
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(dataset)).routes(routes!(version))
}

/// A dataset's versions and the jobs around them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GraphView {
    nodes: Vec<NodeView>,
    edges: Vec<EdgeView>,
}

/// A version or a job.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NodeView {
    /// `version` or `job`.
    kind: &'static str,
    id: String,
    /// A version's tags, or a job's name.
    label: String,
    /// Of the version or job; null for a job that was deleted.
    state: Option<&'static str>,
}

/// From what something came to what came of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EdgeView {
    from: String,
    to: String,
    /// `parent` between versions; `input` or `public` from a version to the job that reads it; `output`
    /// from a job to the version that it made.
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

/// A job that read a version.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct JobUse {
    #[schema(value_type = String)]
    job: JobId,
    name: String,
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
        });
        let edges = graph.edges.into_iter().map(|edge| match edge {
            Edge::Parent { parent, child } => {
                EdgeView { from: parent.to_string(), to: child.to_string(), role: "parent" }
            }
            Edge::Reads { version, job, role } => {
                EdgeView { from: version.to_string(), to: job.to_string(), role: role.as_str() }
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
            read_by: lineage
                .read_by
                .into_iter()
                .map(|used| JobUse {
                    state: state(&used),
                    job: used.job,
                    name: used.job_name,
                    role: used.role.as_str(),
                    at: used.at,
                })
                .collect(),
        }
    }
}

/// Draw the lineage of a dataset
///
/// Its newest versions with the jobs of your team that made or read them.
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
