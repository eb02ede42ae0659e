//! Signed URLs of artifacts: reading one file of one job, until a time, for whoever has the URL. A URL
//! ends with the key that it was signed with.

use std::time::Duration;

use subtle::ConstantTimeEq;

use super::{
    ServiceError, Services,
    signed_urls::{not_good, sealed},
};
use crate::domain::{
    caller::{Action, Caller},
    content::ContentHash,
    id::{JobId, KeyId},
    time::Timestamp,
    user_path::UserPath,
};

/// How long a URL is good, where the setting allows it: as long as the cloud's were.
const LASTS: Duration = Duration::from_secs(8 * 3600);

/// All that a signature covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedArtifact {
    pub job: JobId,
    pub path: UserPath,
    /// Seconds since 1970: no longer good from then on.
    pub expires: i64,
    pub key: KeyId,
}

/// A URL that was signed.
#[derive(Debug, Clone)]
pub struct ArtifactUrl {
    pub signed: SignedArtifact,
    pub signature: ContentHash,
}

impl Services {
    /// Signs reading files of a job's artifacts, whether they are there or not.
    pub async fn sign_artifacts(
        &self,
        caller: &Caller,
        id: &JobId,
        paths: Vec<UserPath>,
    ) -> Result<Vec<ArtifactUrl>, ServiceError> {
        self.find_job(caller, id).await?;
        let key = self.artifact_url_key();
        let lasts = LASTS.min(self.settings.storage.longest_signed_url);
        let expires = self.clock.now().plus(lasts).0 / 1_000_000;
        let sign = |path| {
            let signed = SignedArtifact { job: id.clone(), path, expires, key: caller.key.clone() };
            ArtifactUrl { signature: signature(&key, &signed), signed }
        };
        Ok(paths.into_iter().map(sign).collect())
    }

    /// Returns who signed a URL, to act with their rights, if the signature is good and the key that it
    /// was made with still is.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], which does not tell what is wrong with it.
    pub async fn artifact_signer(&self, signed: &SignedArtifact, shown: &ContentHash) -> Result<Caller, ServiceError> {
        let own = signature(&self.artifact_url_key(), signed);
        // However much of a guess is right, comparing takes the same time.
        let good = bool::from(own.0.ct_eq(&shown.0));
        if !good || Timestamp(signed.expires.saturating_mul(1_000_000)) <= self.clock.now() {
            return Err(not_good());
        }
        let caller = self.holder(&signed.key).await?.ok_or_else(not_good)?;
        caller.may(Action::ViewJobs).map_err(|_| not_good())?;
        Ok(caller)
    }

    fn artifact_url_key(&self) -> [u8; 32] {
        self.sealer.derive("gradientd 2026 signed URLs of artifacts")
    }
}

fn signature(key: &[u8; 32], signed: &SignedArtifact) -> ContentHash {
    let parts = [
        signed.job.as_str().as_bytes(),
        signed.path.as_bytes(),
        &signed.expires.to_le_bytes(),
        signed.key.as_str().as_bytes(),
    ];
    sealed(parts, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_url_is_signed() {
        let key = [7; 32];
        let signed = SignedArtifact {
            job: "js0123456789ab".parse().unwrap(),
            path: "a/b".parse().unwrap(),
            expires: 5,
            key: "k0000000000".parse().unwrap(),
        };
        let own = signature(&key, &signed);
        let others = [
            SignedArtifact { job: "js0123456789ac".parse().unwrap(), ..signed.clone() },
            SignedArtifact { path: "a/c".parse().unwrap(), ..signed.clone() },
            SignedArtifact { expires: 6, ..signed.clone() },
            SignedArtifact { key: "k0000000001".parse().unwrap(), ..signed.clone() },
        ];
        assert_eq!(signature(&key, &signed), own);
        assert!(others.iter().all(|other| signature(&key, other) != own));
        assert_ne!(signature(&[8; 32], &signed), own);
    }
}
