//! Whether a bucket would take what is sent, asked before somebody is told where to send it. Some clients
//! look at no answer but that one: what a bucket refuses later they lose without a word.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{ServiceError, Services};
use crate::domain::{dataset::Dataset, id::ProviderId, time::Timestamp};

/// How long a bucket that was written to is believed to be so still. Asking takes six of its calls, and
/// clients ask for a handful of URLs at once.
const BELIEVED: Duration = Duration::from_secs(60);

/// When providers' buckets were last seen to take something.
#[derive(Debug, Default)]
pub struct BucketProbes(Mutex<HashMap<ProviderId, Timestamp>>);

impl BucketProbes {
    fn is_believed(&self, id: &ProviderId, now: Timestamp) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied();
        seen.is_some_and(|seen| seen.plus(BELIEVED) > now)
    }

    fn believe(&self, id: ProviderId, now: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, now);
    }

    /// Has a bucket asked again before anything more is sent to it.
    pub fn doubt(&self, id: &ProviderId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl Services {
    /// Writes something to the bucket of a dataset and removes it, if none has done that just now.
    ///
    /// # Errors
    /// What the bucket says.
    pub(super) async fn require_bucket_writable(&self, dataset: &Dataset) -> Result<(), ServiceError> {
        let now = self.clock.now();
        if self.probes.is_believed(&dataset.provider, now) {
            return Ok(());
        }
        self.try_provider(&dataset.team, &dataset.provider).await?;
        self.probes.believe(dataset.provider.clone(), now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_believed_for_a_while_and_until_it_refuses_something() {
        let (probes, id) = (BucketProbes::default(), "spl000000000000".parse::<ProviderId>().unwrap());
        let (then, later) = (Timestamp(5), Timestamp(5).plus(BELIEVED));
        assert!(!probes.is_believed(&id, then));
        probes.believe(id.clone(), then);
        assert!(probes.is_believed(&id, Timestamp(6)) && !probes.is_believed(&id, later));
        probes.doubt(&id);
        assert!(!probes.is_believed(&id, then));
    }
}
