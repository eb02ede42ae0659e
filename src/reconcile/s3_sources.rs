//! Places on S3 beneath a session's `/datasets`, as files that can be read and written: asked for here, and
//! mounted by the loop [`sources`](super::sources), which says on the board where each stands.

use std::{collections::BTreeMap, fs};

use super::{Works, sources};
use crate::{
    domain::{integration::S3Source, source::SourceState, workload::Workload},
    storage::layout::DataDir,
};

/// A place on S3 that a session is to have at `/datasets/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedS3 {
    pub name: String,
    pub source: S3Source,
}

/// Asks that a session has exactly these places.
///
/// Returns for each name the path in the container that `/datasets/NAME` is to lead to, or why there is none,
/// in words that say what to do. Names that are on their way are not among them.
pub(super) fn settle(
    works: &Works,
    session: &Workload,
    wanted: &[WantedS3],
) -> BTreeMap<String, Result<String, String>> {
    let asked = wanted.iter().map(|WantedS3 { name, source }| (name.clone(), source.clone())).collect();
    works.board.want_sources(&session.id, asked);
    let stands = wanted.iter().filter_map(|WantedS3 { name, .. }| {
        let settled = match works.board.source(&session.id, name) {
            Some(SourceState::Mounted) => Ok(sources::path_of(name)),
            Some(SourceState::Failed(words)) => Err(words),
            Some(SourceState::Mounting) => return None,
            // Nobody has looked since the daemon started: what is linked was mounted before that.
            None if is_linked(&works.data, session, name) => Ok(sources::path_of(name)),
            None => return None,
        };
        Some((name.clone(), settled))
    });
    stands.collect()
}

fn is_linked(data: &DataDir, session: &Workload, name: &str) -> bool {
    let link = fs::read_link(data.run(&session.id).datasets().join(name));
    link.is_ok_and(|target| target.as_os_str() == sources::path_of(name).as_str())
}
