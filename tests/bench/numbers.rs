//! What is said about a handful of measured times.

use std::time::Duration;

/// Times of one kind, in order of length.
#[derive(Debug)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn new(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort();
        Self(times)
    }

    /// Returns the time that `percent` of all stay within.
    pub fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }

    pub fn median(&self) -> Duration {
        self.percentile(50)
    }

    /// Says `median (shortest to longest)`.
    pub fn spread(&self) -> String {
        let (shortest, longest) = (self.0[0], self.0[self.0.len() - 1]);
        format!("{} ({} to {})", millis(self.median()), millis(shortest), millis(longest))
    }
}

/// Says a time in milliseconds with as many digits as mean something.
pub fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    let digits = if millis >= 100.0 {
        0
    } else if millis >= 10.0 {
        1
    } else {
        2
    };
    format!("{millis:.digits$} ms")
}

/// Says how often something happened a second.
pub fn per_second(count: usize, time: Duration) -> String {
    format!("{:.0}/s", count as f64 / time.as_secs_f64())
}
