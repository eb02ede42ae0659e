//! The container that serves one place on S3 to one session: rclone, which mounts it into a directory of
//! ours that the host shares with the session's container.
//!
//! It gets the keys of its own place and nothing else, by its environment: they are in none of its
//! arguments, and so in no list of processes. Whoever may ask the engine sees them, and is as good as root.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    domain::{
        id::{JobId, NotebookId, TeamId},
        integration::S3Source,
    },
    executor::{ContainerPlan, Mount, Net, Powers, Propagation},
    host::Fuse,
};

/// The label that says which session a container serves.
pub(super) const SESSION_LABEL: &str = "gradientd.source.session";
/// The label that says at which name.
pub(super) const NAME_LABEL: &str = "gradientd.source.name";
/// The label that says whose session that is.
const TEAM_LABEL: &str = "gradientd.source.team";
const NOTEBOOK_LABEL: &str = "gradientd.source.notebook";
/// The label that says what it serves, by its fingerprint.
pub(super) const PLACE_LABEL: &str = "gradientd.source.place";
/// The label of a session's container into which places on S3 can come.
pub(super) const OPEN_LABEL: &str = "gradientd.sources";

/// Where the program's directory is inside, whose `files` is what the session sees.
const HERE: &str = "/source";
const FILES: &str = "/source/files";
const CACHE: &str = "/cache";
/// What it runs. It needs a shell, rclone, umount, grep and timeout.
const SERVE: &str = include_str!("source_serve.sh");
/// A source costs little processor: it waits for the network. What it takes is nobody's machine type.
const CPU_MILLIS: u32 = 2000;
const PIDS: u32 = 512;
const LOG_BYTES: u64 = 2 << 20;
/// What a file is held back before it is sent, in case it is written to again.
const HELD_BACK: &str = "1s";
/// How long a listing is believed: others write to the bucket, too.
const BELIEVED: &str = "5s";

/// What the admin decides about such containers.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// Whether the admin lets notebooks have places on S3.
    pub enabled: bool,
    pub image: String,
    pub memory_bytes: u64,
    /// Of what was sent already; what was not is kept until it is.
    pub cache_bytes: u64,
    /// How long one may take to send what is left when it is to end.
    pub flush: Duration,
    /// What this machine must have.
    pub fuse: Fuse,
}

/// One place on S3 for one session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SourceId {
    pub(super) session: JobId,
    /// As beneath `/datasets`.
    pub(super) name: String,
}

/// Whose a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) team: TeamId,
    pub(super) notebook: NotebookId,
}

/// The two halves of an access key.
pub(super) struct Keys {
    id: String,
    secret: String,
}

/// What is to be served.
pub(super) struct Serve<'a> {
    pub(super) owner: &'a Owner,
    pub(super) source: &'a S3Source,
    pub(super) keys: &'a Keys,
    pub(super) net: Net,
}

/// Where on this machine it works.
pub(super) struct Places {
    pub(super) source: PathBuf,
    pub(super) cache: PathBuf,
}

impl Keys {
    /// Takes a key as people set it; `None` when it cannot be one. What it is made of goes into a file of
    /// settings, where it must not become another setting.
    pub(super) fn new(id: &str, secret: &str) -> Option<Self> {
        // A line end comes with many a copied key.
        let (id, secret) = (id.trim(), secret.trim());
        let good = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_graphic())
                && !text.starts_with(['"', '`'])
                && !text.contains("%(")
        };
        (good(id) && good(secret)).then(|| Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// Takes both out of a text.
    pub(super) fn masked(&self, text: &str) -> String {
        text.replace(&self.secret, "***").replace(&self.id, "***")
    }
}

impl SourceId {
    /// Returns the container's name. Made of session and name, so that making it twice finds the first; by
    /// a hash, as the name may be longer than the engine takes.
    pub(super) fn container(&self, box_id: &str) -> String {
        let hash = blake3::hash(self.name.as_bytes()).to_hex();
        format!("gradientd-{box_id}-{}-source-{}", self.session, &hash[..12])
    }

    /// Returns the name of the container that takes away what such a container left mounted.
    pub(super) fn cleaner(&self, box_id: &str) -> String {
        format!("{}-clean", self.container(box_id))
    }

    /// Returns whose such a container is.
    pub(super) fn of_labels(labels: &BTreeMap<String, String>) -> Option<Self> {
        Some(Self { session: labels.get(SESSION_LABEL)?.parse().ok()?, name: labels.get(NAME_LABEL)?.clone() })
    }

    fn labels(&self) -> BTreeMap<String, String> {
        [(SESSION_LABEL, self.session.as_str()), (NAME_LABEL, &self.name)]
            .map(|(label, value)| (label.to_owned(), value.to_owned()))
            .into()
    }
}

impl Owner {
    /// Returns whose such a container is, long after the session's row is gone.
    pub(super) fn of_labels(labels: &BTreeMap<String, String>) -> Option<Self> {
        Some(Self { team: labels.get(TEAM_LABEL)?.parse().ok()?, notebook: labels.get(NOTEBOOK_LABEL)?.parse().ok()? })
    }

    fn labels(&self) -> [(String, String); 2] {
        [(TEAM_LABEL, self.team.as_str()), (NOTEBOOK_LABEL, self.notebook.as_str())]
            .map(|(label, value)| (label.to_owned(), value.to_owned()))
    }
}

/// Returns what tells a place from any other that the same name stood for: also the name of its cache, which
/// must never be sent elsewhere.
pub(super) fn fingerprint(name: &str, source: &S3Source) -> String {
    let mut hasher = blake3::Hasher::new();
    let keys = format!("{} {}", source.access_key_id, source.secret_access_key);
    let writing = if source.read_only { "ro" } else { "rw" };
    for piece in [name, &source.url(), source.region(), source.endpoint().unwrap_or_default(), &keys, writing] {
        // Each with its length, so that no two lists of pieces read the same.
        hasher.update(&(piece.len() as u64).to_le_bytes());
        hasher.update(piece.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Returns the container that serves `source`.
pub(super) fn serving(
    settings: &SourceSettings,
    box_id: &str,
    id: &SourceId,
    serve: &Serve<'_>,
    places: &Places,
) -> ContainerPlan {
    let Serve { owner, source, keys, net } = serve;
    let path = match source.prefix.as_str() {
        "" => source.bucket.clone(),
        // With its slash it is a path and nothing else; without, rclone looks whether it is a file.
        prefix => format!("{}/{prefix}/", source.bucket),
    };
    let cache = Mount { source: places.cache.clone(), target: CACHE.to_owned(), ..Mount::default() };
    let mut plan = beside(settings, id, &places.source);
    plan.name = id.container(box_id);
    plan.labels.extend(owner.labels());
    plan.labels.insert(PLACE_LABEL.to_owned(), fingerprint(&id.name, source));
    plan.entrypoint = Some(["/bin/sh", "-c", SERVE, "source"].map(str::to_owned).into());
    plan.command = [FILES.to_owned(), format!("place:{path}")].into_iter().chain(options(settings, source)).collect();
    plan.env = environment(source, keys);
    plan.mounts.push(cache);
    plan.net = *net;
    plan
}

/// Returns the container that takes away a mount whose program was killed.
pub(super) fn cleaning(settings: &SourceSettings, box_id: &str, id: &SourceId, source: &Path) -> ContainerPlan {
    let mut plan = beside(settings, id, source);
    plan.name = id.cleaner(box_id);
    plan.entrypoint = Some(["umount", "-l", FILES].map(str::to_owned).into());
    plan
}

/// Returns what both have in common.
fn beside(settings: &SourceSettings, id: &SourceId, source: &Path) -> ContainerPlan {
    ContainerPlan {
        labels: id.labels(),
        image: settings.image.clone(),
        mounts: vec![Mount {
            source: source.to_owned(),
            target: HERE.to_owned(),
            read_only: false,
            propagation: Propagation::Both,
        }],
        cpu_millis: CPU_MILLIS,
        memory_bytes: settings.memory_bytes,
        pids: PIDS,
        log_buffer_bytes: LOG_BYTES,
        powers: Powers::Fuse,
        ..ContainerPlan::default()
    }
}

fn options(settings: &SourceSettings, source: &S3Source) -> Vec<String> {
    let cache = settings.cache_bytes.to_string() + "B";
    let mut options: Vec<String> = [
        // Whoever runs in the session, root or not, is let in and may write.
        ["--allow-other", "--umask=000"],
        ["--dir-perms=0777", "--file-perms=0666"],
        // Programs seek and write to files again, which S3 cannot: they are whole here until they are closed.
        ["--vfs-cache-mode=writes", "--vfs-cache-poll-interval=10s"],
        ["--cache-dir=/cache", "--poll-interval=0"],
        // A gigabyte read ahead for each file would be the limit of memory.
        ["--buffer-size=4Mi", "--transfers=4"],
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .collect();
    options.extend([
        format!("--vfs-cache-max-size={cache}"),
        format!("--vfs-write-back={HELD_BACK}"),
        format!("--dir-cache-time={BELIEVED}"),
    ]);
    if source.read_only {
        options.push("--read-only".to_owned());
    }
    options
}

fn environment(source: &S3Source, keys: &Keys) -> BTreeMap<String, String> {
    let (provider, endpoint) = match source.endpoint() {
        Some(endpoint) => ("Other", endpoint),
        None => ("AWS", ""),
    };
    let path_style = if endpoint.is_empty() { "false" } else { "true" };
    [
        ("PROVIDER", provider),
        ("ENDPOINT", endpoint),
        ("REGION", source.region()),
        ("PATH_STYLE", path_style),
        ("ACCESS_KEY_ID", &keys.id),
        ("SECRET_ACCESS_KEY", &keys.secret),
    ]
    .into_iter()
    .map(|(name, value)| (format!("PLACE_{name}"), value.to_owned()))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::integration::{Integration, S3Draft, Source};

    fn settings() -> SourceSettings {
        SourceSettings {
            enabled: true,
            image: "rclone".to_owned(),
            memory_bytes: 1 << 29,
            cache_bytes: 1 << 30,
            flush: Duration::from_secs(60),
            fuse: Fuse::default(),
        }
    }

    fn id(name: &str) -> SourceId {
        SourceId { session: "js0123456789ab".parse().unwrap(), name: name.to_owned() }
    }

    fn owner() -> Owner {
        Owner { team: "tabc123".parse().unwrap(), notebook: "n01234567a".parse().unwrap() }
    }

    fn source(url: &str, endpoint: Option<&str>) -> S3Source {
        let draft = S3Draft {
            url: url.to_owned(),
            access_key_id: "LABKEY".to_owned(),
            secret_access_key: "secret:LAB".to_owned(),
            region: endpoint.is_none().then(|| "eu-west-1".to_owned()),
            endpoint: endpoint.map(str::to_owned),
            read_only: false,
        };
        match Integration::s3("lab", draft).unwrap().source {
            Source::S3(source) => source,
            Source::Dataset(_) => unreachable!("it was made of a place on S3"),
        }
    }

    fn plan(source: &S3Source) -> ContainerPlan {
        let keys = Keys::new("LABKEY", "nobody-may-see-it").unwrap();
        let places =
            Places { source: "/data/sources/js/lab".into(), cache: "/data/teams/t/notebooks/n/unsent/p".into() };
        let serve = Serve { owner: &owner(), source, keys: &keys, net: Net::Bridge };
        serving(&settings(), "box", &id("lab"), &serve, &places)
    }

    #[test]
    fn a_key_is_in_the_environment_and_nowhere_else() {
        let plan = plan(&source("s3://lab/raw", Some("http://10.0.0.5:9000")));
        assert_eq!(plan.env["PLACE_SECRET_ACCESS_KEY"], "nobody-may-see-it");
        let rest = ContainerPlan { env: BTreeMap::new(), ..plan };
        assert!(!format!("{rest:?}").contains("nobody-may-see-it"));
    }

    #[test]
    fn a_key_cannot_become_another_setting() {
        assert!(Keys::new("AKIA0", " wJalr/XUt+nFEMI=\n").is_some());
        for bad in ["", " ", "a\nendpoint = http://elsewhere", "a b", "\"a", "`a", "%(endpoint)s", "ü", "a\0"] {
            assert!(Keys::new("AKIA0", bad).is_none(), "{bad:?}");
            assert!(Keys::new(bad, "secret").is_none(), "{bad:?}");
        }
    }

    #[test]
    fn it_may_mount_and_is_bounded_and_reached_by_nobody() {
        let plan = plan(&source("s3://lab/raw", Some("http://10.0.0.5:9000")));
        assert_eq!((plan.powers, plan.net), (Powers::Fuse, Net::Bridge));
        assert_eq!(plan.mounts[0].propagation, Propagation::Both);
        assert_eq!(plan.mounts[1].propagation, Propagation::Private);
        assert_eq!((plan.ports, plan.memory_bytes), (vec![], 1 << 29));
        assert!(plan.pids > 0 && plan.cpu_millis > 0 && plan.log_buffer_bytes > 0);
        assert!(plan.command.contains(&"--vfs-cache-max-size=1073741824B".to_owned()));
    }

    #[test]
    fn a_service_of_one_s_own_and_aws_are_reached_in_their_ways() {
        let own = plan(&source("s3://lab/raw/2026", Some("http://10.0.0.5:9000")));
        assert_eq!(own.command[..2], ["/source/files".to_owned(), "place:lab/raw/2026/".to_owned()]);
        assert_eq!(own.env["PLACE_PROVIDER"], "Other");
        assert_eq!(own.env["PLACE_PATH_STYLE"], "true");
        let aws = plan(&source("s3://lab", None));
        assert_eq!(aws.command[1], "place:lab");
        assert_eq!(aws.env["PLACE_PROVIDER"], "AWS");
        assert_eq!(aws.env["PLACE_REGION"], "eu-west-1");
        assert_eq!(aws.env["PLACE_ENDPOINT"], "");
    }

    #[test]
    fn one_that_may_only_be_read_is_mounted_so() {
        let read_only = S3Source { read_only: true, ..source("s3://lab", None) };
        assert!(plan(&read_only).command.contains(&"--read-only".to_owned()));
        assert!(!plan(&source("s3://lab", None)).command.contains(&"--read-only".to_owned()));
    }

    #[test]
    fn a_container_is_found_again_by_its_labels_and_changes_with_what_it_serves() {
        let one = source("s3://lab/raw", None);
        let plan = plan(&one);
        assert_eq!(SourceId::of_labels(&plan.labels), Some(id("lab")));
        assert_eq!(Owner::of_labels(&plan.labels), Some(owner()));
        assert_eq!(plan.labels[PLACE_LABEL], fingerprint("lab", &one));
        for other in [
            source("s3://lab/raw2", None),
            source("s3://lab/raw", Some("http://10.0.0.5:9000")),
            S3Source { read_only: true, ..one.clone() },
            S3Source { secret_access_key: "OTHER".to_owned(), ..one.clone() },
        ] {
            assert_ne!(fingerprint("lab", &other), fingerprint("lab", &one), "{other:?}");
        }
        assert_ne!(fingerprint("lab2", &one), fingerprint("lab", &one));
    }

    #[test]
    fn a_name_of_any_length_makes_a_name_for_the_engine() {
        let long = id(&"a".repeat(255)).cleaner("box");
        assert!(long.len() < 100, "{long}");
        assert_ne!(id("a").container("box"), id("b").container("box"));
    }
}
