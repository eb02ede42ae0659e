//! What `git` says when it fails, in words that tell what to do.

use std::{io, time::Duration};

use crate::domain::workspace::{GitRef, GitUrl};

/// Why a repository was not checked out.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("this machine has no git: ask its admin to install it, or upload the workspace as an archive")]
    NotInstalled,
    #[error("there is no repository at {0}, or it is private: then give a username and a password or token")]
    NotFound(String),
    #[error("{0} wants a username and a password or token")]
    CredentialsNeeded(String),
    #[error("{0} did not take the username and password")]
    CredentialsRefused(String),
    #[error("a git username and password have no control characters in them and at most 8192 bytes each")]
    Credentials,
    #[error("the repository has no branch, tag or commit “{0}”")]
    RefNotFound(String),
    #[error("the repository is empty")]
    EmptyRepository,
    #[error("{host} cannot be reached: {said}")]
    Unreachable { host: String, said: String },
    #[error("the certificate of {0} is not trusted by this machine")]
    Certificate(String),
    #[error("the checkout took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the checkout takes more than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    #[error("the checkout was cancelled")]
    Cancelled,
    #[error("the disk is full")]
    DiskFull,
    /// The program's own words.
    #[error("git: {0}")]
    Failed(String),
    #[error("git cannot be run")]
    Io(#[from] io::Error),
}

/// Finds the reason in the last lines that `git` printed.
///
/// The phrases are those of git 2.20 to 2.50 and of libcurl, in the C locale. One that is not known
/// comes out as it was printed.
pub fn explain(lines: &[String], url: &GitUrl, reference: Option<&GitRef>, has_credentials: bool) -> GitError {
    let said = lines.join("\n");
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| said.contains(phrase));
    let host = || url.host().to_owned();
    if has(&["No space left on device"]) {
        GitError::DiskFull
    } else if has(&["couldn't find remote ref HEAD"]) {
        GitError::EmptyRepository
    } else if has(&["couldn't find remote ref", "not our ref", "no such remote ref", "unadvertised object"]) {
        GitError::RefNotFound(reference.map_or("HEAD".into(), ToString::to_string))
    } else if has(&[
        "Authentication failed",
        "error: 401",
        "error: 403",
        "could not read Username",
        "could not read Password",
        "HTTP Basic: Access denied",
    ]) {
        if has_credentials { GitError::CredentialsRefused(host()) } else { GitError::CredentialsNeeded(host()) }
    } else if has(&["SSL certificate", "certificate verif", "certificate subject name", "SSL: no alternative"]) {
        GitError::Certificate(host())
    } else if has(&[
        "not found",
        "error: 404",
        "repository not exported",
        "does not appear to be a git repository",
        "not valid: is this a git repository",
    ]) {
        GitError::NotFound(url.to_string())
    } else if has(&[
        "Could not resolve host",
        "unable to look up",
        "Failed to connect",
        "Couldn't connect",
        "unable to connect",
        "Connection refused",
        "timed out",
        "Operation too slow",
        "error: 5",
    ]) {
        GitError::Unreachable { host: host(), said: last_words(lines) }
    } else {
        GitError::Failed(last_words(lines))
    }
}

/// Returns the line that says most: the last with `fatal:` or `error:`, else the last.
fn last_words(lines: &[String]) -> String {
    let telling =
        lines.iter().rev().find_map(|line| line.strip_prefix("fatal: ").or_else(|| line.strip_prefix("error: ")));
    telling.or(lines.last().map(String::as_str)).unwrap_or("it failed and said nothing").to_owned()
}
