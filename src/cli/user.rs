//! `gradientd user …`: the people of the team.

use clap::{Args, Subcommand};

use super::{
    local::{self, Local},
    print,
    settings::SettingsArgs,
};
use crate::domain::caller::Scope;

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a person to the team and print a key of theirs, the only time that it is shown
    Create(UserCreate),
    /// List the people of the team
    List(SettingsArgs),
    /// Let a person go: their keys end at once, on open streams too; what they made stays
    Remove(UserRemove),
}

#[derive(Debug, Args)]
pub struct UserCreate {
    /// What the person is called here
    pub name: String,
    /// What the first key is good for: read, write or admin
    #[arg(long, default_value_t = Scope::Write)]
    pub scope: Scope,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub struct UserRemove {
    /// What the person is called here
    pub name: String,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

impl UserCommand {
    /// Does it.
    ///
    /// # Errors
    /// In words that say what to do.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(args) => local::run(&args.settings.clone(), None, |local| create(local, args)),
            Self::List(settings) => local::run(&settings, None, list),
            Self::Remove(args) => local::run(&args.settings.clone(), None, |local| remove(local, args.name)),
        }
    }
}

async fn create(local: Local, args: UserCreate) -> anyhow::Result<()> {
    let (_, key) = local.services.create_user(&local.caller, args.name, args.scope).await?;
    Ok(print(&format!("{}\n", key.reveal()))?)
}

async fn remove(local: Local, name: String) -> anyhow::Result<()> {
    let ended = local.services.remove_user(&local.caller, name.clone()).await?;
    let keys = if ended == 1 { "1 key has".to_owned() } else { format!("{ended} keys have") };
    Ok(print(&format!("{name} has left: {keys} ended\n"))?)
}

async fn list(local: Local) -> anyhow::Result<()> {
    let users = local.services.users(&local.caller).await?;
    let lines = users.iter().map(|user| format!("{}  {}  {}\n", user.id, user.created_at, user.name));
    Ok(print(&lines.collect::<String>())?)
}
