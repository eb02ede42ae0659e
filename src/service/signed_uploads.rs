//! Signed URLs of uploads: sending one archive, until a time, for whoever has the URL. A URL ends with the
//! key that it was signed with, and once the archive is here.

use std::time::Duration;

use subtle::ConstantTimeEq;

use super::{ServiceError, Services, signed_urls::sealed};
use crate::domain::{
    caller::{Action, Caller},
    content::ContentHash,
    id::{KeyId, UploadId},
    time::Timestamp,
};

/// How long a URL is good, where the setting allows it.
const LASTS: Duration = Duration::from_secs(3600);

/// All that a signature covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUpload {
    /// What the archive will be called.
    pub upload: UploadId,
    /// Seconds since 1970: no longer good from then on.
    pub expires: i64,
    pub key: KeyId,
}

/// A URL that was signed.
#[derive(Debug, Clone)]
pub struct UploadUrl {
    pub signed: SignedUpload,
    pub signature: ContentHash,
}

impl Services {
    /// Signs sending one archive, which gets a name now and is nowhere until it comes.
    pub fn sign_upload(&self, caller: &Caller) -> Result<UploadUrl, ServiceError> {
        caller.may(Action::SubmitJob)?;
        let lasts = LASTS.min(self.settings.storage.longest_signed_url);
        let expires = self.clock.now().plus(lasts).0 / 1_000_000;
        let signed = SignedUpload { upload: UploadId::mint(&*self.ids), expires, key: caller.key.clone() };
        Ok(UploadUrl { signature: signature(&self.upload_url_key(), &signed), signed })
    }

    /// Returns who signed a URL, to act with their rights, if the signature is good and the key that it
    /// was made with still is.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], which does not tell what is wrong with it.
    pub async fn upload_signer(&self, signed: &SignedUpload, shown: &ContentHash) -> Result<Caller, ServiceError> {
        let refused = || {
            let message = "the signed URL is not good for this, or no longer: ask for another one".to_owned();
            ServiceError::Forbidden(message)
        };
        let own = signature(&self.upload_url_key(), signed);
        // However much of a guess is right, comparing takes the same time.
        let good = bool::from(own.0.ct_eq(&shown.0));
        if !good || Timestamp(signed.expires.saturating_mul(1_000_000)) <= self.clock.now() {
            return Err(refused());
        }
        let caller = self.holder(&signed.key).await?.ok_or_else(refused)?;
        caller.may(Action::SubmitJob).map_err(|_| refused())?;
        Ok(caller)
    }

    fn upload_url_key(&self) -> [u8; 32] {
        self.sealer.derive("gradientd 2026 signed URLs of uploads")
    }
}

fn signature(key: &[u8; 32], signed: &SignedUpload) -> ContentHash {
    sealed([signed.upload.as_str().as_bytes(), &signed.expires.to_le_bytes(), signed.key.as_str().as_bytes()], key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_url_is_signed() {
        let key = [7; 32];
        let signed = SignedUpload {
            upload: "up0123456789abcdef".parse().unwrap(),
            expires: 5,
            key: "k0000000000".parse().unwrap(),
        };
        let own = signature(&key, &signed);
        let others = [
            SignedUpload { upload: "up0123456789abcdeg".parse().unwrap(), ..signed.clone() },
            SignedUpload { expires: 6, ..signed.clone() },
            SignedUpload { key: "k0000000001".parse().unwrap(), ..signed.clone() },
        ];
        assert_eq!(signature(&key, &signed), own);
        assert!(others.iter().all(|other| signature(&key, other) != own));
        assert_ne!(signature(&[8; 32], &signed), own);
    }
}
