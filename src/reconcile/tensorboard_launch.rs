//! What the container of a TensorBoard's session has: the directories that it shows, read-only, and nothing
//! else of the team's.
//!
//! `/logs` is a directory of ours with a link for each member; the links lead to where the files are
//! mounted. A source of a mount is always a directory whose name only this daemon can change: the artifacts
//! of a run, the tree of a version, the home of a notebook. A folder of a notebook is such a link into its
//! home: were it the source of a mount itself, the engine, which works as root, would resolve its path on
//! this machine, and a notebook could put a link in its place at the last moment. The container resolves
//! it among its own files, so a link that is planted leads nowhere but there; and a folder that is removed
//! and made anew, as before another training, is followed. The price is that the rest of that notebook's
//! files can be read in there, too: by what shows a notebook, of a team that may read them all anyway.

use std::{
    collections::HashSet,
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use crate::{
    domain::{
        tensorboard::{LOGS, LogSource, Logs},
        workload::Workload,
    },
    executor::Mount,
    storage::layout::DataDir,
};

/// Where what is shown is mounted, for the links in `/logs` to lead to.
const SOURCES: &str = "/opt/gradientd/logs";

/// Makes the directories of a session and returns where they are mounted. Done again it finds them: a
/// container may have them mounted already.
pub(super) fn mounts(data: &DataDir, workload: &Workload, logs: &Logs) -> anyhow::Result<Vec<Mount>> {
    let run = data.run(&workload.id);
    run.create()?;
    open_dir(&run.shown())?;
    let read_only =
        |source, target: &str| Mount { source, target: target.to_owned(), read_only: true, ..Mount::default() };
    let mut mounts = vec![read_only(run.shown(), LOGS)];
    let mut mounted = HashSet::new();
    for directory in &logs.directories {
        let (source, key) = match &directory.source {
            LogSource::Run(run) => {
                let run_dir = data.run(run);
                // One that has not started has none yet; it is followed from its first file on.
                run_dir.create()?;
                (run_dir.artifacts(), run.to_string())
            }
            LogSource::Notebook { id, .. } => (data.notebook(&workload.team, id).home(), id.to_string()),
            LogSource::Version { team, dataset, version } => {
                (data.version(team, dataset, version).tree(), format!("{dataset}-{version}"))
            }
        };
        let mut target = format!("{SOURCES}/{key}");
        if mounted.insert(key) {
            mounts.push(read_only(source, &target));
        }
        if let LogSource::Notebook { path, .. } = &directory.source
            && !path.is_empty()
        {
            target = format!("{target}/{path}");
        }
        let place = run.shown().join(&directory.name);
        match &directory.run {
            None => link(&target, &place)?,
            Some(run) => {
                open_dir(&place)?;
                link(&target, &place.join(run.as_str()))?;
            }
        }
    }
    Ok(mounts)
}

fn link(target: &str, place: &Path) -> io::Result<()> {
    match symlink(target, place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Makes a directory that a container may read, or finds it.
fn open_dir(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            tensorboard::LogDirectory,
            workload::{State, Wanted},
        },
        reconcile::step::tests::workload,
    };

    #[test]
    fn a_container_has_what_is_shown_read_only_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::create(&temp.path().join("data")).unwrap();
        let workload = workload(Wanted::Run, State::Running);
        let (job, notebook) = ("js0123456789zz", "n012345678");
        let directory = |name: &str, run: Option<&str>, source| LogDirectory {
            name: name.to_owned(),
            run: run.map(|run| run.parse().unwrap()),
            source,
        };
        let in_notebook = |path: &str| LogSource::Notebook { id: notebook.parse().unwrap(), path: path.to_owned() };
        let logs = Logs {
            directories: vec![
                directory("one", None, LogSource::Run(job.parse().unwrap())),
                directory("sweep", Some(job), LogSource::Run(job.parse().unwrap())),
                directory("a", None, in_notebook("runs/a")),
                directory("all", None, in_notebook("")),
            ],
            left_out: Vec::new(),
        };
        for _ in 0..2 {
            let mounts = mounts(&data, &workload, &logs).unwrap();
            assert!(mounts.iter().all(|mount| mount.read_only));
            let targets: Vec<_> = mounts.iter().map(|mount| mount.target.as_str()).collect();
            assert_eq!(targets, ["/logs", &format!("{SOURCES}/{job}"), &format!("{SOURCES}/{notebook}")]);
            assert_eq!(mounts[1].source, data.run(&job.parse().unwrap()).artifacts());
            assert_eq!(mounts[2].source, data.notebook(&workload.team, &notebook.parse().unwrap()).home());
        }
        let shown = data.run(&workload.id).shown();
        let leads = |name: &str| fs::read_link(shown.join(name)).unwrap().to_str().unwrap().to_owned();
        assert_eq!(leads("one"), format!("{SOURCES}/{job}"));
        assert_eq!(leads(&format!("sweep/{job}")), format!("{SOURCES}/{job}"));
        assert_eq!(leads("a"), format!("{SOURCES}/{notebook}/runs/a"));
        assert_eq!(leads("all"), format!("{SOURCES}/{notebook}"));
        assert!(data.run(&job.parse().unwrap()).artifacts().is_dir(), "what has not started has a place to write to");
    }
}
