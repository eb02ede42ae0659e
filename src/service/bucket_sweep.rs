//! What a collection removes from buckets: objects of versions that were deleted or never came about,
//! and uploads in parts that nobody goes on with. Only what lies in the folder of a version that this
//! disk knows of is ever touched; what others keep in the same bucket is theirs.

use std::{collections::HashSet, time::Duration};

use super::{ServiceError, Services, blocking};
use crate::{
    domain::{
        content::Totals,
        dataset::Dataset,
        id::{DatasetId, ProviderId, TeamId, VersionId},
        storage_care::GcBuckets,
        storage_provider::ProviderKind,
        time::Timestamp,
    },
    fault,
    storage::{
        dataset::SweepOrder,
        s3::{
            S3Bucket, S3Error, folder_of,
            unfinished::{Sendings, provider_of, sendings, sendings_beside},
        },
    },
    store::versions::Deleted,
};

/// How long a service is asked again to forget parts of which it says that this may not be asked.
const REFUSED: Duration = Duration::from_secs(7 * 86_400);

/// The part of a collection that is about the buckets of one team.
pub(super) struct BucketSweep<'a> {
    services: &'a Services,
    team: &'a TeamId,
    now: Timestamp,
    grace: Duration,
    dry_run: bool,
    /// Those that did not answer: they are not waited for again.
    away: HashSet<ProviderId>,
    /// What went, or would go.
    pub swept: GcBuckets,
}

impl<'a> BucketSweep<'a> {
    /// Begins one of `team`, as `order` says.
    pub fn new(services: &'a Services, team: &'a TeamId, order: &SweepOrder) -> Self {
        let swept = GcBuckets { team: team.clone(), bytes: 0, objects: 0, uploads: 0 };
        Self { services, team, now: order.now, grace: order.grace, dry_run: order.dry_run, away: HashSet::new(), swept }
    }

    pub fn dry_run(&self) -> bool {
        self.dry_run
    }

    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Removes deleted versions from their buckets, and returns those versions that are on this disk
    /// alone now. A bucket that does not answer keeps its own for the next time.
    pub async fn deleted(&mut self, deleted: Vec<Deleted>) -> Vec<Deleted> {
        let mut done = Vec::with_capacity(deleted.len());
        for version in deleted {
            let is_gone = match version.provider_kind {
                ProviderKind::Managed => true,
                ProviderKind::S3 => self.version(&version.dataset, &version.version, &version.provider).await,
            };
            if is_gone {
                done.push(version);
            }
        }
        done
    }

    /// Removes a version that no row names from its bucket, if it lies in one. Says whether it is gone
    /// from there.
    pub async fn unknown(&mut self, dataset: &DatasetId, version: &VersionId) -> bool {
        let dir = self.services.data.version(self.team, dataset, version);
        let is_gone = match blocking(move || provider_of(&dir)).await {
            Ok(None) => true,
            Ok(Some(provider)) => self.version(dataset, version, &provider).await,
            Err(error) => {
                stays(&folder_of(self.team, dataset, version), &error.into());
                false
            }
        };
        fault::point("gc.unmade-removed");
        is_gone
    }

    /// Ends the uploads in parts into a version that is there, which nobody has gone on with for as long
    /// as the grace period is.
    pub async fn uploads_into(&mut self, dataset: &Dataset, version: &VersionId) {
        if dataset.provider_kind != ProviderKind::S3 || self.away.contains(&dataset.provider) {
            return;
        }
        let ended = async {
            let mut found = self.sendings(&dataset.id, version).await?;
            let before = self.now.minus(self.grace);
            found.abandoned.retain(|left| left.since().is_ok_and(|since| since <= before));
            if found.abandoned.is_empty() {
                return Ok(0);
            }
            let Some(bucket) = self.bucket(&dataset.provider).await? else { return Ok(0) };
            self.end(&bucket, (&dataset.id, version), found).await
        };
        match ended.await {
            Ok(uploads) => self.swept.uploads += uploads,
            Err(error) => self.failed(&dataset.provider, &folder_of(self.team, &dataset.id, version), &error),
        }
    }

    /// Removes all of a version from its bucket, and says whether it is gone.
    async fn version(&mut self, dataset: &DatasetId, version: &VersionId, provider: &ProviderId) -> bool {
        if self.away.contains(provider) {
            return false;
        }
        match self.clear(dataset, version, provider).await {
            Ok((totals, uploads)) => {
                self.swept.objects += totals.files;
                self.swept.bytes += totals.bytes;
                self.swept.uploads += uploads;
                true
            }
            Err(error) => {
                self.failed(provider, &folder_of(self.team, dataset, version), &error);
                false
            }
        }
    }

    async fn clear(
        &self,
        dataset: &DatasetId,
        version: &VersionId,
        provider: &ProviderId,
    ) -> Result<(Totals, u64), ServiceError> {
        let Some(bucket) = self.bucket(provider).await? else { return Ok(Default::default()) };
        let found = self.sendings(dataset, version).await?;
        if !found.under_way.is_empty() {
            // Its object would come after all others went.
            let message = "a file is still on its way into it".to_owned();
            return Err(ServiceError::Conflict { code: "in_use", message });
        }
        let folder = folder_of(self.team, dataset, version);
        let uploads = self.end(&bucket, (dataset, version), found).await?;
        let totals = if self.dry_run { bucket.totals(&folder).await? } else { bucket.delete_prefix(&folder).await? };
        Ok((totals, uploads))
    }

    /// Ends uploads in parts into a version, and returns how many there were.
    async fn end(
        &self,
        bucket: &S3Bucket,
        (dataset, version): (&DatasetId, &VersionId),
        found: Sendings,
    ) -> Result<u64, ServiceError> {
        let folder = folder_of(self.team, dataset, version);
        let own: Vec<_> = found.abandoned.iter().map(|left| left.note().to_owned()).collect();
        let mut ended = 0;
        for left in found.abandoned {
            if !left.parts().key.starts_with(&folder) {
                tracing::warn!(key = left.parts().key, folder, "a note of an upload is about another folder");
            } else if self.dry_run {
                ended += 1;
            } else {
                fault::point("gc.parts-found");
                let (dir, own) = (self.services.data.version(self.team, dataset, version), own.clone());
                let under_way = async || Ok(blocking(move || sendings_beside(&dir, &own)).await?.under_way);
                match bucket.forget_left(left.parts(), under_way).await {
                    Ok(count) => ended += count,
                    // So some answer of what they do not know any more.
                    Err(ServiceError::S3(S3Error::Forbidden { .. })) if left.since()? <= self.now.minus(REFUSED) => {
                        tracing::warn!(key = left.parts().key, "a service will not forget the parts of an upload");
                    }
                    Err(error) => return Err(error),
                }
                blocking(move || left.is_over()).await?;
            }
        }
        Ok(ended)
    }

    async fn sendings(&self, dataset: &DatasetId, version: &VersionId) -> Result<Sendings, ServiceError> {
        let dir = self.services.data.version(self.team, dataset, version);
        Ok(blocking(move || sendings(&dir)).await?)
    }

    /// Returns the bucket of a provider; `None` when it was taken off the box: what lies there is its
    /// owner's.
    async fn bucket(&self, provider: &ProviderId) -> Result<Option<S3Bucket>, ServiceError> {
        match self.services.bucket(self.team, provider).await {
            Ok(bucket) => Ok(Some(bucket)),
            Err(ServiceError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn failed(&mut self, provider: &ProviderId, folder: &str, error: &ServiceError) {
        if matches!(error, ServiceError::S3(error) if error.is_passing()) {
            self.away.insert(provider.clone());
        }
        stays(folder, error);
    }
}

fn stays(folder: &str, error: &ServiceError) {
    tracing::warn!(folder, %error, "what was deleted or broken off stays in its bucket for now");
}
