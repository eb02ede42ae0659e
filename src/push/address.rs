//! The path of a push: `/SECRET/metrics/job/NAME/LABEL/VALUE…`, where a `VALUE` may be percent-encoded, or
//! stand in base 64 behind `LABEL@base64`.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::domain::push::{BadPush, Group};

/// For URLs, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A path, taken apart and not understood yet: whose it is comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    pub secret: &'a str,
    labels: &'a str,
}

/// Why the labels of a path cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    #[error("the address ends in a label without a value")]
    Odd,
    #[error("the value of “{0}” is not well encoded")]
    Encoding(String),
    #[error("the job in the address has no name")]
    NoJob,
    #[error(transparent)]
    Group(#[from] BadPush),
}

impl<'a> Address<'a> {
    /// Takes a path apart; `None` when it is no path of a push.
    pub fn of(path: &'a str) -> Option<Self> {
        let (secret, rest) = path.strip_prefix('/')?.split_once('/')?;
        // A slash at the end of the gateway's address is doubled by the clients.
        let labels = rest.trim_start_matches('/').strip_prefix("metrics/")?;
        (labels.starts_with("job/") || labels.starts_with("job@base64/")).then_some(Self { secret, labels })
    }

    /// Reads the labels. The name of the job is let be: the secret says which run this is.
    ///
    /// # Errors
    /// [`BadAddress`].
    pub fn group(&self) -> Result<Group, BadAddress> {
        let mut labels = Vec::new();
        let mut parts = self.labels.split('/');
        while let Some(name) = parts.next() {
            let value = parts.next().ok_or(BadAddress::Odd)?;
            let bad = || BadAddress::Encoding(name.chars().take(64).collect());
            let value = match name.strip_suffix("@base64") {
                // The padding alone stands for nothing at all.
                Some(_) if value == "=" => Vec::new(),
                Some(_) => BASE64.decode(value).map_err(|_| bad())?,
                None => percent_encoding::percent_decode_str(value).collect(),
            };
            let value = String::from_utf8(value).map_err(|_| bad())?;
            labels.push((name.strip_suffix("@base64").unwrap_or(name).to_owned(), value));
        }
        let (_, job) = labels.remove(0);
        if job.is_empty() { Err(BadAddress::NoJob) } else { Ok(Group::new(labels)?) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(path: &str) -> Result<Group, BadAddress> {
        Address::of(path).unwrap_or_else(|| panic!("{path}")).group()
    }

    fn labels(pairs: &[(&str, &str)]) -> Group {
        Group::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()).unwrap()
    }

    #[test]
    fn the_paths_of_clients_are_read() {
        let address = Address::of("/s3cret/metrics/job/js1/label_metrics_job_handle/js1/name/loss/step/3").unwrap();
        assert_eq!(address.secret, "s3cret");
        let pairs = [("label_metrics_job_handle", "js1"), ("name", "loss"), ("step", "3")];
        assert_eq!(address.group().unwrap(), labels(&pairs));
        assert_eq!(group("/s/metrics/job/a").unwrap(), labels(&[]));
        assert_eq!(group("/s//metrics/job/a").unwrap(), labels(&[]), "a gateway with a slash at its end");
        // “a/b”, padded and not, and nothing at all.
        for path in
            ["/s/metrics/job@base64/YS9i/x@base64/YS9iYw==/y@base64/=", "/s/metrics/job/a/x@base64/YS9iYw/y@base64/="]
        {
            assert_eq!(group(path).unwrap(), labels(&[("x", "a/bc"), ("y", "")]), "{path}");
        }
        assert_eq!(group("/s/metrics/job/a/x/%C3%BC%20%2F").unwrap(), labels(&[("x", "ü /")]));
    }

    #[test]
    fn labels_that_cannot_be_read_are_refused() {
        assert_eq!(group("/s/metrics/job/a/x"), Err(BadAddress::Odd));
        assert_eq!(group("/s/metrics/job/a/x/%FF"), Err(BadAddress::Encoding("x".into())));
        assert_eq!(group("/s/metrics/job/a/x@base64/*"), Err(BadAddress::Encoding("x@base64".into())));
        assert_eq!(group("/s/metrics/job/"), Err(BadAddress::NoJob));
        assert!(matches!(group("/s/metrics/job/a/1x/2"), Err(BadAddress::Group(BadPush::Label(_)))));
    }

    #[test]
    fn other_paths_are_none() {
        for path in [
            "",
            "/",
            "/api/v1/jobs",
            "/metrics",
            "/s/metrics",
            "/s/metrics/",
            "/s/metrics/jobs/a",
            "/s/metrics/x/y/job/a",
            "//metrics",
        ] {
            assert_eq!(Address::of(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read_or_refused(path in "\\PC*|/s/metrics/job(@base64)?/[a-z0-9%=@/_-]*") {
            if let Some(address) = Address::of(&path) {
                let _ = address.group();
            }
        }
    }
}
