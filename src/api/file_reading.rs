//! `/files/{root}`: listed, looked at, fetched one by one or as an archive.
//!
//! Containers write anything, so no file is ever shown as a page of this origin; see [`sent_file`].

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Cursor, Json, Lease, Page, Paged, Path, Problem, Query, download,
    files::{FileEntryView, etag, file_root, named_path},
    problem::ProblemDocument,
    sent_file::{self, Asked},
    tree_path::TreePath,
};
use crate::{
    domain::{caller::Caller, user_path::UserPath},
    service::{Services, version_home::FileSource},
    storage::{bundle::BundleKind, files::Position},
};

/// Most entries that are named for one archive.
const MOST_BUNDLED: usize = 1000;

/// Returns the routes that change nothing.
pub(super) fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(entry)).routes(routes!(get)).routes(routes!(archive))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct PathQuery {
    /// From the top of the tree. The top itself when left out.
    path: Option<String>,
    /// The same as base64, where it is not UTF-8.
    path_base64: Option<String>,
}

impl PathQuery {
    fn path(&self) -> Result<UserPath, Problem> {
        named_path(self.path.as_deref(), self.path_base64.as_deref(), "path")
    }
}

/// List a directory
///
/// Directories first, then by name.
#[utoipa::path(
    get, path = "/files/{root}/list", tag = "files",
    params(
        ("root" = String, Path, description = "Id of a notebook, or `storage` for the team's `/storage`"), PathQuery,
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page; empty for a notebook that nothing was put into yet", body = Page<FileEntryView>),
        (status = 404, description = "`notebook_not_found` or `file_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`notebook_copying`: its files are still being copied", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(services): State<Services>,
    caller: Caller,
    Path(root): Path<String>,
    paged: Paged<PathQuery>,
) -> Result<Json<Page<FileEntryView>>, Problem> {
    let after = paged.cursor.as_ref().map(Cursor::position::<Position>).transpose()?;
    let path = paged.filter.path()?;
    let page = services.list_files(&caller, &file_root(&root)?, path, after, paged.limit as usize).await?;
    let items = page.items.into_iter().map(FileEntryView::from).collect();
    Ok(Json(Page { items, next: page.next.map(Cursor::new) }))
}

/// Look at one entry
#[utoipa::path(
    get, path = "/files/{root}/entry", tag = "files",
    params(("root" = String, Path, description = "Id of a notebook, or `storage`"), PathQuery),
    responses(
        (status = 200, description = "A file, a directory or a link", body = FileEntryView),
        (status = 404, description = "`file_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn entry(
    State(services): State<Services>,
    caller: Caller,
    Path(root): Path<String>,
    Query(query): Query<PathQuery>,
) -> Result<Json<FileEntryView>, Problem> {
    Ok(Json(services.file_entry(&caller, &file_root(&root)?, query.path()?).await?.into()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GetQuery {
    /// Have browsers save it, whatever its kind.
    #[serde(default)]
    download: bool,
}

/// Fetch a file
///
/// Whole or in part: one `Range`, with `If-Range`; `If-None-Match` asks whether it has changed. Of a
/// notebook of the team, of a public one, or of `/storage`.
#[utoipa::path(
    get, path = "/files/{root}/content/{*path}", tag = "files",
    params(
        ("root" = String, Path, description = "Id of a notebook, or `storage`"),
        ("path" = String, Path, description = "Path of a file, with its slashes"), GetQuery,
    ),
    responses(
        (status = 200, description = "The file", content_type = "application/octet-stream", headers(("ETag" = String, description = "Names this state of the file"))),
        (status = 206, description = "The part that was asked for", content_type = "application/octet-stream"),
        (status = 304, description = "It has not changed"),
        (status = 404, description = "There is no such file; links are never followed", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 416, description = "It is shorter than that", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn get(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    at: TreePath,
    Query(query): Query<GetQuery>,
    asked: Asked,
) -> Result<Response, Problem> {
    let (file, inode) = services.open_user_file(&caller, &file_root(&at.root)?, &at.path).await?;
    let etag = Some(etag(inode.into()));
    let facts = sent_file::Facts { path: &at.path, etag, size_bytes: inode.bytes, save: query.download };
    sent_file::send(facts, FileSource::Disk(file), &asked, lease).await
}

/// Fetch files and directories as one archive
///
/// Each `path` with all that is in it, named from the directory that holds it; all of the tree without any.
/// A zip leaves out links and names that are not UTF-8.
#[utoipa::path(
    get, path = "/files/{root}/archive", tag = "files",
    params(
        ("root" = String, Path, description = "Id of a notebook, or `storage`"),
        ("path" = Option<Vec<String>>, Query, description = "An entry; may be given again, up to 1000 times"),
        ("pathBase64" = Option<Vec<String>>, Query, description = "The same as base64"),
        ("format" = Option<String>, Query, description = "`zip` or `tar`; `zip` when left out"),
    ),
    responses(
        (status = 200, description = "The archive, written while it is sent", content_type = "application/zip"),
        (status = 404, description = "`file_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`same_name`: two entries are called alike", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "`too_many_streams`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn archive(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    Path(root): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let root = file_root(&root)?;
    let (paths, kind) = bundled(request.uri().query().unwrap_or_default())?;
    let name = match paths.as_slice() {
        [one] => crate::domain::user_path::shown(one.name().unwrap_or_default()),
        _ => root.to_string(),
    };
    let tree = services.files_to_bundle(&caller, &root, paths.clone()).await?.artifacts();
    download::archive(&services, lease, kind, &name, move |out| {
        let bundled = if paths.is_empty() { tree.bundle(kind, out)? } else { tree.bundle_some(&paths, kind, out)? };
        if bundled.left_out + bundled.shrank > 0 {
            tracing::info!(%root, ?bundled, "some files could not be bundled as they are");
        }
        Ok(())
    })
}

/// Reads what is to be bundled, and how.
fn bundled(query: &str) -> Result<(Vec<UserPath>, BundleKind), Problem> {
    let (mut paths, mut kind) = (Vec::new(), BundleKind::Zip);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("path", path) => paths.push(named_path(Some(path), None, "path")?),
            ("pathBase64", text) => paths.push(named_path(None, Some(text), "path")?),
            ("format", "zip") => kind = BundleKind::Zip,
            ("format", "tar") => kind = BundleKind::Tar,
            ("format", _) => return Err(Problem::invalid("invalid_query", "format", "format is zip or tar")),
            (other, _) => {
                let other: String = other.chars().take(100).collect();
                let detail = format!("there is no “{other}”: there are path, pathBase64, format");
                return Err(Problem::invalid("unknown_field", other, detail));
            }
        }
    }
    if paths.len() > MOST_BUNDLED {
        let detail = format!("at most {MOST_BUNDLED} entries go into one archive: name the directory that holds them");
        return Err(Problem::invalid("too_many", "path", detail));
    }
    // The top is everything.
    if paths.iter().any(UserPath::is_root) {
        paths.clear();
    }
    Ok((paths, kind))
}
