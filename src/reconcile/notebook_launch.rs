//! What the container of a notebook's session has that a job's has not: its home, the datasets that come
//! and go while it runs, and a Jupyter server that knows where it is reached.
//!
//! Datasets are mounted as links: `/datasets` is a directory of ours with a link for each, and the links
//! lead to what is mounted beside it. So one more is a link more, at any time, and needs no right to mount
//! anything; `notebook_data` adds and removes them while it runs.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::launch::STORAGE;
use crate::{
    domain::{
        id::{NotebookId, TeamId},
        integration::SessionMount,
        notebook::{HOME, PACKAGES, PORT},
        workload::{Spec, Workload, Workspace},
    },
    executor::Mount,
    storage::{
        layout::{DataDir, RunDir},
        session_data::{Bound, SessionDir, linked_name, open_dir},
        workspace::{self, Contents},
    },
};

/// Where the versions of the team are, for the links in `/datasets` to lead to.
const VERSIONS: &str = "/opt/gradientd/versions";
/// Where versions of other teams are that were asked for when the container was made.
const OTHERS: &str = "/opt/gradientd/public";
/// Where those are that were asked for later.
const LINKED: &str = "/opt/gradientd/linked";
const DATASETS: &str = "/datasets";
/// Where the server finds what is written in [`configure`].
const JUPYTER: &str = "/opt/gradientd/jupyter";

/// Returns what is started where nobody said anything else. Everything but the address comes from the
/// configuration, which counts for a command of somebody's own as well.
pub(super) fn command() -> Vec<String> {
    ["jupyter", "lab", "--allow-root", "--no-browser"].map(str::to_owned).into()
}

/// Returns the path beneath which a notebook's server answers, on its own host name and on any other.
pub(super) fn base_path(notebook: &NotebookId) -> String {
    format!("/w/{notebook}/")
}

/// Makes the directories of a session and returns where they are mounted.
pub(super) fn mounts(
    data: &DataDir,
    workload: &Workload,
    notebook: &NotebookId,
    spec: &Spec,
    inputs: &[SessionMount],
) -> anyhow::Result<Vec<Mount>> {
    let run = data.run(&workload.id);
    run.create()?;
    let own = data.notebook(&workload.team, notebook);
    own.create()?;
    if matches!(spec.workspace, Workspace::Empty) {
        workspace::prepare(&own.home(), &Contents::Nothing)?;
    }
    configure(&run, notebook)?;
    let mount =
        |source, target: &str, read_only| Mount { source, target: target.to_owned(), read_only, ..Mount::default() };
    let mut mounts = vec![
        mount(data.create_team_storage(&workload.team)?, STORAGE, false),
        mount(own.home(), HOME, false),
        mount(run.jupyter(), JUPYTER, true),
    ];
    if spec.keep_packages {
        mounts.push(mount(own.create_packages()?, PACKAGES, false));
    }
    data.create_team_datasets(&workload.team)?;
    let session = SessionDir::of(run.clone());
    session.create()?;
    mounts.push(mount(data.team_datasets(&workload.team), VERSIONS, true));
    mounts.push(mount(run.linked(), LINKED, true));
    let bound = session.bound(|| others(data, workload, inputs))?;
    for Bound { team, dataset, version } in &bound {
        let tree = data.version(team, dataset, version).tree();
        mounts.push(mount(tree, &format!("{OTHERS}/{}", linked_name(dataset, version)), true));
    }
    link_all(data, &session, workload, inputs, &bound)?;
    mounts.push(mount(run.datasets(), DATASETS, true));
    Ok(mounts)
}

/// Returns the versions of other teams that a session is to have and that are here.
fn others(data: &DataDir, workload: &Workload, inputs: &[SessionMount]) -> Vec<Bound> {
    let mut bound: Vec<Bound> = Vec::new();
    for SessionMount { team, dataset, version, .. } in inputs.iter().filter(|input| input.team != workload.team) {
        let one = Bound { team: team.clone(), dataset: dataset.clone(), version: version.clone() };
        if !bound.contains(&one) && data.version(team, dataset, version).tree().is_dir() {
            bound.push(one);
        }
    }
    bound
}

/// Makes `/datasets` show these versions, as far as they are here.
fn link_all(
    data: &DataDir,
    session: &SessionDir,
    workload: &Workload,
    inputs: &[SessionMount],
    bound: &[Bound],
) -> io::Result<()> {
    let mut names = BTreeSet::new();
    for input in inputs {
        let Ok(place) = place_of(data, &workload.team, input, Some(bound)) else { continue };
        if place.is_made(session, input) {
            place.open()?;
            session.link(&input.name, &place.path)?;
            names.insert(input.name.clone());
        }
    }
    session.links()?.keys().filter(|name| !names.contains(*name)).try_for_each(|name| session.unlink(name))
}

/// Where a version is, for a link in `/datasets` to lead to.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// In the container.
    pub path: String,
    /// Its name among what the session got while it runs, if it is one of those.
    pub taken: Option<String>,
    /// Its files on this disk.
    pub tree: PathBuf,
    /// Directories of the session's own team that let pass who knows what is in them.
    passages: Vec<PathBuf>,
}

impl Place {
    /// Says whether its files are where the path leads. Of another team's version that is new to the session,
    /// [`Takes`](super::session_takes::Takes) puts them there.
    pub(super) fn is_made(&self, session: &SessionDir, mount: &SessionMount) -> bool {
        self.tree.is_dir() && (self.taken.is_none() || session.has_taken(&mount.dataset, &mount.version))
    }

    /// Makes sure that the path may be gone: whoever knows where a version is may pass, and nobody sees from there
    /// what others there are.
    pub(super) fn open(&self) -> io::Result<()> {
        self.passages.iter().try_for_each(|dir| fs::set_permissions(dir, Permissions::from_mode(0o711)))
    }
}

/// Returns where a version is for a session of `team`, whose container has the versions `bound` of other
/// teams mounted.
///
/// # Errors
/// Words, when its container was made before that could be known.
pub(super) fn place_of(
    data: &DataDir,
    team: &TeamId,
    mount: &SessionMount,
    bound: Option<&[Bound]>,
) -> Result<Place, String> {
    let SessionMount { dataset, version, .. } = mount;
    let dir = data.version(&mount.team, dataset, version);
    let tree = dir.tree();
    if mount.team == *team {
        let passages = [Some(dir.root()), dir.root().parent()].into_iter().flatten().map(Path::to_owned).collect();
        return Ok(Place { path: format!("{VERSIONS}/{dataset}/{version}/tree"), taken: None, tree, passages });
    }
    let Some(bound) = bound else {
        return Err(
            "this session began before it could be had while it runs: stop the notebook and start it again".to_owned()
        );
    };
    let name = linked_name(dataset, version);
    let is_bound = bound.iter().any(|bound| bound.dataset == *dataset && bound.version == *version);
    Ok(match is_bound {
        true => Place { path: format!("{OTHERS}/{name}"), taken: None, tree, passages: Vec::new() },
        false => Place { path: format!("{LINKED}/{name}"), taken: Some(name), tree, passages: Vec::new() },
    })
}

/// Writes how the server is to listen. Jupyter reads it from its path of configurations, also for a
/// command of somebody's own; options of that command count more.
fn configure(run: &RunDir, notebook: &NotebookId) -> io::Result<()> {
    let server = serde_json::json!({
        "ip": "0.0.0.0",
        "port": PORT,
        "port_retries": 0,
        "open_browser": false,
        "allow_root": true,
        "allow_remote_access": true,
        "trust_xheaders": true,
        "base_url": base_path(notebook),
        "root_dir": HOME,
        "quit_button": false,
    });
    let classic = serde_json::json!({
        "ip": "0.0.0.0",
        "port": PORT,
        "port_retries": 0,
        "open_browser": false,
        "allow_root": true,
        "allow_remote_access": true,
        "trust_xheaders": true,
        "base_url": base_path(notebook),
        "notebook_dir": HOME,
        "quit_button": false,
    });
    open_dir(&run.jupyter())?;
    for (file, settings) in [
        ("jupyter_server_config.json", serde_json::json!({ "ServerApp": server })),
        ("jupyter_notebook_config.json", serde_json::json!({ "NotebookApp": classic })),
    ] {
        let path = run.jupyter().join(file);
        fs::write(&path, settings.to_string())?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Returns what code in notebooks looks for in its environment.
pub(super) fn environment(
    notebook: &NotebookId,
    name: String,
    token: String,
    keep_packages: bool,
) -> impl Iterator<Item = (String, String)> {
    let mut env = vec![
        ("PAPERSPACE_FQDN", name),
        ("PAPERSPACE_NOTEBOOK_ID", notebook.to_string()),
        ("PAPERSPACE_NOTEBOOK_REPO_ID", notebook.to_string()),
        ("PAPERSPACE_CLUSTER_ID", "box".to_owned()),
        ("JUPYTER_TOKEN", token),
        ("JUPYTER_CONFIG_PATH", JUPYTER.to_owned()),
    ];
    if keep_packages {
        env.extend([
            ("PYTHONUSERBASE", PACKAGES.to_owned()),
            ("PIP_USER", "1".to_owned()),
            // Where a distribution keeps pip from its own packages: these are not among them.
            ("PIP_BREAK_SYSTEM_PACKAGES", "1".to_owned()),
        ]);
    }
    env.into_iter().map(|(name, value)| (name.to_owned(), value))
}
