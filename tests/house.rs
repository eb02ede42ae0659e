//! The house's arrows: which room may know which. Read from the imports themselves, so that a room
//! cannot reach where it must not without this test saying so.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the sources should fail")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Every room with the rooms that it may name. `ARCHITECTURE.md` says why.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("scheduler", &["domain"]),
    ("fault", &[]),
    ("store", &["domain", "fault"]),
    ("executor", &["domain", "fault"]),
    ("gpu", &["domain"]),
    ("host", &[]),
    ("jupyter", &["domain"]),
    ("storage", &["domain", "fault"]),
    ("auth", &["domain"]),
    ("service", &["domain", "scheduler", "store", "host", "storage", "auth", "fault"]),
    (
        "reconcile",
        &["domain", "scheduler", "store", "executor", "gpu", "host", "jupyter", "storage", "auth", "service", "fault"],
    ),
    ("api", &["domain", "service", "storage", "auth"]),
    ("proxy", &["domain", "service", "auth"]),
    ("gradient", &["domain", "service", "auth", "api"]),
    ("push", &["domain", "service", "api"]),
    ("ui", &["api"]),
    ("config", &["domain"]),
    ("telemetry", &["config"]),
    (
        "cli",
        &[
            "domain",
            "service",
            "auth",
            "executor",
            "gpu",
            "host",
            "storage",
            "store",
            "config",
            "telemetry",
            "api",
            "gradient",
            "push",
            "app",
        ],
    ),
    (
        "app",
        &[
            "domain",
            "store",
            "executor",
            "gpu",
            "host",
            "storage",
            "auth",
            "service",
            "reconcile",
            "api",
            "gradient",
            "push",
            "proxy",
            "ui",
            "config",
            "cli",
        ],
    ),
];

/// Crates of the outside world, each with the rooms that may speak to it.
const DOORS: &[(&str, &[&str])] = &[
    // A service composes the store's functions inside a transaction, so it names the connection.
    ("rusqlite", &["store", "service", "cli"]),
    ("bollard", &["executor"]),
    ("nvml_wrapper", &["gpu"]),
    ("axum", &["api", "gradient", "push", "ui", "app"]),
    ("figment", &["config"]),
    ("clap", &["cli"]),
    ("rcgen", &["auth"]),
    ("x509_parser", &["auth"]),
    ("tokio_rustls", &["auth"]),
    ("serde_saphyr", &["domain"]),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Returns each file of `src/` with its room and its code, comments left out.
fn files() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    found
        .into_iter()
        .filter(|path| path.file_name().is_none_or(|name| name != "tests.rs"))
        .map(|path| {
            let within = path.strip_prefix(&root).unwrap().to_owned();
            let first = within.components().next().unwrap().as_os_str().to_str().unwrap();
            let room = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let text = without_tests(&text);
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            (within, room, code)
        })
        .collect()
}

/// Returns a file without the tests at its foot, which may open any room to look at what was done.
fn without_tests(text: &str) -> &str {
    let foot = text
        .match_indices("\n#[cfg(test)]\n")
        .find(|(at, mark)| text[at + mark.len()..].lines().next().is_some_and(|line| line.ends_with("mod tests {")));
    foot.map_or(text, |(at, _)| &text[..at])
}

/// Returns the rooms that a file names as `crate::room` or inside `use crate::{…}`.
fn named(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            rooms.insert(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (offset, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && depth == 0 && c.is_alphabetic() => {
                    rooms.insert(word(&group[offset..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    rooms
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_follow_the_arrows() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, room, code) in files() {
        if room == "lib" || room == "main" {
            continue;
        }
        let allowed = arrows.get(room.as_str()).unwrap_or_else(|| panic!("{room} is not on the map of the house"));
        for other in named(&code) {
            if other != room && arrows.contains_key(other.as_str()) && !allowed.contains(&other.as_str()) {
                wrong.push(format!("{}: {room} must not know {other}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_outside_world_is_spoken_to_behind_its_own_door() {
    let mut wrong = Vec::new();
    for (path, room, code) in files() {
        for (krate, rooms) in DOORS {
            if code.contains(&format!("{krate}::")) && !rooms.contains(&room.as_str()) {
                wrong.push(format!("{}: {krate} belongs to {rooms:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn other_machines_storage_is_spoken_to_in_one_corner() {
    let speaks = ["object_store::", "reqwest::"];
    for (path, room, code) in files() {
        let speaking = speaks.iter().any(|krate| code.contains(krate));
        assert!(!speaking || path.starts_with("storage/s3"), "{} speaks S3 or HTTP", path.display());
        // As a client there, as a server where the private keys are.
        let by_tls = code.contains("rustls::");
        assert!(!by_tls || path.starts_with("storage/s3") || room == "auth", "{} speaks TLS", path.display());
    }
}

#[test]
fn only_ways_down_are_on_the_map() {
    // Each room is listed after every room that it may know, so no two can know each other. The
    // edges at the bottom of the list know each other by name: cli calls app, app prints through cli.
    let mut before = BTreeSet::new();
    for (room, allowed) in ARROWS {
        for other in *allowed {
            assert!(
                before.contains(other) || (*room == "cli" && *other == "app"),
                "{room} → {other} points up or sideways"
            );
        }
        before.insert(*room);
    }
}

#[test]
fn the_reader_of_imports_reads_them() {
    let code = "use crate::{\n    store::{a, b},\n    domain::id,\n};\nfn f() { crate::fault::point(\"x\"); }";
    assert_eq!(named(code).into_iter().collect::<Vec<_>>(), ["domain", "fault", "store"]);
}
