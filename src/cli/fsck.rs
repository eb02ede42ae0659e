//! `gradientd fsck`: reads stored files again and names what is damaged, while the daemon works or not.

use std::sync::{Arc, atomic::AtomicBool};

use anyhow::bail;
use clap::{Args, value_parser};

use super::{local, print, settings::SettingsArgs};
use crate::{
    config::ByteSize,
    domain::{
        bytes::Bytes,
        storage_care::{FsckReport, MendedVersion},
    },
    service::checking::CheckOrder,
};

#[derive(Debug, Args)]
pub struct FsckArgs {
    /// Part of all stored files that is read
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = value_parser!(u8).range(1..=100))]
    pub percent: u8,
    /// The most that is read in a second, such as 50MiB; 0 is no limit [default: storage.fsck_rate]
    #[arg(long, value_name = "SIZE")]
    pub rate: Option<ByteSize>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

impl FsckArgs {
    /// Does it.
    ///
    /// # Errors
    /// When anything is damaged, now or since an earlier check; and when the data directory cannot be
    /// opened or read.
    pub fn run(&self) -> anyhow::Result<()> {
        local::run(&self.settings, None, async |local| {
            let order = CheckOrder {
                percent: self.percent,
                bytes_per_second: self.rate.unwrap_or(local.config.storage.fsck_rate).0,
                stop: Arc::new(AtomicBool::new(false)),
            };
            let report = local.services.check_contents(order).await?;
            print(&if self.json { json(&report) } else { table(&report) })?;
            if report.damaged.is_empty() {
                return Ok(());
            }
            bail!(
                "{} stored contents are damaged: put these files in again, into any version of the team, and run this once more: it puts them back wherever they are missing",
                report.damaged.len()
            )
        })
    }
}

fn table(report: &FsckReport) -> String {
    let mut text = format!("Read {} files, {}.\n", report.checked_files, Bytes(report.done_bytes));
    for MendedVersion { version, files } in &report.mended {
        let (name, id) = (&version.name, &version.version);
        text.push_str(&format!("Mended {files} files of {name}:{id}, whose bytes were sent again.\n"));
    }
    if report.damaged.is_empty() {
        text.push_str("Nothing is damaged.\n");
        return text;
    }
    text.push_str(&format!(
        "{:<13} {:>10}  {:<16} {:<8} {:<24} {}\n",
        "BLAKE3", "SIZE", "DATASET", "VERSION", "NAME", "PATH"
    ));
    for content in &report.damaged {
        for damaged in &content.versions {
            let version = &damaged.version;
            for path in &damaged.paths {
                text.push_str(&format!(
                    "{:.12}… {:>10}  {:<16} {:<8} {:<24} {path}\n",
                    content.hash.to_string(),
                    Bytes(content.bytes).to_string(),
                    version.dataset.as_str(),
                    version.version.as_str(),
                    version.name,
                ));
            }
        }
    }
    text
}

fn json(report: &FsckReport) -> String {
    let damaged: Vec<_> = report
        .damaged
        .iter()
        .map(|content| {
            let versions: Vec<_> = content
                .versions
                .iter()
                .map(|damaged| {
                    serde_json::json!({
                        "dataset": damaged.version.dataset, "name": damaged.version.name,
                        "version": damaged.version.version, "paths": damaged.paths,
                    })
                })
                .collect();
            serde_json::json!({
                "team": content.team, "blake3": content.hash, "bytes": content.bytes, "foundAt": content.found_at,
                "versions": versions,
            })
        })
        .collect();
    let mended: Vec<_> = report
        .mended
        .iter()
        .map(|MendedVersion { version, files }| {
            serde_json::json!({
                "dataset": version.dataset, "name": version.name, "version": version.version, "files": files,
            })
        })
        .collect();
    let report = serde_json::json!({
        "checkedFiles": report.checked_files, "bytes": report.done_bytes, "percent": report.percent,
        "damaged": damaged, "mended": mended, "startedAt": report.started_at, "finishedAt": report.finished_at,
    });
    format!("{report:#}\n")
}
