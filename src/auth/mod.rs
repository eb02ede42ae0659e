//! What opens doors and what keeps things shut: keys and tokens as text, their hashes, the secrets by
//! which runs push their numbers, and the sealing of secrets at rest.
//!
//! Knows no store and no HTTP. Who a key belongs to is in the store; what its scope allows is in
//! [`crate::domain::caller`].

mod hidden;
mod push_secret;
mod sealer;
mod token;

pub use hidden::Secret;
pub use push_secret::PushSecrets;
pub use sealer::{SealError, Sealer};
pub use token::{
    ApiKey, InvalidToken, SessionProof, SessionToken, SignInToken, Ticket, TokenHash, WorkloadSession, WorkloadToken,
};
