//! Keys and tokens: long random texts that a client shows to be let in.
//!
//! Each kind has a prefix, so that one cannot be passed for another and a leaked one is recognised,
//! and ends in a checksum, so that a mistyped one is refused without asking the store. Only hashes
//! are ever stored.

use std::{fmt, str::FromStr};

use subtle::ConstantTimeEq;

use super::Secret;
use crate::domain::id::{IdSource, random_text};

/// Random characters after the prefix: 175 bits.
const RANDOM: usize = 34;
/// Characters of the checksum at the end.
const CHECK: usize = 6;

/// What a key or token is stored and looked up as: BLAKE3 of its whole text.
///
/// A fast hash is right here: the text is random and long, so there is nothing to guess.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Returns the hash as the store keeps it.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for TokenHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// Takes the same time wherever the difference is.
impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

/// A text that is no key or token of the kind asked for. Does not repeat the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not {kind}: one is “{prefix}” and 40 lower-case letters or digits, copied whole")]
pub struct InvalidToken {
    kind: &'static str,
    prefix: &'static str,
}

fn mint(source: &dyn IdSource, prefix: &str) -> String {
    let mut text = format!("{prefix}{}", random_text(source, RANDOM));
    text.push_str(&checksum(&text));
    text
}

/// Returns the last characters of a token from all those before them.
fn checksum(text: &str) -> String {
    let digest = blake3::hash(text.as_bytes());
    let digits = b"0123456789abcdefghijklmnopqrstuvwxyz";
    digest.as_bytes().iter().take(CHECK).map(|byte| char::from(digits[usize::from(byte % 36)])).collect()
}

fn is_whole(text: &str, prefix: &str) -> bool {
    text.len() == prefix.len() + RANDOM + CHECK
        && text.starts_with(prefix)
        && text[prefix.len()..].bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && checksum(&text[..text.len() - CHECK]) == text[text.len() - CHECK..]
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(Secret<String>);

        impl $name {
            /// What every one of them begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes a new one that nobody can guess.
            pub fn mint(source: &dyn IdSource) -> Self {
                Self(Secret::new(mint(source, $prefix)))
            }

            /// Returns what the store keeps instead of the text.
            pub fn hash(&self) -> TokenHash {
                TokenHash(*blake3::hash(self.0.reveal().as_bytes()).as_bytes())
            }

            /// Returns the text, to be given to the one person whom it belongs to.
            pub fn reveal(&self) -> &str {
                self.0.reveal()
            }
        }

        impl FromStr for $name {
            type Err = InvalidToken;
            fn from_str(text: &str) -> Result<Self, InvalidToken> {
                if is_whole(text, $prefix) {
                    Ok(Self(Secret::new(text.to_owned())))
                } else {
                    Err(InvalidToken { kind: $kind, prefix: $prefix })
                }
            }
        }
    };
}

token!(/** Opens the API for a script or a person, until it expires or is revoked. */ ApiKey, "an API key", "gdk_");
token!(/** What a browser holds in its cookie after signing in. */ SessionToken, "a session", "gds_");
token!(
    /** What the UI's pages hold beside the cookie. Cookies go to every port of a host, and this to none but ours. */
    SessionProof,
    "a session's proof",
    "gdp_"
);
token!(/** Opens one browser session, once, within minutes. */ SignInToken, "a sign-in token", "gdi_");
token!(/** Lets a browser in to what one workload serves, once, within a minute. */ Ticket, "a ticket", "gdt_");
token!(
    /** What a browser holds in its cookie for what one workload serves. Good for nothing else. */
    WorkloadSession,
    "a session with a workload",
    "gdc_"
);
token!(/** Opens what one workload serves, for an editor or a script. */ WorkloadToken, "a workload's token", "gdw_");

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);
    impl IdSource for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = self.0.wrapping_add(at as u8);
            }
        }
    }

    #[test]
    fn a_key_reads_back_and_hashes_the_same() {
        let key = ApiKey::mint(&Fixed(3));
        assert_eq!(key.reveal().len(), 44);
        assert_eq!(key.reveal().parse::<ApiKey>().unwrap().hash(), key.hash());
        assert_ne!(ApiKey::mint(&Fixed(4)).hash(), key.hash());
    }

    #[test]
    fn one_kind_cannot_be_passed_for_another() {
        let session = SessionToken::mint(&Fixed(3));
        assert!(session.reveal().parse::<ApiKey>().is_err());
        assert!(session.reveal().replace("gds_", "gdk_").parse::<ApiKey>().is_err());
    }

    #[test]
    fn every_single_mistyped_character_is_noticed() {
        let key = ApiKey::mint(&Fixed(9)).reveal().to_owned();
        for at in 4..key.len() {
            let mut wrong = key.clone().into_bytes();
            wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
            assert!(String::from_utf8(wrong).unwrap().parse::<ApiKey>().is_err(), "at {at}");
        }
    }

    #[test]
    fn hostile_texts_are_refused_and_not_repeated() {
        let accents = format!("gdk_{}", "é".repeat(20));
        for text in ["", "gdk_", "gdk_é", accents.as_str(), "Bearer x", &"a".repeat(100_000)] {
            let error = text.parse::<ApiKey>().unwrap_err().to_string();
            assert!(error.len() < 150 && (text.is_empty() || text == "gdk_" || !error.contains(text)));
        }
    }

    #[test]
    fn debug_output_shows_no_key() {
        let key = ApiKey::mint(&Fixed(3));
        assert!(!format!("{key:?} {:?}", key.hash()).contains(&key.reveal()[4..]));
    }
}
