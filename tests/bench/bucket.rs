//! A version in a bucket brought onto this disk for a job, beside `aws s3 sync` of the same keys.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    daemon::Daemon,
    data::{self, mib_per_second, timed},
    engine,
    http::Connection,
    numbers::millis,
    run::follow_ends,
    s3::{KEY, SECRET, Server},
    table::Table,
};

pub fn measure(table: &mut Table) {
    let server = Server::start();
    let daemon = Daemon::start();
    let mut api = daemon.connect();
    let provider = json!({
        "name": "bucket", "type": "s3", "bucket": "bench", "endpoint": format!("http://127.0.0.1:{}", server.port),
        "pathStyle": true, "accessKeyId": KEY, "secretAccessKey": SECRET,
    });
    api.json("POST", "/api/v1/storage-providers", &provider.to_string());
    let work = tempfile::tempdir().unwrap();
    let ends = follow_ends(daemon.connect());
    for (what, count, bytes) in [("2,000 x 50 KiB", 2000u64, 50u64 << 10), ("4 x 64 MiB", 4, 64 << 20)] {
        let tree = work.path().join(format!("tree-{count}"));
        data::tree(&tree, count, bytes);
        let dataset = data::dataset(&mut api, &format!("bucket-{count}"), Some("bucket"));
        let version = data::draft(&mut api, &dataset, None);
        // One by one they go straight to the bucket; what came as a tar would be on the disk already.
        let names: Vec<String> = (0..count).map(data::name).collect();
        version.put_tree(&daemon, &tree, &names, 8);
        version.commit(&mut api);
        let synced = aws_sync(&server, work.path(), &dataset, version.id());
        let job = |reference: serde_json::Value| {
            json!({"image": engine::IMAGE, "command": "true", "datasets": reference}).to_string()
        };
        let mut run = |body: String| {
            let began = Instant::now();
            let id = api.json("POST", "/api/v1/jobs", &body)["id"].as_str().unwrap().to_owned();
            loop {
                let (ended, at) = ends.recv_timeout(Duration::from_secs(600)).expect("the job ends");
                if ended == id {
                    return at - began;
                }
            }
        };
        run(job(json!([])));
        let without = run(job(json!([])));
        let first = run(job(json!([{"ref": format!("{dataset}:{}", version.id()), "name": "in"}])));
        let took = first.saturating_sub(without);
        let ratio = synced.as_secs_f64() / took.as_secs_f64();
        table.row(
            &format!("{what} from a bucket onto the disk"),
            format!("{}, {}, {ratio:.2} x", millis(took), mib_per_second(count * bytes, took)),
            format!("aws s3 sync {}", millis(synced)),
            "-",
        );
    }
    one_tar(table, &mut api, &work.path().join("tree-4"));
    table.row(
        "the daemon's memory at its peak",
        format!("{:.0} MiB", daemon.peak_bytes() as f64 / f64::from(1 << 20)),
        "-",
        "150 MiB",
    );
}

/// One tar goes through the disk of this box, then from there in parts: what takes most memory.
fn one_tar(table: &mut Table, api: &mut Connection, tree: &Path) {
    let dataset = data::dataset(api, "bucket-tar", Some("bucket"));
    let version = data::draft(api, &dataset, None);
    let tar = data::tar(tree);
    let bytes = fs::metadata(&tar).unwrap().len();
    let (took, ()) = timed(|| version.put_tar(api, &tar));
    let said = format!("{}, {}", millis(took), mib_per_second(bytes, took));
    table.row("4 x 64 MiB in one tar into a bucket", said, "-", "-");
}

fn aws_sync(server: &Server, work: &Path, dataset: &str, version: &str) -> Duration {
    let tools = PathBuf::from(std::env::var_os("GRADIENTD_BENCH_TOOLS").expect("tests/bench/run sets it"));
    let team = fs::read_dir(server.bucket()).unwrap().map(|entry| entry.unwrap());
    let team = team.into_iter().find(|entry| entry.path().is_dir()).unwrap().file_name().into_string().unwrap();
    let into = work.join(format!("synced-{version}"));
    let (took, ()) = timed(|| {
        let done = Command::new(tools.join("bin/aws"))
            .args(["--endpoint-url", &format!("http://127.0.0.1:{}", server.port), "s3", "sync", "--quiet"])
            .arg(format!("s3://bench/{team}/datasets/{dataset}/{version}"))
            .arg(&into)
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .status()
            .unwrap();
        assert!(done.success());
        assert!(Command::new("sync").arg("-f").arg(&into).status().unwrap().success());
    });
    took
}
