//! Counts, now and then, what each team keeps on the disk, and puts it on the board: quotas and people
//! go by it.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;

use super::{Loop, Works, drive};
use crate::{
    domain::{
        board::TeamUsage,
        id::{JobId, NotebookId, TeamId, UploadId},
        notebook::NotebookSize,
        storage_care::{Part, PartUsage},
        time::Timestamp,
    },
    service::blocking,
    storage::{
        dataset::{Usage, usage},
        layout::DataDir,
    },
    store::{StoreError, cached_versions, teams, uploads, workloads},
};

/// What a directory that runs or people have made counts, in bytes: about what an empty one takes. Those
/// without files would be free otherwise, however many.
const DIRECTORY: u64 = 4096;
/// Time between two counts, when none is asked for.
const PERIOD: Duration = Duration::from_secs(300);

/// Starts the loop.
pub fn start(works: &Works) {
    let nudge = Arc::clone(&works.services.care.wake_usage);
    works.tasks.spawn(drive(Count { works: works.clone(), over: HashMap::new() }, works.clone(), nudge, PERIOD));
}

struct Count {
    works: Works,
    /// Runs that are over: what they keep does not change any more.
    over: HashMap<JobId, Counted>,
}

/// What one run keeps.
type Counted = [(Part, Usage); 3];
type Parts = BTreeMap<Part, Usage>;

impl Loop for Count {
    const NAME: &'static str = "usage";

    async fn pass(&mut self) -> anyhow::Result<()> {
        let works = self.works.clone();
        let counted_at = works.clock.now();
        // One that has nothing yet is told so, rather than to wait.
        let known = works.store.read(teams::all).await?;
        let mut teams: BTreeMap<TeamId, Parts> = known.into_iter().map(|team| (team, Parts::new())).collect();
        self.count_runs(&mut teams).await.context("counting the files of runs")?;
        count_uploads(&works, &mut teams).await.context("counting uploads")?;
        let (data, mut sizes) = (works.data.clone(), HashMap::new());
        for team in blocking(move || data.team_ids()).await? {
            let parts = teams.entry(team.clone()).or_default();
            count_team(&works.data, &team, parts).await?;
            sizes.extend(count_notebooks(&works.data, &team, parts, counted_at).await?);
        }
        works.board.set_notebook_sizes(sizes);
        for copy in works.store.read(cached_versions::all).await? {
            move_to_cache(teams.entry(copy.team).or_default(), copy.bytes);
        }
        let whole = |parts: &Parts| TeamUsage {
            bytes: parts.iter().filter(|(part, _)| part.counts()).map(|(_, usage)| usage.bytes).sum(),
            counted_at,
        };
        works.board.set_team_usage(teams.iter().map(|(team, parts)| (team.clone(), whole(parts))).collect());
        works.board.set_team_parts(teams.into_iter().map(|(team, parts)| (team, listed(&parts))).collect());
        match works.executor.images().await {
            Ok(images) => works.board.set_images(Some(images)),
            // The workload loop tells of an engine that is away.
            Err(_) => works.board.set_images(None),
        }
        Ok(())
    }
}

impl Count {
    async fn count_runs(&mut self, teams: &mut BTreeMap<TeamId, Parts>) -> anyhow::Result<()> {
        let data = self.works.data.clone();
        let ids = blocking(move || data.run_ids()).await?;
        let known = self.works.store.read(move |connection| {
            let mut known = Vec::with_capacity(ids.len());
            for id in ids {
                if let Some(workload) = workloads::get(connection, &id)? {
                    known.push((id, workload.team, workload.teardown_finished_at.is_some()));
                }
            }
            Ok::<_, StoreError>(known)
        });
        let mut over = HashMap::new();
        for (id, team, is_over) in known.await? {
            let counted = match self.over.get(&id) {
                Some(counted) => *counted,
                None => count_run(&self.works.data, &id, is_over).await?,
            };
            let parts = teams.entry(team).or_default();
            for (part, usage) in counted {
                add(parts, part, usage);
            }
            if is_over {
                over.insert(id, counted);
            }
        }
        self.over = over;
        Ok(())
    }
}

/// Counts what a run keeps. What is in its outputs counts when it has become a version; what could not,
/// stays with the run and counts here.
async fn count_run(data: &DataDir, id: &JobId, is_over: bool) -> anyhow::Result<Counted> {
    let run = data.run(id);
    blocking(move || {
        let mut workspaces = count(&run.workspace())?;
        if is_over {
            workspaces = sum(workspaces, count(&run.outputs())?);
        }
        Ok([
            (Part::Workspaces, workspaces),
            (Part::Artifacts, count(&run.artifacts())?),
            (Part::Logs, count_files(&run.root().join("attempts"))?),
        ])
    })
    .await
}

async fn count_uploads(works: &Works, teams: &mut BTreeMap<TeamId, Parts>) -> anyhow::Result<()> {
    let known: Vec<(UploadId, TeamId)> = works.store.read(uploads::all_with_teams).await?;
    let root = works.data.uploads();
    let counted = blocking(move || {
        let one = |(id, team): (UploadId, TeamId)| Ok((team, count(&root.join(id.as_str()))?));
        known.into_iter().map(one).collect::<anyhow::Result<Vec<_>>>()
    });
    for (team, usage) in counted.await? {
        add(teams.entry(team).or_default(), Part::Uploads, usage);
    }
    Ok(())
}

async fn count_team(data: &DataDir, team: &TeamId, parts: &mut Parts) -> anyhow::Result<()> {
    let (storage, blobs) = (data.team_storage(team), data.team_blobs(team));
    // The directories of the contents are the box's own. Those of versions are only there where files are.
    let (storage, blobs) = blocking(move || Ok::<_, anyhow::Error>((count(&storage)?, count_files(&blobs)?))).await?;
    add(parts, Part::Storage, storage);
    add(parts, Part::Datasets, blobs);
    Ok(())
}

/// Counts what each notebook of a team keeps, and what is on its way to a team's files.
async fn count_notebooks(
    data: &DataDir,
    team: &TeamId,
    parts: &mut Parts,
    counted_at: Timestamp,
) -> anyhow::Result<Vec<(NotebookId, NotebookSize)>> {
    let (data, team) = (data.clone(), team.clone());
    let counted = blocking(move || {
        let one = |id: NotebookId| {
            let dir = data.notebook(&team, &id);
            let copying = count(&dir.root().join("copying"))?;
            let unsent = count(&dir.root().join("unsent"))?;
            Ok((id, sum(sum(count(&dir.home())?, copying), unsent), count(&dir.packages())?))
        };
        let notebooks = data.notebook_ids(&team)?.into_iter().map(one).collect::<anyhow::Result<Vec<_>>>()?;
        Ok::<_, anyhow::Error>((notebooks, count_files(&data.team_arriving(&team))?))
    });
    let (notebooks, arriving) = counted.await?;
    add(parts, Part::Uploads, arriving);
    let sizes = notebooks.into_iter().map(|(id, files, packages)| {
        add(parts, Part::Notebooks, sum(files, packages));
        (id, NotebookSize { files_bytes: files.bytes, packages_bytes: packages.bytes, counted_at })
    });
    Ok(sizes.collect())
}

/// Copies of versions on S3 lie among the team's contents, and go by themselves.
fn move_to_cache(parts: &mut Parts, bytes: u64) {
    let datasets = parts.entry(Part::Datasets).or_default();
    let bytes = bytes.min(datasets.bytes);
    datasets.bytes -= bytes;
    add(parts, Part::Cache, Usage { files: 1, bytes, disk_bytes: bytes, directories: 0 });
}

/// Counts files and directories.
fn count(path: &Path) -> anyhow::Result<Usage> {
    let usage = count_files(path)?;
    Ok(Usage { bytes: usage.bytes.saturating_add(usage.directories.saturating_mul(DIRECTORY)), ..usage })
}

fn count_files(path: &Path) -> anyhow::Result<Usage> {
    usage(path, &|_| ControlFlow::Continue(())).with_context(|| format!("counting {}", path.display()))
}

fn sum(one: Usage, other: Usage) -> Usage {
    Usage {
        files: one.files + other.files,
        bytes: one.bytes + other.bytes,
        disk_bytes: one.disk_bytes + other.disk_bytes,
        directories: one.directories + other.directories,
    }
}

fn add(parts: &mut Parts, part: Part, usage: Usage) {
    let before = parts.entry(part).or_default();
    *before = sum(*before, usage);
}

fn listed(parts: &Parts) -> Vec<PartUsage> {
    let one = |part: &Part| {
        let usage = parts.get(part).copied().unwrap_or_default();
        PartUsage { part: *part, bytes: usage.bytes, files: usage.files }
    };
    Part::ALL.iter().map(one).collect()
}
