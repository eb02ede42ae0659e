//! Lists what is in a bucket, in the order of its keys.

use std::collections::VecDeque;

use futures_util::{Stream, TryStreamExt, stream};
use object_store::list::{PaginatedListOptions, PaginatedListStore};

use super::{Object, S3Bucket, S3Error};
use crate::domain::content::Totals;

/// Greater than any name that follows a slash: skips a whole directory.
const LAST: char = '\u{10ffff}';

/// What one call lists: objects, and with a delimiter the directories, both in order.
#[derive(Debug, Default)]
pub struct Page {
    pub objects: Vec<Object>,
    /// Keys that end in a slash.
    pub directories: Vec<String>,
    /// Whether there is more behind.
    pub more: bool,
}

impl S3Bucket {
    /// Lists up to `limit` (1,000 at most) keys that begin with `prefix` and come after `after`, which
    /// is a key, or a directory with its slash. With `delimiter`, what is in directories below
    /// `prefix` shows as the directory alone.
    ///
    /// What S3 tools keep to mark an empty directory (an empty object whose key ends in a slash) looks
    /// here like an empty object without it: see [`S3Bucket::is_marker`].
    pub async fn page(
        &self,
        prefix: &str,
        delimiter: bool,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, S3Error> {
        let options = PaginatedListOptions {
            offset: after.map(|after| if after.ends_with('/') { format!("{after}{LAST}") } else { after.to_owned() }),
            delimiter: delimiter.then(|| "/".into()),
            max_keys: Some(limit.clamp(1, 1000)),
            ..PaginatedListOptions::default()
        };
        Ok(self.list_page(prefix, options).await?.0)
    }

    async fn list_page(&self, prefix: &str, options: PaginatedListOptions) -> Result<(Page, Option<String>), S3Error> {
        let listed = self.store.list_paginated(Some(prefix), options).await.map_err(self.fault(prefix))?;
        let objects = listed
            .result
            .objects
            .into_iter()
            .map(|meta| Object { key: meta.location.to_string(), bytes: meta.size, etag: meta.e_tag })
            // The directory's own marker, its slash dropped.
            .filter(|object| object.key.len() + 1 != prefix.len())
            .collect();
        let directories = listed.result.common_prefixes.into_iter().map(|path| format!("{path}/")).collect();
        Ok((Page { objects, directories, more: listed.page_token.is_some() }, listed.page_token))
    }

    /// Lists all keys that begin with `prefix`, in order.
    ///
    /// # Errors
    /// [`S3Error::Odd`] when the service lists out of order, as S3's “directory buckets” do.
    pub fn all(&self, prefix: &str) -> impl Stream<Item = Result<Object, S3Error>> + Send + use<> {
        struct Listing {
            bucket: S3Bucket,
            prefix: String,
            waiting: VecDeque<Object>,
            last: String,
            next: Option<String>,
            begun: bool,
        }
        let listing = Listing {
            bucket: self.clone(),
            prefix: prefix.to_owned(),
            waiting: VecDeque::new(),
            last: String::new(),
            next: None,
            begun: false,
        };
        stream::try_unfold(listing, |mut listing| async move {
            loop {
                while let Some(object) = listing.waiting.pop_front() {
                    if object.key > listing.last {
                        listing.last.clone_from(&object.key);
                        return Ok(Some((object, listing)));
                    }
                    // A marker without its slash stands before where it was listed.
                    if object.bytes != 0 {
                        return Err(S3Error::Odd("it lists keys out of order".to_owned()));
                    }
                }
                if listing.begun && listing.next.is_none() {
                    return Ok(None);
                }
                let options =
                    PaginatedListOptions { page_token: listing.next.take(), ..PaginatedListOptions::default() };
                let (page, next) = listing.bucket.list_page(&listing.prefix, options).await?;
                (listing.begun, listing.next, listing.waiting) = (true, next, page.objects.into());
            }
        })
    }

    /// Says whether a listed object is none, but marks an empty directory. Asks only about empty ones.
    pub async fn is_marker(&self, object: &Object) -> Result<bool, S3Error> {
        Ok(object.bytes == 0 && self.head(&object.key).await?.is_none())
    }

    /// Returns a listed object with its etag, which some services list and others must be asked for.
    /// `None` when there is no such object: it marked an empty directory, or is gone.
    pub(super) async fn with_etag(&self, object: Object) -> Result<Option<Object>, S3Error> {
        if object.etag.is_some() {
            return Ok(Some(object));
        }
        self.head(&object.key).await
    }

    /// Counts everything whose key begins with `prefix`.
    pub async fn totals(&self, prefix: &str) -> Result<Totals, S3Error> {
        let mut objects = std::pin::pin!(self.all(prefix));
        let mut totals = Totals::default();
        while let Some(object) = objects.try_next().await? {
            totals.files += 1;
            totals.bytes += object.bytes;
        }
        Ok(totals)
    }

    /// Removes everything whose key begins with `prefix`, and returns how much that was.
    pub async fn delete_prefix(&self, prefix: &str) -> Result<Totals, S3Error> {
        let mut removed = Totals::default();
        loop {
            let page = self.page(prefix, false, None, 1000).await?;
            if page.objects.is_empty() {
                return Ok(removed);
            }
            removed.files += page.objects.len() as u64;
            removed.bytes += page.objects.iter().map(|object| object.bytes).sum::<u64>();
            self.delete_many(page.objects.into_iter().map(|object| object.key).collect()).await?;
            crate::fault::point("s3.prefix-part-deleted");
            if !page.more {
                return Ok(removed);
            }
        }
    }
}
