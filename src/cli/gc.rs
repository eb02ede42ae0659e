//! `gradientd gc`: removes files that nothing refers to, while the daemon works or not.

use clap::Args;

use super::{data_dir::DataDir, local, print, settings::SettingsArgs};
use crate::{
    config::Span,
    domain::{bytes::Bytes, storage_care::GcReport},
};

#[derive(Debug, Args)]
pub struct GcArgs {
    /// Say what would go, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long files that nothing refers to are kept, such as 1h [default: storage.gc_grace]
    #[arg(long, value_name = "TIME")]
    pub grace: Option<Span>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

impl GcArgs {
    /// Does it.
    ///
    /// # Errors
    /// When the data directory cannot be opened or the disk fails; what was removed till then is.
    pub fn run(&self) -> anyhow::Result<()> {
        local::run(&self.settings, None, async |local| {
            let grace = self.grace.map_or(local.config.storage.gc_grace.0, |span| span.0);
            // Beside a daemon that runs, what is half made is the daemon's.
            let alone = DataDir::claim(&local.config.data.dir).ok();
            let report = local.services.collect_unused(self.dry_run, grace, alone.is_some()).await?;
            Ok(print(&if self.json { json(&report) } else { table(&report) })?)
        })
    }
}

fn table(report: &GcReport) -> String {
    let mut text = String::new();
    if !report.versions.is_empty() {
        text.push_str(&format!("{:<16} {:<8} {:>10} {:>10}  {}\n", "DATASET", "VERSION", "FILES", "SIZE", "NAME"));
        for gone in &report.versions {
            let version = &gone.version;
            text.push_str(&format!(
                "{:<16} {:<8} {:>10} {:>10}  {}\n",
                version.dataset.as_str(),
                version.version.as_str(),
                gone.files,
                Bytes(gone.bytes).to_string(),
                version.name
            ));
        }
    }
    let verb = if report.dry_run { "Would free" } else { "Freed" };
    let (freed, files) = (Bytes(report.bytes()), report.files());
    text.push_str(&format!("{verb} {freed} in {files} files that nothing refers to.\n"));
    for left in &report.buckets {
        let (bytes, objects, uploads) = (Bytes(left.bytes), left.objects, left.uploads);
        text.push_str(&format!(
            "{verb} {bytes} in {objects} objects, and {uploads} unfinished uploads, in buckets of team {}.\n",
            left.team
        ));
    }
    text
}

fn json(report: &GcReport) -> String {
    let versions: Vec<_> = report
        .versions
        .iter()
        .map(|gone| {
            serde_json::json!({
                "team": gone.version.team, "dataset": gone.version.dataset, "name": gone.version.name,
                "version": gone.version.version, "bytes": gone.bytes, "files": gone.files,
            })
        })
        .collect();
    let buckets: Vec<_> = report
        .buckets
        .iter()
        .map(|left| {
            serde_json::json!({
                "team": left.team, "bytes": left.bytes, "objects": left.objects, "uploads": left.uploads,
            })
        })
        .collect();
    let report = serde_json::json!({
        "dryRun": report.dry_run, "bytes": report.bytes(), "files": report.files(), "versions": versions,
        "buckets": buckets, "at": report.at,
    });
    format!("{report:#}\n")
}
