//! Imports: bring files into an uncommitted version from a URL, a bucket, a directory of this machine, or
//! from what somebody has in a notebook or in `/storage`. Accepting one only checks and remembers it;
//! `reconcile` fetches.

use std::path::{Component, Path, PathBuf};

use super::{
    Invalid, ServiceError, Services,
    dataset_files::check_new_path,
    references,
    references::Resolved,
    tags::check_tag_name,
    text::check_text,
    versions::{VersionDraft, VersionNow, committed},
};
use crate::{
    auth::Secret,
    domain::{
        caller::{Action, Caller},
        dataset::{DatasetRef, ImportState, VersionRef, VersionState},
        file_root::FileRoot,
        id::{ImportId, ProviderId},
        import::{ChosenFiles, Import, ImportFilter, ImportProgress, ImportSource, SavedPath},
        storage_provider::{ProviderKind, S3Place, StorageProvider},
        user_path::UserPath,
    },
    storage::s3::{FetchError, Reach, S3Bucket, fetch},
    store::{Tx, imports, storage_providers},
};

/// Imports of one team that are not over, at most.
const MOST: u32 = 100;
/// Longest URL, in bytes.
const URL: usize = 8192;

/// What somebody wants to bring in.
#[derive(Debug)]
pub struct ImportDraft {
    pub source: DraftSource,
    /// Directory of the version that it goes into; the top when left out.
    pub prefix: Option<String>,
    /// Whether the version is committed when everything is there.
    pub commits: bool,
    /// Tags that the version gets then.
    pub tags: Vec<String>,
}

/// Where it comes from, as somebody said it.
#[derive(Debug)]
pub enum DraftSource {
    Url {
        url: String,
        /// Whether a tar is unpacked and not kept as a file.
        unpack: bool,
    },
    /// Everything beneath a prefix of a provider of the team, named by id or name.
    Provider {
        provider: String,
        prefix: String,
    },
    Bucket {
        place: S3Place,
        secret_key: Secret<String>,
        prefix: String,
    },
    Directory {
        path: String,
    },
    /// Entries of a directory of a notebook or of `/storage`; all of them without any paths.
    Files {
        root: FileRoot,
        beneath: UserPath,
        paths: Vec<UserPath>,
    },
}

/// An import with how far it is.
#[derive(Debug, Clone)]
pub struct ImportNow {
    pub import: Import,
    pub progress: Option<ImportProgress>,
}

impl Services {
    /// Accepts an import. It is on disk when this returns, and begins when its turn comes.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] `version_committed`; [`ServiceError::Invalid`] names the field that
    /// cannot be so.
    pub async fn create_import(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        draft: ImportDraft,
    ) -> Result<ImportNow, ServiceError> {
        let checked = self.check_import(caller, draft).await?;
        self.check_quota(&caller.team, 0)?;
        let (services, caller) = (self.clone(), caller.clone());
        let import = self
            .store
            .write(move |tx| {
                let dataset = references::to_change(tx, &caller, &dataset)?;
                let version = references::version(tx, &caller.team, &dataset, &version)?;
                if version.state == VersionState::Committed {
                    return Err(committed(&version));
                }
                services.accept_import(tx, &caller, &Resolved { dataset, version }, checked)
            })
            .await?;
        Ok(self.import_now(import))
    }

    /// Begins a version and an import into it, both or neither.
    pub async fn create_version_with(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionDraft,
        files: ImportDraft,
    ) -> Result<(VersionNow, ImportNow), ServiceError> {
        let checked = self.check_import(caller, files).await?;
        let (services, asker) = (self.clone(), caller.clone());
        let accept = move |tx: &Tx<'_>, found: &Resolved| services.accept_import(tx, &asker, found, checked);
        let (version, import) = self.create_version_and(caller, dataset, version, accept).await?;
        Ok((version, self.import_now(import)))
    }

    /// Checks all of an import that can be known before it has a version.
    async fn check_import(&self, caller: &Caller, draft: ImportDraft) -> Result<Checked, ServiceError> {
        caller.may(Action::UploadData)?;
        if draft.commits {
            caller.may(Action::CommitVersion)?;
        }
        if !draft.tags.is_empty() {
            caller.may(Action::ChangeDataset)?;
        }
        for tag in &draft.tags {
            check_tag_name("tags", tag)?;
        }
        let id = ImportId::mint(&*self.ids);
        let prefix = check_prefix(draft.prefix)?;
        let (source, sealed) = self.check_source(caller, &id, draft.source).await?;
        Ok(Checked { id, source, sealed, prefix, commits: draft.commits, tags: draft.tags })
    }

    fn accept_import(
        &self,
        tx: &Tx<'_>,
        caller: &Caller,
        into: &Resolved,
        checked: Checked,
    ) -> Result<Import, ServiceError> {
        let source = match checked.source {
            Source::Provider { named, prefix } => provider_source(tx, caller, &named, prefix)?,
            Source::Found(source) => source,
        };
        if imports::count_alive(tx, &caller.team)? >= MOST {
            let message = format!("{MOST} imports of your team are not over, which is the most: wait, or cancel some");
            return Err(ServiceError::TooMany { code: "too_many_imports", message });
        }
        let new = imports::NewImport {
            id: checked.id,
            version: into.version.seq,
            user: caller.user.clone(),
            source,
            sealed: checked.sealed,
            prefix: checked.prefix,
            commits: checked.commits,
            tags: checked.tags,
            may_publish: caller.may(Action::PublishDataset).is_ok(),
        };
        imports::insert(tx, &new, self.clock.now())?;
        find(tx, caller, &new.id)
    }

    /// Returns one import.
    pub async fn import(&self, caller: &Caller, id: &ImportId) -> Result<ImportNow, ServiceError> {
        caller.may(Action::ViewDatasets)?;
        let (caller, id) = (caller.clone(), id.clone());
        let import = self.store.read(move |connection| find(connection, &caller, &id)).await?;
        Ok(self.import_now(import))
    }

    /// Lists the imports into a version of the team, newest first.
    pub async fn imports(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ImportNow>, ServiceError> {
        caller.may(Action::ViewDatasets)?;
        let team = caller.team.clone();
        let found = self
            .store
            .read(move |connection| {
                let dataset = references::dataset(connection, &team, &dataset)?;
                let version = references::version(connection, &team, &dataset, &version)?;
                if version.team != team {
                    // Where another team's public dataset came from is its own affair.
                    return Ok(Vec::new());
                }
                Ok::<_, ServiceError>(imports::of_version(connection, version.seq, before, limit)?)
            })
            .await?;
        Ok(found.into_iter().map(|import| self.import_now(import)).collect())
    }

    /// Lists the team's imports, newest first, from before number `before`.
    pub async fn all_imports(
        &self,
        caller: &Caller,
        filter: ImportFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ImportNow>, ServiceError> {
        caller.may(Action::ViewDatasets)?;
        let team = caller.team.clone();
        let found =
            self.store.read(move |connection| imports::of_team(connection, &team, &filter, before, limit)).await;
        Ok(found.map_err(ServiceError::from)?.into_iter().map(|import| self.import_now(import)).collect())
    }

    /// Ends an import. What came so far stays in the version; one that is over stays as it is.
    pub async fn cancel_import(&self, caller: &Caller, id: &ImportId) -> Result<ImportNow, ServiceError> {
        caller.may(Action::UploadData)?;
        let (services, caller, id) = (self.clone(), caller.clone(), id.clone());
        let import = self
            .store
            .write(move |tx| {
                let import = find(tx, &caller, &id)?;
                let words = "cancelled because somebody asked for it; what came so far is in the version";
                imports::finish(tx, &import, ImportState::Cancelled, Some(words), None, services.clock.now())?;
                find(tx, &caller, &id)
            })
            .await?;
        Ok(self.import_now(import))
    }

    /// Opens what is secret of an import's source: the whole URL, or the secret key of a bucket.
    pub(crate) async fn import_secret(&self, import: &Import) -> Result<Option<Secret<String>>, ServiceError> {
        let seq = import.seq;
        let sealed: Option<Vec<u8>> = self.store.read(move |connection| imports::sealed(connection, seq)).await?;
        let Some(sealed) = sealed else { return Ok(None) };
        let opened = self.sealer.open(&place(&import.id), &sealed)?;
        Ok(Some(Secret::new(String::from_utf8_lossy(opened.reveal()).into_owned())))
    }

    /// Returns how far imports from what users name may reach.
    pub(crate) fn import_reach(&self) -> Reach {
        Reach { local: self.settings.storage.import_local, ..Reach::ELSEWHERE }
    }

    fn import_now(&self, import: Import) -> ImportNow {
        let progress = match import.totals {
            Some(done) => Some(ImportProgress { done, total_files: Some(done.files), total_bytes: Some(done.bytes) }),
            None => self.board.import_progress(&import.id),
        };
        ImportNow { import, progress }
    }

    async fn check_source(
        &self,
        caller: &Caller,
        id: &ImportId,
        source: DraftSource,
    ) -> Result<(Source, Option<Vec<u8>>), ServiceError> {
        let seal = |text: &str| self.sealer.seal(&place(id), text.as_bytes());
        Ok(match source {
            DraftSource::Url { url, unpack } => {
                let shown = check_url(&url, self.import_reach())?;
                (Source::Found(ImportSource::Url { shown, unpack }), Some(seal(&url)?))
            }
            DraftSource::Provider { provider, prefix } => {
                (Source::Provider { named: provider, prefix: check_key_prefix(prefix)? }, None)
            }
            DraftSource::Bucket { place, secret_key, prefix } => {
                let place = place
                    .checked()
                    .map_err(|wrong| Invalid::new(format!("s3.{}", wrong.field), "bad_storage_place", wrong.words))?;
                check_text("s3.secretAccessKey", secret_key.reveal().clone(), 1024)?;
                let prefix = check_key_prefix(prefix)?;
                // Nothing is sent: only what can never be reached is refused now.
                S3Bucket::open(&place, secret_key.reveal(), self.import_reach())
                    .map_err(|error| Invalid::new("s3.endpoint", "bad_place", error.to_string()))?;
                (Source::Found(ImportSource::Bucket { place, prefix }), Some(seal(secret_key.reveal())?))
            }
            DraftSource::Directory { path } => {
                caller.may(Action::ImportDirectory)?;
                let allowed = self.settings.storage.import_dirs.clone();
                let path = super::blocking(move || check_directory(&path, &allowed)).await?;
                (Source::Found(ImportSource::Directory { path }), None)
            }
            DraftSource::Files { root, beneath, paths } => {
                let name = self.check_chosen(caller, &root, &beneath, &paths).await?;
                let paths = paths.into_iter().map(SavedPath).collect();
                let chosen = ChosenFiles { root, name, beneath: SavedPath(beneath), paths };
                (Source::Found(ImportSource::Files(chosen)), None)
            }
        })
    }
}

/// An import that is well formed.
struct Checked {
    id: ImportId,
    source: Source,
    sealed: Option<Vec<u8>>,
    prefix: String,
    commits: bool,
    tags: Vec<String>,
}

/// A source that is well formed; a provider is found in the transaction that accepts the import.
enum Source {
    Found(ImportSource),
    Provider { named: String, prefix: String },
}

fn place(id: &ImportId) -> Vec<u8> {
    format!("import {id}").into_bytes()
}

fn find(connection: &rusqlite::Connection, caller: &Caller, id: &ImportId) -> Result<Import, ServiceError> {
    imports::get(connection, &caller.team, id)?.ok_or_else(|| ServiceError::not_found("import", id))
}

fn provider_source(tx: &Tx<'_>, caller: &Caller, named: &str, prefix: String) -> Result<ImportSource, ServiceError> {
    let by_id = match named.parse::<ProviderId>() {
        Ok(id) => storage_providers::get(tx, &caller.team, &id)?,
        Err(_) => None,
    };
    let found = match by_id {
        Some(found) => Some(found),
        None => storage_providers::by_name(tx, &caller.team, named)?,
    };
    match found {
        Some(StorageProvider { id, name, kind: ProviderKind::S3, .. }) => {
            Ok(ImportSource::Provider { provider: id, name, prefix })
        }
        Some(_) => {
            let message = "that is the disk of this box: begin a version with parent to have the files of another";
            Err(Invalid::new("s3.provider", "not_s3", message).into())
        }
        None => {
            let message = "there is no such storage provider: see those of your team (GET /api/v1/storage-providers)";
            Err(Invalid::new("s3.provider", "unknown_provider", message).into())
        }
    }
}

fn check_prefix(prefix: Option<String>) -> Result<String, Invalid> {
    let prefix = prefix.unwrap_or_default();
    let trimmed = prefix.trim_end_matches('/');
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    let path = UserPath::from_bytes(trimmed.as_bytes());
    check_new_path("prefix", &path.map_err(|error| Invalid::new("prefix", "bad_path", error.to_string()))?)?;
    Ok(trimmed.to_owned())
}

/// Keys may hold anything, but 1024 bytes are the most that S3 takes.
fn check_key_prefix(prefix: String) -> Result<String, Invalid> {
    if prefix.len() > 1024 || prefix.chars().any(char::is_control) {
        let message = "the prefix is longer than 1024 bytes or has control characters in it";
        return Err(Invalid::new("s3.prefix", "bad_prefix", message));
    }
    Ok(prefix)
}

/// Checks all of a URL that can be known before anything is sent, and returns what of it may be shown:
/// not the query, which is often a password.
fn check_url(url: &str, reach: Reach) -> Result<String, Invalid> {
    let refused = |code, message: String| Err(Invalid::new("url", code, message));
    if url.len() > URL || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        let message = "the URL is longer than 8192 bytes or has spaces or control characters in it";
        return refused("bad_url", message.to_owned());
    }
    match fetch::check_url(url, reach) {
        Ok(()) => {}
        Err(error @ FetchError::Refused { .. }) => return refused("url_not_allowed", error.to_string()),
        Err(error) => return refused("bad_url", error.to_string()),
    }
    let shown = url.split(['?', '#']).next().unwrap_or_default();
    let named = shown.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    Ok(format!("{shown}{}", if named { "" } else { "/" }))
}

/// Returns the directory that `path` leads to, when an admin allows to import from there.
fn check_directory(path: &str, allowed: &[PathBuf]) -> Result<PathBuf, Invalid> {
    let refused = |code, message: String| Err(Invalid::new("directory", code, message));
    let asked = Path::new(path);
    if !asked.is_absolute() || asked.components().any(|part| part == Component::ParentDir) {
        return refused("bad_path", "give the directory from “/” on, without “..”".to_owned());
    }
    // The same answer for what is not there and what is not allowed: nobody can feel their way around.
    let words = || {
        let listed: Vec<_> = allowed.iter().map(|dir| dir.display().to_string()).collect();
        match listed.is_empty() {
            true => "imports from directories of this machine are off: an admin allows some with storage.import_dirs"
                .to_owned(),
            false => format!(
                "that is no directory in {}, from where imports are allowed (storage.import_dirs)",
                listed.join(", ")
            ),
        }
    };
    let Ok(resolved) = asked.canonicalize() else { return refused("directory_not_allowed", words()) };
    let inside = allowed.iter().filter_map(|dir| dir.canonicalize().ok()).any(|dir| resolved.starts_with(dir));
    if inside && resolved.is_dir() { Ok(resolved) } else { refused("directory_not_allowed", words()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_url_holds_no_password() {
        for (url, shown) in [
            ("https://host/a/b.tar?X-Amz-Signature=1", "https://host/a/b.tar"),
            ("http://host:8080/a#frag", "http://host:8080/a"),
            ("https://host", "https://host/"),
        ] {
            assert_eq!(check_url(url, Reach::ELSEWHERE).unwrap(), shown);
        }
        for bad in ["ftp://host/a", "host/a", "https://", "https://ho st/a", "file:///etc/passwd", "https://a@/b"] {
            assert_eq!(check_url(bad, Reach::ELSEWHERE).unwrap_err().code, "bad_url", "{bad}");
        }
    }

    #[test]
    fn a_url_with_a_password_or_to_this_machine_is_refused_before_it_is_kept() {
        for with in ["http://user:secret@host/a", "https://token@host/a", "https://:secret@host/"] {
            let refused = check_url(with, Reach::WORK).unwrap_err();
            assert_eq!(refused.code, "bad_url");
            assert!(!refused.message.contains("secret"), "{}", refused.message);
        }
        assert_eq!(check_url("http://127.0.0.1/a", Reach::ELSEWHERE).unwrap_err().code, "url_not_allowed");
        assert!(check_url("http://127.0.0.1/a", Reach::WORK).is_ok());
    }

    #[test]
    fn only_what_is_inside_an_allowed_directory_is_imported_from() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for dir in ["allowed/data", "allowed-too", "other"] {
            std::fs::create_dir_all(at(dir)).unwrap();
        }
        std::os::unix::fs::symlink(at("other"), at("allowed/link")).unwrap();
        std::fs::write(at("allowed/file"), "x").unwrap();
        let allowed = [at("allowed")];
        let check = |path: PathBuf| check_directory(path.to_str().unwrap(), &allowed).map_err(|invalid| invalid.code);
        assert_eq!(check(at("allowed")), Ok(at("allowed").canonicalize().unwrap()));
        assert!(check(at("allowed/data")).is_ok());
        for out in ["allowed/link", "allowed-too", "other", "allowed/file", "allowed/none"] {
            assert_eq!(check(at(out)), Err("directory_not_allowed"), "{out}");
        }
        assert_eq!(check(at("allowed/../other")), Err("bad_path"));
        assert_eq!(check_directory("relative", &allowed).unwrap_err().code, "bad_path");
        assert!(check_directory("/", &[]).unwrap_err().message.contains("storage.import_dirs"));
    }
}
