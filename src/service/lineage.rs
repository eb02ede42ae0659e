//! Which run made a version, which runs read it, and which versions grew out of which.

use super::{
    ServiceError, Services,
    references::{self, Resolved},
};
use crate::{
    domain::{
        caller::{Action, Caller},
        dataset::{DatasetRef, Use, VersionRef, VersionState, VersionUse},
        id::{JobId, VersionId},
        workload::State,
    },
    store::{version_uses, versions},
};

/// Versions of a dataset that its graph shows, the newest.
const VERSIONS: u32 = 500;
/// Uses that a graph or a list shows, the newest.
const USES: u32 = 2_000;

/// What a version came of and what came of it.
#[derive(Debug, Clone)]
pub struct VersionLineage {
    pub parent: Option<VersionId>,
    pub children: Vec<VersionId>,
    /// The run whose output it is.
    pub made_by: Option<VersionUse>,
    /// Runs that mounted it, newest first.
    pub read_by: Vec<VersionUse>,
}

/// A dataset's versions and the runs around them.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

/// A version or a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Version { id: VersionId, tags: Vec<String>, state: VersionState },
    Job { id: JobId, name: String, state: Option<State> },
}

/// What came of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edge {
    Parent { parent: VersionId, child: VersionId },
    Reads { version: VersionId, job: JobId, role: Use },
    Makes { job: JobId, version: VersionId },
}

impl Services {
    /// Tells what a version came of and what came of it, as far as the caller's team may know.
    pub async fn version_lineage(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
    ) -> Result<VersionLineage, ServiceError> {
        let Resolved { version, .. } = self.find_version(caller, dataset, version).await?;
        let team = caller.team.clone();
        self.store
            .read(move |connection| {
                let uses = version_uses::of_version(connection, &team, version.seq, USES)?;
                let (mut made, read_by): (Vec<_>, Vec<_>) = uses.into_iter().partition(|used| used.role == Use::Output);
                Ok(VersionLineage {
                    parent: version.parent,
                    children: versions::children(connection, &team, version.seq, VERSIONS)?,
                    made_by: made.pop(),
                    read_by,
                })
            })
            .await
    }

    /// Draws a dataset's versions, newest first, and the runs of the caller's team around them.
    pub async fn dataset_lineage(&self, caller: &Caller, dataset: DatasetRef) -> Result<Graph, ServiceError> {
        caller.may(Action::ViewDatasets)?;
        let team = caller.team.clone();
        self.store
            .read(move |connection| {
                let dataset = references::dataset(connection, &team, &dataset)?;
                let state = (dataset.team != team).then_some(VersionState::Committed);
                let versions = versions::list(connection, dataset.seq, state, None, VERSIONS)?;
                let uses = version_uses::of_dataset(connection, &team, dataset.seq, USES)?;
                Ok(draw(versions, uses))
            })
            .await
    }
}

fn draw(versions: Vec<crate::domain::dataset::Version>, uses: Vec<VersionUse>) -> Graph {
    let mut graph = Graph::default();
    let known: std::collections::HashSet<_> = versions.iter().map(|version| version.id.clone()).collect();
    for version in versions {
        if let Some(parent) = version.parent.filter(|parent| known.contains(parent)) {
            graph.edges.push(Edge::Parent { parent, child: version.id.clone() });
        }
        graph.nodes.push(Node::Version { id: version.id, tags: version.tags, state: version.state });
    }
    let mut jobs = std::collections::HashSet::new();
    for used in uses.into_iter().filter(|used| known.contains(&used.version)) {
        if jobs.insert(used.job.clone()) {
            graph.nodes.push(Node::Job { id: used.job.clone(), name: used.job_name, state: used.state });
        }
        graph.edges.push(match used.role {
            Use::Output => Edge::Makes { job: used.job, version: used.version },
            role => Edge::Reads { version: used.version, job: used.job, role },
        });
    }
    graph
}
