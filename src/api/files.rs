//! `/files/{root}`: files of notebooks and of `/storage`, whether anything runs or not.
//!
//! Containers write anything, so no file is ever shown as a page of this origin; see [`sent_file`].

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Cursor, Json, Lease, Page, Paged, Path, Problem, Query,
    dataset_files::LONGEST,
    download,
    file_listing::path_base64,
    problem::ProblemDocument,
    sent_file,
    tree_path::TreePath,
    uploads::{announced, arriving, refuse_forms},
};
use crate::{
    domain::{
        caller::Caller,
        file_root::FileRoot,
        time::Timestamp,
        user_path::{InvalidPath, UserPath},
    },
    service::{Services, files::NewFile},
    storage::{
        beneath::Kind,
        bundle::BundleKind,
        files::{Condition, FileEntry, FileState, Position},
    },
};

/// Most entries that are named for one archive.
const MOST_BUNDLED: usize = 1000;

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(entry))
        .routes(routes!(get, put, delete))
        .routes(routes!(make_directory))
        .routes(routes!(archive))
}

/// One entry of a tree of files.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileEntryView {
    /// From the top of the tree.
    path: String,
    /// The path's bytes, where they are not UTF-8 and `path` shows replacements. What takes a `path` takes
    /// this instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
    name: String,
    /// `file`, `directory`, `link` (never followed) or `other`.
    kind: &'static str,
    bytes: u64,
    #[schema(value_type = String, format = DateTime)]
    modified_at: Timestamp,
    /// Whether a file may be executed.
    executable: bool,
    /// Names this state of a file, as the header `ETag` does.
    #[serde(skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    /// Where a link says that it leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

impl From<FileEntry> for FileEntryView {
    fn from(entry: FileEntry) -> Self {
        let kind = entry.inode.kind;
        Self {
            path: entry.path.to_text(),
            path_base64: path_base64(&entry.path),
            name: String::from_utf8_lossy(entry.path.name().unwrap_or_default()).into_owned(),
            kind: match kind {
                Kind::File => "file",
                Kind::Directory => "directory",
                Kind::Link => "link",
                Kind::Other => "other",
            },
            bytes: if kind == Kind::File { entry.inode.bytes } else { 0 },
            modified_at: entry.inode.modified_at,
            executable: kind == Kind::File && entry.inode.mode & 0o100 != 0,
            etag: (kind == Kind::File).then(|| etag(entry.state())),
            target: entry.target.map(|target| String::from_utf8_lossy(&target).into_owned()),
        }
    }
}

fn etag(state: FileState) -> String {
    format!("\"{state}\"")
}

/// Reads a path that is named in one of two ways; neither is the top.
pub(super) fn named_path(path: Option<&str>, base64: Option<&str>, field: &str) -> Result<UserPath, Problem> {
    let bytes = match (path, base64) {
        (_, Some(text)) => STANDARD
            .decode(text)
            .map_err(|_| Problem::invalid("bad_path", field, format!("{field}Base64 is not base64")))?,
        (path, None) => path.unwrap_or_default().as_bytes().to_vec(),
    };
    UserPath::from_bytes(&bytes).map_err(|error: InvalidPath| {
        let shown = crate::domain::user_path::shown(&bytes);
        Problem::invalid("bad_path", field, format!("“{shown}” {error}"))
    })
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

/// Reads which tree a URL names.
pub(super) fn file_root(text: &str) -> Result<FileRoot, Problem> {
    text.parse().map_err(|error| {
        Problem::new(StatusCode::NOT_FOUND, "notebook_not_found", format!("{error}; or say “storage”"))
    })
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
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (file, inode) = services.open_user_file(&caller, &file_root(&at.root)?, &at.path).await?;
    let name = String::from_utf8_lossy(at.path.name().unwrap_or_default()).into_owned();
    let facts =
        sent_file::Facts { name: &name, etag: etag(inode.into()), size_bytes: inode.bytes, save: query.download };
    sent_file::send(facts, &headers, file, lease).await
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PutQuery {
    /// Whether it may be executed. As the file that was there when left out, and not for a new one.
    executable: Option<bool>,
}

/// Put a file
///
/// The body is the file. It is whole in one step, also for what runs and has it open; directories on the
/// way are made. It takes the place of a file that is there, whose mode and owner it gets.
#[utoipa::path(
    put, path = "/files/{root}/content/{*path}", tag = "files",
    params(
        ("root" = String, Path, description = "Id of a notebook, or `storage`"),
        ("path" = String, Path, description = "Path of the file, with its slashes"), PutQuery,
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if nothing is there"),
        ("If-Match" = Option<String>, Header, description = "An `ETag`: only if the file is still in that state"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file"),
    responses(
        (status = 201, description = "It is there now", body = FileEntryView, headers(("ETag" = String, description = "Names this state of the file"))),
        (status = 200, description = "It took the place of another", body = FileEntryView),
        (status = 403, description = "The notebook belongs to another team, or the key may only read", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`is_directory`, `not_a_directory`, `notebook_copying` or `notebook_not_filled`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 412, description = "`file_exists` or `file_changed`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "It is larger than this box takes", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`bad_path`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 507, description = "`disk_full` or `quota_exceeded`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn put(
    State(services): State<Services>,
    caller: Caller,
    lease: Lease,
    at: TreePath,
    Query(query): Query<PutQuery>,
    request: Request,
) -> Result<Response, Problem> {
    refuse_forms(request.headers())?;
    let new = NewFile {
        path: at.path,
        executable: query.executable,
        condition: condition(request.headers())?,
        announced: announced(request.headers()),
    };
    let body = Box::pin(arriving(request.into_body(), lease, LONGEST));
    let (entry, replaced) = services.put_user_file(&caller, &file_root(&at.root)?, new, body).await?;
    answer(entry, replaced)
}

/// Answers for a file that has its place.
pub(super) fn answer(entry: FileEntry, replaced: bool) -> Result<Response, Problem> {
    let status = if replaced { StatusCode::OK } else { StatusCode::CREATED };
    let etag = HeaderValue::try_from(etag(entry.state())).map_err(Problem::internal)?;
    Ok((status, [(header::ETAG, etag)], Json(FileEntryView::from(entry))).into_response())
}

fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default().trim());
    match (text(header::IF_NONE_MATCH), text(header::IF_MATCH)) {
        (None, None) => Ok(Condition::Any),
        (Some("*"), None) => Ok(Condition::New),
        (None, Some(tag)) => Ok(Condition::Unchanged(state_named(tag).ok_or_else(|| {
            Problem::invalid("bad_condition", "If-Match", "If-Match is one ETag that this box gave, with its quotes")
        })?)),
        _ => {
            let detail = "say If-None-Match: * for a file that is new, or If-Match with an ETag for one that is known";
            Err(Problem::invalid("bad_condition", "If-None-Match", detail))
        }
    }
}

/// Returns the state that an `ETag` names.
pub(super) fn state_named(tag: &str) -> Option<String> {
    let state = tag.strip_prefix('"')?.strip_suffix('"')?;
    (!state.is_empty() && state.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')).then(|| state.to_owned())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeleteQuery {
    /// Also a directory that is not empty, with all that is in it.
    #[serde(default)]
    recursive: bool,
}

/// Delete a file, a link or a directory
#[utoipa::path(
    delete, path = "/files/{root}/content/{*path}", tag = "files",
    params(
        ("root" = String, Path, description = "Id of a notebook, or `storage`"),
        ("path" = String, Path, description = "Path of an entry, with its slashes"), DeleteQuery,
    ),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "`file_not_found`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`directory_not_empty`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn delete(
    State(services): State<Services>,
    caller: Caller,
    at: TreePath,
    Query(query): Query<DeleteQuery>,
) -> Result<StatusCode, Problem> {
    services.remove_user_file(&caller, &file_root(&at.root)?, at.path, query.recursive).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A directory that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewDirectory {
    path: Option<String>,
    /// The same as base64, where it is not UTF-8.
    path_base64: Option<String>,
}

/// Make a directory
///
/// With those on the way.
#[utoipa::path(
    post, path = "/files/{root}/directories", tag = "files", request_body = NewDirectory,
    params(("root" = String, Path, description = "Id of a notebook, or `storage`")),
    responses(
        (status = 201, description = "It is there now", body = FileEntryView),
        (status = 409, description = "`file_exists` or `not_a_directory`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`bad_path`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
async fn make_directory(
    State(services): State<Services>,
    caller: Caller,
    Path(root): Path<String>,
    Json(new): Json<NewDirectory>,
) -> Result<(StatusCode, Json<FileEntryView>), Problem> {
    let path = named_path(new.path.as_deref(), new.path_base64.as_deref(), "path")?;
    let entry = services.make_user_dir(&caller, &file_root(&root)?, path).await?;
    Ok((StatusCode::CREATED, Json(entry.into())))
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
