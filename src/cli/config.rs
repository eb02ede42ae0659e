//! `gradientd config …`

use clap::Subcommand;

use super::{print, settings::SettingsArgs};
use crate::config;

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting with its value and where that came from
    Show(SettingsArgs),
}

impl ConfigCommand {
    /// Does it.
    ///
    /// # Errors
    /// When the settings are wrong, or standard output is gone.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Show(args) => Ok(print(&config::show(&args.load()?))?),
        }
    }
}
