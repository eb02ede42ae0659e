//! What nobody's client says on purpose, at the door of the original one: keys of any bytes, GraphQL of any
//! shape, pages that are none, and signed URLs used late, twice, for too much or cut off.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use serde_json::{Value, json};

use crate::{
    client::{Client, VERSIONS},
    daemon::Daemon,
    data::{Version, blake3_of, noise},
    wire::Reply,
};

/// Checks that a refusal is what the client prints, and returns its words.
fn words(reply: &Reply, of: &str) -> String {
    assert!((400..500).contains(&reply.status), "{of}: {} {}", reply.status, reply.text());
    let body = reply.json();
    let words = body["error"]["message"].as_str().unwrap_or_default();
    assert!(!words.is_empty() && body["error"]["status"] == reply.status, "{of}: {}", reply.text());
    words.to_owned()
}

#[test]
fn a_key_of_any_bytes_is_no_key_in_words() {
    let daemon = Daemon::start();
    for (key, is_http) in [
        ("a\tb", true),
        ("gdk_ü", true),
        ("", true),
        (&"x".repeat(5_000), true),
        ("a\u{1}b", false),
        ("a\u{7f}", false),
    ] {
        let ask = |path: &str| daemon.ask_as_nobody("GET", path).with("X-API-Key", key).send();
        let (ours, native) = (ask("/gradient/projects/"), ask("/api/v1/projects"));
        if !is_http {
            // A header with such a byte is no HTTP, and no route hears of it.
            assert!(words(&ours, key).contains("control character"), "{}", ours.text());
            assert_eq!((native.status, &native.json()["code"]), (400, &json!("not_http")), "{key:?}");
            continue;
        }
        assert!(words(&ours, key).contains("key"), "{}", ours.text());
        let code = native.json()["code"].clone();
        assert_eq!((ours.status, native.status, code), (401, 401, json!("unauthorized")), "{key:?}: {}", native.text());
    }
}

#[test]
fn graphql_of_any_shape_is_answered_in_the_shape_of_graphql() {
    let daemon = Daemon::start();
    let deep = format!("query {}id{}", "{ a ".repeat(10_000), "}".repeat(10_000));
    let names: Vec<_> = (0..1_000).map(|n| format!("a{n}: deployments(first: 100) {{ nodes {{ id }} }}")).collect();
    let aliased = format!("query {{ {} }}", names.join(" "));
    let query = |text: &str| json!({ "query": text, "variables": { "first": 100 } }).to_string();
    let nested = "[".repeat(50_000);
    let message = |reply: &Reply, of: &str| {
        let body = reply.json();
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{of:.40}: {}", reply.text());
        assert!(reply.status >= 400 && reply.status != 500 && reply.body.len() < 1_000, "{of:.40}: {}", reply.text());
        body["errors"][0]["message"].as_str().unwrap_or_else(|| panic!("{of:.40}: {}", reply.text())).to_owned()
    };
    let good = query("query { deployments { nodes { id } } }");
    for body in ["", "{", "[]", "null", &nested, &query("query {"), &query(&deep), &query(&aliased), &good] {
        let reply = daemon.ask("POST", "/gradient/graphql").body("application/json", body).send();
        assert!(message(&reply, body).contains("not on this box yet"), "{body:.40}: {}", reply.text());
    }
    let reply = daemon.ask("GET", "/gradient/graphql?query=%7Bdeployments%7Bid%7D%7D").send();
    message(&reply, "GET");
    for reply in [
        daemon.ask_as_nobody("POST", "/gradient/graphql").body("application/json", &*good).send(),
        daemon.ask_as_nobody("POST", "/gradient/graphql").with("Authorization", "Bearer gdk_wrong").send(),
    ] {
        assert!(reply.status == 401 && message(&reply, "a key").contains("key"), "{}", reply.text());
    }
    for version in VERSIONS {
        let wrong = Client::with_key(&daemon, version, "gdk_wrong");
        let said = wrong.is_refused(&["deployments", "list"]);
        assert!(said.contains("this is not an API key"), "{said}");
    }
}

#[test]
fn a_page_that_is_none_is_refused_in_words_or_is_the_nearest_one() {
    let daemon = Daemon::start();
    for path in [
        "datasets?filter[limit]=-9",
        "datasets?filter[skip]=x",
        "datasets?filter[limit]=99999999999999999999",
        "storageProviders?filter[skip]=-1",
        "projects/?filter=%5B",
        "projects/?filter=%7B%22offset%22%3A-1%7D",
        "clusters/getClusters?filter=%7B%22limit%22%3A%22x%22%7D",
        "jobs/getJobList/?filter=%7B%22filter%22%3A%7B%22limit%22%3A%7B%7D%7D%7D",
        "notebooks/getNotebooks?filter=%7B%22filter%22%3A%7B%22limit%22%3A-5%7D%7D",
        "experiments/v2/experiments/?limit=x",
        "experiments/v2/experiments/?limit=5&offset=-1",
    ] {
        let reply = daemon.ask("GET", &format!("/gradient/{path}")).send();
        assert!(!words(&reply, path).is_empty(), "{path}");
    }
    for path in [
        "datasets?filter[limit]=0",
        "datasets?filter[limit]=4000000000&filter[skip]=4000000000&filter[order][]=%27;--",
        "projects/?filter=5",
        "projects/?filter=null&tagFilter[=x&tagFilter[0]=%00",
        "clusters/getClusters",
        "experiments/v2/experiments/?limit=-1&offset=4000000000",
    ] {
        let reply = daemon.ask("GET", &format!("/gradient/{path}")).send();
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
}

/// Asks for the URL of one call on a version, as the client does.
fn signed(daemon: &Daemon, version: &Version, method: &str, params: &Value) -> String {
    let place = format!("/gradient/datasets/{}/versions/{}/s3/preSignedUrls", version.dataset, version.version);
    let calls = json!({ "calls": [{ "method": method, "params": params }] });
    let reply = daemon.ask("POST", &place).json(&calls).send();
    let answer = reply.json()[0]["url"].clone();
    if let Some(upload) = answer["UploadId"].as_str() {
        return upload.to_owned();
    }
    let url = answer.as_str().unwrap_or_else(|| panic!("{method}: {}", reply.text()));
    url.strip_prefix(&format!("http://127.0.0.1:{}", daemon.port())).unwrap().to_owned()
}

fn put(daemon: &Daemon, version: &Version, key: &str) -> String {
    signed(daemon, version, "putObject", &json!({ "Key": key, "ContentType": "text/plain" }))
}

/// Joins the parts of a file.
fn joined(daemon: &Daemon, version: &Version, key: &str, upload: &str, tags: &[String]) -> Reply {
    let parts: Vec<_> = tags.iter().enumerate().map(|(at, tag)| json!({ "ETag": tag, "PartNumber": at + 1 })).collect();
    let whole = json!({ "Key": key, "UploadId": upload, "MultipartUpload": { "Parts": parts } });
    let place = format!("/gradient/datasets/{}/versions/{}/s3/preSignedUrls", version.dataset, version.version);
    let calls = json!({ "calls": [{ "method": "completeMultipartUpload", "params": whole }] });
    daemon.ask("POST", &place).json(&calls).send()
}

fn sent(daemon: &Daemon, url: &str, bytes: &[u8]) -> Reply {
    daemon.ask_as_nobody("PUT", url).body("text/plain", bytes).send()
}

#[test]
fn a_signed_url_takes_no_more_than_a_file_or_a_team_may_have() {
    let daemon = Daemon::start_with(&[("GRADIENTD_STORAGE__FILE", "1MiB"), ("GRADIENTD_STORAGE__TEAM_QUOTA", "40MiB")]);
    let version = daemon.draft(&daemon.dataset("d"));
    let (fits, larger) = (noise(1, 1 << 20), noise(2, (1 << 20) + 1));
    let refused = sent(&daemon, &put(&daemon, &version, "/larger"), &larger);
    assert!(words(&refused, "a larger file").contains("larger than 1048576 bytes"), "{}", refused.text());
    let upload = signed(&daemon, &version, "createMultipartUpload", &json!({ "Key": "parts" }));
    let part = |number: u32, bytes: &[u8]| {
        let part = json!({ "Key": "parts", "UploadId": upload, "PartNumber": number });
        sent(&daemon, &signed(&daemon, &version, "uploadPart", &part), bytes)
    };
    words(&part(1, &larger), "a larger part");
    // Two that fit make a whole that does not.
    let tags = [1, 2].map(|number| part(number, &fits).header("etag").unwrap().replace('"', ""));
    let refused = joined(&daemon, &version, "parts", &upload, &tags);
    assert!(words(&refused, "a larger whole").contains("larger"), "{}", refused.text());
    assert!(daemon.files(&version).is_empty());

    let urls: Vec<_> = (0..50).map(|n| put(&daemon, &version, &format!("/{n}"))).collect();
    let sent: Vec<_> = urls.iter().map(|url| sent(&daemon, url, &fits)).collect();
    assert_eq!(sent[0].status, 200, "{}", sent[0].text());
    let full: Vec<_> = sent.iter().filter(|reply| reply.status != 200).collect();
    assert!(!full.is_empty(), "50 MiB of 40");
    for reply in full {
        let body = reply.json();
        assert_eq!((reply.status, &body["error"]["name"]), (507, &json!("quota_exceeded")), "{}", reply.text());
        assert!(body["error"]["message"].as_str().unwrap().contains("of the 40 MiB that it may"), "{}", reply.text());
    }
}

#[test]
fn a_good_signature_is_good_until_its_time_and_no_longer() {
    let daemon = Daemon::start_with(&[("GRADIENTD_STORAGE__SIGNED_URL", "1s")]);
    let version = daemon.draft(&daemon.dataset("d"));
    daemon.fill(&version, &[("a", b"alpha")]);
    let key = json!({ "Key": "a" });
    let upload = signed(&daemon, &version, "createMultipartUpload", &json!({ "Key": "b" }));
    let part = json!({ "Key": "b", "UploadId": upload, "PartNumber": 1 });
    let urls = [
        ("PUT", signed(&daemon, &version, "uploadPart", &part)),
        ("PUT", put(&daemon, &version, "/late")),
        ("DELETE", signed(&daemon, &version, "deleteObject", &key)),
        ("HEAD", signed(&daemon, &version, "headObject", &key)),
        ("GET", signed(&daemon, &version, "listObjectsV2", &json!({ "Prefix": "/", "MaxKeys": 20 }))),
        ("GET", signed(&daemon, &version, "getObject", &key)),
    ];
    let late = |(method, url): &(&str, String)| daemon.ask_as_nobody(method, url).body("text/plain", "late").send();
    daemon.wait_until("the end of the last", || (late(&urls[5]).status == 403).then_some(()));
    for url in &urls {
        let reply = late(url);
        assert_eq!(reply.status, 403, "{url:?}: {}", reply.text());
        assert!(url.0 == "HEAD" || words(&reply, &url.1).contains("ask for another one"), "{}", reply.text());
    }
    assert_eq!(daemon.read_back(&version), BTreeMap::from([("a".to_owned(), blake3_of(b"alpha"))]));
}

/// Begins to send a body and goes away in the middle of it.
fn cut_off(daemon: &Daemon, url: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(("127.0.0.1", daemon.port())).unwrap();
    let head =
        format!("PUT {url} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: {}\r\n\r\n", daemon.port(), bytes.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&bytes[..bytes.len() / 2]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    // Whether it answers somebody who has gone is its own affair; that it took the half is not.
    let _ = stream.read_to_string(&mut said);
    assert!(!said.starts_with("HTTP/1.1 2"), "{said}");
}

#[test]
fn what_is_cut_off_leaves_nothing_and_is_sent_again_to_the_same_url() {
    let daemon = Daemon::start();
    let version = daemon.draft(&daemon.dataset("d"));
    let (file, first, second) = (noise(3, 3_000_000), noise(4, 6_000_000), noise(5, 1_000));
    let url = put(&daemon, &version, "/file");
    cut_off(&daemon, &url, &file);
    assert!(daemon.files(&version).is_empty(), "half a file is none");
    let upload = signed(&daemon, &version, "createMultipartUpload", &json!({ "Key": "parts" }));
    let part = |number: u32| json!({ "Key": "parts", "UploadId": upload, "PartNumber": number });
    let parts = [1, 2].map(|number| signed(&daemon, &version, "uploadPart", &part(number)));
    cut_off(&daemon, &parts[0], &first);

    // Whoever heard no answer sends it again, perhaps once too often.
    let mut tags = Vec::new();
    for _ in 0..2 {
        assert_eq!(sent(&daemon, &url, &file).status, 200);
        tags = [(&parts[0], &first), (&parts[1], &second)]
            .map(|(url, bytes)| {
                let reply = sent(&daemon, url, bytes);
                assert_eq!(reply.status, 200, "{}", reply.text());
                reply.header("etag").unwrap().replace('"', "")
            })
            .to_vec();
    }
    let reply = joined(&daemon, &version, "parts", &upload, &tags);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let hashes = [("file".to_owned(), blake3_of(&file)), ("parts".to_owned(), blake3_of(&[first, second].concat()))];
    assert_eq!(daemon.read_back(&version), BTreeMap::from(hashes));
}
