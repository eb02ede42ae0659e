//! Names of container images: `[registry[:port]/]path[:tag][@digest]`, or an image's id.
//!
//! The grammar is the distribution project's. A registry is left out where the user left it out:
//! which one is meant then is the engine's business, and so is what a bare name expands to.

use std::{fmt, str::FromStr};

/// The tag that a name without tag and digest means.
pub const DEFAULT_TAG: &str = "latest";

/// Why a text does not name an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidImage {
    #[error("no image is named")]
    Empty,
    #[error("an image's name is at most 255 characters, with tag and digest at most 512")]
    TooLong,
    #[error("an image's name is written in lower case: did you mean “{0}”?")]
    UpperCase(String),
    #[error("an image's name has no scheme: leave out “{0}://”")]
    Scheme(String),
    #[error("“{0}” is not a registry: write it as host or host:port")]
    Registry(String),
    #[error(
        "“{0}” is not an image's name: lower-case letters, digits and single “.”, “_”, “-” between them, parts joined by “/”"
    )]
    Path(String),
    #[error("“{0}” is not a tag: at most 128 letters, digits, “_”, “.” and “-”, not beginning with “.” or “-”")]
    Tag(String),
    #[error("“{0}” is not a digest: it looks like sha256: and 64 hexadecimal digits")]
    Digest(String),
    #[error("64 hexadecimal digits alone name nothing: write sha256: before an image's id")]
    BareId,
}

/// The name of an image, well formed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageRef {
    registry: Option<String>,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl ImageRef {
    /// Returns host and port of the registry; `None` is the engine's default one.
    pub fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// Returns the name inside the registry. Empty when this is an image's id.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the tag; [`DEFAULT_TAG`] when neither tag nor digest was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, `sha256:…`.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Returns whether this is an image's id, which is on this box or nowhere: it cannot be pulled.
    pub fn is_id(&self) -> bool {
        self.path.is_empty()
    }
}

impl FromStr for ImageRef {
    type Err = InvalidImage;

    fn from_str(text: &str) -> Result<Self, InvalidImage> {
        if text.is_empty() {
            return Err(InvalidImage::Empty);
        }
        if text.len() > 512 {
            return Err(InvalidImage::TooLong);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(InvalidImage::Scheme(cut(scheme)));
        }
        if is_hex(text, 64) {
            return Err(InvalidImage::BareId);
        }
        if is_sha256(text) {
            return Ok(Self { registry: None, path: String::new(), tag: None, digest: Some(text.to_owned()) });
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) if is_digest(digest) => (name, Some(digest.to_owned())),
            Some((_, digest)) => return Err(InvalidImage::Digest(cut(digest))),
            None => (text, None),
        };
        // A colon before the last slash is a registry's port, not a tag.
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => {
                if !is_tag(tag) {
                    return Err(InvalidImage::Tag(cut(tag)));
                }
                (name, Some(tag.to_owned()))
            }
            _ => (name, None),
        };
        if name.len() > 255 {
            return Err(InvalidImage::TooLong);
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if looks_like_registry(first) => {
                if !is_registry(first) {
                    return Err(InvalidImage::Registry(cut(first)));
                }
                (Some(first.to_ascii_lowercase()), rest)
            }
            _ => (None, name),
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(InvalidImage::UpperCase(cut(&path.to_ascii_lowercase())));
        }
        if !path.split('/').all(is_path_component) {
            return Err(InvalidImage::Path(cut(path)));
        }
        let tag = tag.or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
        Ok(Self { registry, path: path.to_owned(), tag, digest })
    }
}

/// The name in full, tag included, as engines take it.
impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (true, Some(id)) = (self.is_id(), &self.digest) {
            return f.write_str(id);
        }
        if let Some(registry) = &self.registry {
            write!(f, "{registry}/")?;
        }
        f.write_str(&self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The rule by which every engine tells `host/name` from `user/name`. Engines also take a first part
/// in upper case for a host; here it is far likelier a user's name to be told how to write.
fn looks_like_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        // An IPv6 address stands in brackets.
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
                return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Letters and digits with one `.`, one or two `_`, or any number of `-` between them.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends_well = |end: Option<u8>| end.is_some_and(alphanumeric);
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends_well(text.bytes().next())
        && ends_well(text.bytes().last())
        && separators
            .into_iter()
            .all(|part| matches!(part, "" | "." | "_" | "__") || part.bytes().all(|byte| byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_digest(text: &str) -> bool {
    is_sha256(text) || text.strip_prefix("sha512:").is_some_and(|hex| is_hex(hex, 128))
}

fn is_sha256(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| is_hex(hex, 64))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn cut(text: &str) -> String {
    super::user_path::shown(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<String, InvalidImage> {
        text.parse::<ImageRef>().map(|image| image.to_string())
    }

    #[test]
    fn names_are_read_and_filled_in() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (given, full) in [
            ("busybox", "busybox:latest".to_owned()),
            ("busybox:1.36", "busybox:1.36".to_owned()),
            ("lab/trainer", "lab/trainer:latest".to_owned()),
            ("localhost/trainer", "localhost/trainer:latest".to_owned()),
            ("localhost:5000/a/b__c/d-e--f", "localhost:5000/a/b__c/d-e--f:latest".to_owned()),
            ("Registry.Example:5000/a:B_1.x", "registry.example:5000/a:B_1.x".to_owned()),
            ("[2001:db8::1]:5000/a", "[2001:db8::1]:5000/a:latest".to_owned()),
            (&format!("a@{digest}"), format!("a@{digest}")),
            (&format!("a:b@{digest}"), format!("a:b@{digest}")),
            (&digest, digest.clone()),
        ] {
            assert_eq!(parse(given), Ok(full), "{given}");
        }
        assert!(digest.parse::<ImageRef>().unwrap().is_id());
        assert_eq!("h.example:80/a".parse::<ImageRef>().unwrap().registry(), Some("h.example:80"));
        assert_eq!("user/a".parse::<ImageRef>().unwrap().registry(), None);
    }

    #[test]
    fn a_wrong_name_is_refused_with_the_way_out() {
        use InvalidImage as E;
        assert_eq!(parse(""), Err(E::Empty));
        assert_eq!(parse("Ubuntu"), Err(E::UpperCase("ubuntu".into())));
        assert_eq!(parse("User/MyApp:v1"), Err(E::UpperCase("user/myapp".into())));
        assert_eq!(parse("https://h.example/a"), Err(E::Scheme("https".into())));
        assert_eq!(parse(&"a".repeat(256)), Err(E::TooLong));
        assert_eq!(parse(&"f".repeat(64)), Err(E::BareId));
        assert_eq!(parse("a:"), Err(E::Tag(String::new())));
        assert_eq!(parse("a:-x"), Err(E::Tag("-x".into())));
        assert_eq!(parse("a@sha256:12"), Err(E::Digest("sha256:12".into())));
        assert_eq!(parse("h.example:99999/a"), Err(E::Registry("h.example:99999".into())));
        for bad in ["a//b", "/a", "a/", "a b", "-a", "a-", "a..b", "a___b", "a._b", "a\n", "--help", "ä", "a/../b"] {
            assert!(matches!(parse(bad), Err(E::Path(_))), "{bad} {:?}", parse(bad));
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_reads_back_as_itself(text in "[a-zA-Z0-9._:/@-]{0,40}") {
            if let Ok(image) = text.parse::<ImageRef>() {
                prop_assert_eq!(image.to_string().parse(), Ok(image));
            }
        }
    }
}
