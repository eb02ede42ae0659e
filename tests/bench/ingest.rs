//! Data brought into versions, beside `cp` with everything on the disk at its end, and beside dvc.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;

use super::{
    daemon::Daemon,
    data::{self, mib_per_second, timed},
    numbers::{Times, millis},
    table::Table,
};

const ROUNDS: u32 = 3;

pub fn measure(table: &mut Table) {
    let work = tempfile::Builder::new().prefix("gradientd-bench-data-").tempdir().unwrap();
    let (large, small) = (work.path().join("large"), work.path().join("small"));
    fs::create_dir(&large).unwrap();
    data::tree(&large, 4, 256 << 20);
    data::tree(&small, 20_000, 5 << 10);
    // Nothing is removed till the end: for minutes ext4 takes no inode again that was deleted, and
    // what looks for one after many deletions is several times slower, whoever it is.
    let mut kept = Vec::new();
    one_shape(table, work.path(), &small, "20,000 x 5 KiB", 20_000, &mut kept);
    one_shape(table, work.path(), &large, "1 GiB in 4 files", 4, &mut kept);
    let daemon = Daemon::start();
    again(table, &daemon, &small);
    kept.push(daemon);
    table.row(
        "the daemon's memory at its peak",
        format!("{:.0} MiB", kept.iter().map(Daemon::peak_bytes).max().unwrap() as f64 / f64::from(1 << 20)),
        "-",
        "150 MiB",
    );
}

fn one_shape(table: &mut Table, work: &Path, dir: &Path, what: &str, count: u64, kept: &mut Vec<Daemon>) {
    let names: Vec<String> = (0..count).map(data::name).collect();
    let tar = data::tar(dir);
    let bytes = names.iter().map(|name| fs::metadata(dir.join(name)).unwrap().len()).sum();
    let (mut copies, mut puts, mut tars) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        copies.push(copy(dir, &work.join(format!("copy-{count}-{round}"))));
        // A daemon of its own each time: what is there already would not be stored again.
        let fresh = Daemon::start();
        puts.push(by_puts(&fresh, dir, &names));
        kept.push(fresh);
        let fresh = Daemon::start();
        tars.push(by_tar(&fresh, &tar));
        kept.push(fresh);
    }
    let (copies, puts, tars) = (Times::new(copies), Times::new(puts), Times::new(tars));
    let floor = format!("cp + sync {}", copies.spread());
    let budget = if count == 4 { "0.8 x cp" } else { "10 x dvc add" };
    let mut row = |way: &str, times: &Times, floor: &str| {
        let ratio = copies.median().as_secs_f64() / times.median().as_secs_f64();
        let said = format!("{}, {}, {ratio:.2} x cp", times.spread(), mib_per_second(bytes, times.median()));
        table.row(&format!("{what} by {way}"), said, floor, budget);
    };
    if count > 4 {
        let dvc = dvc_add(work, dir);
        let floor = format!("dvc add {}, {floor}", millis(dvc));
        let times = |times: &Times| format!("{:.1} x dvc", dvc.as_secs_f64() / times.median().as_secs_f64());
        row("8 clients' PUTs", &puts, &format!("{floor} ({})", times(&puts)));
        row("one tar", &tars, &format!("{floor} ({})", times(&tars)));
    } else {
        row("4 clients' PUTs", &puts, &floor);
        row("one tar", &tars, &floor);
    }
}

fn copy(from: &Path, to: &Path) -> Duration {
    let all = || {
        assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
        assert!(Command::new("sync").arg("-f").arg(to).status().unwrap().success());
    };
    timed(all).0
}

fn by_puts(daemon: &Daemon, dir: &Path, names: &[String]) -> Duration {
    let mut api = daemon.connect();
    let dataset = data::dataset(&mut api, "puts", None);
    let version = data::draft(&mut api, &dataset, None);
    timed(|| version.put_tree(daemon, dir, names, 8)).0
}

fn by_tar(daemon: &Daemon, tar: &Path) -> Duration {
    let mut api = daemon.connect();
    let dataset = data::dataset(&mut api, "tars", None);
    let version = data::draft(&mut api, &dataset, None);
    timed(|| version.put_tar(&mut api, tar)).0
}

/// Measures dvc on the same tree, in a repository of its own, with its links as cheap as it can.
fn dvc_add(work: &Path, dir: &Path) -> Duration {
    let tools = PathBuf::from(std::env::var_os("GRADIENTD_BENCH_TOOLS").expect("tests/bench/run sets it"));
    let repository = work.join("dvc");
    fs::create_dir(&repository).unwrap();
    let run = |program: &Path, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(&repository).env("DVC_NO_ANALYTICS", "1");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().unwrap().success(), "{program:?} {args:?}");
    };
    let dvc = tools.join("bin/dvc");
    run(Path::new("git"), &["init", "--quiet"]);
    run(&dvc, &["init", "--quiet"]);
    run(&dvc, &["config", "cache.type", "hardlink"]);
    assert!(Command::new("cp").arg("-r").arg(dir).arg(repository.join("tree")).status().unwrap().success());
    timed(|| run(&dvc, &["add", "--quiet", "tree"])).0
}

/// A tree that is there already, offered by its hashes; a child of it with 1 % changed; commits.
fn again(table: &mut Table, daemon: &Daemon, dir: &Path) {
    let names: Vec<String> = (0..20_000).map(data::name).collect();
    let mut api = daemon.connect();
    let dataset = data::dataset(&mut api, "again", None);
    let first = data::draft(&mut api, &dataset, None);
    let tar = data::tar(dir);
    first.put_tar(&mut api, &tar);
    fs::remove_file(&tar).unwrap();
    let (commit, ()) = timed(|| first.commit(&mut api));
    table.row("commit of 20,000 files", millis(commit), "-", "-");

    let second = data::draft(&mut api, &dataset, None);
    let (took, missing) = timed(|| {
        let mut missing = 0;
        for page in names.chunks(5000) {
            let files: Vec<_> = page
                .iter()
                .map(|name| json!({"path": name, "blake3": blake3::hash(&fs::read(dir.join(name)).unwrap()).to_hex().to_string()}))
                .collect();
            let answer = api.json("POST", &format!("{}/known", second.0), &json!({"files": files}).to_string());
            missing += answer["missing"].as_array().unwrap().len();
        }
        missing
    });
    assert_eq!(missing, 0);
    second.commit(&mut api);
    table.row("20,000 x 5 KiB that are there already", millis(took), "-", "-");

    let teams = daemon.path().join("teams");
    let before = data::stored(&teams);
    let (took, ()) = timed(|| {
        let child = data::draft(&mut api, &dataset, Some(first.id()));
        for n in 0..200u64 {
            let body = data::noise(1_000_000 + n);
            let answer = api.put(&format!("{}/files/{}", child.0, data::name(n * 100)), 5 << 10, body);
            let status = answer.status;
            assert!(status / 100 == 2, "{}", answer.text());
        }
        child.commit(&mut api);
    });
    let grown = data::stored(&teams) - before;
    table.row(
        "a child of 20,000 with 1 % changed, committed",
        format!("{}, {:.1} MiB more on the disk", millis(took), grown as f64 / f64::from(1 << 20)),
        format!("{:.1} MiB changed", 200.0 * 5.0 / 1024.0),
        "-",
    );
}
