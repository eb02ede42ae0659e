//! `gradientd doctor`: looks at everything that the daemon needs of this machine and says what to do
//! about what is missing. Changes nothing, and works beside a daemon that runs.

use std::{
    env, fs,
    io::{self, IsTerminal},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::bail;
use rustix::fs::Access;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
    time::timeout,
};

use super::{local, print, settings::SettingsArgs};
use crate::{
    app,
    auth::{Certificate, Certificates},
    config::Config,
    domain::time::Timestamp,
    executor::{EngineInfo, Executor, GpuAccess, docker::Docker},
    gpu::{
        GpuInventory,
        nvml::{NvmlGpus, NvmlSettings},
    },
    host,
    storage::disk::{DiskSpace, DiskState, DiskThresholds},
    store,
};

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long before its end an admin's certificate is to be renewed.
const RENEW: Duration = Duration::from_secs(14 * 86_400);
/// The oldest kernel that is tested, major and minor.
const KERNEL: (u32, u32) = (5, 4);

/// How a look went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Good,
    /// Something that the daemon can do without.
    Lacking,
    /// The daemon cannot work so.
    Bad,
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    mark: Mark,
    what: &'static str,
    words: String,
}

fn good(what: &'static str, words: impl Into<String>) -> Finding {
    Finding { mark: Mark::Good, what, words: words.into() }
}

fn lacking(what: &'static str, words: impl Into<String>) -> Finding {
    Finding { mark: Mark::Lacking, what, words: words.into() }
}

fn bad(what: &'static str, words: impl Into<String>) -> Finding {
    Finding { mark: Mark::Bad, what, words: words.into() }
}

/// Looks at everything and prints a line for each.
///
/// # Errors
/// When something is bad that the daemon cannot do without.
pub fn run(args: &SettingsArgs) -> anyhow::Result<()> {
    let loaded = match args.load() {
        Ok(loaded) => loaded,
        Err(error) => {
            print(&line(&bad("settings", error.to_string()), is_pretty()))?;
            return Err(error.into());
        }
    };
    let pretty = is_pretty();
    print(&line(&good("settings", "every value is a good one"), pretty))?;
    for warning in &loaded.warnings {
        print(&line(&lacking("settings", warning.0.clone()), pretty))?;
    }
    let config = loaded.config;
    let mut failed = 0;
    local::runtime()?.block_on(async {
        let (engine, gpu_access) = engine(&config).await;
        for finding in [
            data_dir(&config.data.dir),
            disk(&config),
            address(config.server.listen).await,
            reach(config.server.listen),
            tls_address(config.server.tls_listen).await,
            workload_address(config.server.workload_listen).await,
            certificate(&config),
            engine,
            pushes(&config).await,
            sources(&config).await,
            gpus(&config, gpu_access).await,
            git().await,
            good("sqlite", store::sqlite_version()),
            kernel(),
            cgroups(),
        ] {
            failed += usize::from(finding.mark == Mark::Bad);
            print(&line(&finding, pretty))?;
        }
        anyhow::Ok(())
    })?;
    match failed {
        0 => Ok(()),
        1 => bail!("one thing must be put right before the daemon can work"),
        _ => bail!("{failed} things must be put right before the daemon can work"),
    }
}

fn is_pretty() -> bool {
    io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none()
}

fn line(finding: &Finding, pretty: bool) -> String {
    let Finding { mark, what, words } = finding;
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if pretty {
        let (colour, sign) = match mark {
            Mark::Good => (32, '✓'),
            Mark::Lacking => (33, '!'),
            Mark::Bad => (31, '✗'),
        };
        return format!("\x1b[{colour}m{sign}\x1b[0m \x1b[1m{what:<15}\x1b[0m {words}\n");
    }
    let sign = match mark {
        Mark::Good => '✓',
        Mark::Lacking => '!',
        Mark::Bad => '✗',
    };
    format!("{sign} {what:<15} {words}\n")
}

fn data_dir(dir: &Path) -> Finding {
    let what = "data directory";
    let shown = dir.display();
    let there = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return bad(what, format!("{} is no directory: choose another with --data-dir", there.display()));
    }
    if rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let words = "this user may not write there: run this as the daemon's user, or choose another with --data-dir";
        return bad(what, format!("{shown}: {words}"));
    }
    if there == dir {
        good(what, format!("{shown}"))
    } else {
        good(what, format!("{shown} will be made at the first start"))
    }
}

fn disk(config: &Config) -> Finding {
    let what = "disk";
    let there = config.data.dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let (space, room) = match (DiskSpace::of(there), host::disk(there)) {
        (Ok(space), Ok(room)) => (space, room),
        (Err(error), _) | (_, Err(error)) => {
            return bad(what, format!("cannot ask how full {} is: {error}", there.display()));
        }
    };
    let thresholds = DiskThresholds {
        warn_percent: config.disk.warn_percent,
        refuse_percent: config.disk.refuse_percent,
        min_free_bytes: config.disk.min_free.0,
    };
    let words = format!("{} of {} free", gib(space.free_bytes), gib(space.total_bytes));
    if room.inodes.is_some_and(|inodes| inodes.free < inodes.total / 50) {
        return lacking(what, format!("{words}, but hardly room for more files (inodes): remove some"));
    }
    match space.state(thresholds) {
        DiskState::Ok => good(what, words),
        DiskState::Warn => lacking(what, format!("{words}: make room before it is full")),
        DiskState::Full => {
            bad(what, format!("{words}: new work would be refused; make room, or see [disk] in the settings"))
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

async fn address(listen: SocketAddr) -> Finding {
    let what = "address";
    match TcpListener::bind(listen).await {
        Ok(_) => good(what, format!("{listen} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match timeout(PATIENCE, ask(listen)).await {
            Ok(Ok(version)) => good(what, format!("gradientd {version} answers at {listen}")),
            _ => bad(
                what,
                format!("another program listens on {listen}: stop it, or choose another address with --listen"),
            ),
        },
        Err(error) => {
            bad(what, format!("{listen} cannot be listened on ({error}): choose another address with --listen"))
        }
    }
}

async fn tls_address(listen: SocketAddr) -> Finding {
    // Asked without TLS, the daemon answers with a hint.
    let words = "This port speaks HTTPS";
    other_address("https address", listen, "choose another address with server.tls_listen", words).await
}

async fn workload_address(listen: SocketAddr) -> Finding {
    let words = "this is where what containers serve is reached";
    other_address("served ports", listen, "choose another address with --workload-listen", words).await
}

/// Looks at an address where the daemon, asked for `/`, says `words`. `way` is out of a port that is taken.
async fn other_address(what: &'static str, listen: SocketAddr, way: &str, words: &str) -> Finding {
    match TcpListener::bind(listen).await {
        Ok(_) => good(what, format!("{listen} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match timeout(PATIENCE, knock(listen, words)).await {
            Ok(Ok(true)) => good(what, format!("gradientd answers at {listen}")),
            _ => bad(what, format!("another program listens on {listen}: stop it, or {way}")),
        },
        Err(error) => bad(what, format!("{listen} cannot be listened on ({error}): {way}")),
    }
}

/// Returns whether whoever listens there says `words`.
async fn knock(listen: SocketAddr, words: &str) -> io::Result<bool> {
    let answer = exchange(listen, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    Ok(answer.contains(words))
}

/// Says what the TLS listener shows, and until when.
fn certificate(config: &Config) -> Finding {
    let what = "certificate";
    let now = app::clock().now();
    if let (Some(certificate), Some(key)) = (&config.server.tls_certificate, &config.server.tls_key) {
        let shown = match Certificate::read(certificate, key, now) {
            Ok(shown) => shown,
            Err(error) => return bad(what, chain(&error)),
        };
        let words = format!("{} for {}, until {}", certificate.display(), shown.names.join(", "), day(shown.ends));
        return match shown.ends <= now.plus(RENEW) {
            true => lacking(what, format!("{words}: renew it")),
            false => good(what, words),
        };
    }
    let words = "of this box's own authority, renewed by itself";
    match Certificates::authority_ends(&config.data.dir.join("keys")) {
        Ok(ends) => good(what, format!("{words}; the authority's own is good until {}", day(ends))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            good(what, format!("{words}; the authority will be made at the next start"))
        }
        Err(_) => good(what, words),
    }
}

fn day(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

/// Says who can reach `listen`.
fn reach(listen: SocketAddr) -> Finding {
    let what = "reach";
    if listen.ip().is_loopback() {
        return good(what, "only this machine");
    }
    lacking(
        what,
        format!(
            "{listen} can be reached from the network and from jobs' containers, without TLS: \
             listen on 127.0.0.1 and use ssh -L, or put a proxy that speaks TLS in front"
        ),
    )
}

/// Asks the daemon at `listen` for its version.
async fn ask(listen: SocketAddr) -> io::Result<String> {
    let request = "GET /api/v1/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(listen, request).await?;
    let body = answer.split("\r\n\r\n").nth(1).and_then(|body| serde_json::from_str::<serde_json::Value>(body).ok());
    let version = body.as_ref().and_then(|body| body["version"].as_str());
    version.map(str::to_owned).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// Sends a request to whoever listens at `listen`, and returns all that comes back.
async fn exchange(listen: SocketAddr, request: &str) -> io::Result<String> {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Also returns how the engine can hand out GPUs, where it answers.
async fn engine(config: &Config) -> (Finding, Option<Result<GpuAccess, String>>) {
    let what = "docker";
    let socket = config.engine.socket.display();
    // Nothing is made under this name: only questions are asked.
    let docker = Docker::connect(app::docker_settings(config, "doctor".to_owned(), [0; 32]));
    let EngineInfo { version, api_version, storage_driver, cgroup_version, gpu_access, .. } =
        match timeout(PATIENCE, docker.info()).await {
            Ok(Ok(info)) => info,
            Ok(Err(error)) => {
                let words = format!(
                    "the engine at {socket} does not answer ({}): start it, and let this user into its group, \
                     for example with usermod -aG docker gradientd",
                    chain(&error)
                );
                return (bad(what, words), None);
            }
            Err(_) => {
                let words =
                    format!("the engine at {socket} did not answer within {} s: restart it", PATIENCE.as_secs());
                return (bad(what, words), None);
            }
        };
    let words = format!("{version}, API {api_version}, storage {storage_driver}, cgroup v{cgroup_version}");
    let finding = match storage_driver.as_str() {
        "vfs" => lacking(what, format!("{words}: vfs copies every image whole; use overlay2 where the disk allows it")),
        _ => good(what, words),
    };
    (finding, Some(gpu_access))
}

/// Looks whether containers can push metrics. Makes nothing, so a network that is not there yet stays so.
async fn pushes(config: &Config) -> Finding {
    let what = "pushed metrics";
    let (port, network) = (config.engine.push_port, &config.engine.network);
    if port == 0 {
        return good(what, "switched off by engine.push_port");
    }
    let docker = Docker::connect(app::docker_settings(config, "doctor".to_owned(), [0; 32]));
    let gateway = match timeout(PATIENCE, docker.gateway_now()).await {
        Ok(Ok(Some(gateway))) => gateway,
        Ok(Ok(None)) => {
            return good(what, format!("port {port}, once the network {network} is made at the first start"));
        }
        _ => return lacking(what, "where containers reach this machine is not known while the engine is away"),
    };
    let address = SocketAddr::new(gateway, port);
    match TcpListener::bind(address).await {
        Ok(_) => good(what, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match timeout(PATIENCE, takes_pushes(address)).await {
                Ok(Ok(true)) => good(what, format!("gradientd takes them at {address}")),
                _ => lacking(
                    what,
                    format!("another program listens on {address}: stop it, or choose another engine.push_port"),
                ),
            }
        }
        Err(error) => {
            lacking(what, format!("{address}, the gateway of the network {network}, cannot be listened on ({error})"))
        }
    }
}

/// Looks whether places on S3 can be mounted in notebooks. Fetches nothing.
async fn sources(config: &Config) -> Finding {
    let what = "s3 sources";
    if !config.s3_sources.enabled {
        return good(what, "switched off for notebooks (s3_sources.enabled)".to_owned());
    }
    let dir = config.data.dir.ancestors().find_map(|path| path.canonicalize().ok()).unwrap_or_else(|| "/".into());
    if let Some(why) = host::Fuse::default().obstacle(&dir) {
        return lacking(what, format!("places on S3 cannot be mounted in notebooks: {why}"));
    }
    let image = &config.s3_sources.image;
    let docker = Docker::connect(app::docker_settings(config, "doctor".to_owned(), [0; 32]));
    match timeout(PATIENCE, docker.image(image)).await {
        Ok(Ok(Some(_))) => good(what, format!("mounted in notebooks by {image}")),
        Ok(Ok(None)) => good(what, format!("mounted in notebooks by {image}, which is fetched at its first use")),
        _ => {
            lacking(what, format!("whether {image}, which mounts them, is here is not known while the engine is away"))
        }
    }
}

/// Asks whether what listens at `address` is a gradientd's door for pushed metrics.
async fn takes_pushes(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).contains(crate::push::NOTHING_ELSE))
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn gpus(config: &Config, access: Option<Result<GpuAccess, String>>) -> Finding {
    let what = "gpus";
    let settings = NvmlSettings { library: config.gpu.nvml_library.clone(), ..NvmlSettings::default() };
    let asked = tokio::task::spawn_blocking(move || NvmlGpus::start(settings).map(|gpus| gpus.inventory())).await;
    let inventory = match asked {
        Ok(Ok(inventory)) => inventory,
        Ok(Err(error)) => return lacking(what, format!("cannot ask NVML: {error}")),
        Err(error) => return lacking(what, format!("cannot ask NVML: {error}")),
    };
    if inventory.gpus.is_empty() {
        let why = inventory.unavailable.unwrap_or_else(|| "the driver shows none".to_owned());
        return lacking(what, format!("none, so jobs run on cores alone: {why}"));
    }
    let mut names: Vec<String> = Vec::new();
    for chunk in inventory.gpus.chunk_by(|one, other| one.name == other.name) {
        names.push(format!("{} × {}", chunk.len(), chunk[0].name));
    }
    let driver = inventory.driver_version.as_deref().unwrap_or("unknown");
    let words = format!("{}, driver {driver}", names.join(", "));
    match access {
        Some(Ok(access)) => good(what, format!("{words}, handed out by {}", way(access))),
        Some(Err(why)) => lacking(what, format!("{words}, but containers cannot have them: {why}")),
        None => {
            lacking(what, format!("{words}; whether containers can have them is not known while the engine is away"))
        }
    }
}

fn way(access: GpuAccess) -> &'static str {
    match access {
        GpuAccess::Runtime => "the runtime nvidia",
        GpuAccess::DeviceRequest => "device requests",
        GpuAccess::Cdi => "CDI",
        GpuAccess::Devices => "device nodes",
    }
}

async fn git() -> Finding {
    let what = "git";
    let asked = Command::new("git").arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    match timeout(PATIENCE, asked).await {
        Ok(Ok(output)) if output.status.success() => good(what, String::from_utf8_lossy(&output.stdout).trim()),
        _ => lacking(what, "not installed, so jobs whose workspace comes from git fail: install git"),
    }
}

fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < KERNEL {
        return lacking(
            "kernel",
            format!("{release} is older than what is tested ({}.{}): upgrade it", KERNEL.0, KERNEL.1),
        );
    }
    good("kernel", release)
}

/// Limits of jobs are kept by cgroups.
fn cgroups() -> Finding {
    let what = "cgroups";
    let (version, listed) = match fs::read_to_string("/sys/fs/cgroup/cgroup.controllers") {
        Ok(text) => ("v2", text),
        // The first version lists each controller in a line that ends with 1 when it is on.
        Err(_) => {
            let text = fs::read_to_string("/proc/cgroups").unwrap_or_default();
            let on = text.lines().filter(|line| line.ends_with('1')).filter_map(|line| line.split_whitespace().next());
            ("v1", on.collect::<Vec<_>>().join(" "))
        }
    };
    let missing: Vec<_> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|wanted| !listed.split_whitespace().any(|one| one == *wanted))
        .collect();
    if missing.is_empty() {
        return good(what, format!("{version} with cpu, memory and pids"));
    }
    let missing = missing.join(", ");
    lacking(
        what,
        format!("{version} without {missing}, so jobs are not held to it: switch it on at the kernel's command line"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_that_says_what_to_do() {
        let finding = bad("docker", "away:\n start it");
        assert_eq!(line(&finding, false), "✗ docker          away: start it\n");
        assert!(line(&finding, true).contains("\x1b[31m✗"));
    }

    #[test]
    fn a_directory_that_does_not_exist_yet_is_good_where_it_can_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let finding = data_dir(&dir.path().join("deep/data"));
        assert!(finding.mark == Mark::Good && finding.words.contains("will be made"), "{finding:?}");
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(data_dir(&file).mark, Mark::Bad);
        assert!(!dir.path().join("deep").exists(), "a look changes nothing");
    }

    #[test]
    fn an_address_that_others_reach_is_told() {
        for (listen, mark) in [
            ("127.0.0.1:7070", Mark::Good),
            ("[::1]:7070", Mark::Good),
            ("0.0.0.0:7070", Mark::Lacking),
            ("10.0.0.1:7070", Mark::Lacking),
            ("[::]:7070", Mark::Lacking),
        ] {
            assert_eq!(reach(listen.parse().unwrap()).mark, mark, "{listen}");
        }
    }

    #[tokio::test]
    async fn a_port_is_free_taken_or_ours() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let stranger = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
            drop(stream);
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"status\":\"ok\",\"version\":\"9.9\"}";
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        assert_eq!(address(listen).await.mark, Mark::Bad);
        let ours = address(listen).await;
        assert!(ours.mark == Mark::Good && ours.words.contains("9.9"), "{ours:?}");
        stranger.await.unwrap();
        assert!(address(listen).await.words.ends_with("is free"));
    }

    #[tokio::test]
    async fn the_port_of_what_containers_serve_is_known_by_its_words() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let other = tokio::spawn(async move {
            for body in ["hello", "this is where what containers serve is reached: open it"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut request).await.unwrap();
                }
                let answer = format!("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let stranger = workload_address(listen).await;
        assert!(stranger.mark == Mark::Bad && stranger.words.contains("--workload-listen"), "{stranger:?}");
        assert_eq!(workload_address(listen).await.mark, Mark::Good);
        other.await.unwrap();
        assert!(workload_address(listen).await.words.ends_with("is free"));
    }

    #[tokio::test]
    async fn an_engine_that_is_away_is_bad_and_says_where_it_was_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.engine.socket = dir.path().join("none.sock");
        let (finding, access) = engine(&config).await;
        assert!(finding.mark == Mark::Bad && finding.words.contains("none.sock") && access.is_none(), "{finding:?}");
    }
}
