//! Opens the data directory beside the daemon, or without it, for subcommands that work on this
//! machine. Whoever can open it may do everything in it, so they act as the admin.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use anyhow::{Context, bail};

use super::settings::SettingsArgs;
use crate::{
    app,
    config::Config,
    domain::caller::Caller,
    service::{ServiceError, Services, users::FIRST_USER},
};

/// The services on a data directory, and who works on it.
pub struct Local {
    pub config: Config,
    pub services: Services,
    pub caller: Caller,
}

/// Runs `work` on the data directory that `settings` name, as the person called `user` or as the
/// admin.
///
/// # Errors
/// In words that say what to do when there is no data directory, this user may not open it, or there
/// is no such person; and whatever `work` says.
pub fn run<W>(settings: &SettingsArgs, user: Option<&str>, work: impl FnOnce(Local) -> W) -> anyhow::Result<()>
where
    W: Future<Output = anyhow::Result<()>>,
{
    let config = settings.load_beside()?.config;
    check(&config.data.dir)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let services = app::open_services(&config)?;
        let user = user.unwrap_or(FIRST_USER);
        let caller = services.local_admin(user).await.map_err(|error| match error {
            ServiceError::NotFound { .. } => anyhow::anyhow!("nobody is called “{user}” here: see gradientd user list"),
            other => other.into(),
        })?;
        let result = work(Local { config, services: services.clone(), caller }).await;
        services.store.close().await;
        result
    })
}

/// Starts what async code runs on.
///
/// # Errors
/// When this machine is out of threads.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start: this machine is out of memory or processes")
}

/// Says whether `dir` is a data directory that this user may open. Nothing is made: a subcommand that
/// made one by mistake would leave it to the wrong user.
pub fn check(dir: &Path) -> anyhow::Result<()> {
    let shown = dir.display();
    let found = match fs::metadata(dir.join("gradientd.db")) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{shown} is no data directory yet: start the daemon once, or name another with --data-dir")
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            bail!("this user may not open {shown}: run it as the daemon's user, for example with sudo -u gradientd")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot look at {shown}")),
    };
    let us = rustix::process::geteuid();
    // SQLite gives what root makes beside the database to the database's owner.
    if us.is_root() || us.as_raw() == found.uid() {
        return Ok(());
    }
    bail!("{shown} belongs to user {}: run it as that user, for example with sudo -u '#{}'", found.uid(), found.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subcommand_does_not_migrate_under_a_daemon_that_runs() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data.dir = dir.path().to_owned();
        let database = dir.path().join("gradientd.db");
        // Version 0: older than any.
        fs::write(&database, "").unwrap();
        let daemon = super::super::data_dir::DataDir::claim(dir.path()).unwrap();
        let words = app::open_services(&config).err().unwrap().to_string();
        assert!(words.contains("restart the daemon"), "{words}");
        assert_eq!(fs::metadata(&database).unwrap().len(), 0, "nothing was changed");
        drop(daemon);
        let services = app::open_services(&config).unwrap();
        let daemon = super::super::data_dir::DataDir::claim(dir.path()).unwrap();
        // What is up to date is opened beside a daemon.
        let beside = app::open_services(&config).unwrap();
        runtime().unwrap().block_on(async {
            beside.store.close().await;
            services.store.close().await;
        });
        drop(daemon);
    }

    #[test]
    fn a_directory_without_a_database_is_not_made_into_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("none");
        let words = check(&path).unwrap_err().to_string();
        assert!(words.contains("start the daemon once") && words.contains("--data-dir"), "{words}");
        assert!(!path.exists());
    }
}
