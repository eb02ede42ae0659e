//! One bucket of an S3-compatible service, spoken to with one key.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    BackoffConfig, ClientOptions, CopyOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutPayload,
    RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
    signer::Signer,
};

use super::{S3Error, client::Connector, error, guard};
use crate::domain::storage_provider::S3Place;

/// How something elsewhere is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// How long nothing may come before a call has failed.
    pub silence: Duration,
    /// How often a call that failed is made again.
    pub again: usize,
    /// How long it is waited before that the first time, twice as long each further time.
    pub pause: Duration,
    /// After so long a failing call is not made again.
    pub keep_on: Duration,
    /// Whether it may be on this box itself, or link-local. Not for what just anybody may name.
    pub local: bool,
}

impl Reach {
    /// For work in the background on what an admin has set up.
    pub const WORK: Self = Self {
        silence: Duration::from_secs(60),
        again: 8,
        pause: Duration::from_millis(200),
        keep_on: Duration::from_secs(90),
        local: true,
    };
    /// For somebody who waits for an answer.
    pub const CHECK: Self =
        Self { silence: Duration::from_secs(8), again: 2, keep_on: Duration::from_secs(8), ..Self::WORK };
    /// For imports from what users name, which are tried again as a whole.
    pub const ELSEWHERE: Self = Self { local: false, again: 3, keep_on: Duration::from_secs(20), ..Self::WORK };
}

/// A bucket and a key to it. Cheap to clone.
#[derive(Clone)]
pub struct S3Bucket {
    pub(super) store: Arc<AmazonS3>,
    pub(super) place: Arc<S3Place>,
    pub(super) reach: Reach,
}

/// What is known of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub key: String,
    pub bytes: u64,
    /// The service's name for these bytes; another one after every change.
    pub etag: Option<String>,
}

/// An object, or a part of one, as it comes.
pub struct Got {
    pub object: Object,
    /// Which bytes of it come.
    pub range: Range<u64>,
    pub stream: BoxStream<'static, Result<Bytes, S3Error>>,
}

impl fmt::Debug for S3Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Bucket({} at {})", self.place.bucket, error::endpoint(&self.place))
    }
}

impl S3Bucket {
    /// Prepares to speak to the bucket at `place`; nothing is sent yet.
    ///
    /// # Errors
    /// [`S3Error::Settings`] for a place that cannot be one.
    pub fn open(place: &S3Place, secret_key: &str, reach: Reach) -> Result<Self, S3Error> {
        let endpoint = match &place.endpoint {
            Some(endpoint) if !place.path_style => Some(with_bucket_in_host(endpoint, &place.bucket)?),
            endpoint => endpoint.clone(),
        };
        if !reach.local {
            refuse_local(place, endpoint.as_deref())?;
        }
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&place.bucket)
            .with_region(&place.region)
            .with_access_key_id(&place.access_key_id)
            .with_secret_access_key(secret_key)
            .with_virtual_hosted_style_request(!place.path_style)
            .with_retry(retries(reach))
            .with_client_options(ClientOptions::new().with_allow_http(true))
            .with_http_connector(Connector(reach));
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder.build().map_err(|error| S3Error::Settings(error.to_string()))?;
        Ok(Self { store: Arc::new(store), place: Arc::new(place.clone()), reach })
    }

    /// Returns the error of a call that took longer than somebody waited.
    pub fn slow(&self) -> S3Error {
        S3Error::Slow { endpoint: error::endpoint(&self.place) }
    }

    pub(super) fn fault(&self, key: &str) -> impl Fn(object_store::Error) -> S3Error + Send + Sync + 'static {
        let (place, key) = (Arc::clone(&self.place), key.to_owned());
        move |error| S3Error::of(&place, &key, &error)
    }

    /// Writes a small object in one call and returns its etag.
    pub async fn put_small(&self, key: &str, bytes: Bytes) -> Result<Option<String>, S3Error> {
        let put = self.store.put(&path(key)?, PutPayload::from_bytes(bytes)).await;
        Ok(put.map_err(self.fault(key))?.e_tag)
    }

    /// Reads an object, or `range` of it, which is cut to what there is. With `etag`, only while it is
    /// still the object of that name. A connection that breaks meanwhile is taken up again.
    ///
    /// # Errors
    /// [`S3Error::NotFound`]; [`S3Error::Changed`] when the etag is another one.
    pub async fn get(&self, key: &str, range: Option<Range<u64>>, etag: Option<&str>) -> Result<Got, S3Error> {
        let options = GetOptions {
            range: range.map(GetRange::Bounded),
            if_match: etag.map(str::to_owned),
            ..GetOptions::default()
        };
        let got = self.store.get_opts(&path(key)?, options).await.map_err(self.fault(key))?;
        let object = Object { key: key.to_owned(), bytes: got.meta.size, etag: got.meta.e_tag.clone() };
        // Some services do not look at the condition.
        if etag.is_some_and(|etag| object.etag.as_deref().is_some_and(|now| now != etag)) {
            return Err(S3Error::Changed(key.to_owned()));
        }
        let range = got.range.clone();
        let stream = got.into_stream().map_err(self.fault(key)).boxed();
        Ok(Got { object, range, stream })
    }

    /// Returns what is known of an object; `None` when there is none.
    pub async fn head(&self, key: &str) -> Result<Option<Object>, S3Error> {
        match self.store.head(&path(key)?).await.map_err(self.fault(key)) {
            Ok(meta) => Ok(Some(Object { key: key.to_owned(), bytes: meta.size, etag: meta.e_tag })),
            Err(S3Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes an object. One that is not there is as good as removed.
    pub async fn delete(&self, key: &str) -> Result<(), S3Error> {
        match self.store.delete(&path(key)?).await.map_err(self.fault(key)) {
            Err(S3Error::NotFound(_)) => Ok(()),
            done => done,
        }
    }

    /// Copies an object inside the bucket, without its bytes coming here. At most 5 GiB.
    pub async fn copy(&self, from: &str, to: &str) -> Result<(), S3Error> {
        self.store.copy_opts(&path(from)?, &path(to)?, CopyOptions::default()).await.map_err(self.fault(from))
    }

    /// Returns a URL with which anybody may do `method` to the object until `expires` from now.
    pub async fn signed(&self, method: &http::Method, key: &str, expires: Duration) -> Result<String, S3Error> {
        let url = self.store.signed_url(method.clone(), &path(key)?, expires).await;
        Ok(url.map_err(self.fault(key))?.into())
    }

    /// Removes `keys`, a thousand at a time.
    pub async fn delete_many(&self, keys: Vec<String>) -> Result<(), S3Error> {
        let paths = keys.iter().map(|key| path(key)).collect::<Result<Vec<_>, _>>()?;
        let mut gone = self.store.delete_stream(futures_util::stream::iter(paths.into_iter().map(Ok)).boxed());
        while let Some(one) = gone.next().await {
            match one.map_err(self.fault("")) {
                Ok(_) | Err(S3Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Reads a key as the library's path, which is sent byte for byte.
pub(super) fn path(key: &str) -> Result<Path, S3Error> {
    let path = Path::parse(key).map_err(|_| S3Error::Odd(format!("the key “{}” is no path", key.escape_debug())))?;
    // A slash at an end would be dropped, and name another object.
    if path.as_ref() == key {
        Ok(path)
    } else {
        Err(S3Error::Odd(format!("the key “{}” is no path", key.escape_debug())))
    }
}

fn retries(reach: Reach) -> RetryConfig {
    let backoff = BackoffConfig { init_backoff: reach.pause, max_backoff: Duration::from_secs(15), base: 2.0 };
    RetryConfig { backoff, max_retries: reach.again, retry_timeout: reach.keep_on }
}

/// Refuses a place that just anybody named when it is on this box. Looks at `endpoint`, which calls go
/// to, as the client reads it: `127.1`, a lone number and a bucket of `127.0.0` all become addresses.
fn refuse_local(place: &S3Place, endpoint: Option<&str>) -> Result<(), S3Error> {
    if let Some(endpoint) = endpoint {
        let url = reqwest::Url::parse(endpoint);
        let Some(host) = url.as_ref().ok().and_then(reqwest::Url::host_str) else {
            return Err(S3Error::Settings("the endpoint is no http or https URL".to_owned()));
        };
        // Names are looked at when they are looked up.
        if let Some(why) = guard::refusal_of_literal(host) {
            let words = format!("{host} {why}; imports may not fetch from there (storage.import_local)");
            return Err(S3Error::Settings(words));
        }
    }
    // A region or a bucket with a slash in it would be another host, too.
    place.clone().checked().map(drop).map_err(|wrong| S3Error::Settings(wrong.words.to_owned()))
}

fn with_bucket_in_host(endpoint: &str, bucket: &str) -> Result<String, S3Error> {
    let (scheme, rest) = endpoint
        .split_once("://")
        .ok_or_else(|| S3Error::Settings(format!("the endpoint “{endpoint}” is no http or https URL")))?;
    Ok(format!("{scheme}://{bucket}.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_this_box_is_open_to_those_who_may_not_fetch_from_it() {
        let place = |endpoint: &str, bucket: &str, path_style| S3Place {
            bucket: bucket.to_owned(),
            endpoint: Some(endpoint.to_owned()),
            region: "us-east-1".to_owned(),
            path_style,
            access_key_id: "id".to_owned(),
        };
        for here in [
            place("http://169.254.169.254", "files", true),
            place("http://127.1", "files", true),
            place("http://2130706433:9000", "files", true),
            place("http://0x7f.1", "files", true),
            place("http://x@127.0.0.1", "files", true),
            place("http://[::1]:9000", "files", true),
            place("http://1", "127.0.0", false),
        ] {
            let error = S3Bucket::open(&here, "secret", Reach::ELSEWHERE).unwrap_err();
            assert!(error.to_string().contains("import_local"), "{here:?}: {error}");
            assert!(S3Bucket::open(&here, "secret", Reach::CHECK).is_ok(), "{here:?}");
        }
        for elsewhere in [place("https://s3.example.com", "files", false), place("http://10.0.0.5:9000", "files", true)]
        {
            assert!(S3Bucket::open(&elsewhere, "secret", Reach::ELSEWHERE).is_ok(), "{elsewhere:?}");
        }
        let region = S3Place { endpoint: None, region: "x/@127.0.0.1".to_owned(), ..place("", "files", false) };
        assert!(S3Bucket::open(&region, "secret", Reach::ELSEWHERE).is_err());
    }

    #[test]
    fn a_key_that_would_be_sent_as_another_one_is_refused() {
        for key in ["a/", "/a", "a//b", "a/./b", "a/../b", "a\nb"] {
            assert!(path(key).is_err(), "{key}");
        }
        for key in ["a", "a b/ü#%?.txt", "a/.b", "~[]{}|"] {
            assert_eq!(path(key).unwrap().as_ref(), key);
        }
    }
}
