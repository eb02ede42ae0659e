//! `gradientd sign-in`: prints a link that signs one browser in, once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;

use super::{local, print, settings::SettingsArgs};
use crate::{auth::SignInToken, config::Config};

#[derive(Debug, Args)]
pub struct SignInArgs {
    /// Who signs in, by name [default: the admin]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

impl SignInArgs {
    /// Does it.
    ///
    /// # Errors
    /// In words that say what to do.
    pub fn run(&self) -> anyhow::Result<()> {
        local::run(&self.settings, self.user.as_deref(), async |local| {
            let token = local.services.sign_in_link_for(&local.caller).await?;
            Ok(print(&format!("{}\n", link(local.config.server.listen, &token)))?)
        })
    }
}

/// Returns the link that signs a browser in once. The token is in the fragment, which browsers send
/// to nobody.
pub fn link(listen: SocketAddr, token: &SignInToken) -> String {
    format!("{}/sign-in#{}", origin(listen), token.reveal())
}

/// Returns the command that prints another link for the daemon with these settings: run as it is, it would
/// look for one with the built-in settings.
pub fn command(config: &Config) -> String {
    let usual = Config::default();
    let mut command = "gradientd sign-in".to_owned();
    if config.data.dir != usual.data.dir {
        command += &format!(" --data-dir {}", config.data.dir.display());
    }
    if config.server.listen != usual.server.listen {
        command += &format!(" --listen {}", config.server.listen);
    }
    command
}

/// Returns how this machine itself reaches the daemon.
pub(super) fn origin(listen: SocketAddr) -> String {
    // Nobody can open “all addresses”.
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, listen.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::IdSource;

    struct Zeroes;
    impl IdSource for Zeroes {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    #[test]
    fn the_command_for_another_link_finds_this_daemon() {
        let mut config = Config::default();
        assert_eq!(command(&config), "gradientd sign-in");
        config.data.dir = "/data".into();
        config.server.listen = "127.0.0.1:8000".parse().unwrap();
        assert_eq!(command(&config), "gradientd sign-in --data-dir /data --listen 127.0.0.1:8000");
    }

    #[test]
    fn the_link_can_be_opened_on_this_machine() {
        let token = SignInToken::mint(&Zeroes);
        for (listen, begins) in [
            ("127.0.0.1:7070", "http://127.0.0.1:7070/sign-in#gdi_0"),
            ("0.0.0.0:80", "http://127.0.0.1:80/sign-in#gdi_0"),
            ("[::]:7070", "http://[::1]:7070/sign-in#gdi_0"),
        ] {
            assert!(link(listen.parse().unwrap(), &token).starts_with(begins));
        }
    }
}
