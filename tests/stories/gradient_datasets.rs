//! Datasets through the original `gradient` command: the same files, the same versions, and no failure
//! that it does not see.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};

use crate::{
    client::{Client, VERSIONS, id_after},
    daemon::Daemon,
    data::{Version, blake3_of, noise},
    s3::S3,
};

/// Beyond what the newer client sends as one piece, and no whole number of its parts.
const LARGE: usize = 31_000_000;

/// Makes what people keep: nested, empty, hidden, with names of all kinds, small and large.
fn tree(at: &Path) -> BTreeMap<String, String> {
    let files: [(&str, Vec<u8>); 7] = [
        ("a.txt", b"alpha\n".to_vec()),
        ("empty", Vec::new()),
        ("deep/er/still/b.bin", noise(2, 100_000)),
        ("with space & plus+.txt", b"x".to_vec()),
        ("für/Übung-日本.txt", "ü".into()),
        (".hidden", b"h".to_vec()),
        ("large.bin", noise(3, LARGE)),
    ];
    files
        .into_iter()
        .map(|(path, bytes)| {
            fs::create_dir_all(at.join(path).parent().unwrap()).unwrap();
            fs::write(at.join(path), &bytes).unwrap();
            (path.to_owned(), blake3_of(&bytes))
        })
        .collect()
}

fn hashes(at: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![at.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(at).unwrap().to_str().unwrap().to_owned();
                found.insert(name, blake3_of(&fs::read(&path).unwrap()));
            }
        }
    }
    found
}

fn managed(daemon: &Daemon) -> String {
    let providers = daemon.get("/storage-providers").body;
    let managed = providers["items"].as_array().unwrap().iter().find(|provider| provider["type"] == "managed");
    managed.unwrap_or_else(|| panic!("{providers}"))["id"].as_str().unwrap().to_owned()
}

/// Makes a dataset and a version of it through the client; returns `ID` and `ID:VERSION`.
fn draft(client: &Client, name: &str, provider: &str) -> (String, String) {
    let made = client.says(&["datasets", "create", "--name", name, "--storageProviderId", provider]);
    let dataset = id_after(&made, "Created dataset:");
    let made = client.says(&["datasets", "versions", "create", "--id", &dataset, "--message", "first"]);
    (dataset, id_after(&made, "Created dataset version:"))
}

fn version_of(reference: &str) -> Version {
    let (dataset, version) = reference.split_once(':').unwrap();
    Version { dataset: dataset.to_owned(), version: version.to_owned() }
}

/// Puts a tree, looks at it in every way, and gets it back.
fn there_and_back(daemon: &Daemon, client: &Client, provider: &str, name: &str) -> String {
    let (dataset, draft) = draft(client, name, provider);
    let tree_of = client.home().join("tree");
    let files = tree(&tree_of);
    client.says(&["datasets", "files", "put", "--id", &draft, "--source-path", "tree/"]);
    assert_eq!(daemon.read_back(&version_of(&draft)), files, "{name}: what was put");

    let listed = client.says(&["datasets", "files", "list", "--id", &draft]);
    assert!(listed.contains("a.txt") && listed.contains("deep/") && !listed.contains("b.bin"), "{listed}");
    let listed = client.says(&["datasets", "files", "list", "--id", &draft, "--recursive", "true"]);
    for path in files.keys() {
        assert!(listed.contains(path.as_str()), "{path} is not in {listed}");
    }
    let listed = client.says(&["datasets", "files", "list", "--id", &draft, "--path", "/deep/er/"]);
    assert!(listed.contains("still/") && !listed.contains("a.txt"), "{listed}");

    client.says(&["datasets", "files", "delete", "--id", &draft, "--path", "deep/", "--path", ".hidden"]);
    let kept: BTreeMap<_, _> =
        files.into_iter().filter(|(path, _)| !path.starts_with("deep/") && path != ".hidden").collect();
    assert_eq!(daemon.read_back(&version_of(&draft)), kept, "{name}: what was kept");

    assert!(client.says(&["datasets", "versions", "commit", "--id", &draft]).contains("Committed"));
    assert!(client.says(&["datasets", "versions", "commit", "--id", &draft]).contains("already committed"));
    let latest = format!("{dataset}:latest");
    for reference in [draft.as_str(), &latest] {
        let to = client.home().join("back");
        client.says(&["datasets", "files", "get", "--id", reference, "--target-path", "back"]);
        assert_eq!(hashes(&to), kept, "{name}: what came back of {reference}");
        fs::remove_dir_all(to).unwrap();
    }
    client.says(&["datasets", "files", "get", "--id", &draft, "--source-path", "a.txt", "--target-path", "one"]);
    assert_eq!(fs::read_to_string(client.home().join("one")).unwrap(), "alpha\n");
    draft
}

#[test]
fn a_tree_goes_to_the_disk_of_the_box_and_comes_back_with_both_clients() {
    let daemon = Daemon::start();
    for version in VERSIONS {
        let client = Client::of(&daemon, version);
        let name = format!("tree-{version}");
        let reference = there_and_back(&daemon, &client, &managed(&daemon), &name);
        // What is committed stays as it is.
        fs::write(client.home().join("late"), "late").unwrap();
        for args in [&["put", "--source-path", "late"][..], &["delete", "--path", "a.txt"]] {
            let words = client.is_refused(&[&["datasets", "files"], args, &["--id", &reference]].concat());
            assert!(words.contains("is committed and never changes again"), "{words}");
        }
        assert!(!daemon.read_back(&version_of(&reference)).contains_key("late"));
        // A job reads it.
        let job = daemon.run_with(
            &json!([{"ref": reference, "name": "in"}]),
            &json!([]),
            "cat /inputs/in/a.txt; ls /inputs/in | wc -l",
        );
        assert_eq!(job["exitCode"], 0, "{job}");
        assert_eq!(daemon.printed_by(job["id"].as_str().unwrap()), ["alpha", "5"]);
    }
}

#[test]
fn a_tree_goes_to_a_bucket_and_comes_back_with_both_clients() {
    let s3 = S3::start();
    let daemon = Daemon::start();
    for version in VERSIONS {
        let client = Client::of(&daemon, version);
        let bucket = s3.provider(&format!("bucket-{version}"));
        let text = |name: &str| bucket[name].as_str().unwrap_or_default().to_owned();
        let made = client.says(&[
            "storageProviders",
            "create",
            "s3",
            "--name",
            &text("name"),
            "--bucket",
            &text("bucket"),
            "--accessKey",
            &text("accessKeyId"),
            "--secretAccessKey",
            &text("secretAccessKey"),
            "--endpoint",
            &text("endpoint"),
            "--region",
            &text("region"),
        ]);
        let provider = id_after(&made, "Created new storage provider with id:");
        let listed = client.says(&["storageProviders", "list"]);
        assert!(listed.contains(&provider) && !listed.contains(&text("secretAccessKey")), "{listed}");
        let details = client.says(&["storageProviders", "details", "--id", &provider]);
        assert!(details.contains(&text("bucket")) && !details.contains(&text("secretAccessKey")), "{details}");
        client.says(&["storageProviders", "update", "s3", "--id", &provider, "--name", &format!("renamed {version}")]);
        let update = |option: &str, value: &str| {
            let said = client.run(&["storageProviders", "update", "s3", "--id", &provider, option, value]);
            assert!(said.code == Some(0) && !said.err.contains("Traceback"), "{option}: {said:?}");
            said.err
        };
        for (option, key) in [
            ("--bucket", "bucket"),
            ("--accessKey", "accessKeyId"),
            ("--secretAccessKey", "secretAccessKey"),
            ("--endpoint", "endpoint"),
            ("--region", "region"),
        ] {
            let complaint = update(option, &text(key));
            assert!(!complaint.contains("Failed"), "{option}: {complaint}");
        }
        update("--signatureVersion", "v4");
        for (option, wrong) in
            [("--secretAccessKey", "wr0ng"), ("--bucket", "none"), ("--endpoint", "http://127.0.0.1:1")]
        {
            let complaint = update(option, wrong);
            assert!(complaint.contains("Failed to fetch data: "), "{option}: {complaint}");
        }
        let reference = there_and_back(&daemon, &client, &provider, &format!("in-a-bucket-{version}"));
        assert!(client.is_refused(&["storageProviders", "delete", "--id", &provider]).contains("dataset"));
        client.says(&["datasets", "delete", "--id", &version_of(&reference).dataset]);
        // What was put into it is still there; one that holds nothing goes at once.
        let words = client.is_refused(&["storageProviders", "delete", "--id", &provider]);
        assert!(words.contains("/storage/gc"), "{words}");
        let empty = daemon.post("/storage-providers", &s3.provider(&format!("empty-{version}"))).body["id"].clone();
        let empty = empty.as_str().unwrap();
        client.says(&["storageProviders", "delete", "--id", empty]);
        assert!(client.is_refused(&["storageProviders", "details", "--id", empty]).contains(empty));
    }
    assert!(!daemon.log().contains(s3.provider("x")["secretAccessKey"].as_str().unwrap()));
}

#[test]
fn a_bucket_that_takes_nothing_is_told_before_anything_is_sent() {
    let s3 = S3::start();
    let daemon = Daemon::start();
    let made = daemon.post("/storage-providers", &s3.provider("full"));
    let provider = made.body["id"].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned();
    let drafts = VERSIONS.map(|version| {
        let client = Client::of(&daemon, version);
        let (_, reference) = draft(&client, &format!("full-{version}"), &provider);
        std::fs::write(client.home().join("a.txt"), "a").unwrap();
        (client, reference)
    });
    // It can be listed still, but nothing can lie beneath what is no directory.
    let team = std::fs::read_dir(daemon.data().join("teams")).unwrap().next().unwrap().unwrap().file_name();
    let folder = s3.bucket().join(team);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::write(&folder, "").unwrap();
    for (client, reference) in drafts {
        let words = client.is_refused(&["datasets", "files", "put", "--id", &reference, "--source-path", "a.txt"]);
        assert!(words.contains("the service is out of order"), "{words}");
    }
}

#[test]
fn datasets_versions_and_tags_are_kept_in_order_with_both_clients() {
    let daemon = Daemon::start();
    for version in VERSIONS {
        let client = Client::of(&daemon, version);
        fs::write(client.home().join("x.txt"), "x").unwrap();
        let made = client.says(&[
            "datasets",
            "create",
            "--name",
            &format!("kept-{version}"),
            "--storageProviderId",
            &managed(&daemon),
            "--description",
            "what we keep",
        ]);
        let dataset = id_after(&made, "Created dataset:");
        // One command makes, fills and commits.
        let made = client.says(&["datasets", "versions", "create", "--id", &dataset, "--source-path", "x.txt"]);
        let reference = id_after(&made, "Created dataset version:");
        assert!(made.contains("Committed dataset version"), "{made}");
        client.says(&["datasets", "tags", "set", "--id", &reference, "--name", "prod"]);
        let tags = client.says(&["datasets", "tags", "list", "--id", &dataset]);
        assert!(tags.contains(&reference) && tags.contains("prod"), "{tags}");
        let got = ["datasets", "files", "get", "--id", &format!("{dataset}:prod"), "--target-path", "got"];
        client.says(&got);
        assert_eq!(fs::read_to_string(client.home().join("got/x.txt")).unwrap(), "x");

        let open = id_after(&client.says(&["datasets", "versions", "create", "--id", &dataset]), "version:");
        assert!(client.says(&["datasets", "versions", "list", "--id", &dataset]).contains(&reference));
        let drafts = client.says(&["datasets", "versions", "list", "--id", &dataset, "--isCommitted", "false"]);
        assert!(drafts.contains(&open) && !drafts.contains(&reference), "{drafts}");
        client.says(&["datasets", "versions", "update", "--id", &open, "--message", "half done"]);
        assert!(client.says(&["datasets", "versions", "details", "--id", &open]).contains("half done"));
        client.says(&["datasets", "versions", "delete", "--id", &open]);

        client.says(&["datasets", "update", "--id", &dataset, "--description", "still kept"]);
        let details = client.says(&["datasets", "details", "--id", &dataset]);
        assert!(details.contains("still kept") && details.contains("Gradient Managed"), "{details}");
        assert!(client.says(&["datasets", "list"]).contains(&dataset));
        client.says(&["datasets", "tags", "delete", "--id", &format!("{dataset}:prod")]);
        assert!(client.says(&["datasets", "tags", "list", "--id", &dataset]).contains("No data found"));
        client.says(&["datasets", "delete", "--id", &dataset]);
        assert_eq!(daemon.get(&format!("/datasets/{dataset}")).status, 404);
    }
}

#[test]
fn more_files_than_a_page_are_deleted_while_they_are_listed() {
    let daemon = Daemon::start();
    for version in VERSIONS {
        let client = Client::of(&daemon, version);
        let (_, draft) = draft(&client, &format!("many-{version}"), &managed(&daemon));
        let at = version_of(&draft);
        for n in 0..70 {
            daemon.fill(&at, &[(format!("d/{n:03}").as_str(), b"n")]);
        }
        daemon.fill(&at, &[("keep", b"k")]);
        let said = client.run(&["datasets", "files", "delete", "--id", &draft, "--path", "d/"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!(daemon.files(&at).keys().collect::<Vec<_>>(), ["keep"]);
    }
}

#[test]
fn each_mistake_with_a_dataset_reads_clearly_at_the_terminal() {
    let daemon = Daemon::start();
    for version in VERSIONS {
        let client = Client::of(&daemon, version);
        let (dataset, draft) = draft(&client, &format!("errors-{version}"), &managed(&daemon));
        let words = client.is_refused(&["datasets", "details", "--id", "ds0000000000000"]);
        assert!(words.contains("dataset"), "{words}");
        let words = client.is_refused(&[
            "datasets",
            "create",
            "--name",
            &format!("errors-{version}"),
            "--storageProviderId",
            &managed(&daemon),
        ]);
        assert!(words.contains("choose another name"), "{words}");
        let words = client.is_refused(&["datasets", "create", "--name", "n", "--storageProviderId", "spnothere"]);
        assert!(words.to_lowercase().contains("storage provider"), "{words}");
        let words = client.is_refused(&["datasets", "versions", "commit", "--id", &format!("{dataset}:none")]);
        assert!(words.contains("version") || words.contains("none"), "{words}");
        let words = client.is_refused(&["datasets", "tags", "set", "--id", &format!("{dataset}:none"), "--name", "t"]);
        assert!(words.contains("none"), "{words}");
        // Looking for what is not there says so, and ends.
        for nothing in ["nothing", "nothing/"] {
            let args = ["datasets", "files", "get", "--id", &draft, "--source-path", nothing, "--target-path", "t"];
            let words = client.is_refused(&args);
            assert!(words.contains("there is no file or directory “nothing”"), "{words}");
            assert!(!client.home().join("t").exists());
        }
        let listed = client.says(&["datasets", "files", "list", "--id", &draft, "--path", "nothing"]);
        assert!(listed.contains("No data found"), "{listed}");
        let looker = daemon.post("/keys", &json!({"name": "looker", "scope": "read"})).body;
        let looker = Client::with_key(&daemon, version, looker["key"].as_str().unwrap());
        let words = looker.is_refused(&["datasets", "versions", "create", "--id", &dataset]);
        assert!(words.contains("this key may not"), "{words}");
    }
}

#[test]
fn the_sdk_works_as_the_command_does() {
    let daemon = Daemon::start();
    let provider = managed(&daemon);
    for version in VERSIONS {
        let client = Client::of(&daemon, version);
        let script = format!(
            r#"
import gradient, os
key = os.environ["PAPERSPACE_API_KEY"]
project = gradient.ProjectsClient(key).create("sdk {version}")
datasets = gradient.DatasetsClient(key)
dataset = datasets.create(name="sdk-{version}", storage_provider_id="{provider}")
dataset = getattr(dataset, "id", dataset)
version = gradient.DatasetVersionsClient(key).create(dataset_id=dataset, message="m")
gradient.SecretsClient(key).set(entity="team", entity_id=None, name="SDK", value="v")
print(project, dataset, version, [secret.name for secret in gradient.SecretsClient(key).list("team", None)])
"#
        );
        let said = client.python(&script);
        assert!(said.code == Some(0) && said.out.contains("['SDK']"), "{said:?}");
        let ids: Vec<_> = said.out.split_whitespace().collect();
        let project: Value = daemon.get(&format!("/projects/{}", ids[0])).body;
        assert_eq!(project["name"], format!("sdk {version}"));
        assert_eq!(daemon.get(&format!("/datasets/{}/versions/{}", ids[1], ids[2])).body["message"], "m");
    }
}

/// The limits from which 1.11.0 sends a file in parts, and how large they are, are 500 MB and 15 MB.
#[test]
fn the_parts_of_the_older_client_make_one_file_and_the_last_may_be_empty() {
    let daemon = Daemon::start();
    let client = Client::of(&daemon, VERSIONS[0]);
    let (_, draft) = draft(&client, "parts", &managed(&daemon));
    let files = [("whole", noise(7, 2_000_000)), ("odd", noise(8, 2_000_001))];
    for (name, bytes) in &files {
        fs::write(client.home().join(name), bytes).unwrap();
    }
    let script = format!(
        r#"
import sys
from gradient.commands import datasets
from gradient.main import main
put = datasets.PutDatasetFilesCommand._put
smaller = {{5e8: 1e6, 15e6: 1e6}}
constants = [smaller.get(c, c) if isinstance(c, float) else c for c in put.__code__.co_consts]
assert constants.count(1e6) == 2, constants
put.__code__ = put.__code__.replace(co_consts=tuple(constants))
sys.argv = ["gradient", "datasets", "files", "put", "--id", "{draft}", "--source-path", "whole", "--source-path", "odd"]
main()
"#
    );
    let said = client.python(&script);
    assert_eq!(said.code, Some(0), "{said:?}");
    let hashes = files.map(|(name, bytes)| (name.to_owned(), blake3_of(&bytes)));
    assert_eq!(daemon.read_back(&version_of(&draft)), BTreeMap::from(hashes), "{said:?}");
    assert_eq!(daemon.log().matches("PUT /gradient/parts/").count(), 6, "two, and one that is empty or a byte");
}
