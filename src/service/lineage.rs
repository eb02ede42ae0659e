//! Which run made a version or whose files it holds, which runs read it, and which versions grew out of which.

use std::collections::{HashMap, HashSet};

use super::{
    ServiceError, Services,
    references::{self, Resolved},
};
use crate::{
    domain::{
        caller::{Action, Caller},
        dataset::{DatasetRef, Use, Version, VersionRef, VersionState, VersionUse},
        file_root::FileRoot,
        id::{JobId, NotebookId, TensorBoardId, VersionId},
        import::ChosenFiles,
        workload::{Kind, State},
    },
    store::{imports, version_uses, versions, workloads},
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
    /// Who mounted it, newest first: of all sessions of a notebook or a TensorBoard the newest.
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
    /// Its files came into a version, or sessions of it read one.
    Notebook {
        id: NotebookId,
        name: String,
        is_gone: bool,
    },
    /// Sessions of it showed a version.
    TensorBoard {
        id: TensorBoardId,
        name: String,
        is_gone: bool,
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
    TensorBoard(TensorBoardId),
}

impl Reader {
    /// Returns whose use it is.
    fn of(used: &VersionUse) -> Self {
        match &used.kind {
            Kind::Job => Self::Job(used.job.clone()),
            Kind::Notebook(id) => Self::Notebook(id.clone()),
            Kind::TensorBoard(id) => Self::TensorBoard(id.clone()),
        }
    }
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
                let (mut made, mut read_by): (Vec<_>, Vec<_>) =
                    uses.into_iter().partition(|used| used.role == Use::Output);
                let mut named = HashSet::new();
                read_by.retain(|used| {
                    let reader = Reader::of(used);
                    matches!(reader, Reader::Job(_)) || named.insert((reader, used.role))
                });
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
                let mut notebooks = HashMap::new();
                for (_, ChosenFiles { root, .. }) in &chosen {
                    if let FileRoot::Notebook(id) = root
                        && let Some(name) = workloads::name_of(connection, &Kind::Notebook(id.clone()))?
                    {
                        notebooks.insert(id.clone(), name);
                    }
                }
                Ok(draw(versions, uses, chosen, &notebooks))
            })
            .await
    }
}

/// Draws what is known. `notebooks` are those of which there are files, with their names, that are there.
fn draw(
    versions: Vec<Version>,
    uses: Vec<VersionUse>,
    chosen: Vec<(VersionId, ChosenFiles)>,
    notebooks: &HashMap<NotebookId, String>,
) -> Graph {
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
            FileRoot::Notebook(id) => {
                let name_now = notebooks.get(id).cloned();
                Node::Notebook { id: id.clone(), is_gone: name_now.is_none(), name: name_now.unwrap_or(name) }
            }
        };
        join(&mut graph, &root.to_string(), node, Edge::Brings { root, version });
    }
    for used in uses.into_iter().filter(|used| known.contains(&used.version)) {
        let reader = Reader::of(&used);
        let VersionUse { version, job, title: name, role, state, is_gone, .. } = used;
        // What its sessions read, the notebook or the TensorBoard read.
        let (id, node) = match &reader {
            Reader::Job(id) => (id.to_string(), Node::Job { id: id.clone(), name, state }),
            Reader::Notebook(id) => (id.to_string(), Node::Notebook { id: id.clone(), name, is_gone }),
            Reader::TensorBoard(id) => (id.to_string(), Node::TensorBoard { id: id.clone(), name, is_gone }),
        };
        let edge = match role {
            Use::Output => Edge::Makes { job, version },
            role => Edge::Reads { version, by: reader, role },
        };
        join(&mut graph, &id, node, edge);
    }
    graph
}
