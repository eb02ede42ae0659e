//! `gradientd gradient-env`: prints the exports that point the original `gradient` command line here, and
//! keeps the certificates that it needs for them with the user.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::{ca_bundle, print, settings::SettingsArgs, sign_in::origin};
use crate::gradient::environment::variables;

#[derive(Debug, Args)]
pub struct GradientEnvArgs {
    /// How those who use it reach the daemon [default: http:// and the address it listens on]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

impl GradientEnvArgs {
    /// Does it.
    ///
    /// # Errors
    /// In words that say what to do.
    pub fn run(&self) -> anyhow::Result<()> {
        let (url, known) = match &self.url {
            Some(url) => (url.clone(), None),
            None => {
                let config = self.settings.load_beside()?.config;
                let given = config.server.tls_certificate.is_some();
                let known = (!given).then(|| config.data.dir.join("keys/authority.pem"));
                (origin(config.server.listen), known)
            }
        };
        let lines = exports(&url)?;
        Ok(print(&(lines + &trust(ca_bundle::write(&url, known.as_deref()))))?)
    }
}

/// Returns the lines about whom to trust.
fn trust(bundle: Result<PathBuf, String>) -> String {
    let lines = |value: &str| ca_bundle::VARIABLES.map(|name| format!("export {name}={value}\n")).concat();
    let is_plain = |path: &str| path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte));
    match bundle {
        Ok(path) => match path.to_str() {
            Some(text) if is_plain(text) => lines(text),
            _ => lines(&format!("'{}'", path.display().to_string().replace('\'', r"'\''"))),
        },
        Err(words) => {
            let words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let commented = lines("…").replace("export", "# export");
            format!("# Metrics come by HTTPS alone, and whom to trust is not known ({words}):\n{commented}")
        }
    }
}

/// Returns the lines that a shell reads. The key is left to whoever has one.
fn exports(url: &str) -> anyhow::Result<String> {
    let is_plain = url.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/.-_[]%".contains(&byte));
    if !is_plain || !(url.starts_with("http://") || url.starts_with("https://")) {
        bail!("--url is how a browser would reach the daemon, such as http://box:7070; not {url:?}");
    }
    let mut lines = String::new();
    for variable in variables(url) {
        lines += &format!("export {}={}\n", variable.name, variable.value);
    }
    lines += "# Still to be set, for example from `gradientd key create`:\n# export PAPERSPACE_API_KEY=gdk_…\n";
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exports_name_this_box_and_no_key() {
        insta::assert_snapshot!(exports("http://box:7070/").unwrap());
    }

    #[test]
    fn a_file_of_certificates_is_named_and_its_lack_is_said() {
        assert_eq!(
            trust(Ok("/home/ada/.paperspace/a.pem".into())),
            "export REQUESTS_CA_BUNDLE=/home/ada/.paperspace/a.pem\n\
             export WEBSOCKET_CLIENT_CA_BUNDLE=/home/ada/.paperspace/a.pem\n"
        );
        assert!(trust(Ok("/a b/it's".into())).contains(r"REQUESTS_CA_BUNDLE='/a b/it'\''s'"));
        let lacking = trust(Err("away\nexport A=1".into()));
        assert!(lacking.lines().all(|line| line.starts_with('#')) && lacking.contains("away"), "{lacking}");
    }

    #[test]
    fn what_a_shell_would_run_is_refused() {
        for url in ["box:7070", "http://$(id)", "http://a;id", "http://a b", "ftp://box", "http://a'"] {
            assert!(exports(url).is_err(), "{url}");
        }
    }
}
