//! A client's promise that two requests are one: sent again, the second finds what the first made.

/// What a client sends as `Idempotency-Key`, with what it asked for.
///
/// A service keeps both beside what it made, in the transaction that makes it. A later request of
/// the same user and key gets the same thing if the fingerprint is equal, and
/// [`KeyReused`] if it is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// 1 to 255 visible ASCII characters, chosen by the client.
    pub text: String,
    /// BLAKE3 of the method, path and body.
    pub fingerprint: [u8; 32],
}

/// One idempotency key was sent with two different requests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this Idempotency-Key was sent before with another request: use a new key for new work")]
pub struct KeyReused;
