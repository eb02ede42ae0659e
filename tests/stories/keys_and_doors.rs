//! Who is let in, and who is not.

use std::{
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    daemon::{BUSYBOX, Daemon},
    wire::Reply,
};

/// Makes a key and returns its id and text.
fn make_key(daemon: &Daemon, body: &Value) -> (String, String) {
    let made = daemon.post("/keys", body);
    assert_eq!(made.status, 201, "{made:?}");
    let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

fn get_with(daemon: &Daemon, key: &str, path: &str) -> Reply {
    daemon.ask_as_nobody("GET", path).with("Authorization", &format!("Bearer {key}")).send()
}

#[test]
fn nobody_gets_in_without_a_good_key() {
    let daemon = Daemon::start();
    let good = daemon.key();
    let mut mistyped = good.clone();
    mistyped.replace_range(good.len() - 1.., if good.ends_with('0') { "1" } else { "0" });
    let shown = |value: &str| ("Authorization", value.to_owned());
    let cases = [
        None,
        Some(shown("")),
        Some(shown("Bearer")),
        Some(shown("Bearer gdk_")),
        Some(shown(&format!("Bearer {mistyped}"))),
        Some(shown(&format!("Bearer {good}x"))),
        Some(shown(&format!("Basic {good}"))),
        Some(shown("Bearer \u{fc}\u{fc}")),
        Some(("Cookie", format!("__Host-gradientd={good}"))),
        Some(("Cookie", "__Host-gradientd=".to_owned())),
        Some(("X-Api-Key", format!("{good}x"))),
        Some(("X-Api-Key", format!("Bearer {good}"))),
    ];
    let paths = [
        "/session",
        "/keys",
        "/projects",
        "/secrets",
        "/jobs",
        "/jobs/js0123456789ab",
        "/jobs/js0123456789ab/logs",
        "/machine-types",
        "/gpus",
        "/queue",
        "/box",
        "/events",
        "/metrics",
    ];
    for case in &cases {
        for path in paths {
            let mut asked = daemon.ask_as_nobody("GET", &format!("/api/v1{path}"));
            if let Some((name, value)) = case {
                asked = asked.with(name, value);
            }
            let reply = asked.send();
            assert_eq!(reply.status, 401, "{path} with {case:?}: {}", reply.text());
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "{path} with {case:?}");
            assert_eq!(reply.json()["code"], "unauthorized");
            assert!(!reply.text().contains(&good), "a key is not repeated: {}", reply.text());
        }
    }
    for (method, path) in
        [("POST", "/jobs"), ("PUT", "/secrets"), ("POST", "/uploads"), ("DELETE", "/keys/k3v54dfgz1z")]
    {
        let reply = daemon.ask_as_nobody(method, &format!("/api/v1{path}")).json(&json!({})).send();
        assert_eq!(reply.status, 401, "{method} {path}");
    }
    assert_eq!(daemon.ask_as_nobody("GET", "/metrics").send().status, 401);
    assert_eq!(daemon.ask_as_nobody("GET", "/api/v1/healthz").send().status, 200, "this one tells nothing");
    assert_eq!(get_with(&daemon, &good, "/api/v1/session").status, 200);
}

#[test]
fn keys_do_what_their_scope_says_until_they_end() {
    let daemon = Daemon::start();
    let (_, read) = make_key(&daemon, &json!({"name": "reader", "scope": "read"}));
    let (_, write) = make_key(&daemon, &json!({"name": "writer", "scope": "write"}));
    let ask = |key: &str, method: &str, path: &str, body: Value| {
        let asked = daemon.ask_as_nobody(method, &format!("/api/v1{path}"));
        let reply = asked.with("Authorization", &format!("Bearer {key}")).json(&body).send();
        (reply.status, reply.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    let job = json!({"image": BUSYBOX, "command": "true"});
    let forbidden = (403, "forbidden".to_owned());
    for (method, path, body) in [
        ("POST", "/jobs", job.clone()),
        ("PUT", "/secrets", json!({"name": "A", "value": "b"})),
        ("POST", "/projects", json!({"name": "p"})),
        ("POST", "/keys", json!({"name": "k", "scope": "read"})),
    ] {
        assert_eq!(ask(&read, method, path, body), forbidden, "{method} {path}");
    }
    assert_eq!(daemon.get("/jobs").body["items"], json!([]));
    assert_eq!(get_with(&daemon, &read, "/api/v1/jobs").status, 200);
    assert_eq!(ask(&write, "POST", "/jobs", job).0, 201);
    assert_eq!(ask(&write, "POST", "/keys", json!({"name": "k", "scope": "admin"})), forbidden);
    assert_eq!(get_with(&daemon, &read, "/api/v1/session").json()["scope"], "read");

    let (short_id, short) = make_key(&daemon, &json!({"name": "short", "scope": "read", "expiresInSeconds": 1}));
    daemon
        .wait_until("the key to expire", || (get_with(&daemon, &short, "/api/v1/session").status == 401).then_some(()));
    let listed = daemon.get("/keys").body;
    let of = |id: &str| listed["items"].as_array().unwrap().iter().find(|key| key["id"] == id).unwrap().clone();
    assert!(of(&short_id)["expiresAt"].is_string());
    assert!(listed["items"].as_array().unwrap().iter().all(|key| key.get("key").is_none()), "{listed:#}");
    assert_eq!(listed["items"].as_array().unwrap().iter().filter(|key| key["current"] == true).count(), 1);
    for bad in [
        json!({"name": "", "scope": "read"}),
        json!({"name": "x", "scope": "root"}),
        json!({"name": "x", "scope": "read", "expiresInSeconds": 0}),
        json!({"name": "x", "scope": "read", "expiresInSeconds": 99_999_999_999_u64}),
    ] {
        assert_eq!(daemon.post("/keys", &bad).status, 422, "{bad}");
    }
}

#[test]
fn a_revoked_key_is_shut_out_at_once_on_open_streams_too() {
    let daemon = Daemon::start_with(&[("GRADIENTD_ENGINE__STOP_GRACE", "1s")]);
    let id = daemon.shell("while true; do echo tick; sleep 0.1; done");
    daemon.wait_for(&id, "running", |job| job["state"] == "running");
    let (key_id, key) = make_key(&daemon, &json!({"name": "k", "scope": "read"}));
    let follow = |path: &str| {
        let stream = daemon.stream_as(&key, path);
        std::thread::spawn(move || stream.count())
    };
    let streams = [follow(&format!("/jobs/{id}/logs")), follow("/events")];
    daemon.wait_until("the key's use to be noted", || {
        let keys = daemon.get("/keys").body;
        let key = keys["items"].as_array().unwrap().iter().find(|key| key["id"] == key_id.as_str())?;
        key["lastUsedAt"].is_string().then_some(())
    });
    assert_eq!(daemon.delete(&format!("/keys/{key_id}")).status, 204);
    let revoked = Instant::now();
    assert_eq!(get_with(&daemon, &key, "/api/v1/jobs").status, 401);
    for stream in streams {
        stream.join().unwrap();
    }
    // A second is promised; a busy machine gets some more.
    assert!(revoked.elapsed() < Duration::from_secs(10), "{:?}", revoked.elapsed());
    assert_eq!(daemon.delete(&format!("/keys/{key_id}")).status, 204, "twice does no harm");
    assert_eq!(daemon.job(&id)["state"], "running", "what it started goes on");
    daemon.post(&format!("/jobs/{id}/stop"), &json!({}));
    daemon.wait_for_end(&id);
}

#[test]
fn a_browser_signs_in_with_a_key_or_with_a_link_that_works_once() {
    let daemon = Daemon::start();
    let sign_in = |body: Value| daemon.ask_as_nobody("POST", "/api/v1/session").json(&body).send();
    let with_key = sign_in(json!({"key": daemon.key()}));
    assert_eq!(with_key.status, 200, "{}", with_key.text());
    let proof = with_key.json()["sessionProof"].as_str().unwrap().to_owned();
    let set = with_key.header("set-cookie").unwrap().to_owned();
    assert!(set.starts_with("__Host-gradientd="), "{set}");
    for part in ["; HttpOnly", "; Secure", "; SameSite=Strict", "; Path=/"] {
        assert!(set.contains(part), "{part} in {set}");
    }
    assert!(!set.contains("Domain") && !set.contains(&daemon.key()), "{set}");

    let link = |text: &str| {
        let at = text.find("/sign-in#").unwrap_or_else(|| panic!("a link in {text}"));
        text[at + 9..].split_whitespace().next().unwrap().to_owned()
    };
    let printed = link(&daemon.log());
    let made = link(&String::from_utf8(daemon.run(&["sign-in"]).stdout).unwrap());
    for token in [&printed, &made] {
        let first = sign_in(json!({"signIn": token}));
        assert_eq!(first.status, 200, "{}", first.text());
        let again = sign_in(json!({"signIn": token}));
        assert_eq!((again.status, &again.json()["code"]), (401, &json!("unauthorized")));
        assert_eq!(again.header("set-cookie"), None);
    }
    for bad in [json!({"key": "gdk_x"}), json!({"signIn": "gdi_x"}), json!({"signIn": ""})] {
        assert_eq!(sign_in(bad.clone()).status, 401, "{bad}");
    }
    for bad in [json!({}), json!({"key": "a", "signIn": "b"}), json!({"password": "x"})] {
        assert_eq!(sign_in(bad.clone()).status, 422, "{bad}");
    }

    // What the cookie opens, and from where.
    let cookie = set.split(';').next().unwrap();
    let own = format!("http://127.0.0.1:{}", daemon.port());
    let ask = |method: &str, path: &str| daemon.ask_as_nobody(method, path).with("Cookie", cookie);
    let page = |method: &str, path: &str| ask(method, path).with("X-Gradientd-Session", &proof);
    assert_eq!(page("GET", "/api/v1/session").send().json()["scope"], "admin");
    // Cookies know no ports: whoever listens on another one of this host gets the cookie, and can do
    // nothing with it.
    let stolen = ask("POST", "/api/v1/keys").with("Origin", &own).json(&json!({"name": "k", "scope": "admin"})).send();
    assert_eq!((stolen.status, &stolen.json()["code"]), (401, &json!("session_proof_missing")));
    let project = json!({"name": "from a page"});
    let post = |origin: &str| page("POST", "/api/v1/projects").with("Origin", origin).json(&project).send();
    assert_eq!(post(&own).status, 201);
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1.evil.example"] {
        let reply = post(origin);
        assert_eq!((reply.status, &reply.json()["code"]), (403, &json!("cross_site")), "{origin}");
    }
    // A browser says where a request comes from; one that says nothing is none of our pages.
    let silent = page("POST", "/api/v1/projects").json(&project).send();
    assert_eq!((silent.status, &silent.json()["code"]), (403, &json!("cross_site")));
    for site in ["cross-site", "same-site"] {
        let reply = ask("GET", "/api/v1/jobs").with("Sec-Fetch-Site", site).send();
        assert_eq!(reply.status, 403, "{site}");
    }
    let out = page("DELETE", "/api/v1/session").with("Origin", &own).send();
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(
        ask("GET", "/api/v1/session").send().status,
        401,
        "signed out is signed out, whatever the browser keeps"
    );
}

#[test]
fn a_session_ends_with_the_key_behind_it() {
    let daemon = Daemon::start();
    let (id, key) = make_key(&daemon, &json!({"name": "laptop", "scope": "read"}));
    let reply = daemon.ask_as_nobody("POST", "/api/v1/session").json(&json!({"key": key})).send();
    let cookie = reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let status = || daemon.ask_as_nobody("GET", "/api/v1/session").with("Cookie", &cookie).send().status;
    assert_eq!(status(), 200);
    daemon.delete(&format!("/keys/{id}"));
    assert_eq!(status(), 401);
}

#[test]
fn other_names_and_other_pages_are_turned_away() {
    let daemon = Daemon::start_with(&[("GRADIENTD_SERVER__HOSTS", r#"["gpu.lab"]"#)]);
    let port = daemon.port();
    let get = |host: &str| daemon.ask("GET", "/api/v1/jobs").host(Some(host)).send();
    for good in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        "gpu.lab".into(),
        "GPU.lab:80".into(),
        "[::1]:1".into(),
    ] {
        assert_eq!(get(&good).status, 200, "{good}");
    }
    for bad in ["evil.example", "127.0.0.1.evil.example", "gpu.lab.evil.example", "10.1.2.3", "localhost.evil:7070"] {
        let reply = get(bad);
        assert_eq!((reply.status, &reply.json()["code"]), (421, &json!("foreign_host")), "{bad}");
    }
    for bad in [None, Some(""), Some("a b"), Some("http://127.0.0.1")] {
        let reply = daemon.ask("GET", "/api/v1/jobs").host(bad).send();
        assert!(reply.status == 400 || reply.status == 421, "{bad:?}: {}", reply.status);
    }
    let page = daemon.ask_as_nobody("GET", "/").host(Some("evil.example")).send();
    assert_eq!(page.status, 421, "pages too");
    let absolute = daemon.ask("GET", "http://evil.example/api/v1/jobs").send();
    assert_eq!(absolute.status, 421);

    // No other page may read anything, whatever it asks.
    let preflight = daemon
        .ask_as_nobody("OPTIONS", "/api/v1/jobs")
        .with("Origin", "http://evil.example")
        .with("Access-Control-Request-Method", "POST")
        .send();
    assert!(preflight.status >= 400, "{}", preflight.status);
    let api = daemon.ask("GET", "/api/v1/jobs").send();
    let page = daemon.ask_as_nobody("GET", "/").send();
    for reply in [&preflight, &api, &page] {
        let cors = reply.headers().iter().find(|(name, _)| name.starts_with("access-control-"));
        assert_eq!(cors, None);
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
    }
    assert_eq!(api.header("cache-control"), Some("no-store"));
    let policy = page.header("content-security-policy").unwrap();
    assert_eq!((page.status, policy.contains("default-src")), (200, true));
    assert!(!policy.contains("unsafe-eval") && !policy.contains('*') && !policy.contains("http:"), "{policy}");
    let scripts = policy.split(';').find(|part| part.trim().starts_with("script-src"));
    assert!(scripts.is_none_or(|part| !part.contains("unsafe-inline")), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
}

#[test]
fn what_is_kept_of_keys_opens_nothing() {
    let daemon = Daemon::start();
    let (_, key) = make_key(&daemon, &json!({"name": "k", "scope": "write"}));
    let mode = |name: &str| std::fs::metadata(daemon.data().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("admin.key"), 0o600);
    assert_eq!(
        std::fs::metadata(daemon.data()).unwrap().permissions().mode() & 0o077,
        0,
        "others see nothing of the data"
    );
    let admin = daemon.key();
    for entry in std::fs::read_dir(daemon.data()).unwrap().filter_map(Result::ok) {
        let path = entry.path();
        if !path.is_file() || path.ends_with("admin.key") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for text in [&admin, &key] {
            // Nor the part of it that is random.
            let random = &text[4..text.len() - 4];
            assert!(memchr::memmem::find(&bytes, random.as_bytes()).is_none(), "a key is in {}", path.display());
        }
    }
    assert!(!daemon.log().contains(&admin) && !daemon.log().contains(&key));
}

#[test]
fn keys_are_made_and_revoked_from_the_command_line_while_the_daemon_runs() {
    let daemon = Daemon::start();
    let made = daemon.run(&["key", "create", "ci", "--scope", "read", "--expires-in", "90d"]);
    assert!(made.status.success(), "{made:?}");
    let text = String::from_utf8(made.stdout).unwrap();
    let key =
        text.split_whitespace().find(|word| word.starts_with("gdk_")).unwrap_or_else(|| panic!("a key in {text}"));
    let session = get_with(&daemon, key, "/api/v1/session");
    assert_eq!(
        (session.status, &session.json()["scope"], &session.json()["keyName"]),
        (200, &json!("read"), &json!("ci"))
    );
    let id = session.json()["keyId"].as_str().unwrap().to_owned();
    let listed = String::from_utf8(daemon.run(&["key", "list"]).stdout).unwrap();
    assert!(listed.contains(&id) && !listed.contains(key), "{listed}");
    let revoked = daemon.run(&["key", "revoke", &id]);
    assert!(revoked.status.success(), "{revoked:?}");
    assert_eq!(get_with(&daemon, key, "/api/v1/session").status, 401);
    let unknown = daemon.run(&["key", "revoke", "k0000000000"]);
    assert!(!unknown.status.success());
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("k0000000000"), "{unknown:?}");
}

#[test]
fn people_come_and_go_from_the_command_line_while_the_daemon_runs() {
    let daemon = Daemon::start();
    let made = daemon.run(&["user", "create", "mara"]);
    assert!(made.status.success(), "{made:?}");
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let events = daemon.stream_as(&key, "/events");
    let gone = daemon.run(&["user", "remove", "mara"]);
    assert_eq!(String::from_utf8_lossy(&gone.stdout), "mara has left: 1 key has ended\n", "{gone:?}");
    // Ends by itself, and not before.
    events.count();
    assert_eq!(get_with(&daemon, &key, "/api/v1/session").status, 401);
    let listed = String::from_utf8(daemon.run(&["user", "list"]).stdout).unwrap();
    assert!(listed.contains("admin") && !listed.contains("mara"), "{listed}");
    for (who, why) in [("mara", "mara"), ("nobody", "nobody"), ("admin", "somebody has to stay")] {
        let refused = daemon.run(&["user", "remove", who]);
        assert!(!refused.status.success());
        assert!(String::from_utf8_lossy(&refused.stderr).contains(why), "{refused:?}");
    }
    assert!(!daemon.run(&["key", "create", "late", "--user", "mara"]).status.success());
    // Back again, as the same person, with a new key.
    let back = daemon.run(&["user", "create", "mara"]);
    let new = String::from_utf8(back.stdout).unwrap().trim().to_owned();
    assert_eq!(get_with(&daemon, &new, "/api/v1/session").status, 200);
    assert_eq!(get_with(&daemon, &key, "/api/v1/session").status, 401);
}
