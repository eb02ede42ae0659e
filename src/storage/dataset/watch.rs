//! Being told how far something long has come, and ending it.

use std::{io, ops::ControlFlow};

use crate::domain::content::Totals;

/// Is told what has been gone through so far; breaks to end it. Called for every file and every
/// megabyte or so of a large one, from one thread at a time, so it must be quick.
pub type Watch<'a> = &'a (dyn Fn(Totals) -> ControlFlow<()> + Sync + 'a);

/// Why looking after what is stored ended early.
#[derive(Debug, thiserror::Error)]
pub enum CareError {
    /// Whoever watched broke it off.
    #[error("it was ended before it was done")]
    Stopped,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Tells `watch`, and ends what goes on if it says so.
pub(super) fn tell(watch: Watch<'_>, totals: Totals) -> Result<(), CareError> {
    match watch(totals) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(CareError::Stopped),
    }
}
