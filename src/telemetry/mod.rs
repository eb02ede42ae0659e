//! How the daemon's log looks: lines for people or JSON for collectors, on standard error.
//!
//! Request ids ride in the span that `api::request_id` opens. Keys, secrets, environment values and
//! bodies are never logged.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::config::{Log, LogFormat};

/// The log cannot be set up as the settings say.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log.level: “{level}” is not a level or filter: say error, warn, info, debug or trace ({reason})")]
    Filter { level: String, reason: String },
    #[error("the log is already set up")]
    Twice,
}

/// Begins to log as `log` says. Once in a process.
///
/// # Errors
/// [`LogError`].
pub fn start(log: &Log) -> Result<(), LogError> {
    let filter = filter(&log.level)?;
    let subscriber = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    match log.format {
        LogFormat::Json => subscriber.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Text => subscriber.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init(),
    }
    .map_err(|_| LogError::Twice)
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let wrong = |reason: String| LogError::Filter { level: level.to_owned(), reason };
    // EnvFilter takes any word for the name of a part, so a mistyped level would silence everything.
    let bare = |part: &str| !part.contains(['=', '[', ':']);
    if let Some(part) = level.split(',').map(str::trim).find(|part| bare(part) && !is_level(part)) {
        return Err(wrong(format!("there is no level “{part}”")));
    }
    EnvFilter::builder().parse(level).map_err(|error| wrong(error.to_string()))
}

fn is_level(word: &str) -> bool {
    ["off", "error", "warn", "info", "debug", "trace"].iter().any(|level| word.eq_ignore_ascii_case(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_by_part_are_understood() {
        for level in ["info", "WARN", "info,gradientd::reconcile=debug", "off"] {
            assert!(filter(level).is_ok(), "{level}");
        }
    }

    #[test]
    fn a_mistyped_level_is_refused_and_does_not_silence_the_log() {
        for level in ["inof", "", "info,gradientd=loud", "info,verbose"] {
            assert!(filter(level).unwrap_err().to_string().starts_with("log.level: "), "{level}");
        }
    }
}
