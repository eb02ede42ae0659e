//! The subcommands of the binary: one file each. Parses into raw arguments, resolves them into
//! finished values, calls what the API calls, prints.
//!
//! Ends with 0 when it is done, 2 when the arguments or settings are wrong, 1 for anything else; an
//! error is one line on standard error that says what to do.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{config::ConfigError, telemetry::LogError};

pub mod backup;
mod ca_bundle;
pub mod config;
pub mod data_dir;
pub mod doctor;
pub mod fsck;
pub mod gc;
pub mod gradient_env;
pub mod key;
mod local;
pub mod openapi;
pub mod serve;
pub mod settings;
pub mod sign_in;
pub mod user;

/// Runs jobs, notebooks and versioned data on this machine's GPUs.
#[derive(Debug, Parser)]
#[command(name = "gradientd", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon until it is told to stop
    Serve(settings::SettingsArgs),
    /// Look at the settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Check this machine and say what to do about what is missing
    Doctor(settings::SettingsArgs),
    /// Print a link that signs a browser in once
    SignIn(sign_in::SignInArgs),
    /// Make, list and revoke keys of the API
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Add and list people
    #[command(subcommand)]
    User(user::UserCommand),
    /// Copy the database and the keys to a new directory, while the daemon works
    Backup(backup::BackupArgs),
    /// Put a backup into an empty data directory
    Restore(backup::RestoreArgs),
    /// Remove files that nothing refers to, while the daemon works or not
    Gc(gc::GcArgs),
    /// Read stored files again and name what is damaged, while the daemon works or not
    Fsck(fsck::FsckArgs),
    /// Print the exports that point the original gradient command line to this box
    GradientEnv(gradient_env::GradientEnvArgs),
    /// Print the description of the API as OpenAPI
    Openapi,
}

impl Command {
    fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Serve(args) => serve::run(&args),
            Self::Config(command) => command.run(),
            Self::Doctor(args) => doctor::run(&args),
            Self::SignIn(args) => args.run(),
            Self::Key(command) => command.run(),
            Self::User(command) => command.run(),
            Self::Backup(args) => args.run(),
            Self::Restore(args) => args.run(),
            Self::Gc(args) => args.run(),
            Self::Fsck(args) => args.run(),
            Self::GradientEnv(args) => args.run(),
            Self::Openapi => openapi::run(),
        }
    }
}

/// Does what this process's arguments say.
pub fn run() -> ExitCode {
    // Wrong arguments end here, with words of clap's and exit code 2.
    let Err(error) = Cli::parse().command.run() else { return ExitCode::SUCCESS };
    if is_broken_pipe(&error) {
        return ExitCode::SUCCESS;
    }
    let _ = writeln!(io::stderr(), "gradientd: {}", one_line(&error));
    let is_setting = error.is::<ConfigError>() || error.is::<LogError>();
    ExitCode::from(if is_setting { 2 } else { 1 })
}

/// Prints `text` as a result of the command.
///
/// # Errors
/// When standard output is gone.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whoever read our output has seen enough, as in `gradientd config show | head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_says_what_it_does() {
        let mut all = String::new();
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut left = vec![&mut command];
        while let Some(command) = left.pop() {
            all.push_str(&format!(
                "$ {} --help\n{}\n",
                command.get_bin_name().unwrap_or("gradientd").to_owned(),
                command.render_help()
            ));
            left.extend(command.get_subcommands_mut().filter(|one| one.get_name() != "help"));
        }
        insta::assert_snapshot!("help", all);
    }

    #[test]
    fn an_error_is_one_line() {
        let error = anyhow::anyhow!("a\nb").context("while c");
        assert_eq!(one_line(&error), "while c: a b");
    }
}
