//! `datasets files`: what the client asks before it puts, gets, lists or removes files. It asks for
//! URLs, one for each thing that it means to do, in the words of S3; [`super::objects`] answers them.
//!
//! Files on S3 have URLs of this box, too: those end with the key that they were made with, what is put
//! is counted and known here, and what is fetched is compared with its hash on the way.

use std::fmt::Display;

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{datasets::both, objects};
use crate::{
    api::{self, Path, Problem, signed::origin},
    domain::{
        caller::Caller,
        dataset::{DatasetRef, VersionRef},
        id::MultipartId,
        user_path::{UserPath, shown},
    },
    service::{
        ServiceError, Services,
        dataset_multipart::{MOST_PARTS, Multipart},
        s3_listing::{Listing, MOST as MOST_LISTED},
        signed_urls::{MOST, Purpose, SignedCall, SignedMethod},
    },
};

/// What somebody means to do.
#[derive(Debug, Deserialize)]
pub struct CallsWire {
    calls: Vec<CallWire>,
}

#[derive(Debug, Deserialize)]
struct CallWire {
    method: String,
    params: Option<Params>,
}

/// What S3's calls are given. Each has some of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Params {
    key: Option<String>,
    prefix: Option<String>,
    delimiter: Option<String>,
    max_keys: Option<u32>,
    continuation_token: Option<String>,
    upload_id: Option<String>,
    part_number: Option<u32>,
    multipart_upload: Option<PartsWire>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PartsWire {
    parts: Vec<PartWire>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PartWire {
    e_tag: String,
    part_number: u32,
}

/// What a call is answered with: a URL, or what S3 would say where it has been done.
#[derive(Debug, Serialize)]
pub struct UrlView {
    url: Value,
}

/// A call that was understood.
enum Call {
    Sign(Purpose),
    Part { path: UserPath, upload: MultipartId, number: u32 },
    Begin(UserPath),
    Complete { path: UserPath, upload: MultipartId, parts: Vec<PartWire> },
}

/// Signs a URL for each of some calls, in their order. A file in parts is begun and completed at once,
/// for there is nothing more to send.
pub async fn pre_signed(
    State(services): State<Services>,
    caller: Caller,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    api::Json(wanted): api::Json<CallsWire>,
) -> Result<Json<Vec<UrlView>>, Problem> {
    let version = Named { services, caller, place: both(&path)? };
    if wanted.calls.len() > MOST {
        return Err(Problem::invalid("too_many", "calls", format!("{MOST} calls at once, at most")));
    }
    let calls = wanted.calls.into_iter().enumerate().map(|(at, call)| call.read(at));
    let calls = calls.collect::<Result<Vec<_>, Problem>>()?;
    version.require(&calls).await?;

    // What is done at once has its answer; what is not gets a URL.
    let (mut done, mut signed) = (Vec::with_capacity(calls.len()), Vec::new());
    for call in calls {
        let purpose = match call {
            Call::Begin(path) => {
                done.push(Some(version.begin(path).await?));
                continue;
            }
            Call::Complete { path, upload, parts } => {
                done.push(Some(version.complete(path, upload, &parts).await?));
                continue;
            }
            Call::Part { path, upload, number } => {
                version.upload(&path, &upload).await?;
                Purpose::Part { upload, number }
            }
            Call::Sign(purpose) => purpose,
        };
        signed.push(SignedCall { purpose, lasts: None });
        done.push(None);
    }
    let Named { services, caller, place } = version;
    let urls = services.sign_urls(&caller, place.0, place.1, signed).await?;
    let origin = origin(&headers);
    let mut urls = urls.iter().map(|url| Value::from(objects::url(&origin, url)));
    let answers = done.into_iter().filter_map(|done| done.or_else(|| urls.next()));
    Ok(Json(answers.map(|url| UrlView { url }).collect()))
}

/// Answers whoever names no version.
pub async fn without_version() -> Problem {
    Problem::invalid("no_version", "id", "name a version, too: --id DATASET:VERSION")
}

/// A version, as somebody names it.
struct Named {
    services: Services,
    caller: Caller,
    place: (DatasetRef, VersionRef),
}

impl Named {
    /// Refuses what is not there: for a file that cannot be fetched the client waits for ever, and of a
    /// directory without files it says nothing.
    async fn require(&self, calls: &[Call]) -> Result<(), Problem> {
        let mut paths = Vec::new();
        for call in calls {
            match call {
                Call::Sign(Purpose::File { method: SignedMethod::Get, path, .. }) => paths.push(path.clone()),
                // A later page is of a directory that was there, and may be empty by now. One that only
                // looks at what is directly there says itself that it is nothing.
                Call::Sign(Purpose::List(listing))
                    if listing.recursive && listing.after.is_none() && !listing.prefix.is_empty() =>
                {
                    self.require_any(listing).await?;
                }
                _ => {}
            }
        }
        if paths.is_empty() {
            return Ok(());
        }
        let (dataset, version) = self.place.clone();
        Ok(self.services.require_files(&self.caller, dataset, version, paths).await?)
    }

    async fn require_any(&self, listing: &Listing) -> Result<(), Problem> {
        let (dataset, version) = self.place.clone();
        let one = Listing { limit: 1, ..listing.clone() };
        let page = self.services.list_as_s3(&self.caller, dataset, version, one).await?;
        let name = shown(listing.prefix.trim_end_matches('/').as_bytes());
        if page.items.is_empty() {
            return Err(ServiceError::not_found("file or directory", format!("“{name}”")).into());
        }
        Ok(())
    }

    async fn begin(&self, path: UserPath) -> Result<Value, Problem> {
        let (dataset, version) = self.place.clone();
        let key = path.to_text();
        let id = self.services.begin_multipart(&self.caller, dataset, version, path, false).await?;
        Ok(json!({ "Key": key, "UploadId": id }))
    }

    /// Returns a file in parts, which is not there for another path than its own.
    async fn upload(&self, path: &UserPath, id: &MultipartId) -> Result<Multipart, Problem> {
        let (dataset, version) = self.place.clone();
        let found = self.services.multipart(&self.caller, dataset, version, id.clone()).await?;
        if found.path == *path { Ok(found) } else { Err(ServiceError::not_found("multipart upload", id).into()) }
    }

    /// Joins the parts, if they are those that came.
    async fn complete(&self, path: UserPath, id: MultipartId, parts: &[PartWire]) -> Result<Value, Problem> {
        let come = self.upload(&path, &id).await?.parts;
        let mut come = come.iter().map(|part| (part.number, objects::part_etag(part.number, part.bytes)));
        let mut named = parts.iter().map(|part| (part.part_number, part.e_tag.trim_matches('"').to_owned()));
        if !come.by_ref().eq(named.by_ref()) {
            let words =
                "the parts that are named are not those that came, in the order of their numbers: put the file again";
            return Err(Problem::conflict("other_parts", words));
        }
        let (dataset, version) = self.place.clone();
        let (path, put) = self.services.complete_multipart(&self.caller, dataset, version, id).await?;
        Ok(json!({ "Key": path.to_text(), "ETag": put.content.hash }))
    }
}

impl CallWire {
    /// Reads the call that is the `at`th of its request, from 0.
    fn read(self, at: usize) -> Result<Call, Problem> {
        let (method, params) = (self.method, self.params.unwrap_or_default());
        let field = |name: &str| format!("calls[{at}].params.{name}");
        let missing = |name| Problem::invalid("missing_field", field(name), format!("“{name}” is missing"));
        let key = || key(&field("Key"), params.key.as_deref().ok_or_else(|| missing("Key"))?);
        let upload = || {
            let text = params.upload_id.as_deref().ok_or_else(|| missing("UploadId"))?;
            let none = |_| ServiceError::not_found("multipart upload", shown(text.as_bytes()));
            Ok::<MultipartId, Problem>(text.parse().map_err(none)?)
        };
        let file = |method| Ok(Call::Sign(Purpose::File { method, path: key()?, executable: false }));
        match method.as_str() {
            "getObject" => file(SignedMethod::Get),
            "headObject" => file(SignedMethod::Head),
            "putObject" => file(SignedMethod::Put),
            "deleteObject" => file(SignedMethod::Delete),
            "listObjectsV2" => Ok(Call::Sign(Purpose::List(params.listing(field)?))),
            "createMultipartUpload" => Ok(Call::Begin(key()?)),
            "uploadPart" => match params.part_number.ok_or_else(|| missing("PartNumber"))? {
                number @ 1..=MOST_PARTS => Ok(Call::Part { path: key()?, upload: upload()?, number }),
                _ => {
                    let words = format!("parts are numbered from 1 to {MOST_PARTS}: send larger ones");
                    Err(Problem::invalid("out_of_range", field("PartNumber"), words))
                }
            },
            "completeMultipartUpload" => {
                let (path, upload) = (key()?, upload()?);
                let parts = params.multipart_upload.ok_or_else(|| missing("MultipartUpload"))?.parts;
                Ok(Call::Complete { path, upload, parts })
            }
            other => {
                let words = format!("“{}” is no call that can be signed here", shown(other.as_bytes()));
                Err(Problem::invalid("bad_method", format!("calls[{at}].method"), words))
            }
        }
    }
}

impl Params {
    fn listing(&self, field: impl Fn(&str) -> String) -> Result<Listing, Problem> {
        let recursive = match self.delimiter.as_deref() {
            None | Some("/") => false,
            Some("") => true,
            Some(_) => {
                let words = "a delimiter is “/”, or empty for all that is below";
                return Err(Problem::invalid("bad_delimiter", field("Delimiter"), words));
            }
        };
        let bad_token = |_| {
            let words = "the continuation token is not one of this list: begin again";
            Problem::invalid("bad_token", field("ContinuationToken"), words)
        };
        Ok(Listing {
            prefix: prefix(&field("Prefix"), self.prefix.as_deref().unwrap_or_default())?,
            recursive,
            after: self.continuation_token.as_deref().map(objects::position).transpose().map_err(bad_token)?,
            limit: self.max_keys.unwrap_or(MOST_LISTED).clamp(1, MOST_LISTED),
        })
    }
}

/// Reads a key: the path of a file, with a slash in front or without.
fn key(field: &str, text: &str) -> Result<UserPath, Problem> {
    let bad = |why: &dyn Display| Problem::invalid("bad_path", field, format!("“{}” {why}", shown(text.as_bytes())));
    let path: UserPath = text.trim_start_matches('/').parse().map_err(|error| bad(&error))?;
    if path.is_root() || text.ends_with('/') { Err(bad(&"names no file")) } else { Ok(path) }
}

/// Reads a prefix into the form that paths have here.
fn prefix(field: &str, text: &str) -> Result<String, Problem> {
    let bad = |why: &dyn Display| Problem::invalid("bad_path", field, format!("“{}” {why}", shown(text.as_bytes())));
    let path: UserPath = text.trim_start_matches('/').parse().map_err(|error| bad(&error))?;
    let end = if text.ends_with('/') && !path.is_root() { "/" } else { "" };
    Ok(path.to_text() + end)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::gradient::router::tests::{Cloud, printed};

    #[tokio::test]
    async fn what_cannot_be_a_file_is_refused_where_it_is_read() {
        let cloud = Cloud::new().await;
        let version = cloud.draft("d").await;
        for key in ["../a", "/../a", "a/../../b", "a\0b", "", "/", "//", "a/", &"x".repeat(300), &"x/".repeat(3000)] {
            for method in ["putObject", "getObject", "headObject", "deleteObject", "createMultipartUpload"] {
                let answer = cloud.sign(&version, method, json!({ "Key": key })).await;
                assert_eq!(printed(&answer).0, 422, "{method} {key:?}: {}", answer.text);
            }
        }
        for key in ["a\nb", "a\\b", "a\u{1b}b"] {
            let answer = cloud.sign(&version, "putObject", json!({ "Key": key })).await;
            assert_eq!(printed(&answer).0, 422, "{key:?}: {}", answer.text);
        }
        let nothing = cloud.sign(&version, "listObjectsV2", json!({ "Prefix": "/none/", "Delimiter": "" })).await;
        assert_eq!(printed(&nothing), (404, "there is no file or directory “none”"));
        for prefix in ["/../", "a\0", "/a/../../"] {
            let answer = cloud.sign(&version, "listObjectsV2", json!({ "Prefix": prefix })).await;
            assert_eq!(printed(&answer).0, 422, "{prefix:?}: {}", answer.text);
        }
    }

    #[tokio::test]
    async fn every_wrong_call_is_named() {
        let cloud = Cloud::new().await;
        let version = cloud.draft("d").await;
        for (method, params, words) in [
            ("getObject", json!({}), "calls[0].params.Key"),
            ("getObject", json!({ "Key": 5 }), "Key"),
            ("deleteBucket", json!({ "Key": "a" }), "deleteBucket"),
            ("listObjectsV2", json!({ "Prefix": "/", "MaxKeys": -1 }), "MaxKeys"),
            ("listObjectsV2", json!({ "Prefix": "/", "MaxKeys": "20" }), "MaxKeys"),
            ("listObjectsV2", json!({ "Prefix": "/", "Delimiter": "x" }), "Delimiter"),
            ("listObjectsV2", json!({ "Prefix": "/", "ContinuationToken": "é" }), "ContinuationToken"),
            ("uploadPart", json!({ "Key": "a", "PartNumber": 1 }), "UploadId"),
            ("uploadPart", json!({ "Key": "a", "UploadId": "mp0123456789abcdef", "PartNumber": 0 }), "PartNumber"),
            ("uploadPart", json!({ "Key": "a", "UploadId": "mp0123456789abcdef", "PartNumber": 10_001 }), "PartNumber"),
            ("completeMultipartUpload", json!({ "Key": "a", "UploadId": "mp0123456789abcdef" }), "MultipartUpload"),
        ] {
            let answer = cloud.sign(&version, method, params).await;
            let (status, said) = printed(&answer);
            assert!(status == 422 && said.contains(words), "{}", answer.text);
        }
        for upload in ["mp0123456789abcdef", "../x", ""] {
            let params = json!({ "Key": "a", "UploadId": upload, "PartNumber": 1 });
            assert_eq!(printed(&cloud.sign(&version, "uploadPart", params).await).0, 404, "{upload}");
        }
        let path = format!("{version}/s3/preSignedUrls");
        for body in [json!({}), json!({ "calls": 1 }), json!({ "calls": [{}] }), json!([])] {
            assert_eq!(printed(&cloud.ask("POST", &path, Some(body)).await).0, 422);
        }
        let many = vec![json!({ "method": "headObject", "params": { "Key": "a" } }); 1_001];
        assert_eq!(printed(&cloud.ask("POST", &path, Some(json!({ "calls": many }))).await).0, 422);
        let dataset = version.rsplit_once('/').unwrap().0;
        let answer = cloud.ask("POST", &format!("{dataset}/s3/preSignedUrls"), Some(json!({ "calls": [] }))).await;
        assert!(printed(&answer).0 == 422 && printed(&answer).1.contains("DATASET:VERSION"), "{}", answer.text);
    }

    #[tokio::test]
    async fn urls_come_in_the_order_of_the_calls_and_a_tag_may_stand_for_the_version() {
        let cloud = Cloud::new().await;
        let version = cloud.draft("d").await;
        let (dataset, id) = version.split_once("/versions/").unwrap();
        cloud.ask("PUT", &format!("{dataset}/tags/t"), Some(json!({ "version": id }))).await;
        let calls = json!({ "datasetId": "x", "calls": [
            { "method": "putObject", "params": { "Key": "/b", "ContentType": "text/plain", "More": 1 } },
            { "method": "createMultipartUpload", "params": { "Key": "/c" } },
            { "method": "listObjectsV2", "params": null },
        ] });
        let path = format!("{dataset}/versions/t/s3/preSignedUrls");
        let answer = cloud.ask("POST", &path, Some(calls)).await;
        let urls: Vec<&Value> = answer.body.as_array().unwrap().iter().map(|one| &one["url"]).collect();
        assert!(urls[0].as_str().unwrap().contains(&format!("/objects/{}/{id}/b?", &dataset[10..])), "{}", answer.text);
        assert!(urls[1]["UploadId"].is_string() && urls[2].as_str().unwrap().contains("/listings/"), "{}", answer.text);
    }

    #[tokio::test]
    async fn parts_become_a_file_also_when_the_last_is_empty() {
        let cloud = Cloud::new().await;
        let version = cloud.draft("d").await;
        let begun = cloud.sign(&version, "createMultipartUpload", json!({ "Key": "/big file" })).await;
        let upload = begun.body[0]["url"]["UploadId"].clone();
        let part = |number: u32| json!({ "Key": "/big file", "UploadId": upload, "PartNumber": number });
        let mut parts = Vec::new();
        for (number, body) in [(1, "hello "), (2, "world"), (3, "")] {
            let url = cloud.url(&version, "uploadPart", part(number)).await;
            for other in [url.replace(&format!("/{number}?"), "/9?"), url.replace("/parts/", "/objects/")] {
                assert_eq!(cloud.open("PUT", &other, body).await.status, 403, "{other}");
            }
            let put = cloud.open("PUT", &url, body).await;
            assert_eq!(put.status, 200, "{}", put.text);
            let etag = put.headers["etag"].to_str().unwrap().replace('"', "");
            parts.push(json!({ "ETag": etag, "PartNumber": number }));
        }
        let complete = |key: &str, parts: Vec<Value>| {
            let params = json!({ "Key": key, "UploadId": upload, "MultipartUpload": { "Parts": parts } });
            cloud.sign(&version, "completeMultipartUpload", params)
        };
        let mut wrong = parts.clone();
        wrong[1]["ETag"] = json!("2-6");
        for parts in [Vec::new(), parts[..2].to_vec(), wrong, parts.iter().rev().cloned().collect()] {
            let refused = complete("/big file", parts).await;
            assert_eq!(printed(&refused).0, 409, "{}", refused.text);
        }
        assert_eq!(printed(&complete("/other", parts.clone()).await).0, 404);
        let other_key = json!({ "Key": "/other", "UploadId": upload, "PartNumber": 1 });
        assert_eq!(printed(&cloud.sign(&version, "uploadPart", other_key).await).0, 404);
        let done = complete("/big file", parts.clone()).await;
        assert_eq!(done.body[0]["url"]["Key"], "big file", "{}", done.text);
        assert_eq!(printed(&complete("/big file", parts).await).0, 404);
        let get = cloud.url(&version, "getObject", json!({ "Key": "big file" })).await;
        assert_eq!(cloud.open("GET", &get, "").await.text, "hello world");
    }
}
