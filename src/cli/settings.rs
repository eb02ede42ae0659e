//! The flags that every subcommand has which reads settings.

use std::path::PathBuf;

use clap::Args;

use super::data_dir::DataDir;
use crate::config::{BUILT_IN, Config, ConfigArgs, ConfigError, Loaded};

/// Where settings come from, and those that the command line sets.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingsArgs {
    /// Read this settings file instead of /etc/gradientd/gradientd.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Keep everything in this directory (data.dir)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Listen on this address and port (server.listen)
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Serve what containers serve on this address and port (server.workload_listen)
    #[arg(long, value_name = "ADDRESS:PORT")]
    workload_listen: Option<String>,
    /// Set any one setting; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl SettingsArgs {
    /// Gathers the settings from all layers.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that is wrong.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        Config::load(&ConfigArgs {
            file: self.config.clone(),
            data_dir: self.data_dir.clone(),
            listen: self.listen.clone(),
            workload_listen: self.workload_listen.clone(),
            set: self.set.clone(),
        })
    }

    /// Gathers them for a command that tells how the daemon is reached: where nothing says on which address
    /// it listens, that is the one that the daemon of the data directory was started with.
    ///
    /// # Errors
    /// As [`SettingsArgs::load`].
    pub fn load_beside(&self) -> Result<Loaded, ConfigError> {
        let mut loaded = self.load()?;
        if loaded.origin("server.listen") == BUILT_IN
            && let Some(listen) = DataDir::noted_address(&loaded.config.data.dir)
        {
            loaded.config.server.listen = listen;
        }
        Ok(loaded)
    }
}
