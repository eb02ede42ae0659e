//! Ids: short random names whose prefix says what they name, so that a log line or a URL explains
//! itself and one kind cannot be passed for another.
//!
//! Past the border every id is well formed: only [`std::str::FromStr`] and `mint` make one.

use std::fmt;

/// Where the random part of ids and keys comes from. The real one is the operating system's
/// generator; tests hand out a known sequence.
pub trait IdSource: Send + Sync {
    /// Fills `bytes` with random data that nobody can predict.
    fn fill(&self, bytes: &mut [u8]);
}

/// A text that is not an id of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("“{text}” is no {kind} id: one looks like “{prefix}” and {length} lower-case letters or digits")]
pub struct InvalidId {
    text: String,
    kind: &'static str,
    prefix: &'static str,
    length: usize,
}

const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Returns `length` random letters and digits.
///
/// Bytes of 252 and above are drawn again, so that every character is equally likely.
pub fn random_text(source: &dyn IdSource, length: usize) -> String {
    let mut text = String::with_capacity(length);
    let mut bytes = [0u8; 32];
    while text.len() < length {
        source.fill(&mut bytes);
        text.extend(
            bytes
                .iter()
                .filter(|byte| **byte < 252)
                .take(length - text.len())
                .map(|byte| char::from(ALPHABET[usize::from(byte % 36)])),
        );
    }
    text
}

fn parse(text: &str, kind: &'static str, prefix: &'static str, length: usize) -> Result<Box<str>, InvalidId> {
    let tail = text.strip_prefix(prefix).unwrap_or_default();
    if tail.len() == length && tail.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return Ok(text.into());
    }
    // A hostile text must not come back whole in an error.
    let text = text.chars().filter(|c| !c.is_control()).take(40).collect();
    Err(InvalidId { text, kind, prefix, length })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// Makes a new id that nothing has had before.
            pub fn mint(source: &dyn IdSource) -> Self {
                Self(format!("{}{}", $prefix, random_text(source, $length)).into())
            }

            /// Returns the id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text, $kind, $prefix, $length).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(/** The people who share everything else. */ TeamId, "team", "t", 6);
id!(/** A person. */ UserId, "user", "u", 8);
id!(/** A key that opens the API. Names the key; is not the key. */ KeyId, "key", "k", 10);
id!(/** What belongs together: jobs, and later notebooks and more. */ ProjectId, "project", "p", 8);
id!(/** One run in a container: a job, or a session of something that outlives it. */ JobId, "job", "js", 12);
id!(/** Files to work on, and the sessions in which people do. */ NotebookId, "notebook", "n", 9);
id!(/** A view of what runs wrote, and the sessions that show it. */ TensorBoardId, "TensorBoard", "tb", 10);
id!(/** Settings that are run again and again. */ ExperimentId, "experiment", "e", 13);
id!(/** A name with a hidden value. */ SecretId, "secret", "sec", 12);
id!(/** An uploaded archive that waits to become a workspace. */ UploadId, "upload", "up", 16);
id!(/** Files that belong together, in versions. */ DatasetId, "dataset", "ds", 13);
id!(/** A version; unique in its dataset. */ VersionId, "version", "", 7);
id!(/** Where the files of datasets lie. */ ProviderId, "storage provider", "spl", 12);
id!(/** Something that is being brought into a version. */ ImportId, "import", "im", 12);
id!(/** A file of a notebook or of `/storage` that comes piece by piece. */ FileUploadId, "file upload", "fu", 16);
id!(/** Something long that is done to files. */ FileTaskId, "file task", "ft", 12);
id!(/** A shell in something that runs, shown in a browser. */ TerminalId, "terminal", "tm", 12);
id!(/** A large file that comes in parts. */ MultipartId, "multipart upload", "mp", 16);

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter(std::sync::atomic::AtomicU8);
    impl IdSource for Counter {
        fn fill(&self, bytes: &mut [u8]) {
            for byte in bytes {
                *byte = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    #[test]
    fn an_id_reads_back_as_itself() {
        let id = JobId::mint(&Counter(0.into()));
        assert_eq!(id.as_str().parse::<JobId>(), Ok(id));
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let project = ProjectId::mint(&Counter(7.into()));
        assert!(project.as_str().parse::<JobId>().is_err());
    }

    #[test]
    fn hostile_texts_are_refused_and_not_echoed_whole() {
        for text in ["", "js", "js../../../etc", "JS0123456789ab", "js0123456789ab\n", &"js".repeat(10_000)] {
            let error = text.parse::<JobId>().unwrap_err();
            assert!(error.to_string().len() < 200);
        }
    }
}
