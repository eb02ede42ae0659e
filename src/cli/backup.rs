//! `gradientd backup` and `gradientd restore`: the database, and the keys without which its secrets
//! stay sealed. Not in it: what jobs wrote (`runs/`, `teams/`) and uploads. Those are plain files,
//! which any program that copies files keeps.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;

use super::{data_dir::DataDir as Claimed, local, print, settings::SettingsArgs};
use crate::{domain::key::Key, storage::layout::DataDir, store};

const DATABASE: &str = "gradientd.db";
const KEYS: &str = "keys";
const ADMIN_KEY: &str = "admin.key";

#[derive(Debug, Args)]
pub struct BackupArgs {
    /// A directory that does not exist yet; it is made for its owner alone
    pub target: PathBuf,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// A directory that gradientd backup made
    pub source: PathBuf,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

impl BackupArgs {
    /// Does it, while the daemon works or not.
    ///
    /// # Errors
    /// When the target exists or cannot be written; what was begun there is removed.
    pub fn run(&self) -> anyhow::Result<()> {
        let dir = self.settings.load()?.config.data.dir;
        local::check(&dir)?;
        back_up(&dir, &self.target)?;
        Ok(print(&format!(
            "The database and the keys are in {}. Keep it as safe as the box itself.\n",
            self.target.display()
        ))?)
    }
}

impl RestoreArgs {
    /// Does it. The daemon must not run.
    ///
    /// # Errors
    /// When there is a database in the data directory already: nothing is ever overwritten.
    pub fn run(&self) -> anyhow::Result<()> {
        let dir = self.settings.load()?.config.data.dir;
        let keys = restore(&self.source, &dir)?;
        Ok(print(&told(&dir, &keys))?)
    }
}

fn back_up(dir: &Path, target: &Path) -> anyhow::Result<()> {
    match DirBuilder::new().mode(0o700).create(target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} exists: name a directory that does not", target.display())
        }
        made => made.with_context(|| format!("cannot make {}", target.display()))?,
    }
    let copied = copy_out(dir, target);
    if copied.is_err() {
        // Half a backup would be taken for a whole one.
        let _ = fs::remove_dir_all(target);
    }
    copied
}

fn copy_out(dir: &Path, target: &Path) -> anyhow::Result<()> {
    // First the keys: they never change, so they fit every later state of the database.
    copy_keys(&dir.join(KEYS), &target.join(KEYS))?;
    if dir.join(ADMIN_KEY).try_exists()? {
        copy_file(&dir.join(ADMIN_KEY), &target.join(ADMIN_KEY))?;
    }
    store::back_up(&dir.join(DATABASE), &target.join(DATABASE)).context("cannot copy the database")?;
    Ok(File::open(target)?.sync_all()?)
}

fn told(dir: &Path, keys: &[Key]) -> String {
    let mut text = format!(
        "{} is as it was. Start the daemon. Every browser has to sign in again.\n\
         These keys are good, also one that was revoked after the backup: end such with gradientd key revoke ID.\n",
        dir.display()
    );
    for key in keys {
        let ends = key.expires_at.map_or_else(|| "never".to_owned(), |time| time.to_string());
        text.push_str(&format!("{} {} of {}, expires {ends}: {}\n", key.id, key.scope, key.user_name, key.name));
    }
    text
}

/// Returns the keys that the backup lets in.
fn restore(source: &Path, dir: &Path) -> anyhow::Result<Vec<Key>> {
    let shown = source.display();
    store::check(&source.join(DATABASE)).with_context(|| format!("{shown} holds no good backup"))?;
    if !source.join(KEYS).is_dir() {
        bail!("{shown} holds no good backup: {KEYS}/ is missing, without which no secret can be opened");
    }
    // Held to the end, so that no daemon starts on half of it.
    let claimed = Claimed::claim(dir)?;
    let data = DataDir::create(claimed.path())?;
    if data.database().try_exists()? {
        bail!(
            "there is a database in {} already: move it away, or name an empty directory with --data-dir",
            dir.display()
        );
    }
    copy_keys(&source.join(KEYS), &data.keys())?;
    if source.join(ADMIN_KEY).try_exists()? {
        copy_file(&source.join(ADMIN_KEY), &data.admin_key())?;
    }
    // Last, and at once: until then the directory counts as new.
    let draft = data.database().with_extension("part");
    let _ = fs::remove_file(&draft);
    copy_file(&source.join(DATABASE), &draft)?;
    // Who signed out, or was signed out, since the backup stays so.
    let keys = store::shut_out_browsers(&draft).context("cannot end the sessions in the backup")?;
    fs::rename(&draft, data.database())?;
    File::open(data.root())?.sync_all()?;
    Ok(keys)
}

fn copy_keys(from: &Path, to: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(to)
        .with_context(|| format!("cannot make {}", to.display()))?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            copy_file(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Copies a file for its owner alone. Replaces what is there, unless that is another key: something
/// may be sealed under it.
fn copy_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    let words = || format!("cannot copy {} to {}", from.display(), to.display());
    if let Ok(there) = fs::metadata(to)
        && (there.len() != fs::metadata(from).with_context(words)?.size() || fs::read(to)? != fs::read(from)?)
    {
        bail!("{} is there already and is another: move it away first", to.display());
    }
    let mut source = File::open(from).with_context(words)?;
    let mut target =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to).with_context(words)?;
    io::copy(&mut source, &mut target).with_context(words)?;
    target.sync_all().with_context(words)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::store::Store;

    fn data_dir(root: &Path) -> PathBuf {
        let data = DataDir::create(&root.join("data")).unwrap();
        let store = Store::open(&data.database(), &data.backups()).unwrap();
        local::runtime().unwrap().block_on(store.close());
        fs::write(data.keys().join("secrets.key"), [7; 32]).unwrap();
        fs::write(data.admin_key(), "gdk_").unwrap();
        data.root().to_owned()
    }

    #[test]
    fn what_is_backed_up_comes_back() {
        let root = tempfile::tempdir().unwrap();
        let (dir, target) = (data_dir(root.path()), root.path().join("backup"));
        back_up(&dir, &target).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o700);

        let other = root.path().join("other");
        restore(&target, &other).unwrap();
        assert_eq!(fs::read(other.join("keys/secrets.key")).unwrap(), [7; 32]);
        assert_eq!(fs::metadata(other.join("keys/secrets.key")).unwrap().permissions().mode() & 0o777, 0o600);
        store::check(&other.join(DATABASE)).unwrap();
        Store::open(&other.join(DATABASE), &other.join("backups")).unwrap();
    }

    #[test]
    fn a_restore_ends_sessions_and_names_the_keys_that_are_good() {
        let root = tempfile::tempdir().unwrap();
        let mut config = crate::config::Config::default();
        config.data.dir = root.path().join("data");
        let services = crate::app::open(&config).unwrap().services;
        let session = local::runtime().unwrap().block_on(async {
            let made = services.first_start(|_| Ok(())).await.unwrap().unwrap();
            let session = services.sign_in(&made.key).await.unwrap().token;
            services.store.close().await;
            session
        });
        let (target, other) = (root.path().join("backup"), root.path().join("other"));
        back_up(&config.data.dir, &target).unwrap();
        let keys = restore(&target, &other).unwrap();
        assert_eq!(keys.len(), 1);
        assert!(told(&other, &keys).contains(keys[0].id.as_str()));

        config.data.dir = other;
        let services = crate::app::open(&config).unwrap().services;
        local::runtime().unwrap().block_on(async {
            assert!(services.key_by_session(*session.hash().as_bytes(), None).await.unwrap().is_none());
            assert!(services.key_is_good(&keys[0].id).await.unwrap());
            services.store.close().await;
        });
    }

    #[test]
    fn nothing_is_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let (dir, target) = (data_dir(root.path()), root.path().join("backup"));
        back_up(&dir, &target).unwrap();
        let words = back_up(&dir, &target).unwrap_err().to_string();
        assert!(words.contains("exists"), "{words}");
        let words = restore(&target, &dir).unwrap_err().to_string();
        assert!(words.contains("already"), "{words}");

        let other = root.path().join("other");
        fs::create_dir_all(other.join("keys")).unwrap();
        fs::write(other.join("keys/secrets.key"), [8; 32]).unwrap();
        assert!(restore(&target, &other).is_err());
        assert_eq!(fs::read(other.join("keys/secrets.key")).unwrap(), [8; 32]);
        assert!(!other.join(DATABASE).exists());
    }

    #[test]
    fn a_backup_that_fails_leaves_nothing_that_looks_like_one() {
        let root = tempfile::tempdir().unwrap();
        let dir = data_dir(root.path());
        fs::write(dir.join(DATABASE), vec![7; 8192]).unwrap();
        let target = root.path().join("backup");
        assert!(back_up(&dir, &target).is_err());
        assert!(!target.exists());
    }

    #[test]
    fn a_backup_without_keys_or_database_is_no_backup() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("backup");
        back_up(&data_dir(root.path()), &target).unwrap();
        fs::remove_dir_all(target.join(KEYS)).unwrap();
        let words = restore(&target, &root.path().join("other")).unwrap_err().to_string();
        assert!(words.contains("keys/"), "{words}");
        fs::remove_file(target.join(DATABASE)).unwrap();
        assert!(restore(&target, &root.path().join("other")).is_err());
    }
}
