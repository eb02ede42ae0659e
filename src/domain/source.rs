//! Where a place on S3 stands that a session of a notebook has beneath `/datasets`.

/// Where it stands. Kept on the board alone: the engine and the kernel's table of mounts are the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceState {
    /// On its way: its program is being fetched, or started, or has not answered yet.
    Mounting,
    /// Its files are there.
    Mounted,
    /// It cannot be had, and why, in words that say what to do. Tried again by itself.
    Failed(String),
}
