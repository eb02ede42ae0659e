//! What opens doors and what keeps things shut: keys and tokens as text, their hashes, the secrets by
//! which runs push their numbers, and the sealing of secrets at rest; and what a TLS handshake shows, so
//! that no other room holds a private key. [`authority`] makes certificates of the box's own,
//! [`certificate`] knows what is in one, [`certificates`] has the one that is shown.
//!
//! Knows no store and no HTTP. Who a key belongs to is in the store; what its scope allows is in
//! [`crate::domain::caller`].

mod authority;
mod certificate;
mod certificates;
mod hidden;
mod key_file;
mod push_secret;
mod sealer;
mod token;

pub use certificate::{Certificate, CertificateError};
pub use certificates::Certificates;
pub use hidden::Secret;
pub use push_secret::PushSecrets;
pub use sealer::{SealError, Sealer};
pub use token::{
    ApiKey, InvalidToken, SessionProof, SessionToken, SignInToken, Ticket, TokenHash, WorkloadSession, WorkloadToken,
};
