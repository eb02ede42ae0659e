//! The URLs that [`super::dataset_files`] hands out, and what they answer whoever has one: files as S3
//! gives and takes them, parts of large files, and pages of a listing.
//!
//! ```text
//! /gradient/objects/DATASET/VERSION/PATH          GET, HEAD, PUT, DELETE
//! /gradient/parts/DATASET/VERSION/UPLOAD/NUMBER   PUT
//! /gradient/listings/DATASET/VERSION              GET
//! ```
//!
//! As in S3, a directory is nothing that could be fetched, and what is not there can be deleted.

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use base64::{DecodeError, Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{StatusCode, header};
use serde::Deserialize;

use super::{ROOT, listing_xml};
use crate::{
    api::{
        Path, Problem, Query,
        dataset_files::LONGEST,
        sent_file::Asked,
        signed::{self, Directories, Opened, Shown, SignatureQuery, open, open_file},
        tree_path::{TreePath, encoded},
        uploads::{announced, arriving},
    },
    domain::id::MultipartId,
    service::{
        ServiceError, Services,
        dataset_files::FileDraft,
        s3_listing::Listing,
        signed_urls::{Purpose, Signed, SignedMethod, SignedUrl, not_good},
    },
};

/// The routes of these URLs, which need no key.
pub const OBJECTS: &str = "/objects/{dataset}/{version}/{*path}";
pub const PARTS: &str = "/parts/{dataset}/{version}/{upload}/{number}";
pub const LISTINGS: &str = "/listings/{dataset}/{version}";

/// What makes a URL a signed one, with the page that is listed.
#[derive(Debug, Deserialize)]
pub struct ListingQuery {
    prefix: String,
    recursive: bool,
    after: Option<String>,
    limit: u32,
    expires: i64,
    key: String,
    signature: String,
}

/// Returns the URL of a call that was signed, at the box that is reached at `origin`.
pub fn url(origin: &str, url: &SignedUrl) -> String {
    let SignedUrl { signed: Signed { purpose, dataset, version, expires, key }, signature, .. } = url;
    let at = |kind: &str| format!("{origin}{ROOT}/{kind}/{dataset}/{version}");
    let mut query = form_urlencoded::Serializer::new(String::new());
    let place = match purpose {
        Purpose::File { path, .. } => format!("{}/{}", at("objects"), encoded(path)),
        Purpose::Part { upload, number } => format!("{}/{upload}/{number}", at("parts")),
        Purpose::List(listing) => {
            query.append_pair("prefix", &listing.prefix);
            query.append_pair("recursive", &listing.recursive.to_string());
            if let Some(after) = &listing.after {
                query.append_pair("after", &token(after));
            }
            query.append_pair("limit", &listing.limit.to_string());
            at("listings")
        }
    };
    query.append_pair("expires", &expires.to_string());
    query.append_pair("key", key.as_str());
    query.append_pair("signature", &signature.to_string());
    format!("{place}?{}", query.finish())
}

/// Writes where a page of a listing ended.
pub fn token(position: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(position)
}

/// Reads where a page of a listing ended.
///
/// # Errors
/// When it is not what [`token`] wrote.
pub fn position(token: &str) -> Result<Vec<u8>, DecodeError> {
    URL_SAFE_NO_PAD.decode(token)
}

/// Returns what names a part that has come, without the quotes.
pub fn part_etag(number: u32, bytes: u64) -> String {
    format!("{number}-{bytes}")
}

/// Sends a file.
pub async fn get(
    State(services): State<Services>,
    at: TreePath,
    Query(query): Query<SignatureQuery>,
    asked: Asked,
) -> Result<Response, Problem> {
    signed::send(&services, at, &query, &asked, Directories::Refused).await
}

/// Says how large a file is, if it is there.
pub async fn head(
    State(services): State<Services>,
    at: TreePath,
    Query(query): Query<SignatureQuery>,
    asked: Asked,
) -> Result<Response, Problem> {
    signed::send(&services, at, &query, &asked, Directories::Absent).await
}

/// Takes a file, whatever kind the client says that it is: it guesses by the name.
pub async fn put(
    State(services): State<Services>,
    at: TreePath,
    Query(query): Query<SignatureQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let Opened { caller, lease, dataset, version } = open_file(&services, SignedMethod::Put, &at, &query).await?;
    let file = FileDraft { path: at.path, executable: false, expected: None, announced: announced(request.headers()) };
    let body = Box::pin(arriving(request.into_body(), lease, LONGEST));
    let put = services.put_file(&caller, dataset, version, file, body).await?;
    Ok(([(header::ETAG, format!("\"{}\"", put.content.hash))], ()).into_response())
}

/// Removes a file. One that is not there is no error.
pub async fn delete(
    State(services): State<Services>,
    at: TreePath,
    Query(query): Query<SignatureQuery>,
) -> Result<StatusCode, Problem> {
    let Opened { caller, dataset, version, .. } = open_file(&services, SignedMethod::Delete, &at, &query).await?;
    match services.delete_one_file(&caller, dataset, version, at.path).await {
        Ok(_) | Err(ServiceError::NotFound { kind: "file", .. }) => Ok(StatusCode::NO_CONTENT),
        Err(error) => Err(error.into()),
    }
}

/// Takes a part of a large file.
pub async fn put_part(
    State(services): State<Services>,
    Path((dataset, version, upload, number)): Path<(String, String, MultipartId, u32)>,
    Query(query): Query<SignatureQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let purpose = Purpose::Part { upload: upload.clone(), number };
    let Opened { caller, lease, dataset, version } = open(&services, purpose, query.of(&dataset, &version)).await?;
    let body = Box::pin(arriving(request.into_body(), lease, LONGEST));
    let part = services.put_part(&caller, dataset, version, (upload, number), body).await?;
    Ok(([(header::ETAG, format!("\"{}\"", part_etag(part.number, part.bytes)))], ()).into_response())
}

/// Sends a page of a listing.
pub async fn list(
    State(services): State<Services>,
    Path((dataset, version)): Path<(String, String)>,
    Query(query): Query<ListingQuery>,
) -> Result<Response, Problem> {
    let ListingQuery { prefix, recursive, after, limit, expires, key, signature } = query;
    let after = after.as_deref().map(position).transpose();
    let after = after.map_err(|_| not_good())?;
    let listing = Listing { prefix, recursive, after, limit };
    let shown = Shown { dataset: &dataset, version: &version, expires, key: &key, signature: &signature };
    let Opened { caller, dataset, version, .. } = open(&services, Purpose::List(listing.clone()), shown).await?;
    let page = services.list_as_s3(&caller, dataset, version, listing.clone()).await?;
    let xml = listing_xml::write(&listing, page).map_err(Problem::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/xml; charset=utf-8")], xml).into_response())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{
        api::router::tests::Answer,
        gradient::router::tests::{Cloud, printed},
    };

    impl Cloud {
        /// Asks for the URL of one call on a version.
        pub async fn sign(&self, version: &str, method: &str, params: Value) -> Answer {
            let calls = json!({ "calls": [{ "method": method, "params": params }] });
            self.ask("POST", &format!("{version}/s3/preSignedUrls"), Some(calls)).await
        }

        /// Returns the URL of one call on a version, without the origin.
        pub async fn url(&self, version: &str, method: &str, params: Value) -> String {
            let signed = self.sign(version, method, params).await;
            let url = signed.body[0]["url"].as_str().unwrap_or_else(|| panic!("{}", signed.text));
            url.strip_prefix("http://localhost").unwrap().to_owned()
        }

        /// Uses a URL as whoever has one.
        pub async fn open(&self, method: &str, url: &str, body: &'static str) -> Answer {
            self.0.send_bytes(method, url, &[], body).await
        }

        pub async fn put_object(&self, version: &str, key: &str, body: &'static str) {
            let params = json!({ "Key": key, "ContentType": "application/octet-stream" });
            let put = self.open("PUT", &self.url(version, "putObject", params).await, body).await;
            assert_eq!(put.status, 200, "{key}: {}", put.text);
        }
    }

    /// Returns the texts of all elements of a name.
    fn texts(xml: &str, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        xml.split(&open).skip(1).filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned())).collect()
    }

    #[tokio::test]
    async fn a_file_is_put_found_fetched_and_removed_with_a_slash_or_without() {
        let cloud = Cloud::new().await;
        let version = cloud.draft("d").await;
        let name = "/dir/a b+c&d%41 größe 日本.txt";
        cloud.put_object(&version, name, "hello").await;
        let bare = json!({ "Key": name.trim_start_matches('/') });
        let head = cloud.open("HEAD", &cloud.url(&version, "headObject", bare.clone()).await, "").await;
        assert_eq!((head.status.as_u16(), &head.headers["content-length"]), (200, &"5".parse().unwrap()));
        let get = cloud.url(&version, "getObject", bare.clone()).await;
        assert_eq!(cloud.open("GET", &get, "").await.text, "hello");
        assert_eq!(cloud.url(&version, "getObject", json!({ "Key": name })).await, get);
        for nothing in ["dir", "dir/x", "dir/a/b", "other"] {
            let head =
                cloud.open("HEAD", &cloud.url(&version, "headObject", json!({ "Key": nothing })).await, "").await;
            assert_eq!(head.status, 404, "{nothing}");
            let refused = cloud.sign(&version, "getObject", json!({ "Key": nothing })).await;
            assert!(printed(&refused).0 == 404 && printed(&refused).1.contains("no file"), "{}", refused.text);
            let delete = cloud.url(&version, "deleteObject", json!({ "Key": nothing })).await;
            assert_eq!(cloud.open("DELETE", &delete, "").await.status, 204, "{nothing}");
        }
        let delete = cloud.url(&version, "deleteObject", bare).await;
        for _ in 0..2 {
            assert_eq!(cloud.open("DELETE", &delete, "").await.status, 204);
        }
        assert_eq!(cloud.open("GET", &get, "").await.status, 404);
    }

    #[tokio::test]
    async fn a_url_is_for_one_method_on_one_file_until_its_time() {
        let cloud = Cloud::new().await;
        let version = cloud.draft("d").await;
        for key in ["/a", "/b"] {
            cloud.put_object(&version, key, "1").await;
        }
        let get = cloud.url(&version, "getObject", json!({ "Key": "a" })).await;
        let put = cloud.url(&version, "putObject", json!({ "Key": "a" })).await;
        let list = cloud.url(&version, "listObjectsV2", json!({ "Prefix": "/", "MaxKeys": 20 })).await;
        let expires = get.split("expires=").nth(1).unwrap().split('&').next().unwrap();
        let later = get.replace(expires, &(expires.parse::<i64>().unwrap() + 1).to_string());
        let earlier = get.replace(expires, "1");
        let other = cloud.draft("other").await;
        let (ids, others) = (version.split('/'), other.split('/'));
        let elsewhere = ids.zip(others).fold(get.clone(), |url, (id, other)| url.replace(id, other));
        for (method, url) in [
            ("HEAD", get.clone()),
            ("PUT", get.clone()),
            ("DELETE", get.clone()),
            ("GET", put.clone()),
            ("DELETE", put.clone()),
            ("GET", get.replace("/a?", "/b?")),
            ("GET", elsewhere),
            ("GET", later),
            ("GET", earlier),
            ("GET", get.replace("key=k", "key=j")),
            ("GET", get.replace("signature=", "signature=0")),
            ("GET", list.replace("limit=20", "limit=21")),
            ("GET", list.replace("recursive=false", "recursive=true")),
            ("GET", list.replace("prefix=", "prefix=a")),
            ("GET", format!("{list}&after=YQ")),
            ("GET", format!("{list}&after=%")),
        ] {
            let refused = cloud.open(method, &url, "x").await;
            assert_eq!(refused.status, 403, "{method} {url}: {}", refused.text);
            assert!(method == "HEAD" || !printed(&refused).1.is_empty(), "{}", refused.text);
        }
        for nonsense in [get.split('?').next().unwrap(), "/gradient/objects/a/b/c?expires=x", "/gradient/listings/a/b"]
        {
            assert!(cloud.open("GET", nonsense, "").await.status.is_client_error(), "{nonsense}");
        }
        assert_eq!(cloud.open("GET", &get, "").await.text, "1");
    }

    #[tokio::test]
    async fn a_url_has_the_rights_of_its_key_and_ends_with_it() {
        let cloud = Cloud::new().await;
        let version = cloud.draft("d").await;
        cloud.put_object(&version, "/a", "1").await;
        let made = cloud.0.ask("POST", "keys", Some(json!({ "name": "r", "scope": "read" }))).await.body;
        let key = made["key"].as_str().unwrap();
        let sign = async |method: &str| {
            let calls = json!({ "calls": [{ "method": method, "params": { "Key": "a" } }] });
            cloud.ask_as(key, "POST", &format!("{version}/s3/preSignedUrls"), Some(calls)).await
        };
        for method in ["putObject", "deleteObject", "createMultipartUpload"] {
            assert_eq!(printed(&sign(method).await).0, 403, "{method}");
        }
        let url = sign("getObject").await.body[0]["url"].as_str().unwrap().replace("http://localhost", "");
        assert_eq!(cloud.open("GET", &url, "").await.text, "1");
        cloud.0.ask("DELETE", &format!("keys/{}", made["id"].as_str().unwrap()), None).await;
        assert_eq!(cloud.open("GET", &url, "").await.status, 403);
    }

    #[tokio::test]
    async fn a_committed_version_takes_nothing_whenever_it_was_signed() {
        let cloud = Cloud::new().await;
        let version = cloud.draft("d").await;
        cloud.put_object(&version, "/a", "1").await;
        let put = cloud.url(&version, "putObject", json!({ "Key": "b" })).await;
        let delete = cloud.url(&version, "deleteObject", json!({ "Key": "a" })).await;
        let begun = cloud.sign(&version, "createMultipartUpload", json!({ "Key": "c" })).await;
        let upload = begun.body[0]["url"]["UploadId"].clone();
        let part = json!({ "Key": "c", "UploadId": upload, "PartNumber": 1 });
        let part = cloud.url(&version, "uploadPart", part).await;
        assert_eq!(cloud.ask("POST", &version, Some(json!({ "isCommitted": true }))).await.status, 200);
        for (method, url) in [("PUT", &put), ("DELETE", &delete), ("PUT", &part)] {
            assert_eq!(cloud.open(method, url, "x").await.status, 409, "{method} {url}");
        }
        for method in ["putObject", "deleteObject", "createMultipartUpload"] {
            let refused = cloud.sign(&version, method, json!({ "Key": "b" })).await;
            assert!(printed(&refused).0 == 409 && printed(&refused).1.contains("committed"), "{}", refused.text);
        }
        let get = cloud.url(&version, "getObject", json!({ "Key": "a" })).await;
        assert_eq!(cloud.open("GET", &get, "").await.text, "1");
    }

    #[tokio::test]
    async fn pages_go_on_after_a_key_while_files_are_removed() {
        let cloud = Cloud::new().await;
        let version = cloud.draft("d").await;
        let keys: Vec<String> = (0..7).map(|n| format!("/dir/{n} ü")).collect();
        for key in &keys {
            cloud.put_object(&version, key, "x").await;
        }
        let (mut removed, mut token) = (Vec::new(), None::<String>);
        for _ in 0..10 {
            let params = json!({ "Prefix": "/dir/", "MaxKeys": 2, "Delimiter": "", "ContinuationToken": token });
            let page = cloud.open("GET", &cloud.url(&version, "listObjectsV2", params).await, "").await;
            assert_eq!(page.headers["content-type"], "application/xml; charset=utf-8");
            assert_eq!(texts(&page.text, "Prefix"), ["/dir/"], "{}", page.text);
            for key in texts(&page.text, "Key") {
                let delete = cloud.url(&version, "deleteObject", json!({ "Key": key.trim_start_matches('/') })).await;
                assert_eq!(cloud.open("DELETE", &delete, "").await.status, 204);
                removed.push(key);
            }
            token = texts(&page.text, "NextContinuationToken").pop();
            if token.is_none() {
                break;
            }
        }
        assert_eq!(removed, keys);
    }

    #[tokio::test]
    async fn a_listing_shows_directories_unless_all_is_asked_for() {
        let cloud = Cloud::new().await;
        let version = cloud.draft("d").await;
        for key in ["/a", "/dir/b", "/dir/sub/c", "/dir0"] {
            cloud.put_object(&version, key, "1234").await;
        }
        let list = async |params: Value| {
            let page = cloud.open("GET", &cloud.url(&version, "listObjectsV2", params).await, "").await;
            assert_eq!(page.status, 200, "{}", page.text);
            (texts(&page.text, "Key"), texts(&page.text, "CommonPrefixes"))
        };
        let (keys, directories) = list(json!({ "Prefix": "/", "MaxKeys": 20 })).await;
        assert_eq!((keys, directories), (vec!["/a".into(), "/dir0".into()], vec!["<Prefix>/dir/</Prefix>".into()]));
        let (keys, directories) = list(json!({ "Prefix": "//dir/./" })).await;
        assert_eq!((keys, directories), (vec!["/dir/b".into()], vec!["<Prefix>/dir/sub/</Prefix>".into()]));
        let (keys, _) = list(json!({ "Prefix": "dir/", "Delimiter": "" })).await;
        assert_eq!(keys, ["/dir/b", "/dir/sub/c"]);
        for nothing in ["/none/", "/a/", "/dir/b/"] {
            assert_eq!(list(json!({ "Prefix": nothing })).await, (Vec::new(), Vec::new()), "{nothing}");
        }
    }

    #[tokio::test]
    async fn what_runs_leave_behind_is_listed_as_far_as_s3_would_have_it() {
        let cloud = Cloud::new().await;
        let version = cloud.draft("d").await;
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind) in [
            (&b"a"[..], tar::EntryType::Symlink),
            (b"b", tar::EntryType::Symlink),
            (b"c", tar::EntryType::Regular),
            (b"d\xff", tar::EntryType::Regular),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(0);
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
            header.as_gnu_mut().unwrap().linkname[..1].copy_from_slice(b"c");
            header.set_cksum();
            tar.append(&header, &b""[..]).unwrap();
        }
        let taken = cloud.0.put(&format!("{}.tar", &version[1..]), tar.into_inner().unwrap()).await;
        assert_eq!(taken.status, 200, "{}", taken.text);
        let (mut keys, mut token) = (Vec::new(), None::<String>);
        loop {
            let params = json!({ "Prefix": "/", "MaxKeys": 1, "Delimiter": "", "ContinuationToken": token });
            let page = cloud.open("GET", &cloud.url(&version, "listObjectsV2", params).await, "").await;
            token = texts(&page.text, "NextContinuationToken").pop();
            let found = texts(&page.text, "Key");
            assert!(!found.is_empty() || token.is_none(), "the client stops at an empty page: {}", page.text);
            keys.extend(found);
            if token.is_none() {
                break;
            }
        }
        assert_eq!(keys, ["/c", "/d\u{fffd}"]);
        // A link is nothing that the client could be given.
        for key in ["a", "d\u{fffd}"] {
            assert_eq!(printed(&cloud.sign(&version, "getObject", json!({ "Key": key })).await).0, 404, "{key}");
        }
    }
}
