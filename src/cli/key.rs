//! `gradientd key …`: make, list and revoke keys on this machine, with or without the daemon.

use std::fmt::Write;

use clap::{Args, Subcommand};

use super::{
    local::{self, Local},
    print,
    settings::SettingsArgs,
};
use crate::{
    config::Span,
    domain::{caller::Scope, id::KeyId, key::Key, time::Timestamp},
};

/// Keys that are fetched at a time.
const PAGE: u32 = 500;

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and print it, the only time that it is shown
    Create(KeyCreate),
    /// List keys, without their text
    List(SettingsArgs),
    /// Shut a key out, on open streams too
    Revoke(KeyRevoke),
}

#[derive(Debug, Args)]
pub struct KeyCreate {
    /// What the key is for, for people
    pub name: String,
    /// What it is good for: read, write or admin
    #[arg(long, default_value_t = Scope::Write)]
    pub scope: Scope,
    /// Whose key it is, by name [default: the admin]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// When it ends by itself, such as 90d [default: never]
    #[arg(long, value_name = "SPAN")]
    pub expires_in: Option<Span>,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub struct KeyRevoke {
    /// The key's id, as the list shows it
    pub id: KeyId,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

impl KeyCommand {
    /// Does it.
    ///
    /// # Errors
    /// In words that say what to do.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create(args) => {
                local::run(&args.settings.clone(), args.user.clone().as_deref(), |local| create(local, args))
            }
            Self::List(settings) => local::run(&settings, None, list),
            Self::Revoke(args) => local::run(&args.settings, None, |local| revoke(local, args.id.clone())),
        }
    }
}

async fn create(local: Local, args: KeyCreate) -> anyhow::Result<()> {
    let life = args.expires_in.map(|span| span.0);
    let (_, key) = local.services.create_key(&local.caller, args.name, args.scope, life).await?;
    Ok(print(&format!("{}\n", key.reveal()))?)
}

async fn list(local: Local) -> anyhow::Result<()> {
    let (mut text, mut before) = (line("ID", "SCOPE", "USER", "LAST USED", "STATE", "NAME"), None);
    loop {
        let keys = local.services.keys(&local.caller, before, PAGE).await?;
        let Some(last) = keys.last() else { return Ok(print(&text)?) };
        before = Some(last.seq);
        for key in &keys {
            let used = key.last_used_at.map_or_else(|| "never".to_owned(), |time| time.to_string());
            let state = state(key, local.services.clock.now());
            text.push_str(&line(key.id.as_str(), key.scope.as_str(), &key.user_name, &used, state, &key.name));
        }
    }
}

async fn revoke(local: Local, id: KeyId) -> anyhow::Result<()> {
    local.services.revoke_key(&local.caller, &id).await?;
    Ok(print(&format!("{id} opens nothing any more\n"))?)
}

fn state(key: &Key, now: Timestamp) -> &'static str {
    match (key.revoked_at, key.is_good(now)) {
        (Some(_), _) => "revoked",
        (None, true) => "good",
        (None, false) => "expired",
    }
}

/// The name comes last: it may be long, and have spaces in it.
fn line(id: &str, scope: &str, user: &str, used: &str, state: &str, name: &str) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{id:<12} {scope:<6} {user:<16} {used:<28} {state:<8} {name}");
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(subcommand)]
        command: KeyCommand,
    }

    #[test]
    fn arguments_arrive_as_values() {
        let line = ["x", "create", "ci", "--scope", "read", "--expires-in", "90d", "--data-dir", "/d"];
        let KeyCommand::Create(create) = Alone::try_parse_from(line).unwrap().command else { panic!() };
        assert_eq!((create.name.as_str(), create.scope), ("ci", Scope::Read));
        assert_eq!(create.expires_in.unwrap().0.as_secs(), 90 * 86_400);
    }

    #[test]
    fn what_is_no_scope_or_id_is_refused_with_words() {
        for line in [&["x", "create", "ci", "--scope", "root"][..], &["x", "revoke", "js0123456789ab"]] {
            let words = Alone::try_parse_from(line).unwrap_err().to_string();
            assert!(words.contains("read, write or admin") || words.contains("is no key id"), "{words}");
        }
    }
}
