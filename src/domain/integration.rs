//! What a notebook has beneath `/datasets` beside the public datasets: versions of datasets, and places on
//! S3. People write it into a file among the notebook's own, `.gradient/settings.yaml`; see
//! [`integration_file`](super::integration_file) for how that reads.

use std::collections::BTreeMap;

use super::{
    dataset::{DatasetRef, LATEST, Reference, VersionRef, check_mount_name},
    id::{DatasetId, TeamId, VersionId},
    secret,
    storage_provider::S3Place,
    user_path::shown,
    workload::{secret_name, words},
};

/// Most of them in one notebook.
pub const MOST: usize = 64;
/// Longest path in a bucket, in bytes: S3's own limit of a key.
const LONGEST_PREFIX: usize = 1024;
/// The region where an endpoint of one's own is given: most services take any.
const USUAL_REGION: &str = "us-east-1";

/// Something that a notebook has at `/datasets/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integration {
    /// One part of a path.
    name: String,
    pub source: Source,
}

/// Where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A version of a dataset; which one `latest` or a tag means is settled when it is mounted.
    Dataset(Reference),
    S3(S3Source),
}

/// A place in a bucket that a notebook reads and writes as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Source {
    pub bucket: String,
    /// Only what lies beneath this path; everything when it is empty. Without slashes at its ends.
    pub prefix: String,
    pub home: S3Home,
    pub access_key_id: String,
    /// Name of the secret that holds the secret access key. It is never written out.
    pub secret_access_key: String,
    pub read_only: bool,
}

/// Whose S3 it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Home {
    /// AWS, in this region.
    Region(String),
    /// URL of another service: http or https, a host, and at most a port.
    Endpoint(String),
}

/// An integration as somebody wrote it down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Draft {
    /// `s3://BUCKET/PREFIX`
    pub url: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    pub region: Option<String>,
    pub endpoint: Option<String>,
    pub read_only: bool,
}

/// Why something cannot be an integration. Never repeats a key: one may have been put into the wrong field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct InvalidIntegration {
    /// In the words of the file: `secretAccessKey`.
    pub field: &'static str,
    pub words: String,
}

/// Something that is wrong with what a notebook is to have, in words that say what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataProblem {
    /// Whose it is; `None` when the whole file cannot be read.
    pub name: Option<String>,
    pub message: String,
}

words! {
    /// Where an integration is.
    IntegrationState {
        /// Nothing runs: it comes with the next session.
        NotRunning = "not_running",
        /// The session has not got round to it.
        Waiting = "waiting",
        /// Its files are being brought to this box.
        Fetching = "fetching",
        /// Its files are here, and are being put where the session sees them.
        Mounting = "mounting",
        Mounted = "mounted",
        /// It cannot be had; the message says why.
        Failed = "failed",
    }
}

words! {
    /// Who says that a notebook has it.
    Origin {
        /// The file among the notebook's own.
        File = "file",
        /// The notebook's settings, which its next start takes as well.
        Settings = "settings",
        /// The box: every public dataset is there.
        Public = "public",
    }
}

/// A version that a session has, or is about to have, at `/datasets/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionMount {
    pub name: String,
    /// As it was asked for.
    pub reference: String,
    pub origin: Origin,
    /// The version's row.
    pub version_seq: i64,
    /// The team that has the dataset.
    pub team: TeamId,
    pub dataset: DatasetId,
    pub version: VersionId,
}

/// What only the loop knows of one integration of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DataNow {
    /// Bytes that were brought here, and how many there are.
    pub fetching: Option<(u64, u64)>,
    /// Its files are being put where the session sees them.
    pub mounting: bool,
    /// Why it cannot be had.
    pub failed: Option<String>,
}

/// What only the loop knows of the data of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionData {
    /// By name.
    pub entries: BTreeMap<String, DataNow>,
    pub problems: Vec<DataProblem>,
    /// What the file asked for where it could be read last, entry by entry.
    pub file: Vec<Integration>,
}

impl Integration {
    /// Makes one of a version of a dataset.
    ///
    /// # Errors
    /// [`InvalidIntegration`] names the field `name`, `id` or `version`.
    pub fn dataset(name: &str, id: &str, version: Option<&str>) -> Result<Self, InvalidIntegration> {
        let name = checked_name(name)?;
        if id.contains(':') && version.is_some() {
            return wrong("version", "its id names a version already: leave one of the two out");
        }
        let (id, version) = match id.split_once(':') {
            Some((id, version)) => (id, Some(version)),
            None => (id, version),
        };
        let dataset: DatasetRef = id.parse().map_err(|_| InvalidIntegration {
            field: "id",
            words: format!(
                "“{}” names no dataset: give the id or the name of one of your team, or gradient/NAME of a public one",
                shown(id.as_bytes())
            ),
        })?;
        let version: VersionRef = version.unwrap_or(LATEST).parse().map_err(|_| InvalidIntegration {
            field: "version",
            words: format!(
                "“{}” names no version: give its id, a tag, or latest",
                shown(version.unwrap_or("").as_bytes())
            ),
        })?;
        Ok(Self { name, source: Source::Dataset(Reference { dataset, version }) })
    }

    /// Makes one of a place on S3.
    ///
    /// # Errors
    /// [`InvalidIntegration`] for the first field that cannot be so.
    pub fn s3(name: &str, draft: S3Draft) -> Result<Self, InvalidIntegration> {
        Ok(Self { name: checked_name(name)?, source: Source::S3(draft.check()?) })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns where it is in the container.
    pub fn path(&self) -> String {
        format!("/datasets/{}", self.name)
    }

    /// Returns its fields as the file has them, in the order in which they are written.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        match &self.source {
            Source::Dataset(Reference { dataset, version }) => {
                vec![("type", "dataset".to_owned()), ("id", dataset.to_string()), ("version", version.to_string())]
            }
            Source::S3(s3) => {
                let mut fields = vec![
                    ("type", "s3".to_owned()),
                    ("url", s3.url()),
                    ("accessKeyId", s3.access_key_id.clone()),
                    ("secretAccessKey", format!("secret:{}", s3.secret_access_key)),
                ];
                fields.push(match &s3.home {
                    S3Home::Region(region) => ("region", region.clone()),
                    S3Home::Endpoint(endpoint) => ("endpoint", endpoint.clone()),
                });
                if s3.read_only {
                    fields.push(("readOnly", "true".to_owned()));
                }
                fields
            }
        }
    }

    /// Reads one from the fields that the file has of it. Fields that nobody here knows are passed over.
    ///
    /// # Errors
    /// [`InvalidIntegration`] for the first field that cannot be so.
    pub fn of_fields(name: &str, fields: &BTreeMap<String, Option<String>>) -> Result<Self, InvalidIntegration> {
        let field = |field: &str| fields.get(field).and_then(|value| value.as_deref()).filter(|text| !text.is_empty());
        let needed = |name: &'static str, what: &str| {
            field(name).ok_or_else(|| InvalidIntegration { field: name, words: format!("{name} is missing: {what}") })
        };
        match field("type") {
            Some("dataset") => {
                let id = match field("ref") {
                    Some(reference) => reference,
                    None => needed("id", "the id or name of the dataset")?,
                };
                Self::dataset(name, id, field("version"))
            }
            Some("s3") => {
                let read_only = match field("readOnly") {
                    None | Some("false") => false,
                    Some("true") => true,
                    Some(_) => return wrong("readOnly", "readOnly is true or false"),
                };
                let draft = S3Draft {
                    url: needed("url", "s3://BUCKET, perhaps with a path behind it")?.to_owned(),
                    access_key_id: needed("accessKeyId", "the id of an access key")?.to_owned(),
                    secret_access_key: needed("secretAccessKey", "secret:NAME, of a secret that holds the key")?
                        .to_owned(),
                    region: field("region").map(str::to_owned),
                    endpoint: field("endpoint").map(str::to_owned),
                    read_only,
                };
                Self::s3(name, draft)
            }
            Some(_) => wrong("type", "type is dataset or s3"),
            None => wrong("type", "type is missing: dataset or s3"),
        }
    }
}

impl S3Source {
    /// Returns it as `s3://BUCKET/PREFIX`.
    pub fn url(&self) -> String {
        if self.prefix.is_empty() {
            return format!("s3://{}", self.bucket);
        }
        format!("s3://{}/{}", self.bucket, self.prefix)
    }

    /// Returns the region that its requests are signed for.
    pub fn region(&self) -> &str {
        match &self.home {
            S3Home::Region(region) => region,
            S3Home::Endpoint(_) => USUAL_REGION,
        }
    }

    /// Returns the URL of the service; AWS itself when `None`.
    pub fn endpoint(&self) -> Option<&str> {
        match &self.home {
            S3Home::Region(_) => None,
            S3Home::Endpoint(endpoint) => Some(endpoint),
        }
    }
}

impl S3Draft {
    fn check(self) -> Result<S3Source, InvalidIntegration> {
        let (bucket, prefix) = self.place()?;
        let home = match (self.region, self.endpoint) {
            (Some(_), Some(_)) => {
                return wrong("endpoint", "give region, for AWS, or endpoint, for any other service, and not both");
            }
            (None, None) => {
                return wrong("region", "region is missing: one of AWS, or the endpoint of another service");
            }
            (Some(region), None) => S3Home::Region(region),
            (None, Some(endpoint)) => S3Home::Endpoint(endpoint),
        };
        // Requests say it in the clear, to whatever endpoint is written here: a secret would be given away.
        if secret_name(&self.access_key_id).is_some() {
            return wrong(
                "accessKeyId",
                "the id of an access key is shown to the service in the clear and is no secret: write it out",
            );
        }
        let Some(secret) = secret_name(&self.secret_access_key) else {
            return wrong(
                "secretAccessKey",
                "a key that is written out is seen by everybody who sees the file: set it as a secret, write secret:NAME here, and have a new key made if this one was shared",
            );
        };
        let secret_access_key = checked_secret("secretAccessKey", secret)?;
        // The rules of storage providers hold for these as well.
        let place = S3Place {
            bucket,
            endpoint: match &home {
                S3Home::Endpoint(endpoint) => Some(endpoint.clone()),
                S3Home::Region(_) => None,
            },
            region: match &home {
                S3Home::Region(region) => region.clone(),
                S3Home::Endpoint(_) => USUAL_REGION.to_owned(),
            },
            path_style: true,
            access_key_id: self.access_key_id,
        };
        let place = place.checked().map_err(|error| InvalidIntegration {
            field: if error.field == "bucket" { "url" } else { error.field },
            words: error.words.to_owned(),
        })?;
        let home = place.endpoint.map_or(S3Home::Region(place.region), S3Home::Endpoint);
        let access_key_id = place.access_key_id;
        Ok(S3Source { bucket: place.bucket, prefix, home, access_key_id, secret_access_key, read_only: self.read_only })
    }

    fn place(&self) -> Result<(String, String), InvalidIntegration> {
        let Some(rest) = self.url.strip_prefix("s3://") else {
            return wrong("url", "url is s3://BUCKET, perhaps with a path behind it");
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        if prefix.len() > LONGEST_PREFIX || prefix.chars().any(char::is_control) {
            return wrong("url", "the path in the bucket has 1024 bytes at most, and no control characters");
        }
        if prefix.split('/').any(|part| part == ".." || part == ".") || prefix.contains("//") {
            return wrong("url", "the path in the bucket has no “.”, “..” or empty parts");
        }
        Ok((bucket.to_owned(), prefix.to_owned()))
    }
}

/// Takes a name for what is at `/datasets/NAME`.
///
/// # Errors
/// [`InvalidIntegration`] of the field `name`.
pub fn checked_name(name: &str) -> Result<String, InvalidIntegration> {
    match check_mount_name(name) {
        Ok(()) => Ok(name.to_owned()),
        Err(error) => {
            let words = format!("the name “{}” {error}: it becomes the name of a directory", shown(name.as_bytes()));
            Err(InvalidIntegration { field: "name", words })
        }
    }
}

fn checked_secret(field: &'static str, name: &str) -> Result<String, InvalidIntegration> {
    secret::check_name(name)
        .map(|()| name.to_owned())
        .map_err(|error| InvalidIntegration { field, words: format!("{field} names a secret: {error}") })
}

fn wrong<T>(field: &'static str, words: &str) -> Result<T, InvalidIntegration> {
    Err(InvalidIntegration { field, words: words.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> S3Draft {
        S3Draft {
            url: "s3://lab/raw".to_owned(),
            access_key_id: "LABKEY".to_owned(),
            secret_access_key: "secret:LAB_S3".to_owned(),
            region: None,
            endpoint: Some("https://minio.lab.example/".to_owned()),
            read_only: false,
        }
    }

    fn refused(draft: S3Draft) -> InvalidIntegration {
        Integration::s3("lab", draft).unwrap_err()
    }

    #[test]
    fn a_version_is_named_beside_its_dataset_or_with_it() {
        let apart = Integration::dataset("speech", "dst364npcw6ccok", Some("fo5rp4m")).unwrap();
        let together = Integration::dataset("speech", "dst364npcw6ccok:fo5rp4m", None).unwrap();
        assert_eq!(apart, together);
        assert_eq!(apart.path(), "/datasets/speech");
        assert!(Integration::dataset("a", "mnist:prod", Some("latest")).is_err());
        let latest = Integration::dataset("a", "gradient/mnist", None).unwrap();
        assert_eq!(latest, Integration::dataset("a", "gradient/mnist", Some("latest")).unwrap());
    }

    #[test]
    fn a_name_stays_one_part_of_a_path() {
        for bad in ["", "..", ".", "../x", "a/b", "/etc", "a\0", ".hidden", "-x", "a b", &"a".repeat(300)] {
            assert_eq!(Integration::dataset(bad, "mnist", None).unwrap_err().field, "name", "{bad}");
            assert_eq!(Integration::s3(bad, draft()).unwrap_err().field, "name", "{bad}");
        }
    }

    #[test]
    fn a_place_on_s3_is_taken_apart() {
        let Source::S3(s3) = Integration::s3("lab", draft()).unwrap().source else { panic!("a place on S3") };
        assert_eq!((s3.bucket.as_str(), s3.prefix.as_str(), s3.region()), ("lab", "raw", "us-east-1"));
        assert_eq!(s3.endpoint(), Some("https://minio.lab.example"));
        assert_eq!(s3.url(), "s3://lab/raw");
        let whole = S3Draft { url: "s3://lab/".to_owned(), ..draft() };
        let Source::S3(s3) = Integration::s3("lab", whole).unwrap().source else { panic!("a place on S3") };
        assert_eq!((s3.prefix.as_str(), s3.url().as_str()), ("", "s3://lab"));
    }

    #[test]
    fn what_cannot_be_reached_is_refused_by_its_field() {
        let both = S3Draft { region: Some("eu-west-1".to_owned()), ..draft() };
        assert_eq!(refused(both).field, "endpoint");
        assert_eq!(refused(S3Draft { endpoint: None, ..draft() }).field, "region");
        for url in ["", "lab/raw", "http://lab/raw", "s3://", "s3:///x", "s3://Lab", "s3://lab/../x", "s3://lab/a//b"] {
            assert_eq!(refused(S3Draft { url: url.to_owned(), ..draft() }).field, "url", "{url}");
        }
        let inside = S3Draft { endpoint: Some("http://user:pw@host".to_owned()), ..draft() };
        assert_eq!(refused(inside).field, "endpoint");
    }

    #[test]
    fn a_key_that_is_written_out_is_refused_and_not_repeated() {
        let error = refused(S3Draft { secret_access_key: "wJalrXUtnFEMI".to_owned(), ..draft() });
        assert_eq!(error.field, "secretAccessKey");
        assert!(!format!("{error:?}").contains("wJalr"));
        let error = refused(S3Draft { secret_access_key: "secret:not a name wJalr".to_owned(), ..draft() });
        assert!(!format!("{error:?}").contains("wJalr"));
        let error = refused(S3Draft { access_key_id: "a key/wJalr".to_owned(), ..draft() });
        assert_eq!(error.field, "accessKeyId");
        assert!(!format!("{error:?}").contains("wJalr"));
    }

    #[test]
    fn what_a_service_is_shown_in_the_clear_is_no_secret() {
        let error = refused(S3Draft { access_key_id: "secret:HF_TOKEN".to_owned(), ..draft() });
        assert_eq!(error.field, "accessKeyId");
    }

    #[test]
    fn its_fields_read_back_as_itself() {
        let read_only = S3Draft { read_only: true, ..draft() };
        let region = S3Draft { region: Some("eu-west-1".to_owned()), endpoint: None, ..draft() };
        for integration in [
            Integration::dataset("speech", "speech:v1", None).unwrap(),
            Integration::s3("lab", draft()).unwrap(),
            Integration::s3("lab", read_only).unwrap(),
            Integration::s3("lab", region).unwrap(),
        ] {
            let fields = integration.fields().into_iter().map(|(name, text)| (name.to_owned(), Some(text))).collect();
            assert_eq!(Integration::of_fields(integration.name(), &fields).unwrap(), integration);
        }
    }
}
