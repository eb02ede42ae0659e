//! What a container writes, as the engine hands it out.

use std::fmt;

use bytes::Bytes;

use super::time::Timestamp;

/// A time as the engine prints it, exact to the nanosecond: `2026-01-31T08:00:00.123456789Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineTime {
    pub seconds: i64,
    pub nanos: u32,
}

impl EngineTime {
    /// Returns the time `seconds` earlier.
    #[must_use]
    pub fn minus_seconds(self, seconds: i64) -> Self {
        Self { seconds: self.seconds.saturating_sub(seconds), ..self }
    }

    /// Returns the same time to the microsecond, as clients see it.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        Timestamp(self.seconds.saturating_mul(1_000_000).saturating_add(i64::from(self.nanos / 1_000)))
    }
}

impl From<Timestamp> for EngineTime {
    fn from(time: Timestamp) -> Self {
        let nanos = time.0.rem_euclid(1_000_000) * 1_000;
        Self { seconds: time.0.div_euclid(1_000_000), nanos: u32::try_from(nanos).unwrap_or(0) }
    }
}

/// Which pipe something was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        })
    }
}

/// A piece of output. A line that is longer than the engine's buffer comes in several pieces, and
/// only the last ends in a newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    pub stream: Stream,
    pub time: EngineTime,
    pub bytes: Bytes,
}
