//! Whether a place can be worked with: by a real write, read, listing and removal.

use std::path::Path;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{ObjectStoreExt, PutPayload, local::LocalFileSystem};

use super::{S3Bucket, S3Error};

const WORDS: &[u8] = b"written by gradientd to see whether it can; safe to delete\n";

impl S3Bucket {
    /// Writes, reads, lists and removes an object of the name `nonce`, which must be one that nothing
    /// else has, under `folder`.
    pub async fn check(&self, folder: &str, nonce: &str) -> Result<(), S3Error> {
        let key = format!("{folder}/check-{nonce}");
        // First, as some services make a bucket that is not there when something is put in it.
        self.page(&key, false, None, 1).await?;
        self.put_small(&key, Bytes::from_static(WORDS)).await?;
        let seen = self.read_back(&key).await;
        // Also when it could not be read, so that nothing is left behind.
        let removed = self.delete(&key).await;
        seen?;
        removed?;
        match self.head(&key).await? {
            None => Ok(()),
            Some(_) => Err(S3Error::Odd("what was removed is still there".to_owned())),
        }
    }

    async fn read_back(&self, key: &str) -> Result<(), S3Error> {
        let got = self.get(key, None, None).await?;
        let bytes: Vec<Bytes> = got.stream.try_collect().await?;
        if bytes.concat() != WORDS {
            return Err(S3Error::Odd("what was written is not what was read".to_owned()));
        }
        let page = self.page(key, false, None, 10).await?;
        if !page.objects.iter().any(|object| object.key == key) {
            return Err(S3Error::Odd("what was written is not in the list of the bucket's keys".to_owned()));
        }
        Ok(())
    }
}

/// Does the same in a directory of this box.
pub async fn check_directory(directory: &Path, nonce: &str) -> Result<(), S3Error> {
    let fault = |error: object_store::Error| S3Error::Settings(error.to_string());
    let store = LocalFileSystem::new_with_prefix(directory).map_err(fault)?;
    let key = object_store::path::Path::from(format!("check-{nonce}"));
    store.put(&key, PutPayload::from_static(WORDS)).await.map_err(fault)?;
    let read = async { store.get(&key).await?.bytes().await }.await;
    store.delete(&key).await.map_err(fault)?;
    if read.map_err(fault)? != WORDS {
        return Err(S3Error::Odd("what was written is not what was read".to_owned()));
    }
    Ok(())
}
