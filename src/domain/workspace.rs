//! Where a run's code comes from: an upload, a git repository, or nowhere.
//!
//! Addresses and refs are checked here, once, so that what reaches the `git` program can be neither
//! an option nor a transport that runs programs.

use std::{fmt, str::FromStr};

use super::{id::UploadId, user_path::shown};

/// Where a workspace comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkspaceSource {
    /// An archive that was uploaded before.
    Upload(UploadId),
    /// A checkout. Credentials are not part of it: they come as secrets when it is prepared.
    Git { url: GitUrl, reference: Option<GitRef> },
}

/// Why a text is not the address of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGitUrl {
    #[error("no repository is named")]
    Empty,
    #[error("a repository's address is at most 2048 characters")]
    TooLong,
    #[error("a repository's address has no spaces or control characters in it")]
    Characters,
    #[error("“{0}” is an SSH address, and this box has no key of yours: write https://{1}")]
    Ssh(String, String),
    #[error("“{0}” is not allowed for a repository: use https, http or git")]
    Scheme(String),
    #[error("“{0}” is not a repository's address: it looks like https://host/owner/repository")]
    Shape(String),
    #[error("leave name and password out of the address: give them as username and password, best as secret:NAME")]
    Credentials,
    #[error("“{0}” is not a host: letters, digits, “.” and “-”, then perhaps a port")]
    Host(String),
}

/// The address of a git repository over `https`, `http` or `git`, without credentials in it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GitUrl {
    text: String,
    scheme: &'static str,
    host: String,
}

impl GitUrl {
    /// Returns the address, as `git` takes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns `https`, `http` or `git`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Returns the host, with its port if one was given.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl FromStr for GitUrl {
    type Err = InvalidGitUrl;

    fn from_str(text: &str) -> Result<Self, InvalidGitUrl> {
        use InvalidGitUrl as E;
        if text.is_empty() {
            return Err(E::Empty);
        }
        if text.len() > 2048 {
            return Err(E::TooLong);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(E::Characters);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(without_scheme(text));
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            // Gradient's own spelling of it.
            "https" | "git+https" => "https",
            "http" | "git+http" => "http",
            "git" => "git",
            "ssh" | "git+ssh" | "ssh+git" => {
                let (who, plain) = rest.rsplit_once('@').unwrap_or(("", rest));
                // A password is not said again: the words end up on screens and in logs.
                let given = if who.contains(':') { format!("{scheme}://{plain}") } else { text.to_owned() };
                return Err(E::Ssh(shown(given.as_bytes()), shown(plain.as_bytes())));
            }
            other => return Err(E::Scheme(shown(other.as_bytes()))),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.contains('@') || (path.contains('@') && !is_host(host)) {
            return Err(E::Credentials);
        }
        if !is_host(host) {
            return Err(E::Host(shown(host.as_bytes())));
        }
        // A query or fragment would travel into the requests that git derives from the address.
        if path.trim_matches('/').is_empty() || path.contains(['?', '#', '\\']) {
            return Err(E::Shape(shown(text.as_bytes())));
        }
        let host = host.to_ascii_lowercase();
        Ok(Self { text: format!("{scheme}://{host}/{path}"), scheme, host })
    }
}

/// Says what an address without `://` was probably meant to be.
fn without_scheme(text: &str) -> InvalidGitUrl {
    if let Some((transport, _)) = text.split_once("::") {
        return InvalidGitUrl::Scheme(shown(format!("{transport}::").as_bytes()));
    }
    if let Some((host, path)) = text.split_once(':')
        && host.contains('@')
    {
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        return InvalidGitUrl::Ssh(shown(text.as_bytes()), shown(format!("{host}/{path}").as_bytes()));
    }
    if text.split_once(':').is_some_and(|(_, rest)| rest.contains('@')) {
        return InvalidGitUrl::Credentials;
    }
    InvalidGitUrl::Shape(shown(text.as_bytes()))
}

fn is_host(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
        return is_address && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    !name.is_empty()
        && name.len() <= 253
        && !name.starts_with(['-', '.'])
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

impl fmt::Display for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text that cannot be a branch, tag or commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("“{0}” cannot be a branch, a tag or a commit: see “git check-ref-format” for what a name may hold")]
pub struct InvalidGitRef(String);

/// The name of a branch or tag, or a commit's hash.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GitRef(String);

impl GitRef {
    /// Returns the ref as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether this could be the beginning of a commit's hash.
    pub fn may_be_commit(&self) -> bool {
        (7..=64).contains(&self.0.len()) && self.is_hex()
    }

    fn is_hex(&self) -> bool {
        self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// The rules of `git check-ref-format --allow-onelevel`, and no `-` or `+` in front, which would be
/// an option or a forced update. A `:` is refused there already, so this is never two refs.
impl FromStr for GitRef {
    type Err = InvalidGitRef;

    fn from_str(text: &str) -> Result<Self, InvalidGitRef> {
        let component = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
        let character = |c: char| c > ' ' && c != '\u{7f}' && !c.is_control() && !"~^:?*[\\".contains(c);
        let fine = (1..=255).contains(&text.len())
            && text.chars().all(character)
            && text.split('/').all(component)
            && !text.contains("..")
            && !text.contains("@{")
            && text != "@"
            && !text.starts_with(['-', '+'])
            && !text.ends_with('.');
        if fine { Ok(Self(text.to_owned())) } else { Err(InvalidGitRef(shown(text.as_bytes()))) }
    }
}

impl fmt::Display for GitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<String, InvalidGitUrl> {
        text.parse::<GitUrl>().map(|url| url.text)
    }

    #[test]
    fn addresses_over_https_http_and_git_are_taken() {
        for (given, taken) in [
            ("https://h.example/o/r.git", "https://h.example/o/r.git"),
            ("git+https://H.example/o/r", "https://h.example/o/r"),
            ("http://127.0.0.1:8080/r", "http://127.0.0.1:8080/r"),
            ("git://[::1]:9418/r", "git://[::1]:9418/r"),
        ] {
            assert_eq!(url(given).as_deref(), Ok(taken));
        }
    }

    #[test]
    fn an_ssh_address_is_answered_with_the_https_one() {
        let said = url("git@h.example:o/r.git").unwrap_err().to_string();
        assert!(said.ends_with("write https://h.example/o/r.git"), "{said}");
        let said = url("ssh://git@h.example/o/r.git").unwrap_err().to_string();
        assert!(said.ends_with("write https://h.example/o/r.git"), "{said}");
    }

    #[test]
    fn addresses_that_run_programs_read_files_or_hide_options_are_refused() {
        use InvalidGitUrl as E;
        assert_eq!(url("ext::sh -c id"), Err(E::Characters));
        assert_eq!(url("ext::sh"), Err(E::Scheme("ext::".into())));
        assert_eq!(url("file:///etc"), Err(E::Scheme("file".into())));
        assert_eq!(url("--upload-pack=id"), Err(E::Shape("--upload-pack=id".into())));
        assert_eq!(url("https://u:p@h.example/r"), Err(E::Credentials));
        assert_eq!(url("https://-oProxy/r"), Err(E::Host("-oProxy".into())));
        assert_eq!(url("https://h.example"), Err(E::Shape("https://h.example".into())));
        assert_eq!(url("https://h.example/r?x#y"), Err(E::Shape("https://h.example/r?x#y".into())));
        assert_eq!(url("https://h.example/r\n"), Err(E::Characters));
        assert_eq!(url("/srv/git/r"), Err(E::Shape("/srv/git/r".into())));
        assert_eq!(url(""), Err(E::Empty));
        assert_eq!(url(&format!("https://h/{}", "x".repeat(3000))), Err(E::TooLong));
    }

    #[test]
    fn a_password_in_an_address_is_not_repeated_in_the_refusal() {
        for address in [
            "https://u:hunter2@h.example/r",
            "https://u:/hunter2@h.example/r",
            "https://u:hunter2/hunter2@h.example/r",
            "ssh://u:hunter2@h.example/r",
            "git+ssh://u:hun@hunter2@h.example/r",
            "u:hunter2@h.example/r",
            "u:hunter2@h.example:o/r",
        ] {
            let said = url(address).unwrap_err().to_string();
            assert!(!said.contains("hunter2"), "{address}: {said}");
        }
    }

    #[test]
    fn refs_follow_gits_own_rules() {
        for good in ["main", "feature/x-1", "v1.0", "refs/heads/main", &"a".repeat(40)] {
            assert!(good.parse::<GitRef>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            "--upload-pack=id",
            "+main",
            "a..b",
            "a b",
            "a:b",
            "a^",
            "a~1",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a.lock",
            ".a",
            "a/.b",
            "a/",
            "/a",
            "a//b",
            "a.",
            "@",
            "a@{1}",
            "a\n",
            "a\u{7f}",
            &"a".repeat(256),
        ] {
            assert!(bad.parse::<GitRef>().is_err(), "{bad:?}");
        }
    }
}
