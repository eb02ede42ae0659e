//! Copies and moves of files that may take long.

use super::workload::words;

words! {
    /// What is done to files.
    FileTaskKind {
        Copy = "copy",
        Move = "move",
    }
}

words! {
    /// How far it is.
    FileTaskState {
        Running = "running",
        Done = "done",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}
