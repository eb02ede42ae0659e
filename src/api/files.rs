//! `/files/{root}`: files of notebooks and of `/storage`, whether anything runs or not. What is said of an entry,
//! and how one is named; reading, writing and copying are in files of their own.

use axum::response::{IntoResponse, Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use super::{Json, Problem, file_listing::path_base64, file_reading, file_writing};
use crate::{
    domain::{
        file_root::FileRoot,
        time::Timestamp,
        user_path::{InvalidPath, UserPath},
    },
    service::Services,
    storage::{
        beneath::Kind,
        files::{FileEntry, FileState},
    },
};

/// Returns the routes of this resource.
pub fn routes() -> OpenApiRouter<Services> {
    file_reading::routes().merge(file_writing::routes())
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

/// Returns what names a state of a file in headers.
pub(super) fn etag(state: FileState) -> String {
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

/// Reads which tree a URL names.
pub(super) fn file_root(text: &str) -> Result<FileRoot, Problem> {
    text.parse().map_err(|error| {
        Problem::new(StatusCode::NOT_FOUND, "notebook_not_found", format!("{error}; or say “storage”"))
    })
}

/// Answers for a file that has its place.
pub(super) fn answer(entry: FileEntry, replaced: bool) -> Result<Response, Problem> {
    let status = if replaced { StatusCode::OK } else { StatusCode::CREATED };
    let etag = HeaderValue::try_from(etag(entry.state())).map_err(Problem::internal)?;
    Ok((status, [(header::ETAG, etag)], Json(FileEntryView::from(entry))).into_response())
}

/// Returns the state that an `ETag` names.
pub(super) fn state_named(tag: &str) -> Option<String> {
    let state = tag.strip_prefix('"')?.strip_suffix('"')?;
    (!state.is_empty() && state.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')).then(|| state.to_owned())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::{Value, json};

    use crate::{
        api::router::tests::{Answer, Api},
        domain::{board::DiskRoom, caller::Scope},
    };

    async fn notebook(api: &Api, public: bool) -> String {
        let body = json!({ "image": "busybox", "start": false, "public": public });
        let made = api.ask("POST", "notebooks", Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.text);
        made.body["id"].as_str().unwrap().to_owned()
    }

    async fn with(api: &Api, method: &str, path: &str, headers: &[(&str, &str)], body: &'static str) -> Answer {
        let bearer = format!("Bearer {}", api.key);
        api.send_bytes(method, path, &[&[("authorization", bearer.as_str())], headers].concat(), body).await
    }

    async fn names(api: &Api, list: &str) -> Vec<String> {
        let listed = api.ask("GET", list, None).await;
        assert_eq!(listed.status, 200, "{}", listed.text);
        listed.body["items"].as_array().unwrap().iter().map(|item| item["path"].as_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn files_are_put_listed_read_and_deleted_in_both_trees() {
        let api = Api::new().await;
        let id = notebook(&api, false).await;
        for root in [id.as_str(), "storage"] {
            let files = format!("files/{root}");
            assert!(names(&api, &format!("{files}/list")).await.is_empty());
            let put = api.put(&format!("{files}/content/a/b%20c.txt"), "hello").await;
            assert_eq!(put.status, 201, "{}", put.text);
            assert_eq!((&put.body["path"], &put.body["bytes"]), (&json!("a/b c.txt"), &json!(5)));
            assert_eq!(put.headers["etag"], put.body["etag"].as_str().unwrap());
            let put = api.put(&format!("{files}/content/z?executable=true"), "").await;
            assert_eq!(put.body["executable"], true);
            assert_eq!(names(&api, &format!("{files}/list")).await, ["a", "z"]);
            assert_eq!(names(&api, &format!("{files}/list?path=a")).await, ["a/b c.txt"]);
            let part = with(&api, "GET", &format!("{files}/content/a/b%20c.txt"), &[("range", "bytes=1-2")], "").await;
            assert_eq!((part.status, part.text.as_str()), (StatusCode::PARTIAL_CONTENT, "el"));
            let made = api.ask("POST", &format!("{files}/directories"), Some(json!({ "path": "n/e/w" }))).await;
            assert_eq!((made.status.as_u16(), &made.body["kind"]), (201, &json!("directory")));
            let again = api.ask("POST", &format!("{files}/directories"), Some(json!({ "path": "n/e/w" }))).await;
            assert_eq!(again.problem(), (409, "file_exists"));
            let full = api.ask("DELETE", &format!("{files}/content/a"), None).await;
            assert_eq!(full.problem(), (409, "directory_not_empty"));
            assert_eq!(api.ask("DELETE", &format!("{files}/content/a?recursive=true"), None).await.status, 204);
            let gone = api.ask("GET", &format!("{files}/content/a/b%20c.txt"), None).await;
            assert_eq!(gone.problem(), (404, "file_not_found"));
            let entry = api.ask("GET", &format!("{files}/entry?path=n/e"), None).await;
            assert_eq!(entry.body["name"], "e");
        }
    }

    #[tokio::test]
    async fn who_edits_does_not_lose_what_somebody_else_wrote() {
        let api = Api::new().await;
        let path = "files/storage/content/notes.md";
        assert_eq!(with(&api, "PUT", path, &[("if-none-match", "*")], "one").await.status, 201);
        let there = with(&api, "PUT", path, &[("if-none-match", "*")], "two").await;
        assert_eq!(there.problem(), (412, "file_exists"));
        let etag = api.ask("GET", path, None).await.headers["etag"].to_str().unwrap().to_owned();
        assert_eq!(with(&api, "PUT", path, &[("if-match", &etag)], "mine").await.status, 200);
        let late = with(&api, "PUT", path, &[("if-match", &etag)], "theirs").await;
        assert_eq!(late.problem(), (412, "file_changed"));
        assert_eq!(api.ask("GET", path, None).await.text, "mine");
        for bad in ["x", "\"\"", "\"a/b\""] {
            assert_eq!(
                with(&api, "PUT", path, &[("if-match", bad)], "x").await.problem(),
                (422, "bad_condition"),
                "{bad}"
            );
        }
    }

    #[tokio::test]
    async fn a_path_that_leads_out_or_through_a_link_is_refused() {
        let api = Api::new().await;
        api.put("files/storage/content/dir/file", "x").await;
        for bad in ["..%2fx", "a%2f..%2f..%2fx", "%2e%2e/x", "a%00b", "a%0ab", "a%5cb"] {
            assert_eq!(
                api.put(&format!("files/storage/content/{bad}"), "x").await.problem(),
                (422, "bad_path"),
                "{bad}"
            );
        }
        let through = api.put("files/storage/content/dir/file/x", "x").await;
        assert_eq!(through.problem(), (409, "not_a_directory"));
        assert_eq!(api.put("files/storage/content/dir", "x").await.problem(), (409, "is_directory"));
        for root in ["..", "Storage", "n000000000", "js0123456789ab"] {
            let lost = api.ask("GET", &format!("files/{root}/list"), None).await;
            assert_eq!(lost.problem(), (404, "notebook_not_found"), "{root}");
        }
        // Names need not be text.
        let odd = api.put("files/storage/content/%ff", "odd").await;
        assert_eq!((odd.status.as_u16(), &odd.body["pathBase64"]), (201, &json!("/w==")));
        let found = api.ask("GET", "files/storage/entry?pathBase64=/w%3D%3D", None).await;
        assert_eq!(found.body["bytes"], 3);
        assert_eq!(api.ask("GET", "files/storage/content/%ff", None).await.text, "odd");
    }

    #[tokio::test]
    async fn strangers_read_a_public_notebook_and_nothing_else() {
        let api = Api::new().await;
        let (public, private) = (notebook(&api, true).await, notebook(&api, false).await);
        for id in [&public, &private] {
            api.put(&format!("files/{id}/content/a"), "hello").await;
        }
        let stranger = api.stranger(Scope::Write).await;
        let ask = async |method: &str, path: &str, body: Option<Value>| {
            api.send(method, path, &[("authorization", &stranger)], body).await
        };
        assert_eq!(ask("GET", &format!("files/{public}/content/a"), None).await.text, "hello");
        assert_eq!(ask("GET", &format!("files/{public}/archive?format=tar"), None).await.status, 200);
        assert_eq!(ask("GET", &format!("files/{private}/list"), None).await.problem(), (404, "notebook_not_found"));
        assert_eq!(ask("GET", "files/storage/list", None).await.body["items"], json!([]));
        let put =
            api.send_bytes("PUT", &format!("files/{public}/content/a"), &[("authorization", &stranger)], "x").await;
        assert_eq!(put.problem(), (403, "forbidden"));
        assert_eq!(ask("DELETE", &format!("files/{public}/content/a"), None).await.problem(), (403, "forbidden"));
        let begin = ask("POST", &format!("files/{public}/uploads"), Some(json!({ "path": "b", "bytes": 1 }))).await;
        assert_eq!(begin.problem(), (403, "forbidden"));
        let transfer = json!({ "path": "a", "to": "mine", "toRoot": "storage" });
        assert_eq!(
            ask("POST", &format!("files/{public}/move"), Some(transfer.clone())).await.problem(),
            (403, "forbidden")
        );
        let copy = ask("POST", &format!("files/{public}/copy"), Some(transfer)).await;
        assert_eq!((copy.status.as_u16(), &copy.body["state"]), (200, &json!("done")), "{}", copy.text);
        assert_eq!(ask("GET", "files/storage/content/mine", None).await.text, "hello");
        assert!(names(&api, "files/storage/list").await.is_empty(), "it is theirs");
        let task = format!("file-tasks/{}", copy.body["id"].as_str().unwrap());
        assert_eq!(ask("GET", &task, None).await.status, 200);
        assert_eq!(api.ask("GET", &task, None).await.problem(), (404, "file_task_not_found"));
    }

    #[tokio::test]
    async fn a_key_that_only_reads_changes_nothing() {
        let api = Api::new().await;
        api.put("files/storage/content/a", "x").await;
        let made = api.ask("POST", "keys", Some(json!({ "name": "looker", "scope": "read" }))).await;
        let bearer = format!("Bearer {}", made.body["key"].as_str().unwrap());
        let put = api.send_bytes("PUT", "files/storage/content/a", &[("authorization", &bearer)], "y").await;
        assert_eq!(put.problem(), (403, "forbidden"));
        let got = api.send("GET", "files/storage/content/a", &[("authorization", &bearer)], None).await;
        assert_eq!(got.text, "x");
    }

    #[tokio::test]
    async fn what_is_copied_or_moved_never_replaces_by_chance() {
        let api = Api::new().await;
        let id = notebook(&api, false).await;
        api.put("files/storage/content/dir/x", "x").await;
        api.put("files/storage/content/y", "y").await;
        let act = async |verb: &str, body: Value| api.ask("POST", &format!("files/storage/{verb}"), Some(body)).await;
        let moved = act("move", json!({ "path": "dir", "to": "in/dir", "toRoot": id })).await;
        assert_eq!(moved.status, 200, "{}", moved.text);
        assert_eq!(api.ask("GET", &format!("files/{id}/content/in/dir/x"), None).await.text, "x");
        let copied = act("copy", json!({ "path": "y", "to": "z" })).await;
        assert_eq!((&copied.body["files"], &copied.body["bytes"]), (&json!(1), &json!(1)));
        assert_eq!(act("copy", json!({ "path": "y", "to": "z" })).await.problem(), (409, "file_exists"));
        assert_eq!(act("move", json!({ "path": "y", "to": "z" })).await.problem(), (409, "file_exists"));
        assert_eq!(act("move", json!({ "path": "y", "to": "z", "overwrite": true })).await.status, 200);
        assert_eq!(act("move", json!({ "path": "y", "to": "q" })).await.problem(), (404, "file_not_found"));
        assert_eq!(act("copy", json!({ "path": "y", "to": "q" })).await.problem(), (404, "file_not_found"));
        assert_eq!(act("copy", json!({ "path": "z", "to": "../q" })).await.problem(), (422, "bad_path"));
        assert_eq!(act("copy", json!({ "path": "z", "to": "" })).await.problem(), (422, "bad_path"));
        assert_eq!(act("copy", json!({ "path": "z", "to": "z" })).await.problem(), (422, "same_place"));
    }

    #[tokio::test]
    async fn entries_go_out_as_an_archive_under_their_own_names() {
        let api = Api::new().await;
        for path in ["a/one/x", "a/two", "b/two"] {
            api.put(&format!("files/storage/content/{path}"), path).await;
        }
        let tar = api.ask("GET", "files/storage/archive?format=tar&path=a/one&path=b", None).await;
        assert_eq!(tar.status, 200);
        let mut archive = tar::Archive::new(&*tar.bytes);
        let mut held: Vec<_> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        held.sort();
        assert_eq!(held, ["b", "b/two", "one", "one/x"]);
        let twice = api.ask("GET", "files/storage/archive?path=a/two&path=b/two", None).await;
        assert_eq!(twice.problem(), (422, "same_name"));
        let none = api.ask("GET", "files/storage/archive?path=none", None).await;
        assert_eq!(none.problem(), (404, "file_not_found"));
        let zip = api.ask("GET", "files/storage/archive", None).await;
        assert_eq!((zip.status.as_u16(), &zip.headers["content-type"]), (200, &"application/zip".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_quota_and_a_full_disk_are_told_and_deleting_still_works() {
        let api = Api::with_quota(10 << 20).await;
        assert_eq!(api.put("files/storage/content/a", vec![1; 1 << 20]).await.status, 201);
        let large = api.put("files/storage/content/b", vec![1; 12 << 20]).await;
        assert_eq!(large.problem(), (507, "quota_exceeded"));
        let begin = api.ask("POST", "files/storage/uploads", Some(json!({ "path": "b", "bytes": 20 << 20 }))).await;
        assert_eq!(begin.problem(), (507, "quota_exceeded"));
        assert_eq!(names(&api, "files/storage/list").await, ["a"]);
        api.board.set_disk(DiskRoom::Full);
        assert_eq!(api.put("files/storage/content/c", "x").await.problem(), (507, "disk_full"));
        let copy = api.ask("POST", "files/storage/copy", Some(json!({ "path": "a", "to": "d" }))).await;
        assert_eq!(copy.problem(), (507, "disk_full"));
        assert_eq!(api.ask("DELETE", "files/storage/content/a", None).await.status, 204);
        assert!(names(&api, "files/storage/list").await.is_empty());
    }

    #[tokio::test]
    async fn a_notebook_whose_workspace_was_not_fetched_yet_takes_no_files() {
        let api = Api::new().await;
        let body = json!({ "image": "busybox", "start": false, "workspace": { "git": "https://git.invalid/x.git" } });
        let made = api.ask("POST", "notebooks", Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let id = made.body["id"].as_str().unwrap();
        assert!(names(&api, &format!("files/{id}/list")).await.is_empty());
        let put = api.put(&format!("files/{id}/content/a"), "x").await;
        assert_eq!(put.problem(), (409, "notebook_not_filled"));
        let fork = api.ask("POST", &format!("notebooks/{id}/fork"), None).await;
        assert_eq!(fork.status, 201, "{}", fork.text);
        let list = api.ask("GET", &format!("files/{}/list", fork.body["id"].as_str().unwrap()), None).await;
        assert_eq!(list.problem(), (409, "notebook_copying"));
    }
}
