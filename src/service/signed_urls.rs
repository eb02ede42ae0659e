//! Signed URLs: one thing to do with one version, until a time, for whoever has the URL: a method on a
//! file, a part of a large file, a page of a listing. A URL opens as much as the key that it was signed
//! with: it ends when that key does.

use std::time::Duration;

use rusqlite::Connection;
use subtle::ConstantTimeEq;

use super::{
    Invalid, ServiceError, Services,
    dataset_files::check_new_path,
    references::{self, Resolved},
    s3_listing::Listing,
    s3_versions::of_files,
};
use crate::{
    domain::{
        caller::{Action, Caller},
        content::ContentHash,
        dataset::{DatasetRef, Reference, VersionRef},
        id::{DatasetId, KeyId, MultipartId, VersionId},
        time::Timestamp,
        user_path::UserPath,
    },
    store::keys,
};

/// Most URLs that are signed at once.
pub const MOST: usize = 1_000;
/// How long a URL is good when nobody says.
const USUAL: Duration = Duration::from_secs(3600);

/// What a signed URL may do to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedMethod {
    Get,
    Head,
    Put,
    Delete,
}

impl SignedMethod {
    /// Returns the method's name in HTTP.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// Reads the method's name in HTTP.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Get, Self::Head, Self::Put, Self::Delete].into_iter().find(|method| method.as_str() == word)
    }
}

/// What a signed URL may be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    File {
        method: SignedMethod,
        path: UserPath,
        /// Whether containers may execute the file that is put.
        executable: bool,
    },
    /// One page of what is in the version.
    List(Listing),
    /// To put one part of a file that comes in parts.
    Part { upload: MultipartId, number: u32 },
}

impl Purpose {
    fn action(&self) -> Action {
        match self {
            Self::File { method: SignedMethod::Get | SignedMethod::Head, .. } | Self::List(_) => Action::ViewDatasets,
            Self::File { method: SignedMethod::Put | SignedMethod::Delete, .. } | Self::Part { .. } => {
                Action::UploadData
            }
        }
    }

    /// Says whether what the URL is used for takes room.
    fn brings_bytes(&self) -> bool {
        matches!(self, Self::File { method: SignedMethod::Put, .. } | Self::Part { .. })
    }

    /// Returns all of it in texts, of which no two purposes have the same.
    fn parts(&self) -> Vec<Vec<u8>> {
        match self {
            Self::File { method, path, executable } => {
                vec![method.as_str().into(), path.as_bytes().into(), vec![u8::from(*executable)]]
            }
            Self::List(Listing { prefix, recursive, after, limit }) => vec![
                b"LIST".into(),
                prefix.as_bytes().into(),
                vec![u8::from(*recursive), u8::from(after.is_some())],
                after.clone().unwrap_or_default(),
                limit.to_le_bytes().into(),
            ],
            Self::Part { upload, number } => {
                vec![b"PART".into(), upload.as_str().into(), number.to_le_bytes().into()]
            }
        }
    }
}

/// A call that somebody without a key is to make.
#[derive(Debug, Clone)]
pub struct SignedCall {
    pub purpose: Purpose,
    /// An hour when left out.
    pub lasts: Option<Duration>,
}

/// All that a signature covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub purpose: Purpose,
    pub dataset: DatasetId,
    pub version: VersionId,
    /// Seconds since 1970: no longer good from then on.
    pub expires: i64,
    pub key: KeyId,
}

/// A URL that was signed.
#[derive(Debug, Clone)]
pub struct SignedUrl {
    pub signed: Signed,
    pub signature: ContentHash,
    /// Where to read the file in its bucket itself. What changes files always comes through this box, so
    /// that no URL can change a version that was committed since.
    pub at_bucket: Option<String>,
}

/// Refuses whoever shows a URL, without telling what is wrong with it.
pub fn not_good() -> ServiceError {
    ServiceError::Forbidden("the signed URL is not good for this, or no longer: ask for another one".to_owned())
}

impl Services {
    /// Signs calls on files of a version, with what the caller's key allows. What would be refused
    /// whatever is sent is refused now: some clients look at no answer but this one.
    pub async fn sign_urls(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        calls: Vec<SignedCall>,
    ) -> Result<Vec<SignedUrl>, ServiceError> {
        caller.may(Action::ViewDatasets)?;
        if calls.len() > MOST {
            let message = format!("{MOST} URLs are signed at once, at most: ask again for the rest");
            return Err(Invalid::new("calls", "too_many", message).into());
        }
        let changes = calls.iter().any(|call| call.purpose.action() == Action::UploadData);
        let found = if changes {
            self.find_draft(caller, dataset, version).await?
        } else {
            self.find_version(caller, dataset, version).await?
        };
        let bucket = self.home(&found.dataset, &found.version.id).await?.s3;
        if changes && calls.iter().any(|call| call.purpose.brings_bytes()) {
            match bucket {
                None => self.check_quota(&caller.team, 0)?,
                Some(_) => self.require_bucket_writable(&found.dataset).await?,
            }
        }
        let (now, key) = (self.clock.now(), self.url_key());
        let longest = self.settings.storage.longest_signed_url;
        let mut urls = Vec::with_capacity(calls.len());
        for (at, call) in calls.into_iter().enumerate() {
            let lasts = call.lasts.unwrap_or(USUAL.min(longest));
            if lasts.is_zero() || lasts > longest {
                let message =
                    format!("a signed URL lasts from 1 to {} seconds (storage.signed_url)", longest.as_secs());
                return Err(Invalid::new(format!("calls[{at}].expiresSeconds"), "out_of_range", message).into());
            }
            let at_bucket = match (&call.purpose, &bucket) {
                (Purpose::File { method: SignedMethod::Put, path, .. }, bucket) => {
                    check_new_path(&format!("calls[{at}].path"), path)?;
                    bucket.as_ref().map(|files| files.key(path)).transpose().map_err(of_files)?;
                    None
                }
                (Purpose::File { method: SignedMethod::Get, path, .. }, Some(files)) => {
                    Some(files.signed(&http::Method::GET, path, lasts).await)
                }
                (Purpose::File { method: SignedMethod::Head, path, .. }, Some(files)) => {
                    Some(files.signed(&http::Method::HEAD, path, lasts).await)
                }
                _ => None,
            };
            let at_bucket = at_bucket.transpose().map_err(of_files)?;
            let signed = Signed {
                purpose: call.purpose,
                dataset: found.dataset.id.clone(),
                version: found.version.id.clone(),
                expires: now.plus(lasts).0 / 1_000_000,
                key: caller.key.clone(),
            };
            urls.push(SignedUrl { signature: signature(&key, &signed), signed, at_bucket });
        }
        Ok(urls)
    }

    /// Returns who signed a URL, to act with their rights, if the signature is good and the key that it
    /// was made with still is.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], which does not tell what is wrong with it.
    pub async fn signer(&self, signed: &Signed, shown: &ContentHash) -> Result<Caller, ServiceError> {
        let now = self.check_signature(signed, shown)?;
        let (key, action) = (signed.key.clone(), signed.purpose.action());
        self.store.read(move |connection| signer(connection, &key, action, now)).await
    }

    /// Finds the version that a good URL leads to. Who signed it comes from the same look at the store,
    /// for a look takes longer than all else that a small file needs.
    ///
    /// # Errors
    /// As [`Self::signer`]; [`ServiceError::NotFound`].
    pub(super) async fn signed_version(&self, signed: &Signed, shown: &ContentHash) -> Result<Resolved, ServiceError> {
        let now = self.check_signature(signed, shown)?;
        let (key, action) = (signed.key.clone(), signed.purpose.action());
        let (dataset, version) = (signed.dataset.clone(), signed.version.clone());
        self.store
            .read(move |connection| {
                let caller = signer(connection, &key, action, now)?;
                let named = Reference { dataset: DatasetRef::Id(dataset), version: VersionRef::Id(version) };
                references::resolve(connection, &caller.team, &named)
            })
            .await
    }

    /// Returns the time at which a signature was found to be good.
    fn check_signature(&self, signed: &Signed, shown: &ContentHash) -> Result<Timestamp, ServiceError> {
        let own = signature(&self.url_key(), signed);
        let now = self.clock.now();
        // However much of a guess is right, comparing takes the same time.
        if !bool::from(own.0.ct_eq(&shown.0)) || Timestamp(signed.expires.saturating_mul(1_000_000)) <= now {
            return Err(not_good());
        }
        Ok(now)
    }

    /// Returns the caller that a key stands for, while it is good.
    pub async fn holder(&self, key: &KeyId) -> Result<Option<Caller>, ServiceError> {
        let (id, now) = (key.clone(), self.clock.now());
        self.store.read(move |connection| holder(connection, &id, now)).await
    }

    fn url_key(&self) -> [u8; 32] {
        self.sealer.derive("gradientd 2026 signed URLs of datasets")
    }
}

fn signer(connection: &Connection, key: &KeyId, action: Action, now: Timestamp) -> Result<Caller, ServiceError> {
    let caller = holder(connection, key, now)?.ok_or_else(not_good)?;
    caller.may(action).map_err(|_| not_good())?;
    Ok(caller)
}

fn holder(connection: &Connection, key: &KeyId, now: Timestamp) -> Result<Option<Caller>, ServiceError> {
    let key = keys::get(connection, key)?.filter(|key| key.is_good(now));
    Ok(key.map(|key| Caller { user: key.user, team: key.team, key: key.id, scope: key.scope }))
}

/// Returns the keyed hash of all that a URL is good for.
fn signature(key: &[u8; 32], signed: &Signed) -> ContentHash {
    let mut parts = signed.purpose.parts();
    parts.extend([
        signed.dataset.as_str().into(),
        signed.version.as_str().into(),
        signed.expires.to_le_bytes().into(),
        signed.key.as_str().into(),
    ]);
    sealed(parts.iter().map(AsRef::as_ref), key)
}

/// Returns the keyed hash of what is signed. Every part is preceded by its length, so that no two lists
/// of parts are the same text.
pub(super) fn sealed<'a>(parts: impl IntoIterator<Item = &'a [u8]>, key: &[u8; 32]) -> ContentHash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    ContentHash(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_call_is_signed() {
        let key = [7; 32];
        let file = |method, path: &str, executable| Purpose::File { method, path: path.parse().unwrap(), executable };
        let list = |prefix: &str, recursive, after: Option<&[u8]>, limit| {
            Purpose::List(Listing { prefix: prefix.to_owned(), recursive, after: after.map(Into::into), limit })
        };
        let part = |upload: &str, number| Purpose::Part { upload: upload.parse().unwrap(), number };
        let signed = Signed {
            purpose: file(SignedMethod::Get, "a/b", false),
            dataset: "dst364npcw6ccok".parse().unwrap(),
            version: "fo5rp4m".parse().unwrap(),
            expires: 5,
            key: "k0000000000".parse().unwrap(),
        };
        let own = signature(&key, &signed);
        let purposes = [
            file(SignedMethod::Head, "a/b", false),
            file(SignedMethod::Get, "a/c", false),
            file(SignedMethod::Get, "a/b", true),
            list("a/b", false, None, 20),
            list("a/", false, None, 20),
            list("a/b", true, None, 20),
            list("a/b", false, Some(b""), 20),
            list("a/b", false, Some(b"a"), 20),
            list("a/b", false, None, 21),
            part("mp0123456789abcdef", 1),
            part("mp0123456789abcdef", 2),
            part("mp0123456789abcdeg", 1),
        ];
        let mut others = vec![
            Signed { dataset: "dst364npcw6ccol".parse().unwrap(), ..signed.clone() },
            Signed { version: "fo5rp4n".parse().unwrap(), ..signed.clone() },
            Signed { expires: 6, ..signed.clone() },
            Signed { key: "k0000000001".parse().unwrap(), ..signed.clone() },
        ];
        others.extend(purposes.map(|purpose| Signed { purpose, ..signed.clone() }));
        assert_eq!(signature(&key, &signed), own);
        others.push(signed.clone());
        let all: std::collections::BTreeSet<_> = others.iter().map(|other| signature(&key, other)).collect();
        assert_eq!(all.len(), others.len(), "no two calls have the same signature");
        assert_ne!(signature(&[8; 32], &signed), own);
    }
}
