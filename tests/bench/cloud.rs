//! What the original client needs to be told so that it speaks to a bare S3 server: the cloud's side of
//! `datasets files`, in memory, signing nothing and checking nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::s3::Server;

/// The id of its one dataset, and that of its one version.
pub const DATASET: &str = "dst0000000000000";
pub const VERSION: &str = "dsv0000000000";

/// A running cloud. Dropping it ends it.
pub struct Cloud {
    _runtime: tokio::runtime::Runtime,
    pub origin: String,
}

#[derive(Clone)]
struct Known {
    origin: String,
    bucket: String,
    /// Keys that were asked for to be put, and how large a listing says that each is.
    keys: Arc<Mutex<BTreeMap<String, u64>>>,
    file_bytes: u64,
    projects: Arc<Vec<u8>>,
}

impl Cloud {
    /// Starts a cloud over a server's bucket for files of one size, which answers `projects list`, too.
    pub fn start(server: &Server, file_bytes: u64, projects: Vec<u8>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let known = Known {
            origin: origin.clone(),
            bucket: server.url(),
            keys: Arc::default(),
            file_bytes,
            projects: Arc::new(projects),
        };
        let router = Router::new()
            .route("/datasets/{dataset}", routing::get(async || Json(dataset())))
            .route("/datasets/ref/{reference}", routing::get(async || Json(dataset())))
            .route("/datasets/{dataset}/versions/{version}/s3/preSignedUrls", routing::post(pre_signed))
            .route("/listing", routing::get(listing))
            .route("/projects/", routing::get(projects_list))
            .with_state(known);
        runtime.spawn(async { axum::serve(listener, router).await });
        Self { _runtime: runtime, origin }
    }
}

fn dataset() -> Value {
    json!({
        "id": DATASET, "name": "bench", "storageProvider": {"id": "s", "name": "s", "type": "s3"},
        "version": {"version": VERSION},
    })
}

#[derive(Deserialize)]
struct Calls {
    calls: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    method: String,
    params: Value,
}

/// Answers each call with the bucket's own URL. Beginning and completing a file in parts is done here,
/// as the cloud did it.
async fn pre_signed(State(known): State<Known>, Json(wanted): Json<Calls>) -> Json<Vec<Value>> {
    let urls = wanted.calls.into_iter().map(|call| json!({"url": known.url(&call)}));
    // Asking the server blocks, and this runtime has one worker.
    tokio::task::block_in_place(|| Json(urls.collect()))
}

impl Known {
    fn url(&self, Call { method, params }: &Call) -> Value {
        let text = |name: &str| params[name].as_str().unwrap_or_default();
        let key = text("Key").trim_start_matches('/');
        let object = format!("{}/{key}", self.bucket);
        match method.as_str() {
            "putObject" => {
                self.keys.lock().unwrap().insert(key.to_owned(), self.file_bytes);
                object.into()
            }
            "getObject" | "headObject" => object.into(),
            "createMultipartUpload" => {
                let begun = asked(&format!("{object}?uploads"), String::new());
                json!({"UploadId": between(&begun, "<UploadId>", "</UploadId>")})
            }
            "uploadPart" => {
                format!("{object}?partNumber={}&uploadId={}", params["PartNumber"], text("UploadId")).into()
            }
            "completeMultipartUpload" => {
                let parts = params["MultipartUpload"]["Parts"].as_array().unwrap().iter().map(|part| {
                    let tag = part["ETag"].as_str().unwrap();
                    format!("<Part><PartNumber>{}</PartNumber><ETag>\"{tag}\"</ETag></Part>", part["PartNumber"])
                });
                let body = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", parts.collect::<String>());
                asked(&format!("{object}?uploadId={}", text("UploadId")), body);
                object.into()
            }
            "listObjectsV2" => {
                format!("{}/listing?most={}&after={}", self.origin, params["MaxKeys"], text("ContinuationToken")).into()
            }
            other => panic!("{other} is not measured"),
        }
    }
}

#[derive(Deserialize)]
struct Page {
    most: usize,
    after: String,
}

/// Lists what was put. The server itself would walk through all of its files for every page, and what
/// is measured would be that.
async fn listing(State(known): State<Known>, Query(Page { most, after }): Query<Page>) -> Response {
    let keys = known.keys.lock().unwrap();
    let page: Vec<_> = keys.iter().filter(|(key, _)| **key > after).take(most + 1).collect();
    let contents = page.iter().take(most);
    let contents = contents.map(|(key, size)| format!("<Contents><Key>/{key}</Key><Size>{size}</Size></Contents>"));
    let contents = contents.collect::<String>();
    let next = match page.get(most) {
        Some(_) => format!("<NextContinuationToken>{}</NextContinuationToken>", page[most - 1].0),
        None => String::new(),
    };
    let xml = format!(
        "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Prefix>/</Prefix>{contents}{next}</ListBucketResult>"
    );
    ([(header::CONTENT_TYPE, "application/xml; charset=utf-8")], xml).into_response()
}

async fn projects_list(State(known): State<Known>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], known.projects.to_vec()).into_response()
}

/// Asks the bare server and returns what it says.
fn asked(url: &str, body: String) -> String {
    let mut answer = ureq::post(url).send(body).unwrap();
    assert_eq!(answer.status().as_u16(), StatusCode::OK.as_u16());
    answer.body_mut().read_to_string().unwrap()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split_once(before).and_then(|(_, rest)| rest.split_once(after)).expect("an upload's id").0
}
