//! What a job finds around itself: command, directory, user, limits, directories, ports.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Instant,
};

use serde_json::{Value, json};

use crate::daemon::{BUSYBOX, Daemon, PATIENCE};

const SMALL: (&str, &str) = ("GRADIENTD_SCHEDULER__MACHINE_TYPES", r#"[{name="small", cores=0.5, memory_gib=0.125}]"#);

#[test]
fn a_job_runs_as_it_was_told_to() {
    let daemon = Daemon::start_with(&[SMALL, ("GRADIENTD_ENGINE__PIDS", "50")]);
    let submit = |mut body: Value| {
        body["image"] = BUSYBOX.into();
        daemon.submit(&body)
    };
    let cases = [
        (
            "a text goes through a shell",
            submit(json!({"command": "echo $((20+1)) | tr 1 2; pwd"})),
            "22\n/home/paperspace\n",
        ),
        ("a list does not", submit(json!({"command": ["echo", "$((20+1))", "a  b;"]})), "$((20+1)) a  b;\n"),
        ("another directory", submit(json!({"command": "pwd", "workingDirectory": "/var"})), "/var\n"),
        (
            "the environment, with what the cloud sets",
            submit(json!({
                "command": "echo \"$A\"; echo $PS_JOBSPACE $PS_MODEL_PATH $GRADIENTD_ATTEMPT",
                "env": {"A": "with \"quotes\", $(things) and ünïcode"},
            })),
            "with \"quotes\", $(things) and ünïcode\n/storage /artifacts 1\n",
        ),
        (
            "somebody else can write where results go",
            submit(json!({
                "command": "id -u; id -g; touch /artifacts/a /storage/b-$(hostname) c && echo written",
                "user": "1000:1000",
            })),
            "1000\n1000\nwritten\n",
        ),
        (
            "shared memory as asked for",
            submit(json!({"command": "df -k /dev/shm | awk 'NR==2 {print $2}'", "sharedMemoryBytes": 32 << 20})),
            "32768\n",
        ),
        (
            "shared memory as a part of the memory",
            submit(json!({"command": "df -k /dev/shm | awk 'NR==2 {print $2}'"})),
            "65536\n",
        ),
        (
            "the limits of its machine type",
            submit(json!({
                "command": "cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes pids.max pids/pids.max \
                    cpu.max cpu/cpu.cfs_quota_us 2>/dev/null; true",
            })),
            // Version 2 of cgroups says quota and period in one line.
            "134217728\n50\n50000",
        ),
        (
            "no more of the box than a job needs",
            submit(json!({
                "command": "grep -c NoNewPrivs:.*1 /proc/self/status; touch /sys/x /proc/sys/x 2>/dev/null || echo closed; \
                    mount -t tmpfs none /mnt 2>/dev/null || echo no mount; mknod /tmp/d c 1 3 2>/dev/null || echo no device",
            })),
            "1\nclosed\nno mount\nno device\n",
        ),
    ];
    for (what, id, expected) in &cases {
        let job = daemon.wait_for_end(id);
        assert_eq!(job["state"], "stopped", "{what}: {job:#}\n{}", daemon.text_of(id));
        let text = daemon.text_of(id);
        assert!(text.contains(expected), "{what}: {text}");
    }
}

#[test]
fn storage_is_shared_between_jobs_and_artifacts_are_not() {
    let daemon = Daemon::start();
    let first = daemon.shell("echo 1 > /storage/model; echo 1 > /artifacts/mine");
    assert_eq!(daemon.wait_for_end(&first)["state"], "stopped");
    let second = daemon.shell("cat /storage/model && ls /artifacts && rm /storage/model");
    assert_eq!(daemon.wait_for_end(&second)["state"], "stopped");
    assert!(daemon.text_of(&second).ends_with("1\n"), "{}", daemon.text_of(&second));
}

#[test]
fn a_published_port_is_reachable_on_this_machine_under_the_url_it_says() {
    let daemon = Daemon::start_with(&[("GRADIENTD_ENGINE__STOP_GRACE", "1s")]);
    let wanted = crate::daemon::free_port();
    let id = daemon.submit(&json!({
        "image": BUSYBOX,
        "command": "echo served > index.html; exec httpd -f -p 8080 -h /home/paperspace",
        "ports": [8080, {"container": 9090, "host": wanted}],
    }));
    let job = daemon.wait_for(&id, "its ports", |job| job["ports"][0]["host"].is_u64());
    let ports = job["ports"].as_array().unwrap();
    let of = |container: u16| ports.iter().find(|port| port["container"] == container).unwrap();
    assert_eq!(of(9090)["host"], wanted);
    let url = of(8080)["url"].as_str().unwrap();
    assert_eq!(url, format!("http://127.0.0.1:{}", of(8080)["host"]));
    let address = url.strip_prefix("http://").unwrap();

    let begun = Instant::now();
    loop {
        // The server inside starts in its own time.
        let mut text = String::new();
        if let Ok(mut stream) = TcpStream::connect(address) {
            let _ = stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n");
            let _ = stream.read_to_string(&mut text);
        }
        if text.contains("served") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{address} says {text:?}: {job:#}");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    // The port of the other job is taken, which is said in words rather than tried for ever.
    let late =
        daemon.submit(&json!({"image": BUSYBOX, "command": "true", "ports": [{"container": 1, "host": wanted}]}));
    let late = daemon.wait_for_end(&late);
    assert_eq!(late["state"], "error", "{late:#}");
    assert!(late["message"].as_str().unwrap().contains(&wanted.to_string()), "{late:#}");
    daemon.post(&format!("/jobs/{id}/stop"), &json!({}));
    daemon.wait_for_end(&id);
}
