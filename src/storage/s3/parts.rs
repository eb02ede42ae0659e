//! An upload in parts: nobody sees the object before the parts are joined, and till then the service
//! keeps them, for ever if nobody says otherwise. So each is noted on this disk while it is under way,
//! ends with whoever began it, and is found by its note where that could not be.

use std::time::Duration;

use object_store::{
    MultipartId, PutPayload, PutResult,
    multipart::{MultipartStore, PartId},
    path::Path,
    signer::{SignedUrlOptions, Signer},
};
use tokio::{sync::SemaphorePermit, task::JoinSet};

use super::{
    S3Bucket, S3Error,
    bucket::path,
    client::http_client,
    unfinished::{Sending, SentParts},
};

/// How long a question for the uploads of a key is good.
const GOOD_FOR: Duration = Duration::from_secs(300);
/// The largest answer to it that is read, in bytes: a thousand uploads.
const LARGEST_ANSWER: usize = 4 << 20;

/// A part that is at the service: its number, counted from 0, and the service's name for it.
type Sent = object_store::Result<(usize, PartId)>;

/// An upload in parts. Dropped before it was joined, it is called off beside.
pub(super) struct Upload {
    bucket: S3Bucket,
    key: String,
    path: Path,
    id: MultipartId,
    note: Option<Sending>,
    /// Parts on their way. They are tasks, which go on while the next part is awaited, so that a slow
    /// sender does not keep memory that others wait for.
    on_their_way: JoinSet<Sent>,
    is_over: bool,
}

impl Upload {
    /// Begins one. `note` says on this disk that it is about to be.
    pub async fn begin(bucket: &S3Bucket, key: &str, mut note: Option<Sending>) -> Result<Self, super::FilesError> {
        let path = path(key)?;
        let id = match bucket.store.create_multipart(&path).await.map_err(bucket.fault(key)) {
            Ok(id) => id,
            Err(error) => {
                // It may have been begun though nobody heard of it; then its note stays.
                if let (false, Some(note)) = (error.is_passing(), note) {
                    note.is_over()?;
                }
                return Err(error.into());
            }
        };
        let named = note.as_mut().map_or(Ok(()), |note| note.is_called(&id));
        let (bucket, key) = (bucket.clone(), key.to_owned());
        let upload = Self { bucket, key, path, id, note, on_their_way: JoinSet::new(), is_over: false };
        match named {
            Ok(()) => Ok(upload),
            Err(error) => {
                upload.call_off().await;
                Err(error.into())
            }
        }
    }

    /// Sends part `number`, counted from 0, and lets go of `memory` when it is there.
    pub fn send(&mut self, number: usize, part: PutPayload, memory: SemaphorePermit<'static>) {
        let (store, path, id) = (self.bucket.store.clone(), self.path.clone(), self.id.clone());
        self.on_their_way.spawn(async move {
            let sent = store.put_part(&path, &id, number, part).await;
            drop(memory);
            sent.map(|id| (number, id))
        });
    }

    /// Returns how many parts are on their way.
    pub fn on_their_way(&self) -> usize {
        self.on_their_way.len()
    }

    /// Awaits the next part to be there; `None` when none is on its way.
    pub async fn sent(&mut self) -> Option<Sent> {
        Some(self.on_their_way.join_next().await?.unwrap_or_else(|ended| Err(ended.into())))
    }

    /// Makes the parts an object.
    pub async fn join(mut self, parts: Vec<PartId>) -> Result<PutResult, super::FilesError> {
        let joined = self.bucket.store.complete_multipart(&self.path, &self.id, parts).await;
        match joined.map_err(self.bucket.fault(&self.key)) {
            Ok(put) => {
                self.is_over = true;
                self.note.take().map_or(Ok(()), Sending::is_over)?;
                Ok(put)
            }
            Err(error) => {
                self.call_off().await;
                Err(error.into())
            }
        }
    }

    /// Has the service forget the parts. Where it does not answer, the note of it stays.
    pub async fn call_off(mut self) {
        self.is_over = true;
        let on_their_way = std::mem::take(&mut self.on_their_way);
        forget(&self.bucket, &self.key, &self.id, on_their_way, self.note.take()).await;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // Whoever waited for it is gone. Without a runtime the process ends, and its note is found.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (bucket, key, id) = (self.bucket.clone(), std::mem::take(&mut self.key), std::mem::take(&mut self.id));
            let (on_their_way, note) = (std::mem::take(&mut self.on_their_way), self.note.take());
            runtime.spawn(async move { forget(&bucket, &key, &id, on_their_way, note).await });
        }
    }
}

/// Has the service forget the parts, once none is on its way any more: one that came after it was told
/// would stay there, and nobody would know.
async fn forget(bucket: &S3Bucket, key: &str, id: &str, mut on_their_way: JoinSet<Sent>, note: Option<Sending>) {
    while on_their_way.join_next().await.is_some() {}
    let forgotten = bucket.forget_parts(key, id).await;
    crate::fault::point("s3.parts-forgotten");
    let forgotten = forgotten.map_err(|error| error.to_string());
    let noted = || note.map_or(Ok(()), Sending::is_over).map_err(|error| error.to_string());
    if let Err(error) = forgotten.and_then(|()| noted()) {
        tracing::warn!(key, error, "the parts of an upload that was called off stay at the service for now");
    }
}

impl S3Bucket {
    /// Has the service forget the parts of an upload. One that it does not know is as good as forgotten.
    pub async fn forget_parts(&self, key: &str, upload: &str) -> Result<(), S3Error> {
        let forgotten = self.store.abort_multipart(&path(key)?, &upload.to_owned()).await;
        match forgotten.map_err(self.fault(key)) {
            Err(S3Error::NotFound(_)) => Ok(()),
            done => done,
        }
    }

    /// Ends an upload that somebody left behind: the one of its name, or, when it was left before it had
    /// one, every upload to its key that nobody is at, which `under_way` tells. Returns how many ended.
    ///
    /// That is asked once the service has said which there are: whoever begins one in between has a note
    /// of it by then.
    pub async fn forget_left<E: From<S3Error>>(
        &self,
        left: &SentParts,
        under_way: impl AsyncFnOnce() -> Result<Vec<SentParts>, E>,
    ) -> Result<u64, E> {
        if let Some(upload) = &left.upload {
            self.forget_parts(&left.key, upload).await?;
            return Ok(1);
        }
        let listed = self.uploads_to(&left.key).await?;
        let mut same_key = under_way().await?;
        same_key.retain(|parts| parts.key == left.key);
        if same_key.iter().any(|parts| parts.upload.is_none()) {
            // Which of those that the service lists is whose is known when that one has its name.
            return Err(S3Error::Changed(left.key.clone()).into());
        }
        let mut ended = 0;
        for upload in listed {
            if !same_key.iter().any(|parts| parts.upload.as_ref() == Some(&upload)) {
                self.forget_parts(&left.key, &upload).await?;
                ended += 1;
            }
        }
        Ok(ended)
    }

    /// Returns the names of the uploads in parts to exactly this key: a thousand at most. None where
    /// the service has no such list.
    async fn uploads_to(&self, key: &str) -> Result<Vec<String>, S3Error> {
        let query = SignedUrlOptions::new().with_query([("uploads", ""), ("prefix", key), ("encoding-type", "url")]);
        let signed = self.store.signed_url_opts(http::Method::GET, &Path::default(), GOOD_FOR, &query).await;
        let url = signed.map_err(self.fault(key))?;
        let odd = |error: reqwest::Error| S3Error::Odd(super::error::deepest(&error));
        let answer = http_client(self.reach).map_err(odd)?.get(url.as_str()).send().await.map_err(odd)?;
        let status = answer.status().as_u16();
        if status == 501 {
            return Ok(Vec::new());
        }
        let mut body = Vec::new();
        let mut answer = answer;
        while let Some(piece) = answer.chunk().await.map_err(odd)? {
            body.extend_from_slice(&piece);
            if body.len() > LARGEST_ANSWER {
                return Err(S3Error::Odd("its list of uploads is endless".to_owned()));
            }
        }
        let body = String::from_utf8_lossy(&body);
        if status != 200 {
            return Err(S3Error::Answer { status, said: String::new() });
        }
        Ok(listed(&body, key))
    }
}

/// Reads a list of uploads, with keys encoded as in URLs.
fn listed(body: &str, key: &str) -> Vec<String> {
    let tag = |text: &str, name: &str| -> Option<String> {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once("</")?.0.trim().to_owned())
    };
    let of_key = |upload: &&str| {
        let found = tag(upload, "Key").unwrap_or_default();
        // As it stands, too: not every service encodes.
        found == key || form_urlencoded::parse(format!("k={found}").as_bytes()).any(|(_, found)| found == key)
    };
    // Names of uploads are letters, digits and signs that mean nothing in XML.
    body.split("<Upload>").skip(1).filter(of_key).filter_map(|upload| tag(upload, "UploadId")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uploads_to_exactly_the_key_are_its_own() {
        let upload = |key: &str, id: &str| {
            format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>x</Initiated></Upload>")
        };
        let body = [upload("t/a%20b", "1"), upload("t/a+b", "2"), upload("t/a%20bc", "3"), upload("t/a b", "4")];
        let body =
            format!("<ListMultipartUploadsResult><Prefix>t/a b</Prefix>{}</ListMultipartUploadsResult>", body.concat());
        assert_eq!(listed(&body, "t/a b"), ["1", "2", "4"]);
        assert_eq!(listed("", "t/a b"), [""; 0]);
    }
}
