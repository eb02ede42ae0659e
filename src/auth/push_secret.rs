//! The secret in the address to which one attempt of a run pushes its numbers.
//!
//! It says whose it is and proves it, `ID-ATTEMPT-MAC`, so nothing is stored: it holds as long as the
//! box's key, through every restart, and is of no use to any other run.

use super::{Sealer, Secret};
use crate::domain::id::JobId;

/// Hexadecimal digits of the proof: 160 bits.
const DIGITS: usize = 40;

/// Makes and checks these secrets.
pub struct PushSecrets([u8; 32]);

impl PushSecrets {
    /// Derives their key from the box's.
    #[must_use]
    pub fn new(sealer: &Sealer) -> Self {
        Self(sealer.derive("gradientd 2026 addresses for pushed metrics"))
    }

    /// Returns the secret of an attempt, always the same. It is fit for a URL as it is.
    #[must_use]
    pub fn secret(&self, run: &JobId, attempt: u32) -> Secret<String> {
        Secret::new(format!("{run}-{attempt}-{}", &self.proof(run, attempt)[..DIGITS]))
    }

    /// Returns whose secret `text` is; `None` when it is nobody's. Takes the same time wherever the proof
    /// is wrong.
    #[must_use]
    pub fn whose(&self, text: &str) -> Option<(JobId, u32)> {
        use subtle::ConstantTimeEq;
        let mut parts = text.splitn(3, '-');
        let run: JobId = parts.next()?.parse().ok()?;
        let attempt: u32 = parts.next()?.parse().ok()?;
        let shown = parts.next()?;
        let right = &self.proof(&run, attempt)[..DIGITS];
        bool::from(right.as_bytes().ct_eq(shown.as_bytes())).then_some((run, attempt))
    }

    fn proof(&self, run: &JobId, attempt: u32) -> String {
        blake3::keyed_hash(&self.0, format!("{run} {attempt}").as_bytes()).to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_good_for_one_attempt_of_one_run_on_one_box() {
        let (here, elsewhere) = (PushSecrets([1; 32]), PushSecrets([2; 32]));
        let run: JobId = "js0123456789ab".parse().unwrap();
        let other: JobId = "js0123456789ac".parse().unwrap();
        let secret = here.secret(&run, 2);
        assert_eq!(here.whose(secret.reveal()), Some((run.clone(), 2)));
        assert_eq!(PushSecrets([1; 32]).whose(secret.reveal()), Some((run.clone(), 2)), "after a restart");
        assert_eq!(elsewhere.whose(secret.reveal()), None);
        let proof = secret.reveal().rsplit('-').next().unwrap();
        for wrong in [
            format!("{run}-1-{proof}"),
            format!("{other}-2-{proof}"),
            format!("{run}-2-"),
            format!("{run}-2-{}", &proof[1..]),
            format!("{run}-2-{proof}0"),
            format!("{run}-2-{}", "0".repeat(DIGITS)),
            format!("{run}-2"),
            String::new(),
            "-".repeat(1000),
        ] {
            assert_eq!(here.whose(&wrong), None, "{wrong}");
        }
    }
}
