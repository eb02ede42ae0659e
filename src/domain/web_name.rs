//! The names under which the ports of containers are reached: by host, `ID.localhost` and
//! `ID-8000.localhost`, or by path, `/w/ID/` and `/w/ID-8000/`. The proxy reads them, the API writes them.
//!
//! A host of its own is an origin of its own, so browsers keep what workloads serve apart. By path all
//! share one origin, which is for programs that hold on to no cookies.

use std::{fmt, net::IpAddr, str::FromStr};

/// Where the names of the path form begin.
const BY_PATH: &str = "/w/";
/// Longest id, in bytes. A host's label holds 63, and five of them are for a port.
const LONGEST: usize = 40;

/// A text that names nothing that could be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the id of something that runs: one is lower-case letters and digits, such as js3v54dfgz1zcu")]
pub struct InvalidServedId;

/// The id of something whose ports are served: a run, or whatever else has runs. Letters and digits, so
/// that it can be part of a host's name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServedId(Box<str>);

impl ServedId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServedId {
    type Err = InvalidServedId;
    fn from_str(text: &str) -> Result<Self, InvalidServedId> {
        let is_id = (2..=LONGEST).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if is_id { Ok(Self(text.into())) } else { Err(InvalidServedId) }
    }
}

impl<'de> serde::Deserialize<'de> for ServedId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for ServedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A port of something that is served; its main one when none is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub id: ServedId,
    pub port: Option<u16>,
}

impl FromStr for Target {
    type Err = InvalidServedId;
    fn from_str(text: &str) -> Result<Self, InvalidServedId> {
        let Some((id, port)) = text.split_once('-') else { return Ok(Self { id: text.parse()?, port: None }) };
        // One port has one name, so that it has one origin: no signs, no zeros in front.
        let plain = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
        let port = port.parse().ok().filter(|_| plain).ok_or(InvalidServedId)?;
        Ok(Self { id: id.parse()?, port: Some(port) })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}-{port}", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

/// What a request's host says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A target has this name, and this one alone.
    Of(Target),
    /// A name of the box: the path says which target.
    Shared,
    /// Nobody here is called so: somebody's DNS points here.
    Foreign,
}

/// Where what containers serve is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The address listened on.
    pub address: IpAddr,
    pub port: u16,
    /// Beneath which targets have names of their own, beside `localhost`.
    pub domain: Option<String>,
    /// A proxy with TLS stands in front, so URLs of `domain` begin with `https://` and name no port.
    pub https: bool,
    /// Whether browsers may hold cookies by path, where all share one origin.
    pub cookies_by_path: bool,
    /// Names of the box itself, beside loopback and `address`.
    pub hosts: Vec<String>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            address: IpAddr::from([127, 0, 0, 1]),
            port: 7071,
            domain: None,
            https: false,
            cookies_by_path: false,
            hosts: Vec::new(),
        }
    }
}

impl Names {
    /// Reads a host without its port.
    pub fn read(&self, host: &str) -> Host {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let label = host.strip_suffix(".localhost").or_else(|| {
            let label = host.strip_suffix(self.domain.as_deref()?)?;
            label.strip_suffix('.')
        });
        match label.map(str::parse) {
            Some(Ok(target)) => Host::Of(target),
            Some(Err(_)) => Host::Foreign,
            None if self.is_the_box(&host) => Host::Shared,
            None => Host::Foreign,
        }
    }

    /// Returns the name by which `target` is reached, wherever one is who asks: beneath the domain that the admin
    /// set, or else the one that means this machine to every browser on it.
    pub fn name_of(&self, target: impl fmt::Display) -> String {
        format!("{target}.{}", self.domain.as_deref().unwrap_or("localhost"))
    }

    fn is_the_box(&self, host: &str) -> bool {
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            // Rebinding needs a name. When listening on all addresses, any of them may be meant.
            return ip.is_loopback() || ip == self.address || self.address.is_unspecified();
        }
        host == "localhost"
            || self.domain.as_deref() == Some(host)
            || self.hosts.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Says whether a browser keeps `Secure` cookies of this host: it has TLS, or is loopback, which
    /// browsers count as safe.
    pub fn is_secure(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.https || host == "localhost" || host.ends_with(".localhost") || is_loopback(&host)
    }

    /// Returns where a browser that calls the control plane `host` (without its port) reaches `target`,
    /// up to and without the first slash of the path proper; `None` when it has no name there that keeps
    /// it apart from others.
    pub fn url(&self, host: &str, target: &Target) -> Option<String> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if host == "localhost" || is_loopback(&host) {
            // Browsers know by themselves that these names are loopback.
            return Some(format!("http://{target}.localhost:{}", self.port));
        }
        match &self.domain {
            Some(domain) if self.https => Some(format!("https://{target}.{domain}")),
            Some(domain) => Some(format!("http://{target}.{domain}:{}", self.port)),
            None if self.cookies_by_path => {
                Some(format!("http://{host}:{}{}", self.port, prefix(target).trim_end_matches('/')))
            }
            None => None,
        }
    }

    /// Returns where a program that calls the box `host` reaches `target` by path.
    pub fn path_url(&self, host: &str, target: &Target) -> String {
        let (scheme, port) = if self.https { ("https", String::new()) } else { ("http", format!(":{}", self.port)) };
        format!("{scheme}://{host}{port}{}", prefix(target))
    }
}

fn is_loopback(host: &str) -> bool {
    host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Returns where the paths of a target begin in the path form: `/w/ID/`.
pub fn prefix(target: &Target) -> String {
    format!("{BY_PATH}{target}/")
}

/// Reads a path of the path form: the target, and the path beneath it, which is empty when not even its
/// first slash is there.
pub fn by_path(path: &str) -> Option<(Target, &str)> {
    let rest = path.strip_prefix(BY_PATH)?;
    let end = rest.find('/').unwrap_or(rest.len());
    Some((rest[..end].parse().ok()?, &rest[end..]))
}

/// A path of the same origin, with or without a query, that cannot be read as another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPath(Box<str>);

/// A text that leads somewhere else, or nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a path on the same host: it begins with one “/” and has no “\\”, no “#”, no spaces, and 4096 bytes at most"
)]
pub struct InvalidLocalPath;

impl FromStr for LocalPath {
    type Err = InvalidLocalPath;
    fn from_str(text: &str) -> Result<Self, InvalidLocalPath> {
        let local = text.len() <= 4096
            && text.starts_with('/')
            // Browsers read both as the beginning of a host, and skip what is not printed.
            && !text[1..].starts_with('/')
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'"' | b'<' | b'>'));
        if local { Ok(Self(text.into())) } else { Err(InvalidLocalPath) }
    }
}

impl LocalPath {
    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    fn names() -> Names {
        Names { domain: Some("w.lab.example".into()), hosts: vec!["Box.lab".into()], ..Names::default() }
    }

    #[test]
    fn a_target_reads_back_and_has_one_spelling() {
        for text in ["js0123456789ab", "js0123456789ab-8000", "ngw7piq9"] {
            assert_eq!(target(text).to_string(), text);
        }
        for text in ["", "j", "-1", "js1-", "js1-0", "js1-080", "js1-+80", "js1-65536", "js1-8-9", "JS1", "js_1", "1js"]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_names_a_target_the_box_or_nothing() {
        let names = names();
        assert_eq!(names.read("js1.localhost"), Host::Of(target("js1")));
        assert_eq!(names.read("JS1-8000.LocalHost."), Host::Of(target("js1-8000")));
        assert_eq!(names.read("js1.w.lab.example"), Host::Of(target("js1")));
        for host in ["localhost", "127.0.0.1", "[::1]", "box.lab", "w.lab.example"] {
            assert_eq!(names.read(host), Host::Shared, "{host}");
        }
        for host in
            ["evil.example", "a.js1.localhost", ".localhost", "10.0.0.1", "js1xw.lab.example", "js1.localhost.evil"]
        {
            assert_eq!(names.read(host), Host::Foreign, "{host}");
        }
    }

    #[test]
    fn every_browser_gets_a_name_that_it_can_reach() {
        let names = names();
        assert_eq!(names.url("127.0.0.1", &target("js1-80")).unwrap(), "http://js1-80.localhost:7071");
        assert_eq!(names.url("box.lab", &target("js1")).unwrap(), "http://js1.w.lab.example:7071");
        let tls = Names { https: true, ..names.clone() };
        assert_eq!(tls.url("box.lab", &target("js1")).unwrap(), "https://js1.w.lab.example");
        let bare = Names { domain: None, ..names };
        assert_eq!(bare.url("box.lab", &target("js1")), None);
        let shared = Names { cookies_by_path: true, ..bare };
        assert_eq!(shared.url("10.0.0.5", &target("js1")).unwrap(), "http://10.0.0.5:7071/w/js1");
    }

    #[test]
    fn a_name_is_beneath_the_domain_where_the_admin_set_one() {
        assert_eq!(Names::default().name_of("n012345678"), "n012345678.localhost");
        let names = Names { domain: Some("box.example".to_owned()), ..Names::default() };
        assert_eq!(names.name_of("n012345678"), "n012345678.box.example");
    }

    #[test]
    fn the_path_form_is_read_up_to_its_first_slash() {
        assert_eq!(by_path("/w/js1/a/b"), Some((target("js1"), "/a/b")));
        assert_eq!(by_path("/w/js1-80"), Some((target("js1-80"), "")));
        for path in ["/", "/w/", "/w//js1", "/x/js1/", "/w/../js1/"] {
            assert_eq!(by_path(path), None, "{path}");
        }
    }

    #[test]
    fn a_local_path_cannot_lead_to_another_host() {
        for path in ["/", "/lab?a=b", "/a//b", "/w/js1/"] {
            assert_eq!(path.parse::<LocalPath>().unwrap().as_str(), path);
        }
        for path in ["", "lab", "//evil.example", "/\\evil", "/\t/evil", "/ /x", "https://evil", "/a#b", "/é"] {
            assert!(path.parse::<LocalPath>().is_err(), "{path:?}");
        }
    }
}
