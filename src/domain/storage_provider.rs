//! Storage providers: where the files of datasets lie.

use super::{
    id::{ProviderId, TeamId},
    time::Timestamp,
    workload::words,
};

words! {
    /// What kind of storage it is.
    ProviderKind {
        /// The disk of this box, content-addressed. Always there, one for each team.
        Managed = "managed",
        /// A bucket of an S3-compatible service.
        S3 = "s3",
    }
}

/// How the built-in provider is called.
pub const MANAGED_NAME: &str = "Gradient Managed";

/// A storage provider of a team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageProvider {
    pub seq: i64,
    pub id: ProviderId,
    pub team: TeamId,
    pub name: String,
    pub kind: ProviderKind,
    /// What is not secret of an S3 provider; `None` for the built-in one.
    pub s3: Option<S3Place>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// When it was last written to, read and deleted from, as a check.
    pub checked_at: Option<Timestamp>,
    /// What was wrong at the last check, in words; `None` when nothing was.
    pub check_error: Option<String>,
}

/// A bucket, and how to reach it. The secret key is kept apart, sealed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Place {
    pub bucket: String,
    /// URL of the service; AWS itself when `None`.
    pub endpoint: Option<String>,
    /// `us-east-1` when nothing else is said.
    pub region: String,
    /// Whether the bucket is in the path (`https://host/bucket`) and not in the host name.
    pub path_style: bool,
    pub access_key_id: String,
}

/// A part of a place that cannot be as it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct InvalidPlace {
    /// In the words of the API.
    pub field: &'static str,
    pub words: &'static str,
}

impl S3Place {
    /// Takes off what means nothing and checks the rest.
    ///
    /// # Errors
    /// [`InvalidPlace`], which does not repeat what was given: a key may have been put in the wrong
    /// field.
    pub fn checked(mut self) -> Result<Self, InvalidPlace> {
        let wrong = |field, words| Err(InvalidPlace { field, words });
        if let Some(endpoint) = &mut self.endpoint {
            *endpoint = endpoint.trim_end_matches('/').to_owned();
            if !is_origin(endpoint) {
                return wrong(
                    "endpoint",
                    "an endpoint is a URL such as https://s3.example.com or http://10.0.0.5:9000: http or https, a host, and at most a port",
                );
            }
        }
        if !is_bucket(&self.bucket) {
            return wrong(
                "bucket",
                "a bucket's name has 3 to 63 lowercase letters, digits, dots and dashes, and begins and ends with a letter or digit",
            );
        }
        let word = |text: &str, longest: usize, more: &str| {
            (1..=longest).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !word(&self.region, 64, "-_") {
            return wrong("region", "a region is a word such as us-east-1: letters, digits and dashes");
        }
        // It goes into a header between slashes and commas.
        if !word(&self.access_key_id, 128, "-_.:=+@") {
            return wrong("accessKeyId", "an access key's id has 1 to 128 letters, digits and - _ . : = + @");
        }
        Ok(self)
    }
}

/// Says whether this is `http(s)://host[:port]` and nothing more.
fn is_origin(url: &str) -> bool {
    let Some(authority) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else { return false };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let good_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => (1..=253).contains(&host.len()) && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)),
    };
    good_host && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn is_bucket(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(|c| plain(c) || ".-".contains(c))
        && name.starts_with(plain)
        && name.ends_with(plain)
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> S3Place {
        S3Place {
            bucket: "files".to_owned(),
            endpoint: Some("https://s3.example.com/".to_owned()),
            region: "us-east-1".to_owned(),
            path_style: false,
            access_key_id: "AKIA0".to_owned(),
        }
    }

    #[test]
    fn an_endpoint_is_an_origin_and_nothing_more() {
        assert_eq!(place().checked().unwrap().endpoint.as_deref(), Some("https://s3.example.com"));
        for good in ["http://127.0.0.1:9000", "http://[::1]:9000", "https://minio", "http://[fd00::1]"] {
            assert!(S3Place { endpoint: Some(good.to_owned()), ..place() }.checked().is_ok(), "{good}");
        }
        for bad in [
            "",
            "s3.example.com",
            "ftp://host",
            "http://",
            "http://:9000",
            "http://user@host",
            "http://u:p@host",
            "http://host/path",
            "http://host?x=1",
            "http://host#x",
            "http://host:0",
            "http://host:99999",
            "http://host:",
            "http://ho st",
            "http://[::1",
            "http://[x]",
            "http://ho\nst",
            "https://hö.de",
        ] {
            let wrong = S3Place { endpoint: Some(bad.to_owned()), ..place() }.checked().unwrap_err();
            assert_eq!(wrong.field, "endpoint", "{bad}");
        }
    }

    #[test]
    fn a_bucket_a_region_and_a_key_have_the_letters_that_s3_allows() {
        for bad in ["", "ab", "Files", "-files", "files-", "a..b", "a/b", "a b", "a_b", &"a".repeat(64)] {
            assert_eq!(S3Place { bucket: bad.to_owned(), ..place() }.checked().unwrap_err().field, "bucket", "{bad}");
        }
        for bad in ["", "us east", "us/east", "ü"] {
            assert_eq!(S3Place { region: bad.to_owned(), ..place() }.checked().unwrap_err().field, "region", "{bad}");
        }
        for bad in ["", "a/b", "a,b", "a b", "a\n"] {
            let wrong = S3Place { access_key_id: bad.to_owned(), ..place() }.checked().unwrap_err();
            assert_eq!(wrong.field, "accessKeyId", "{bad}");
        }
    }
}
