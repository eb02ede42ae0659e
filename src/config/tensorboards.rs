//! `[tensorboards]`: what TensorBoards run on, and when they end by themselves.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Span;

/// What TensorBoards run on, and when their sessions end. Opening one starts it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorBoards {
    /// The image, with the program `tensorboard` in it, of those that name none. A small one starts
    /// sooner than the default, which has TensorFlow in it: `FROM python:3.12-slim` and
    /// `RUN pip install tensorboard` are enough. Default `tensorflow/tensorflow:latest`.
    pub image: String,
    /// One that nobody looked at for so long ends, where it does not say otherwise; a page that reloads by
    /// itself counts as somebody who looks. 0 is never. Default `30m`.
    pub idle: Span,
    /// How long one may take to answer after its container started. Default `2m`.
    pub ready: Span,
}

impl Default for TensorBoards {
    fn default() -> Self {
        Self {
            image: "tensorflow/tensorflow:latest".to_owned(),
            idle: Span(Duration::from_secs(1800)),
            ready: Span(Duration::from_secs(120)),
        }
    }
}
