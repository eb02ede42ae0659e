//! The name of an image, as far as pulling needs it: what to ask for, and which tag or digest.

/// Splits `reference` into the repository and the tag or digest to fetch. Without either it is
/// `latest`: asked for no tag at all, the engine would fetch every one there is. A digest says more
/// than a tag beside it, which is left out.
pub(super) fn split(reference: &str) -> (&str, &str) {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    // A colon before the last slash belongs to the registry's port.
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match name[path..].split_once(':') {
        Some((last, tag)) => (&name[..path + last.len()], tag),
        None => (name, "latest"),
    };
    (repository, digest.unwrap_or(tag))
}

/// Returns the registry's host; `None` for the engine's default one, which is the engine's to name.
pub(super) fn registry(repository: &str) -> Option<&str> {
    match repository.split_once('/') {
        // The rule by which every client tells a host from a user of the default registry.
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => Some(host),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_always_asks_for_one_image() {
        for (reference, expected) in [
            ("busybox", ("busybox", "latest")),
            ("busybox:1.36", ("busybox", "1.36")),
            ("me/tool", ("me/tool", "latest")),
            ("127.0.0.1:5000/a/b", ("127.0.0.1:5000/a/b", "latest")),
            ("127.0.0.1:5000/a/b:v1", ("127.0.0.1:5000/a/b", "v1")),
            ("a/b@sha256:00", ("a/b", "sha256:00")),
            ("h:1/a:v1@sha256:00", ("h:1/a", "sha256:00")),
        ] {
            assert_eq!(split(reference), expected, "{reference}");
        }
    }

    #[test]
    fn a_registry_has_a_dot_or_a_port() {
        assert_eq!(registry("127.0.0.1:5000/a"), Some("127.0.0.1:5000"));
        assert_eq!(registry("localhost/a"), Some("localhost"));
        assert_eq!(registry("me/tool"), None);
        assert_eq!(registry("busybox"), None);
    }
}
