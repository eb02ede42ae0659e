//! Where imports bring files from: a URL, a bucket, or a tree of files of this machine (in
//! [`super::import_trees`]).

use std::{io, sync::Mutex};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;

use super::{Works, import_journal::Journal, import_trees, imports::journal};
use crate::{
    domain::{
        content::Totals,
        import::{Import, ImportProgress, ImportSource},
        user_path::{UserPath, shown},
    },
    service::{
        ServiceError, blocking,
        dataset_files::{FileDraft, check_new_path},
        references::Resolved,
    },
    storage::s3::{
        Object, S3Bucket, S3Error,
        fetch::{FetchError, Fetcher},
    },
};

/// Objects that come at the same time.
const OBJECTS: usize = 8;

/// What came.
#[derive(Debug, Default)]
pub(super) struct Brought {
    pub totals: Totals,
    /// What cannot be in a version, in words.
    pub left_out: Option<String>,
}

/// Why an import did not bring everything.
#[derive(Debug)]
pub(super) enum Trouble {
    /// For good, in words.
    Final(String),
    /// The source does not answer as it should; it may in a while.
    Passing(String),
    /// Something of this box; the import is begun again, as often as it takes.
    Later(anyhow::Error),
}

impl From<ServiceError> for Trouble {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::DiskFull | ServiceError::Store(_) | ServiceError::Io(_) | ServiceError::Seal(_) => {
                Self::Later(error.into())
            }
            // The source stood still, or all but.
            ServiceError::Conflict { code: "upload_cut_off", message } => Self::Passing(message),
            other => Self::Final(other.to_string()),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Later(error.into())
    }
}

impl From<S3Error> for Trouble {
    fn from(error: S3Error) -> Self {
        if error.is_passing() { Self::Passing(error.to_string()) } else { Self::Final(error.to_string()) }
    }
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Unreachable { .. } | FetchError::Broken { .. } => Self::Passing(error.to_string()),
            FetchError::Status { status, .. } if status.is_server_error() => Self::Passing(error.to_string()),
            other => Self::Final(other.to_string()),
        }
    }
}

/// Brings everything into the version.
pub(super) fn bring<'a>(
    works: &'a Works,
    import: &'a Import,
    found: &'a Resolved,
    token: &'a CancellationToken,
) -> BoxFuture<'a, Result<Brought, Trouble>> {
    bring_from(works, import, found, token).boxed()
}

async fn bring_from(
    works: &Works,
    import: &Import,
    found: &Resolved,
    token: &CancellationToken,
) -> Result<Brought, Trouble> {
    let prefix = match import.prefix.as_str() {
        "" => UserPath::root(),
        text => UserPath::from_bytes(text.as_bytes()).map_err(|error| Trouble::Final(error.to_string()))?,
    };
    let reach = works.services.import_reach();
    match &import.source {
        ImportSource::Url { unpack, .. } => {
            let url = works.services.import_secret(import).await?.ok_or_else(forgotten)?;
            let fetched = Fetcher::new(reach)?.fetch(url.reveal()).await?;
            if *unpack {
                unpack_tar(works, import, found, prefix, fetched.bytes, fetched.stream).await
            } else {
                let path = joined(&prefix, &fetched.name)?;
                one_file(works, import, found, path, fetched.bytes, fetched.stream).await
            }
        }
        ImportSource::Provider { provider, prefix: keys, .. } => {
            let bucket = works.services.bucket(&import.team, provider).await?;
            objects(works, import, found, &prefix, bucket, keys).await
        }
        ImportSource::Bucket { place, prefix: keys } => {
            let secret = works.services.import_secret(import).await?.ok_or_else(forgotten)?;
            let bucket = S3Bucket::open(place, secret.reveal(), reach)?;
            objects(works, import, found, &prefix, bucket, keys).await
        }
        ImportSource::Directory { path } => {
            import_trees::directory(works, import, found, prefix, path.clone(), token).await
        }
        ImportSource::Files(chosen) => import_trees::chosen(works, import, found, prefix, chosen, token).await,
    }
}

fn forgotten() -> Trouble {
    Trouble::Final("what is secret of its source is not known any more: import it again".to_owned())
}

/// Returns the path of `name` beneath `prefix`, if it can be one of a version.
fn joined(prefix: &UserPath, name: &str) -> Result<UserPath, Trouble> {
    let odd = |why: String| Trouble::Final(format!("“{}” {why}", shown(name.as_bytes())));
    let whole = match prefix.is_root() {
        true => name.as_bytes().to_vec(),
        false => [prefix.as_bytes(), name.as_bytes()].join(&b'/'),
    };
    let path = UserPath::from_bytes(&whole);
    if path.as_ref().is_ok_and(|path| path.as_bytes() != whole) {
        // Brought under another name, it could take the place of the file that has that one.
        return Err(odd("has empty names or dots in it: a version cannot keep it under that name".to_owned()));
    }
    let path = path.map_err(|error| odd(format!("cannot be a path in a version: it {error}")))?;
    check_new_path("path", &path).map_err(|error| odd(error.to_string()))?;
    Ok(path)
}

async fn one_file(
    works: &Works,
    import: &Import,
    found: &Resolved,
    path: UserPath,
    bytes: Option<u64>,
    stream: impl futures_util::Stream<Item = Result<Bytes, FetchError>> + Unpin + Send,
) -> Result<Brought, Trouble> {
    let done = Mutex::new(Totals::default());
    let trouble = Mutex::new(None);
    let told = stream.map(|piece| match piece {
        Ok(piece) => {
            let mut done = done.lock().expect(HELD);
            done.bytes += piece.len() as u64;
            let progress = ImportProgress { done: *done, total_files: Some(1), total_bytes: bytes };
            works.board.set_import_progress(&import.id, Some(progress));
            Ok(piece)
        }
        Err(error) => {
            let words = error.to_string();
            *trouble.lock().expect(HELD) = Some(Trouble::from(error));
            Err(words)
        }
    });
    let file = FileDraft { path, executable: false, expected: None, announced: bytes };
    let put = works.services.put_found(found, file, told).await;
    if let Some(trouble) = trouble.into_inner().expect(HELD) {
        return Err(trouble);
    }
    Ok(Brought { totals: Totals { files: 1, bytes: put?.content.bytes }, left_out: None })
}

/// Unpacks a tar as it comes. How far it is counts in the archive's own bytes.
async fn unpack_tar(
    works: &Works,
    import: &Import,
    found: &Resolved,
    prefix: UserPath,
    bytes: Option<u64>,
    stream: impl futures_util::Stream<Item = Result<Bytes, FetchError>> + Unpin + Send,
) -> Result<Brought, Trouble> {
    let (done, trouble) = (Mutex::new(0), Mutex::new(None));
    let told = stream.map(|piece| {
        piece.inspect(|piece| count_bytes(works, import, &done, piece, bytes)).map_err(|error| {
            let words = error.to_string();
            *trouble.lock().expect(HELD) = Some(Trouble::from(error));
            words
        })
    });
    let taken = works.services.take_tar_found(found, prefix, told).await;
    if let Some(trouble) = trouble.into_inner().expect(HELD) {
        return Err(trouble);
    }
    Ok(Brought { totals: taken?.totals, left_out: None })
}

fn count_bytes(works: &Works, import: &Import, done: &Mutex<u64>, piece: &Bytes, total_bytes: Option<u64>) {
    let mut done = done.lock().expect(HELD);
    *done += piece.len() as u64;
    let progress = ImportProgress { done: Totals { files: 0, bytes: *done }, total_files: None, total_bytes };
    works.board.set_import_progress(&import.id, Some(progress));
}

/// Brings every object beneath a prefix, a few at a time.
async fn objects(
    works: &Works,
    import: &Import,
    found: &Resolved,
    prefix: &UserPath,
    bucket: S3Bucket,
    keys: &str,
) -> Result<Brought, Trouble> {
    let path = journal(works, import);
    let journal = blocking(move || Journal::open(&path)).await?;
    let all = Objects {
        works,
        import,
        found,
        prefix,
        keys,
        bucket: &bucket,
        journal: &Mutex::new(journal),
        progress: &Mutex::new(ImportProgress::default()),
    };
    let counting = async {
        let count = |sum: Totals, object: Object| async move {
            Ok::<_, S3Error>(Totals { files: sum.files + 1, bytes: sum.bytes + object.bytes })
        };
        let totals = bucket.all(keys).try_fold(Totals::default(), count).await?;
        all.tell(|progress| {
            (progress.total_files, progress.total_bytes) = (Some(totals.files), Some(totals.bytes));
        });
        Ok::<_, Trouble>(())
    };
    let bringing = async {
        let (mut listed, mut coming, mut ended) = (bucket.all(keys).boxed(), FuturesUnordered::new(), false);
        loop {
            tokio::select! {
                object = listed.try_next(), if !ended && coming.len() < OBJECTS => match object? {
                    Some(object) => coming.push(all.bring(object)),
                    None => ended = true,
                },
                Some(done) = coming.next() => done?,
                else => return Ok::<_, Trouble>(()),
            }
        }
    };
    tokio::try_join!(counting, bringing)?;
    let totals = all.progress.lock().expect(HELD).done;
    if totals.files == 0 {
        return Err(Trouble::Final(format!("there is nothing whose key begins with “{}”", shown(keys.as_bytes()))));
    }
    Ok(Brought { totals, left_out: None })
}

/// What bringing one object needs.
#[derive(Clone, Copy)]
struct Objects<'a> {
    works: &'a Works,
    import: &'a Import,
    found: &'a Resolved,
    prefix: &'a UserPath,
    keys: &'a str,
    bucket: &'a S3Bucket,
    journal: &'a Mutex<Journal>,
    progress: &'a Mutex<ImportProgress>,
}

impl Objects<'_> {
    async fn bring(self, object: Object) -> Result<(), Trouble> {
        if self.bucket.is_marker(&object).await? {
            return Ok(());
        }
        let path = joined(self.prefix, &name_of(&object.key, self.keys))?;
        let etag = object.etag.as_deref();
        let known = self.journal.lock().expect(HELD).has(&object.key, object.bytes, etag);
        if !known || !self.is_there(&path, object.bytes).await? {
            let got = self.bucket.get(&object.key, None, etag).await?;
            let trouble = Mutex::new(None);
            let stream = got.stream.map(|piece| {
                piece.map_err(|error| {
                    let words = error.to_string();
                    *trouble.lock().expect(HELD) = Some(Trouble::from(error));
                    words
                })
            });
            let file = FileDraft { path, executable: false, expected: None, announced: Some(object.bytes) };
            let put = self.works.services.put_found(self.found, file, stream).await;
            if let Some(trouble) = trouble.into_inner().expect(HELD) {
                return Err(trouble);
            }
            let put = put?;
            if put.content.bytes != object.bytes {
                return Err(Trouble::Passing(format!("“{}” ended before it was whole", shown(object.key.as_bytes()))));
            }
            crate::fault::point("import.object.put");
            self.journal.lock().expect(HELD).note(&object.key, object.bytes, etag)?;
        }
        self.tell(|progress| {
            progress.done.files += 1;
            progress.done.bytes += object.bytes;
        });
        Ok(())
    }

    /// Says whether the file that was brought is still there.
    async fn is_there(&self, path: &UserPath, bytes: u64) -> Result<bool, Trouble> {
        let home = self.works.services.home(&self.found.dataset, &self.found.version.id).await?;
        match home.open_file(path).await {
            Ok(found) => Ok(found.bytes == bytes),
            Err(ServiceError::NotFound { .. } | ServiceError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn tell(&self, change: impl FnOnce(&mut ImportProgress)) {
        let mut progress = self.progress.lock().expect(HELD);
        change(&mut progress);
        self.works.board.set_import_progress(&self.import.id, Some(*progress));
    }
}

/// Returns what an object is called beneath the prefix: what its key has behind it, or its last name
/// when that is all of the key.
fn name_of(key: &str, keys: &str) -> String {
    let rest = key.strip_prefix(keys).unwrap_or(key).trim_start_matches('/');
    match rest {
        "" => key.rsplit('/').next().unwrap_or(key).to_owned(),
        rest => rest.to_owned(),
    }
}

const HELD: &str = "no code panics while it holds this lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_called_what_its_key_has_behind_the_prefix() {
        for (key, keys, name) in [
            ("data/a/b", "data/", "a/b"),
            ("data/a/b", "data", "a/b"),
            ("data/a/b", "", "data/a/b"),
            ("data/a", "data/a", "a"),
        ] {
            assert_eq!(name_of(key, keys), name);
        }
    }

    #[test]
    fn a_source_that_stands_still_is_asked_again() {
        let still = ServiceError::Conflict { code: "upload_cut_off", message: "nothing came".to_owned() };
        assert!(matches!(Trouble::from(still), Trouble::Passing(_)));
        let other = ServiceError::Conflict { code: "is_directory", message: String::new() };
        assert!(matches!(Trouble::from(other), Trouble::Final(_)));
    }

    #[test]
    fn a_key_that_leads_out_of_a_version_is_refused_by_name() {
        let prefix = UserPath::from_bytes(b"in").unwrap();
        assert_eq!(joined(&prefix, "a/b").unwrap().as_bytes(), b"in/a/b");
        for bad in ["../a", "a//b", "a\\b", "a/../../b", "a\nb"] {
            assert!(matches!(joined(&prefix, bad), Err(Trouble::Final(words)) if words.contains("a")), "{bad}");
        }
    }
}
