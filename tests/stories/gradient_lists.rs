//! Lists that are longer than a page of the original `gradient` command, which asks before it goes on.

use serde_json::json;

use crate::{
    client::{Client, VERSIONS},
    daemon::Daemon,
};

/// More than the 20 rows of a page, so that there are two.
const ROWS: usize = 23;

/// Asks for all of a list and counts the rows that have `mark` in them; each comes once.
fn rows(client: &Client, args: &[&str], mark: &str) -> usize {
    let said = client.answering(args, "y\ny\n");
    assert!(said.code == Some(0) && !said.err.contains("Failed"), "{args:?}: {said:?}");
    let mut rows: Vec<_> = said.out.lines().filter(|line| line.contains(mark)).collect();
    rows.sort_unstable();
    let all = rows.len();
    rows.dedup();
    assert_eq!(rows.len(), all, "{args:?}: {said:?}");
    all
}

#[test]
fn whoever_says_yes_sees_the_rest_of_a_long_list() {
    let daemon = Daemon::start();
    let dataset = daemon.dataset("row-00");
    for n in 0..ROWS {
        daemon.draft_with(&dataset, &json!({"message": format!("draft-{n:02}")}));
        let spec = json!({"name": format!("try-{n:02}"), "image": "none", "command": "true"});
        assert_eq!(daemon.post("/experiments", &json!({ "spec": spec })).status, 201);
        if n > 0 {
            daemon.dataset(&format!("row-{n:02}"));
        }
    }
    // One that was never started is copied at once.
    let book = daemon.post("/notebooks", &json!({"name": "book-00", "image": "127.0.0.1:1/none:1"}));
    let book = book.body["id"].as_str().unwrap().to_owned();
    daemon.wait_until("its end", || (daemon.get(&format!("/notebooks/{book}")).body["state"] == "error").then_some(()));
    for n in 1..ROWS {
        let fork = daemon.post(&format!("/notebooks/{book}/fork"), &json!({"name": format!("book-{n:02}")}));
        assert_eq!(fork.status, 201, "{fork:?}");
    }
    for version in VERSIONS {
        let client = Client::of(&daemon, version);
        let stopped = client.run(&["datasets", "list"]);
        assert!(stopped.code == Some(1) && stopped.err.contains("Aborted!"), "nobody said yes: {stopped:?}");
        assert_eq!(rows(&client, &["datasets", "list"], "row-"), ROWS);
        let drafts = ["datasets", "versions", "list", "--id", &dataset, "--isCommitted", "false"];
        assert_eq!(rows(&client, &drafts, "draft-"), ROWS);
        assert_eq!(rows(&client, &["notebooks", "list"], "book-"), ROWS);
        assert_eq!(rows(&client, &["notebooks", "list", "--limit", "9", "--offset", "10"], "book-"), ROWS - 10);
    }
    let older = Client::of(&daemon, VERSIONS[0]);
    assert_eq!(rows(&older, &["experiments", "list"], "try-"), ROWS);
    assert_eq!(rows(&older, &["experiments", "list", "--limit", "9", "--offset", "10"], "try-"), ROWS - 10);
}
