//! Which run made a version or whose files it holds, which runs read it, and which versions grew out of which.

use std::collections::HashSet;

use super::{
    ServiceError, Services,
    references::{self, Resolved},
};
use crate::{
    domain::{
        caller::{Action, Caller},
        dataset::{DatasetRef, Use, Version, VersionRef, VersionState, VersionUse},
        file_root::FileRoot,
        id::{JobId, NotebookId, VersionId},
        import::ChosenFiles,
        workload::State,
    },
    store::{imports, version_uses, versions},
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
    /// Files of notebooks and of `/storage` that were brought into it, newest first.
    pub made_from: Vec<ChosenFiles>,
    /// Runs that mounted it, newest first.
    pub read_by: Vec<VersionUse>,
}

/// A dataset's versions and the runs and files around them.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

/// A version, a run, or files that people work on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Version {
        id: VersionId,
        tags: Vec<String>,
        state: VersionState,
    },
    Job {
        id: JobId,
        name: String,
        state: Option<State>,
    },
    /// Its files came into a version, or a session of it read one.
    Notebook {
        id: NotebookId,
        name: String,
    },
    /// The team's `/storage`.
    Storage,
}

/// What came of what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Edge {
    Parent { parent: VersionId, child: VersionId },
    Reads { version: VersionId, by: Reader, role: Use },
    Makes { job: JobId, version: VersionId },
    Brings { root: FileRoot, version: VersionId },
}

/// Who read a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reader {
    Job(JobId),
    Notebook(NotebookId),
}

impl Services {
    /// Tells what a version came of and what came of it, as far as the caller's team may know.
    pub async fn version_lineage(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
    ) -> Result<VersionLineage, ServiceError> {
        let Resolved { dataset, version } = self.find_version(caller, dataset, version).await?;
        let team = caller.team.clone();
        self.store
            .read(move |connection| {
                let uses = version_uses::of_version(connection, &team, version.seq, USES)?;
                let (mut made, read_by): (Vec<_>, Vec<_>) = uses.into_iter().partition(|used| used.role == Use::Output);
                let made_from = match dataset.team == team {
                    true => imports::chosen_into(connection, dataset.seq, Some(version.seq), USES)?,
                    false => Vec::new(),
                };
                Ok(VersionLineage {
                    parent: version.parent,
                    made_from: made_from.into_iter().map(|(_, chosen)| chosen).collect(),
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
                let chosen = match dataset.team == team {
                    true => imports::chosen_into(connection, dataset.seq, None, USES)?,
                    false => Vec::new(),
                };
                Ok(draw(versions, uses, chosen))
            })
            .await
    }
}

fn draw(versions: Vec<Version>, uses: Vec<VersionUse>, chosen: Vec<(VersionId, ChosenFiles)>) -> Graph {
    let mut graph = Graph::default();
    let known: HashSet<_> = versions.iter().map(|version| version.id.clone()).collect();
    for version in versions {
        if let Some(parent) = version.parent.filter(|parent| known.contains(parent)) {
            graph.edges.push(Edge::Parent { parent, child: version.id.clone() });
        }
        graph.nodes.push(Node::Version { id: version.id, tags: version.tags, state: version.state });
    }
    // A notebook has many sessions, and may have given files to many versions.
    let (mut named, mut joined) = (HashSet::new(), HashSet::new());
    let mut join = |graph: &mut Graph, id: &str, node: Node, edge: Edge| {
        if named.insert(id.to_owned()) {
            graph.nodes.push(node);
        }
        if joined.insert(edge.clone()) {
            graph.edges.push(edge);
        }
    };
    for (version, ChosenFiles { root, name, .. }) in chosen.into_iter().filter(|(version, _)| known.contains(version)) {
        let node = match &root {
            FileRoot::Storage => Node::Storage,
            FileRoot::Notebook(id) => Node::Notebook { id: id.clone(), name },
        };
        join(&mut graph, &root.to_string(), node, Edge::Brings { root, version });
    }
    for used in uses.into_iter().filter(|used| known.contains(&used.version)) {
        let VersionUse { version, job, job_name: name, role, state, notebook, .. } = used;
        match (role, notebook) {
            (Use::Output, _) => {
                let node = Node::Job { id: job.clone(), name, state };
                join(&mut graph, &job.to_string(), node, Edge::Makes { job: job.clone(), version });
            }
            // What its sessions read, the notebook read.
            (role, Some(id)) => {
                let edge = Edge::Reads { version, by: Reader::Notebook(id.clone()), role };
                join(&mut graph, &id.to_string(), Node::Notebook { id: id.clone(), name }, edge);
            }
            (role, None) => {
                let edge = Edge::Reads { version, by: Reader::Job(job.clone()), role };
                join(&mut graph, &job.to_string(), Node::Job { id: job.clone(), name, state }, edge);
            }
        }
    }
    graph
}
