//! `gradientd gradient-env`: prints the exports that point the original `gradient` command line here.

use anyhow::bail;
use clap::Args;

use super::{print, settings::SettingsArgs, sign_in::origin};
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
        let url = match &self.url {
            Some(url) => url.clone(),
            None => origin(self.settings.load()?.config.server.listen),
        };
        Ok(print(&exports(&url)?)?)
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
    fn what_a_shell_would_run_is_refused() {
        for url in ["box:7070", "http://$(id)", "http://a;id", "http://a b", "ftp://box", "http://a'"] {
            assert!(exports(url).is_err(), "{url}");
        }
    }
}
