//! The rest of a URL's path as a path inside a tree, byte for byte: names need not be UTF-8, which
//! other extractors insist on.

use axum::extract::{FromRequestParts, MatchedPath};
use http::request::Parts;

use super::{Problem, router::ROOT};
use crate::domain::user_path::{UserPath, shown};

/// What stands for `{root}`, `{id}`, `{dataset}`, `{version}` and `{*path}` in a route's path, as far as it has them.
#[derive(Debug, Clone)]
pub struct TreePath {
    pub root: String,
    pub id: String,
    pub dataset: String,
    pub version: String,
    pub path: UserPath,
}

impl<S: Send + Sync> FromRequestParts<S> for TreePath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let matched = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
        // Routes are nested, and what they are nested under is cut off the URL but not off the route.
        let route = matched.strip_prefix(ROOT).unwrap_or(matched);
        let path = parts.uri.path();
        of(route, path.strip_prefix(ROOT).unwrap_or(path))
    }
}

fn of(route: &str, path: &str) -> Result<TreePath, Problem> {
    let names: Vec<&str> = route.split('/').collect();
    let parts: Vec<&str> = path.splitn(names.len(), '/').collect();
    let at = |name: &str| {
        let at = names.iter().position(|part| *part == name)?;
        parts.get(at).map(|part| decoded(part))
    };
    let text = |name| String::from_utf8_lossy(&at(name).unwrap_or_default()).into_owned();
    let path = read(&at("{*path}").unwrap_or_default())?;
    Ok(TreePath {
        root: text("{root}"),
        id: text("{id}"),
        dataset: text("{dataset}"),
        version: text("{version}"),
        path,
    })
}

/// Reads a path that a client named.
pub(super) fn read(bytes: &[u8]) -> Result<UserPath, Problem> {
    let bad = |why: &dyn std::fmt::Display| Problem::invalid("bad_path", "path", format!("“{}” {why}", shown(bytes)));
    let path = UserPath::from_bytes(bytes).map_err(|error| bad(&error))?;
    if path.is_root() { Err(bad(&"is empty: name a file")) } else { Ok(path) }
}

/// Undoes the escapes of a URL. What is none stays as it is.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let text = text.as_bytes();
    let (mut bytes, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(byte) = text.get(at) {
        match (byte, digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                at += 3;
            }
            _ => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    bytes
}

/// Writes a path into a URL.
pub fn encoded(path: &UserPath) -> String {
    let mut text = String::new();
    for byte in path.as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(*byte)),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_any_bytes_survives_a_url() {
        let path = UserPath::from_bytes(b"a b/\xff%41/+&?#\xc3\xa9").unwrap();
        assert_eq!(decoded(&encoded(&path)), path.as_bytes());
        let url = format!("/signed/gradient%2Fmnist/fo5rp4m/{}", encoded(&path));
        let found = of("/signed/{dataset}/{version}/{*path}", &url).unwrap();
        assert_eq!((found.dataset.as_str(), found.version.as_str()), ("gradient/mnist", "fo5rp4m"));
        assert_eq!(found.path, path);
        assert_eq!(decoded("%4"), b"%4");
        assert_eq!(decoded("%zz%"), b"%zz%");
    }
}
