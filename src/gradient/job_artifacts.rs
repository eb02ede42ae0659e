//! `jobs artifacts`: list, download, get, destroy.

use axum::{Json, extract::State};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{job_wire::is_true, jobs::Named, web};
use crate::{
    api::{Path, Problem, Query, signed::origin, signed_artifacts},
    domain::{
        caller::Caller,
        id::JobId,
        user_path::{InvalidPath, UserPath},
    },
    service::{Services, artifacts::ArtifactName},
};

/// Files of one answer.
const MOST: usize = 2_000;

/// Which files of a job are wanted, and what of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Wanted {
    job_id: String,
    files: String,
    links: String,
    start_after: String,
}

/// One file.
#[derive(Debug, Serialize)]
pub struct FileView {
    file: String,
    size: u64,
    /// Opens the file to whoever has it, for some hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

/// A page of files.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    data: Vec<FileView>,
    /// Where to go on; null at the end.
    start_after: Option<String>,
}

/// Lists all files of a job's artifacts.
pub async fn list(
    State(services): State<Services>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Json<Files>, Problem> {
    let id: JobId = wanted.job_id.parse()?;
    let after = unescaped(&wanted.start_after)
        .map_err(|error| Problem::invalid("bad_path", "startAfter", format!("startAfter {error}")))?;
    let page = services.artifact_files(&caller, &id, names(&wanted.files)?, after, MOST).await?;
    let mut data: Vec<_> = page
        .items
        .iter()
        .map(|file| FileView { file: file.path.to_text(), size: file.facts.size_bytes, url: None })
        .collect();
    if is_true(&wanted.links) {
        let paths = page.items.into_iter().map(|file| file.path).collect();
        let signed = services.sign_artifacts(&caller, &id, paths).await?;
        let origin = origin(&headers);
        for (file, signed) in data.iter_mut().zip(&signed) {
            file.url = Some(signed_artifacts::url(&origin, signed));
        }
    }
    Ok(Json(Files { data, start_after: page.next.map(|path| escaped(&path)) }))
}

/// Says where a job's artifacts are. The cloud named a bucket and gave keys for it; here are none.
pub async fn summary(
    State(services): State<Services>,
    caller: Caller,
    Query(named): Query<Named>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let id: JobId = named.job_id.parse()?;
    let first = services.artifact_files(&caller, &id, Vec::new(), UserPath::root(), 1).await?;
    if first.items.is_empty() {
        return Ok(Json(json!({})));
    }
    let origin = origin(&headers);
    Ok(Json(json!({
        "job": id,
        "page": format!("{origin}{}", web::page("jobs", id.as_str())),
        "archive": format!("{origin}/api/v1/jobs/{id}/artifacts.zip"),
    })))
}

/// Which files are to go; all when left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Going {
    files: String,
}

/// Deletes artifacts of a job.
pub async fn destroy(
    State(services): State<Services>,
    caller: Caller,
    Path(id): Path<JobId>,
    Query(going): Query<Going>,
) -> Result<Json<Value>, Problem> {
    services.delete_artifacts(&caller, &id, names(&going.files)?).await?;
    Ok(Json(json!({})))
}

/// Reads names with commas between them; a `*` at the end of one stands for any ending.
pub fn names(text: &str) -> Result<Vec<ArtifactName>, Problem> {
    let name = |text: &str| match text.strip_suffix('*') {
        Some(beginning) => Ok(ArtifactName::Beginning(beginning.trim_start_matches('/').as_bytes().to_vec())),
        None => match text.trim_start_matches('/').parse::<UserPath>() {
            Ok(path) => Ok(ArtifactName::Exactly(path)),
            Err(error) => Err(Problem::invalid("bad_path", "files", format!("“{text}” {error}"))),
        },
    };
    text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(name).collect()
}

/// Writes a path as a cursor: an ordinary one as it is, so that people can name one themselves.
fn escaped(path: &UserPath) -> String {
    let mut text = String::new();
    for chunk in path.as_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn unescaped(text: &str) -> Result<UserPath, InvalidPath> {
    let mut bytes = Vec::new();
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => {
                bytes.push(b'%');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    UserPath::from_bytes(&bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::gradient::router::tests::{Cloud, printed};

    /// A job that has left files behind.
    async fn left_behind(files: &[&str]) -> (Cloud, JobId) {
        let cloud = Cloud::new().await;
        let made = cloud.ask("POST", "/jobs/createJob/?container=busybox", None).await;
        let id: JobId = made.body["id"].as_str().unwrap_or_else(|| panic!("{}", made.text)).parse().unwrap();
        let run = cloud.0.services.data.run(&id);
        run.create().unwrap();
        for file in files {
            let path = run.artifacts().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("in {file}")).unwrap();
        }
        (cloud, id)
    }

    async fn listed(cloud: &Cloud, id: &JobId, query: &str) -> Vec<String> {
        let page = cloud.get(&format!("/jobs/artifactsListV2?jobId={id}{query}")).await;
        assert!(page["startAfter"].is_null(), "{page}");
        page["data"].as_array().unwrap().iter().map(|row| row["file"].as_str().unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn every_file_is_listed_with_a_link_that_opens_it_alone_without_a_key() {
        let (cloud, id) = left_behind(&["a", "m/b c%", "m/n/d"]).await;
        let page = cloud.get(&format!("/jobs/artifactsListV2?jobId={id}&size=True&links=True")).await;
        let rows = page["data"].as_array().unwrap();
        assert_eq!(rows.len(), 3);
        for row in rows {
            let (file, url) = (row["file"].as_str().unwrap(), row["url"].as_str().unwrap());
            let url = url.strip_prefix("http://localhost").unwrap();
            assert_eq!(cloud.0.send("GET", url, &[], None).await.text, format!("in {file}"));
            assert_eq!(row["size"], file.len() + 3);
            assert_eq!(cloud.0.send("DELETE", url, &[], None).await.status, 405);
            for other in [
                url.replace("/a?", "/m/n/d?"),
                url.replace("signature=", "signature=0"),
                url.replace("expires=1", "expires=2"),
                url.replace(id.as_str(), "js0123456789ab"),
            ] {
                let answer = cloud.0.send("GET", &other, &[], None).await;
                assert!(other == url || answer.status == 403, "{other}: {}", answer.text);
            }
        }
        // Without being asked for there are none.
        let plain = cloud.get(&format!("/jobs/artifactsListV2?jobId={id}")).await;
        assert!(plain["data"][0].get("url").is_none(), "{plain}");
    }

    #[tokio::test]
    async fn a_link_ends_with_the_key_that_it_was_made_with() {
        let (cloud, id) = left_behind(&["a"]).await;
        let made = cloud.0.ask("POST", "keys", Some(json!({ "name": "r", "scope": "read" }))).await.body;
        let path = format!("/jobs/artifactsListV2?jobId={id}&links=True");
        let page = cloud.ask_as(made["key"].as_str().unwrap(), "GET", &path, None).await.body;
        let url = page["data"][0]["url"].as_str().unwrap().replace("http://localhost", "");
        assert_eq!(cloud.0.send("GET", &url, &[], None).await.text, "in a");
        cloud.0.ask("DELETE", &format!("keys/{}", made["id"].as_str().unwrap()), None).await;
        assert_eq!(cloud.0.send("GET", &url, &[], None).await.status, 403);
    }

    #[tokio::test]
    async fn files_are_chosen_and_destroyed_by_name_or_by_how_it_begins() {
        let (cloud, id) = left_behind(&["a", "b", "m/b", "m/c", "n"]).await;
        assert_eq!(listed(&cloud, &id, "&files=m/*,a").await, ["a", "m/b", "m/c"]);
        assert_eq!(listed(&cloud, &id, "&files=m").await, ["m/b", "m/c"]);
        assert_eq!(listed(&cloud, &id, "&startAfter=m/b").await, ["m/c", "n"]);
        let destroy = |files: &'static str| {
            let (cloud, path) = (&cloud, format!("/jobs/{id}/artifactsDestroy{files}"));
            async move { cloud.ask("POST", &path, None).await }
        };
        let unknown = destroy("?files=x*").await;
        assert_eq!(printed(&unknown), (404, "there is no artifact x*"));
        assert_eq!(destroy("?files=m/*,a").await.status, 200);
        assert_eq!(listed(&cloud, &id, "").await, ["b", "n"]);
        let native = cloud.0.ask("DELETE", &format!("jobs/{id}/artifacts/b"), None).await;
        assert_eq!(native.status, 204, "{}", native.text);
        assert_eq!(destroy("?files=b").await.status, 404);
        assert_eq!(destroy("").await.status, 200);
        assert_eq!(listed(&cloud, &id, "").await, [""; 0]);
        assert_eq!(cloud.get(&format!("/jobs/artifactsGet?jobId={id}")).await, json!({}));
        assert_eq!(cloud.0.ask("DELETE", &format!("jobs/{id}/artifacts"), None).await.status, 204);
        assert_eq!(destroy("?files=../x").await.status, 422);
    }

    #[test]
    fn a_path_of_any_bytes_survives_a_cursor_and_an_ordinary_one_is_itself() {
        for path in [&b"a/b c.txt"[..], b"50%25/%", b"\xff\xfe/\xc3\xa9%ff"] {
            let path = UserPath::from_bytes(path).unwrap();
            assert_eq!(unescaped(&escaped(&path)).unwrap(), path);
        }
        assert_eq!(escaped(&"a/\u{e9} b".parse().unwrap()), "a/\u{e9} b");
        assert_eq!(unescaped("100%").unwrap(), "100%".parse().unwrap());
        assert_eq!(unescaped("%\u{e9}").unwrap(), "%\u{e9}".parse().unwrap());
        assert!(unescaped("../x").is_err());
    }

    #[test]
    fn names_are_divided_by_commas_and_may_end_in_a_star() {
        let exactly = |path: &str| ArtifactName::Exactly(path.parse().unwrap());
        let read = names("/a/b, c*,,d").unwrap();
        assert_eq!(read, [exactly("a/b"), ArtifactName::Beginning(b"c".to_vec()), exactly("d")]);
        assert!(names("").unwrap().is_empty());
        assert!(names("../x").is_err());
    }
}
