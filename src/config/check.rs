//! What the types of the settings cannot say: which values make sense, and which are allowed but
//! worth a word.

use super::Config;
use crate::domain::image_ref::ImageRef;

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// `section.key`.
    pub key: &'static str,
    pub message: String,
}

/// Something that is allowed and should be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub String);

/// Checks every value that could be wrong on any box. Machine types are checked against the hardware,
/// by [`crate::domain::machine_type::Catalogue`].
///
/// # Errors
/// The first [`Flaw`].
pub fn check(config: &Config) -> Result<Vec<Warning>, Flaw> {
    let limits = &config.limits;
    positive("limits.body", limits.body.0)?;
    positive("limits.upload", limits.upload.0)?;
    positive("limits.upload_unpacked", limits.upload_unpacked.0)?;
    positive("limits.upload_files", limits.upload_files)?;
    positive("limits.job_log", limits.job_log.0)?;
    positive("limits.jobs_waiting_per_team", limits.jobs_waiting_per_team)?;
    positive("limits.job_time", limits.job_time.0.as_secs())?;
    positive("limits.connections", limits.connections.into())?;

    let notebooks = &config.notebooks;
    positive("notebooks.shutdown", notebooks.shutdown.0.as_secs())?;
    positive("notebooks.ready", notebooks.ready.0.as_secs())?;
    demand(
        notebooks.shutdown <= notebooks.longest_shutdown,
        "notebooks.shutdown",
        "must not be above notebooks.longest_shutdown",
    )?;

    positive("terminals.detached", config.terminals.detached.0.as_secs())?;
    positive("terminals.per_workload", config.terminals.per_workload.into())?;
    let sources = &config.s3_sources;
    demand(sources.image.parse::<ImageRef>().is_ok(), "s3_sources.image", "must be the name of an image")?;
    demand(sources.memory.0 >= 64 << 20, "s3_sources.memory", "must be at least 64MiB")?;
    positive("s3_sources.flush", sources.flush.0.as_secs())?;
    positive("tensorboards.ready", config.tensorboards.ready.0.as_secs())?;
    if let Err(error) = config.tensorboards.image.parse::<ImageRef>() {
        return Err(Flaw { key: "tensorboards.image", message: error.to_string() });
    }

    let engine = &config.engine;
    positive("engine.prepare_parallel", engine.prepare_parallel.into())?;
    positive("engine.start_parallel", engine.start_parallel.into())?;
    positive("engine.pids", engine.pids.into())?;
    demand((1..=100).contains(&engine.shared_memory_percent), "engine.shared_memory_percent", "must be from 1 to 100")?;
    demand(engine.log_buffer.0 >= 1 << 20, "engine.log_buffer", "must be at least 1MiB")?;
    demand(is_name(&engine.network), "engine.network", "must be letters, digits, “.”, “_” and “-”")?;
    let taken = engine.push_port != 0 && engine.push_port == config.server.listen.port();
    demand(!taken, "engine.push_port", "must not be the port of server.listen; 0 switches it off")?;
    demand(config.gpu.poll_interval.0.as_millis() >= 100, "gpu.poll_interval", "must be at least 100ms")?;

    let percents = 1..=100;
    demand(percents.contains(&config.disk.warn_percent), "disk.warn_percent", "must be from 1 to 100")?;
    demand(percents.contains(&config.disk.refuse_percent), "disk.refuse_percent", "must be from 1 to 100")?;
    demand(
        config.disk.warn_percent <= config.disk.refuse_percent,
        "disk.warn_percent",
        "must not be above disk.refuse_percent",
    )?;

    demand(!config.data.dir.as_os_str().is_empty(), "data.dir", "must name a directory")?;
    for host in &config.server.hosts {
        demand(
            is_name(host),
            "server.hosts",
            format!("“{host}” is not a host name: leave out the scheme, the port and the path"),
        )?;
    }
    if let Some(domain) = &config.server.workload_domain {
        demand(
            is_name(domain) && domain.contains('.') && !domain.ends_with('.'),
            "server.workload_domain",
            format!("“{domain}” is not a domain: write it like work.lab.example, without a scheme, a port or “*.”"),
        )?;
    }
    demand(
        config.server.workload_listen != config.server.listen || config.server.listen.port() == 0,
        "server.workload_listen",
        "must not be the address of server.listen: it has to be another origin",
    )?;
    let server = &config.server;
    demand(
        server.tls_listen != server.listen || server.listen.port() == 0,
        "server.tls_listen",
        "must be another address or port than server.listen",
    )?;
    let whole = "a certificate needs its key: set server.tls_certificate and server.tls_key, or neither";
    demand(server.tls_certificate.is_some() == server.tls_key.is_some(), "server.tls_certificate", whole)?;
    Ok(warnings(config))
}

fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let listen = config.server.listen;
    if !listen.ip().is_loopback() {
        warnings.push(Warning(format!(
            "listening on {listen}: keys cross the network in the clear unless a proxy with TLS is in front"
        )));
    }
    if !config.server.workload_listen.ip().is_loopback() && !config.server.workload_https {
        warnings.push(Warning(format!(
            "what containers serve is reachable on {}: it crosses the network in the clear unless a proxy with TLS is in front (server.workload_https)",
            config.server.workload_listen
        )));
    }
    if config.server.workload_cookies_by_path {
        warnings.push(Warning(
            "server.workload_cookies_by_path is on: in a browser, the page of one workload can read and use all others that the same person has open".to_owned(),
        ));
    }
    if !config.engine.publish_address.is_loopback() {
        warnings.push(Warning(format!(
            "published ports of jobs are reachable on {} by anybody who can reach this box",
            config.engine.publish_address
        )));
    }
    warnings
}

fn positive(key: &'static str, value: u64) -> Result<(), Flaw> {
    demand(value > 0, key, "must be more than 0")
}

fn demand(holds: bool, key: &'static str, message: impl Into<String>) -> Result<(), Flaw> {
    if holds { Ok(()) } else { Err(Flaw { key, message: message.into() }) }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ByteSize;

    #[test]
    fn the_built_in_values_pass_without_a_word() {
        assert_eq!(check(&Config::default()), Ok(Vec::new()));
    }

    #[test]
    fn values_that_make_no_sense_are_named() {
        type Change = fn(&mut Config);
        let cases: [(&str, Change); 9] = [
            ("limits.body", |config| config.limits.body = ByteSize(0)),
            ("engine.pids", |config| config.engine.pids = 0),
            ("engine.network", |config| config.engine.network = "a b".into()),
            ("disk.warn_percent", |config| config.disk.warn_percent = 99),
            ("disk.refuse_percent", |config| config.disk.refuse_percent = 101),
            ("server.hosts", |config| config.server.hosts = vec!["https://x".into()]),
            ("server.tls_listen", |config| config.server.tls_listen = config.server.listen),
            ("server.tls_certificate", |config| config.server.tls_key = Some("key.pem".into())),
            ("gpu.poll_interval", |config| config.gpu.poll_interval.0 = std::time::Duration::ZERO),
        ];
        for (key, change) in cases {
            let mut config = Config::default();
            change(&mut config);
            assert_eq!(check(&config).unwrap_err().key, key);
        }
    }

    #[test]
    fn listening_to_the_network_is_allowed_with_a_warning() {
        let mut config = Config::default();
        config.server.listen = "0.0.0.0:7070".parse().unwrap();
        assert_eq!(check(&config).unwrap().len(), 1);
    }
}
