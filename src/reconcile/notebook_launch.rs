//! What the container of a notebook's session has that a job's has not: its home, the datasets that come
//! and go while it runs, and a Jupyter server that knows where it is reached.
//!
//! Datasets are mounted as links: `/datasets` is a directory of ours with a link for each, and the links
//! lead to the team's versions, which are mounted beside it. So one more is a link more, at any time, and
//! needs no right to mount anything.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use super::launch::STORAGE;
use crate::{
    domain::{
        id::NotebookId,
        notebook::{HOME, PACKAGES, PORT},
        workload::{Input, Spec, Workload, Workspace},
    },
    executor::Mount,
    storage::{
        layout::{DataDir, RunDir},
        workspace::{self, Contents},
    },
};

/// Where the versions of the team are, for the links in `/datasets` to lead to.
const VERSIONS: &str = "/opt/gradientd/versions";
/// Where versions of other teams are, by the names of their datasets.
const OTHERS: &str = "/opt/gradientd/public";
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
    mounts.push(mount(data.team_datasets(&workload.team), VERSIONS, true));
    for input in spec.inputs.iter().filter(|input| input.team != workload.team) {
        let tree = data.version(&input.team, &input.dataset, &input.version).tree();
        mounts.push(mount(tree, &format!("{OTHERS}/{}", input.name), true));
    }
    link_all(data, &run, workload, &spec.inputs)?;
    mounts.push(mount(run.datasets(), DATASETS, true));
    Ok(mounts)
}

/// Makes `/datasets` show exactly these versions.
fn link_all(data: &DataDir, run: &RunDir, workload: &Workload, inputs: &[Input]) -> io::Result<()> {
    open_dir(&run.datasets())?;
    for entry in fs::read_dir(run.datasets())? {
        fs::remove_file(entry?.path())?;
    }
    inputs.iter().try_for_each(|input| link(data, run, workload, input))
}

/// Adds one version to `/datasets`.
fn link(data: &DataDir, run: &RunDir, workload: &Workload, input: &Input) -> io::Result<()> {
    let target = if input.team == workload.team {
        let version = data.version(&input.team, &input.dataset, &input.version);
        // Whoever knows where a version is may pass; nobody sees from here what others there are.
        for dir in [Some(version.root()), version.root().parent()].into_iter().flatten() {
            fs::set_permissions(dir, Permissions::from_mode(0o711))?;
        }
        format!("{VERSIONS}/{}/{}/tree", input.dataset, input.version)
    } else {
        format!("{OTHERS}/{}", input.name)
    };
    symlink(target, run.datasets().join(&input.name))
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

/// Makes a directory that a container may read, or finds it.
fn open_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// Returns what code in notebooks looks for in its environment.
pub(super) fn environment(
    notebook: &NotebookId,
    domain: Option<&str>,
    token: String,
    keep_packages: bool,
) -> impl Iterator<Item = (String, String)> {
    let mut env = vec![
        ("PAPERSPACE_FQDN", format!("{notebook}.{}", domain.unwrap_or("localhost"))),
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
