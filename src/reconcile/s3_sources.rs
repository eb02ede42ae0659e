//! Places on S3 beneath a session's `/datasets`, as files that can be read and written: asked for here, and
//! mounted by the loop [`sources`](super::sources), which says on the board where each stands.

use std::{collections::BTreeMap, fs};

use super::{Works, sources};
use crate::{
    domain::{integration::S3Source, source::SourceState, workload::Workload},
    service::integrations::SOURCES_OFF,
    storage::layout::DataDir,
};

/// A place on S3 that a session is to have at `/datasets/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedS3 {
    pub name: String,
    pub source: S3Source,
}

/// Where one stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stand {
    /// At this path in the container, for `/datasets/NAME` to lead to.
    There(String),
    Mounting,
    /// Why there is none, in words that say what to do.
    Failed(String),
}

/// Asks that a session has exactly these places.
pub(super) fn ask(works: &Works, session: &Workload, wanted: &[WantedS3]) {
    let wanted = if works.settings.sources.enabled { wanted } else { &[] };
    let asked = wanted.iter().map(|WantedS3 { name, source }| (name.clone(), source.clone())).collect();
    works.board.want_sources(&session.id, asked);
}

/// Returns where places of a session stand. What nobody has looked at yet is not among them.
pub(super) fn stands(works: &Works, session: &Workload, wanted: &[WantedS3]) -> BTreeMap<String, Stand> {
    let stands = wanted.iter().filter_map(|WantedS3 { name, .. }| {
        if !works.settings.sources.enabled {
            return Some((name.clone(), Stand::Failed(SOURCES_OFF.to_owned())));
        }
        let stand = match works.board.source(&session.id, name) {
            Some(SourceState::Mounted) => Stand::There(sources::path_of(name)),
            Some(SourceState::Failed(words)) => Stand::Failed(words),
            Some(SourceState::Mounting) => Stand::Mounting,
            // Nobody has looked since the daemon started: what is linked was mounted before that.
            None if is_linked(&works.data, session, name) => Stand::There(sources::path_of(name)),
            None => return None,
        };
        Some((name.clone(), stand))
    });
    stands.collect()
}

fn is_linked(data: &DataDir, session: &Workload, name: &str) -> bool {
    let link = fs::read_link(data.run(&session.id).datasets().join(name));
    link.is_ok_and(|target| target.as_os_str() == sources::path_of(name).as_str())
}
