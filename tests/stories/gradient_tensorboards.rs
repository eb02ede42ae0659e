//! TensorBoards through the original `gradient` command, which has them in its first generation only.

use serde_json::{Value, json};

use crate::{
    client::{Client, VERSIONS, id_after},
    daemon::{BUSYBOX, Daemon},
};

/// An image with TensorBoard in it.
const TENSORBOARD: &str = "gradient-test/jupyter:latest";

/// Writes one point, as training does.
const WRITE: &str = r#"exec python3 -c '
import time
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
writer = EventFileWriter("/artifacts/out")
writer.add_event(Event(wall_time=time.time(), step=1, summary=Summary(value=[Summary.Value(tag="loss", simple_value=1)])))
writer.close()
'"#;

/// A daemon whose TensorBoards run this image.
fn start(image: &str) -> Daemon {
    Daemon::start_with(&[("GRADIENTD_TENSORBOARDS__IMAGE", image), ("GRADIENTD_ENGINE__STOP_GRACE", "2s")])
}

fn client(daemon: &Daemon) -> Client {
    Client::of(daemon, VERSIONS[0])
}

fn project(daemon: &Daemon) -> String {
    daemon.post("/projects", &json!({ "name": "digits" })).body["id"].as_str().unwrap().to_owned()
}

/// The words of `experiments create` or `run`.
fn words<'a>(verb: &'a str, project: &'a str, image: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    let base = ["experiments", verb, "singlenode", "--projectId", project, "--container", image];
    [&base[..], &["--machineType", "cpu-small"], args].concat()
}

/// Makes an experiment without the command, which takes its time.
fn experiment(daemon: &Daemon, name: &str) -> String {
    let spec = json!({ "name": name, "image": BUSYBOX, "command": "true" });
    let made = daemon.post("/experiments", &json!({ "spec": spec, "start": false }));
    assert_eq!(made.status, 201, "{made:?}");
    made.body["id"].as_str().unwrap().to_owned()
}

fn run_of(daemon: &Daemon, experiment: &str) -> String {
    daemon.list(&format!("/jobs?experiment={experiment}"))[0]["id"].as_str().unwrap().to_owned()
}

/// Waits until TensorBoard itself, asked through the proxy, shows exactly these runs.
fn wait_for_runs(daemon: &Daemon, id: &str, runs: &[String]) {
    daemon.wait_until(&format!("the runs {runs:?}"), || {
        let asked = daemon.visit(id, "GET", &format!("/w/{id}/data/runs"));
        let seen = asked.with("Authorization", &format!("Bearer {}", daemon.key())).send();
        let seen = (seen.status == 200).then(|| seen.json())?;
        let mut names: Vec<_> = seen.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        names.sort_unstable();
        (names == runs).then_some(())
    });
}

/// Returns the row of a table that begins with an id.
fn row<'a>(printed: &'a str, id: &str) -> &'a str {
    printed.lines().find(|line| line.starts_with(&format!("| {id}"))).unwrap_or_else(|| panic!("{id}: {printed}"))
}

#[test]
fn a_tensorboard_is_made_shown_changed_joined_and_deleted() {
    let daemon = start(TENSORBOARD);
    let client = client(&daemon);
    let project = project(&daemon);
    let first = words("run", &project, TENSORBOARD, &["--name", "first", "--command", WRITE, "--no-logs"]);
    let first = id_after(&client.says(&first), "New experiment created and started with ID:");
    let (second, job) = (experiment(&daemon, "second"), daemon.submit(&json!({ "image": BUSYBOX, "command": "true" })));
    daemon.wait_for_end(&run_of(&daemon, &first));

    let id = id_after(
        &client.says(&["tensorboards", "create", "--experiment", &first, "--experiment", &second]),
        "Created new tensorboard with id:",
    );
    let address = format!("http://{id}.localhost:{}/", daemon.workload_port());
    let listed = client.says(&["tensorboards", "list"]);
    assert!(row(&listed, &id).contains(&address), "{listed}");
    let details = || client.says(&["tensorboards", "details", "--id", &id]);
    let shown = daemon.wait_until("its answer", || {
        let shown = details();
        assert!(!["Failed", "Error"].iter().any(|bad| shown.contains(bad)), "{shown}");
        shown.contains("Running").then_some(shown)
    });
    assert!(shown.contains(TENSORBOARD) && shown.contains(&address), "{shown}");
    assert!(row(&shown, &first).contains("stopped") && row(&shown, &second).contains("created"), "{shown}");
    let of_first = format!("first/{}/out", run_of(&daemon, &first));
    wait_for_runs(&daemon, &id, std::slice::from_ref(&of_first));
    // The address that the client printed leads to its page.
    let page = daemon.visit(&id, "GET", "/").with("Authorization", &format!("Bearer {}", daemon.key())).send();
    assert_eq!((page.status, page.header("location")), (307, Some(&*format!("/w/{id}/"))), "{}", page.text());

    let change = |verb: &str, subject: &str| client.says(&["tensorboards", verb, "--id", &id, "--experiment", subject]);
    daemon.wait_for_end(&job);
    let added = change("add-experiments", &job);
    assert!(row(&added, &job).contains("stopped") && added.contains(&second), "{added}");
    let removed = change("remove-experiments", &second);
    assert!(!removed.contains(&second) && removed.contains(&first), "{removed}");

    // The only one is joined, and wakes for it.
    assert_eq!(daemon.post(&format!("/tensorboards/{id}/stop"), &json!({})).status, 200);
    daemon.wait_until("its end", || details().contains("Stopped").then_some(()));
    let args = ["--name", "third", "--command", WRITE, "--no-logs", "--tensorboard"];
    let said = client.says(&words("run", &project, TENSORBOARD, &args));
    let third = id_after(&said, "New experiment created and started with ID:");
    assert!(said.contains(&address) && !row(&said, &third).is_empty(), "{said}");
    wait_for_runs(&daemon, &id, &[of_first, format!("third/{}/out", run_of(&daemon, &third))]);

    let deleted = client.says(&["tensorboards", "delete", "--id", &id]);
    assert!(deleted.contains("ended with success"), "{deleted}");
    assert_eq!(daemon.get(&format!("/tensorboards/{id}")).status, 404);
    assert!(client.run(&["tensorboards", "list"]).out.contains("No data found"));
    assert_eq!(daemon.get(&format!("/experiments/{third}")).status, 200, "what it showed stays");
}

#[test]
fn an_experiment_joins_the_only_tensorboard_or_the_one_that_is_named_and_makes_one_otherwise() {
    // They fail at once, and can be joined all the same.
    let daemon = start(BUSYBOX);
    let client = client(&daemon);
    let project = project(&daemon);
    let made = |args: &[&str]| {
        let said =
            client.says(&words("create", &project, BUSYBOX, &[&["--command", "true", "--name", "e"], args].concat()));
        (id_after(&said, "New experiment created with ID:"), said)
    };
    let (one, said) = made(&["--tensorboard"]);
    let first = id_after(&said, "Created new tensorboard with id:");
    let (two, said) = made(&["--tensorboard"]);
    assert!(!row(&said, &one).is_empty() && !row(&said, &two).is_empty(), "{said}");
    let sdk = client.python(&format!(
        r#"
import gradient, os
boards = gradient.TensorboardClient(os.environ["PAPERSPACE_API_KEY"])
made = boards.create(experiments=["{one}"], image="{TENSORBOARD}", instance_type="cpu", instance_size="small")
board = boards.get(made)
print(board.id == made, board.image, board.experiments == [{{"id": "{one}", "state": "created"}}])
print([board.id for board in boards.list()] == [made, "{first}"])
print([row["id"] for row in boards.add_experiments(made, ["{two}"]).experiments] == ["{one}", "{two}"])
print([row["id"] for row in boards.remove_experiments(made, ["{one}"]).experiments] == ["{two}"])
"#
    ));
    assert!(sdk.code == Some(0), "{sdk:?}");
    assert_eq!(
        sdk.out.lines().collect::<Vec<_>>(),
        [&*format!("True {TENSORBOARD} True"), "True", "True", "True"],
        "{sdk:?}"
    );
    // There are two by now, and neither is meant.
    let (_, said) = made(&["--tensorboard"]);
    let third = id_after(&said, "Created new tensorboard with id:");
    let (four, said) = made(&["--tensorboard_set", &first]);
    assert!(!row(&said, &four).is_empty(), "{said}");
    assert_eq!(daemon.get(&format!("/tensorboards/{first}")).body["memberCount"], 3);
    let sdk = client.python(&format!(
        r#"
import gradient, os
boards = gradient.TensorboardClient(os.environ["PAPERSPACE_API_KEY"])
for id in ["{first}", "{third}"]:
    boards.delete(id)
print(len(boards.list()))
"#
    ));
    assert!(sdk.code == Some(0) && sdk.out.trim() == "1", "{sdk:?}");
}

#[test]
fn each_mistake_with_a_tensorboard_reads_clearly_at_the_terminal() {
    let daemon = start(BUSYBOX);
    let key = daemon.key_of_another_team("write");
    let (mine, others) = (client(&daemon), Client::with_key(&daemon, VERSIONS[0], &key));
    let one = experiment(&daemon, "one");
    let none = "e0123456789abc";
    for (args, said) in [
        (&["--experiment", none][..], "there is no experiment e0123456789abc"),
        (&["--experiment", "nonsense"], "is no experiment id"),
        (&["--experiment", &one, "--experiment", &one], "already"),
        (&["--experiment", &one, "--image", "Upper Case"], "image"),
        (&["--experiment", &one, "--username", "ada"], "private to the team anyway"),
        (&["--experiment", &one, "--password", "hunter2"], "private to the team anyway"),
    ] {
        let words = mine.is_refused(&[&["tensorboards", "create"], args].concat());
        assert!(words.contains(said), "{args:?}: {words}");
    }
    assert!(daemon.list("/tensorboards").is_empty(), "nothing is left of mistakes");

    let made = daemon.post("/tensorboards", &json!({ "members": [{ "experiment": one }] }));
    let id = made.body["id"].as_str().unwrap();
    for (client, id) in [(&mine, "tb00000000aa"), (&others, id)] {
        for command in [
            &["details"][..],
            &["add-experiments", "--experiment", &one],
            &["remove-experiments", "--experiment", &one],
            &["delete"],
        ] {
            let words = client.is_refused(&[&["tensorboards"], command, &["--id", id]].concat());
            assert!(words.contains(&format!("there is no TensorBoard {id}")), "{command:?}: {words}");
        }
    }
    assert!(others.run(&["tensorboards", "list"]).out.contains("No data found"));
    let words = others.is_refused(&["tensorboards", "create", "--experiment", &one]);
    assert!(words.contains(&format!("there is no experiment {one}")), "{words}");
    for (verb, subject, said) in [
        ("add-experiments", &*one, "is a member already"),
        ("add-experiments", none, "there is no experiment"),
        ("remove-experiments", none, "there is no member"),
    ] {
        let words = mine.is_refused(&["tensorboards", verb, "--id", id, "--experiment", subject]);
        assert!(words.contains(said), "{verb} {subject}: {words}");
    }
    let words = mine.is_refused(&["tensorboards", "details", "--id", "../jobs"]);
    assert!(!words.is_empty(), "{words}");
    let wrong = Client::with_key(&daemon, VERSIONS[0], "gdk_wrong");
    assert!(wrong.is_refused(&["tensorboards", "list"]).contains("key"));
}
