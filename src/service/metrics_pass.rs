//! Passes to the metrics of one run, for clients that send no key where they ask for them. A pass is a
//! secret, is good until a time, and ends with the key that it was made with.

use std::time::Duration;

use subtle::ConstantTimeEq;

use super::{ServiceError, Services, signed_urls::sealed};
use crate::domain::{
    caller::{Action, Caller},
    content::ContentHash,
    id::{JobId, KeyId},
    time::Timestamp,
};

/// How long a pass is good: as long as somebody may watch without asking for the run again.
const LASTS: Duration = Duration::from_secs(24 * 3600);

/// What a pass is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsPass {
    pub run: JobId,
    /// Seconds since 1970: no longer good from then on.
    pub expires: i64,
    pub key: KeyId,
}

impl MetricsPass {
    fn ends(&self) -> Timestamp {
        Timestamp(self.expires.saturating_mul(1_000_000))
    }
}

impl Services {
    /// Makes a pass to the metrics of a run that `caller` was shown. Whether they may see it is asked
    /// again when it is used, so one for another run opens nothing.
    pub fn metrics_pass(&self, caller: &Caller, run: &JobId) -> (MetricsPass, ContentHash) {
        let expires = self.clock.now().plus(LASTS).0 / 1_000_000;
        let pass = MetricsPass { run: run.clone(), expires, key: caller.key.clone() };
        let signature = signature(&self.metrics_pass_key(), &pass);
        (pass, signature)
    }

    /// Returns who made a pass, to act with their rights, if it is good and the key that it was made
    /// with still is.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], which does not tell what is wrong with it.
    pub async fn metrics_holder(&self, pass: &MetricsPass, shown: &ContentHash) -> Result<Caller, ServiceError> {
        let refused = || {
            let message = "the address of these metrics is not good, or no longer: look at the job again".to_owned();
            ServiceError::Forbidden(message)
        };
        let own = signature(&self.metrics_pass_key(), pass);
        // However much of a guess is right, comparing takes the same time.
        let good = bool::from(own.0.ct_eq(&shown.0));
        if !good || pass.ends() <= self.clock.now() {
            return Err(refused());
        }
        let caller = self.holder(&pass.key).await?.ok_or_else(refused)?;
        caller.may(Action::ViewJobs).map_err(|_| refused())?;
        Ok(caller)
    }

    /// Returns how long a pass is still good.
    pub fn metrics_pass_left(&self, pass: &MetricsPass) -> Duration {
        pass.ends().since(self.clock.now())
    }

    fn metrics_pass_key(&self) -> [u8; 32] {
        self.sealer.derive("gradientd 2026 passes to metrics")
    }
}

fn signature(key: &[u8; 32], pass: &MetricsPass) -> ContentHash {
    sealed([pass.run.as_str().as_bytes(), &pass.expires.to_le_bytes(), pass.key.as_str().as_bytes()], key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_pass_is_signed() {
        let key = [7; 32];
        let pass =
            MetricsPass { run: "js0123456789ab".parse().unwrap(), expires: 5, key: "k0000000000".parse().unwrap() };
        let own = signature(&key, &pass);
        let others = [
            MetricsPass { run: "js0123456789ac".parse().unwrap(), ..pass.clone() },
            MetricsPass { expires: 6, ..pass.clone() },
            MetricsPass { key: "k0000000001".parse().unwrap(), ..pass.clone() },
        ];
        assert!(others.iter().all(|other| signature(&key, other) != own));
        assert_ne!(signature(&[8; 32], &pass), own);
    }
}
