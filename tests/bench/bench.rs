//! One table of what gradientd costs, each number beside its floor, measured in the same run on the
//! same machine. Nothing here passes or fails: the budgets stand beside what was reached, for a
//! person to compare. See `tests/bench/run`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people at a terminal")]

mod accept;
mod bucket;
mod client;
mod cloud;
mod daemon;
mod data;
mod engine;
mod follow;
mod http;
mod ingest;
mod mount;
mod notebook;
mod numbers;
mod proxy;
mod read;
mod run;
mod s3;
mod schedule;
mod served;
mod table;

use table::Table;

type Part = (&'static str, fn(&mut Table));

/// What can be asked for by name, in the order of the table.
const PARTS: [Part; 11] = [
    ("schedule", schedule::measure),
    ("run", run::measure),
    ("follow", follow::measure),
    ("accept", accept::measure),
    ("read", read::measure),
    ("ingest", ingest::measure),
    ("mount", mount::measure),
    ("bucket", bucket::measure),
    ("client", client::measure),
    ("proxy", proxy::measure),
    ("notebook", notebook::measure),
];

fn main() {
    // In a container, as what the proxy stands in front of.
    if std::env::var_os(served::MARK).is_some() {
        served::serve();
        return;
    }
    // cargo adds `--bench`.
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = asked.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        println!("there is no part {unknown}: choose among {}", PARTS.map(|(part, _)| part).join(" "));
        std::process::exit(2);
    }
    let mut table = Table::default();
    for (part, measure) in PARTS {
        if asked.is_empty() || asked.iter().any(|name| name == part) {
            measure(&mut table);
        }
    }
    println!("\n{table}");
}
