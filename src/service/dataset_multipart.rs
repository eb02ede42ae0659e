//! Large files in parts: begun, sent part by part in any order, over days if need be, and joined.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio_util::io::ReaderStream;

use super::{
    Invalid, ServiceError, Services, blocking,
    dataset_files::{FileDraft, FilePut, check_new_path, note},
    quota::Room,
    references::Resolved,
    version_home::{Home, of_tree, of_tree_at, writable},
};
use crate::{
    domain::{
        caller::Caller,
        dataset::{DatasetRef, VersionRef},
        id::MultipartId,
        user_path::UserPath,
    },
    storage::{
        dataset::{MultipartFacts, Part, PartWriter, TreeError},
        s3::S3Files,
    },
};

/// How large parts are best, in bytes.
pub const PART_BYTES: u64 = 16 << 20;
/// Bytes that are read from a part at once.
const PIECE: usize = 256 << 10;
/// Highest number of a part.
pub const MOST_PARTS: u32 = 10_000;

/// A file that comes in parts, and what of it has come.
#[derive(Debug, Clone)]
pub struct Multipart {
    pub id: MultipartId,
    pub path: UserPath,
    pub parts: Vec<Part>,
}

impl Services {
    /// Begins a file that comes in parts.
    pub async fn begin_multipart(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        path: UserPath,
        executable: bool,
    ) -> Result<MultipartId, ServiceError> {
        check_new_path("path", &path)?;
        let (found, home) = self.draft_home(caller, dataset, version).await?;
        self.check_quota(&caller.team, 0)?;
        self.refuse_beyond_limit(&found, &home, &path).await?;
        let id = MultipartId::mint(&*self.ids);
        let facts = MultipartFacts {
            dataset: found.dataset.id,
            version: found.version.id,
            path,
            executable,
            created_at: self.clock.now(),
        };
        let begun = id.clone();
        blocking(move || {
            home.parts.begin(&id, &facts)?;
            home.blobs.make_durable()?;
            Ok::<_, TreeError>(())
        })
        .await
        .map_err(of_tree)?;
        Ok(begun)
    }

    /// Lists the files that come into a version in parts.
    pub async fn multiparts(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
    ) -> Result<Vec<Multipart>, ServiceError> {
        let (found, home) = self.draft_home(caller, dataset, version).await?;
        let listed = blocking(move || {
            let mut all = Vec::new();
            for (id, facts) in home.parts.list()? {
                if facts.dataset == found.dataset.id && facts.version == found.version.id {
                    match home.parts.parts(&id) {
                        Ok(parts) => all.push(Multipart { id, path: facts.path, parts }),
                        // Ended since it was listed.
                        Err(TreeError::NotFound) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok(all)
        });
        listed.await.map_err(of_tree)
    }

    /// Returns one file that comes into a version in parts, and what of it has come.
    pub async fn multipart(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        id: MultipartId,
    ) -> Result<Multipart, ServiceError> {
        let (found, home) = self.draft_home(caller, dataset, version).await?;
        let path = self.facts(&found, &home, &id).await?.path;
        let (parts, upload) = (home.parts.clone(), id.clone());
        let parts = blocking(move || parts.parts(&upload)).await.map_err(|error| missing(error, &id))?;
        Ok(Multipart { id, path, parts })
    }

    /// Takes one part as it comes, in the place of one of that number that has come before.
    pub async fn put_part<E: std::fmt::Display>(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        (id, number): (MultipartId, u32),
        body: impl Stream<Item = Result<Bytes, E>> + Unpin + Send,
    ) -> Result<Part, ServiceError> {
        if !(1..=MOST_PARTS).contains(&number) {
            let message = format!("parts are numbered from 1 to {MOST_PARTS}: send larger ones");
            return Err(Invalid::new("part", "out_of_range", message).into());
        }
        let (found, home) = self.draft_home(caller, dataset, version).await?;
        self.facts(&found, &home, &id).await?;
        let _stream = self.stream()?;
        let (parts, upload) = (home.parts.clone(), id.clone());
        let writer = blocking(move || parts.part(&upload, number)).await.map_err(|error| missing(error, &id))?;
        let sink = |writer: &mut PartWriter, piece: &[u8]| writer.write(piece);
        let writer = self.pour(Room::Kept(&caller.team), writer, sink, Bytes::new(), super::streams::paced(body)).await;
        let writer = writer.map_err(|error| error.or(of_tree))?;
        let part = blocking(move || writer.finish()).await.map_err(|error| missing(error, &id))?;
        home.blobs.durable().await?;
        Ok(part)
    }

    /// Joins the parts and puts the file into its version.
    pub async fn complete_multipart(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        id: MultipartId,
    ) -> Result<(UserPath, FilePut), ServiceError> {
        let (found, home) = self.draft_home(caller, dataset, version).await?;
        let facts = self.facts(&found, &home, &id).await?;
        self.refuse_beyond_limit(&found, &home, &facts.path).await?;
        let bytes = self.parts_bytes(&home, &id).await?;
        // Once more as much, until the parts are removed.
        self.take(&caller.team, bytes)?;
        if let Some(files) = home.s3.clone() {
            return self.complete_s3(&found, &home, &files, id, facts).await;
        }
        let pass = self.pass(&found).await?;
        let (joining, upload) = (home.clone(), id.clone());
        let put = blocking(move || {
            writable(&joining.files)?;
            let (content, replaced) = joining.parts.complete(&upload, &joining.files)?;
            Ok::<_, TreeError>(note(&pass, content, &replaced))
        });
        let put = put.await.map_err(|error| match error {
            TreeError::NotFound => missing(error, &id),
            other => of_tree_at(other, &facts.path),
        })?;
        home.blobs.durable().await?;
        blocking(move || home.parts.abort(&id)).await.map_err(of_tree)?;
        self.tell_progress(&found.version);
        Ok((facts.path, put))
    }

    /// Sends the parts, one after the other, to a bucket.
    async fn complete_s3(
        &self,
        found: &Resolved,
        home: &Home,
        files: &S3Files,
        id: MultipartId,
        facts: MultipartFacts,
    ) -> Result<(UserPath, FilePut), ServiceError> {
        let (parts, upload) = (home.parts.clone(), id.clone());
        let open = blocking(move || parts.open_parts(&upload)).await.map_err(|error| missing(error, &id))?;
        let pieces = futures_util::stream::iter(open)
            .flat_map(|part| ReaderStream::with_capacity(tokio::fs::File::from_std(part), PIECE));
        let file =
            FileDraft { path: facts.path.clone(), executable: facts.executable, expected: None, announced: None };
        let put = self.put_s3(found, home, files, file, pieces).await?;
        let parts = home.parts.clone();
        blocking(move || parts.abort(&id)).await.map_err(of_tree)?;
        Ok((facts.path, put))
    }

    /// Ends a file that comes in parts, and forgets the parts.
    pub async fn abort_multipart(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
        id: MultipartId,
    ) -> Result<(), ServiceError> {
        let (found, home) = self.draft_home(caller, dataset, version).await?;
        self.facts(&found, &home, &id).await?;
        blocking(move || home.parts.abort(&id)).await.map_err(of_tree)
    }

    async fn draft_home(
        &self,
        caller: &Caller,
        dataset: DatasetRef,
        version: VersionRef,
    ) -> Result<(Resolved, Home), ServiceError> {
        let found = self.find_draft(caller, dataset, version).await?;
        let home = self.home(&found.dataset, &found.version.id).await?;
        Ok((found, home))
    }

    /// Returns what is known of an upload into this version; one into another is not there.
    async fn facts(&self, found: &Resolved, home: &Home, id: &MultipartId) -> Result<MultipartFacts, ServiceError> {
        let (parts, upload) = (home.parts.clone(), id.clone());
        let facts = blocking(move || parts.facts(&upload)).await.map_err(|error| missing(error, id))?;
        let here = facts.dataset == found.dataset.id && facts.version == found.version.id;
        if here { Ok(facts) } else { Err(ServiceError::not_found("multipart upload", id)) }
    }

    async fn parts_bytes(&self, home: &Home, id: &MultipartId) -> Result<u64, ServiceError> {
        let (parts, upload) = (home.parts.clone(), id.clone());
        let parts = blocking(move || parts.parts(&upload)).await.map_err(|error| missing(error, id))?;
        Ok(parts.iter().map(|part| part.bytes).sum())
    }
}

fn missing(error: TreeError, id: &MultipartId) -> ServiceError {
    match error {
        TreeError::NotFound => ServiceError::not_found("multipart upload", id),
        other => of_tree(other),
    }
}
