//! Who is let in, by what, and to what.

use super::*;

#[tokio::test]
async fn a_ticket_becomes_a_cookie_that_the_container_never_sees() {
    let rig = Rig::new(|_| b"HTTP/1.1 200 OK\r\nSet-Cookie: __Host-gradientd=evil; Path=/; Secure\r\nSet-Cookie: own=1; Domain=localhost\r\nContent-Length: 2\r\n\r\nok".to_vec()).await;
    let cookie = rig.cookie().await;
    assert!(cookie.starts_with("__Host-gradientd-workload=gdc_"), "{cookie}");
    let answer = rig.get_bare("/", &format!("Cookie: mine=1; {cookie}; __Host-gradientd=gds_x\r\n")).await;
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(!answer.contains("evil") && answer.to_lowercase().contains("set-cookie: own=1\r\n"), "{answer}");
    let request = rig.reached().remove(0);
    assert!(request.to_lowercase().contains("cookie: mine=1\r\n") && !request.contains("gd"), "{request}");
}

#[tokio::test]
async fn what_is_forged_used_or_anothers_opens_nothing() {
    let rig = Rig::new(|_| ok("secret")).await;
    let other = running_job(&rig.api, rig.port).await;
    let caller = rig.caller().await;
    let (ticket, _) = rig.api.services.open_workload(&caller, &other.parse().unwrap(), None).await.unwrap();
    let forged = crate::auth::Ticket::mint(&Fixed(7));
    for text in [ticket.reveal(), forged.reveal(), "gdt_x", ""] {
        let answer = rig.get_bare(&format!("/?gradientd-ticket={text}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("Location"), "{text}: {answer}");
    }
    let cookie = rig.cookie().await;
    let host = rig.host().replace(&rig.id, &other);
    let asked = format!("GET / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
    assert!(rig.say(&asked).await.starts_with("HTTP/1.1 401"), "a cookie is for one workload");
    let used = rig.api.services.open_workload(&caller, &rig.id.parse().unwrap(), None).await.unwrap().0;
    let path = format!("/?gradientd-ticket={}", used.reveal());
    assert!(rig.get_bare(&path, "").await.starts_with("HTTP/1.1 303"));
    assert!(rig.get_bare(&path, "").await.starts_with("HTTP/1.1 401"), "a ticket is good once");
    for headers in [
        "",
        "Authorization: Bearer gdk_x\r\n",
        "Authorization: token gdw_x\r\n",
        "Cookie: __Host-gradientd-workload=gdc_x\r\n",
    ] {
        assert!(rig.get_bare("/", headers).await.starts_with("HTTP/1.1 401"), "{headers}");
    }
    assert_eq!(rig.reached(), Vec::<String>::new());
}

#[tokio::test]
async fn a_ticket_that_opens_nothing_writes_nothing() {
    let rig = Rig::new(|_| ok("")).await;
    let (caller, id): (_, ServedId) = (rig.caller().await, rig.id.parse().unwrap());
    let other = running_job(&rig.api, rig.port).await;
    let (anothers, _) = rig.api.services.open_workload(&caller, &other.parse().unwrap(), None).await.unwrap();
    let (used, _) = rig.api.services.open_workload(&caller, &id, None).await.unwrap();
    let path = |ticket: &crate::auth::Ticket| format!("/?gradientd-ticket={}", ticket.reveal());
    assert!(rig.get_bare(&path(&used), "").await.starts_with("HTTP/1.1 303"));
    // Whatever is written waits for this.
    let (begun, writes) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let store = rig.api.store.clone();
    let long = tokio::spawn(async move {
        let write = store.write(move |_| {
            begun.send(()).unwrap();
            let _ = ended.recv();
            Ok::<_, StoreError>(())
        });
        write.await
    });
    tokio::task::spawn_blocking(move || writes.recv()).await.unwrap().unwrap();
    let forged = crate::auth::Ticket::mint(&Fixed(7));
    for ticket in [&forged, &used, &anothers] {
        assert!(rig.get_bare(&path(ticket), "").await.starts_with("HTTP/1.1 401"));
    }
    assert!(!long.is_finished());
    drop(end);
    long.await.unwrap().unwrap();
}

#[tokio::test]
async fn of_many_who_show_one_ticket_at_once_one_is_let_in() {
    let rig = Rig::new(|_| ok("")).await;
    let caller = rig.caller().await;
    let (ticket, _) = rig.api.services.open_workload(&caller, &rig.id.parse().unwrap(), None).await.unwrap();
    let path = format!("/?gradientd-ticket={}", ticket.reveal());
    let answers = futures_util::future::join_all((0..20).map(|_| rig.get_bare(&path, ""))).await;
    let starting = |status: &str| answers.iter().filter(|answer| answer.starts_with(status)).count();
    assert_eq!((starting("HTTP/1.1 303"), starting("HTTP/1.1 401")), (1, 19), "{answers:?}");
}

#[tokio::test]
async fn a_ticket_leads_to_no_other_host() {
    let rig = Rig::new(|_| ok("")).await;
    let caller = rig.caller().await;
    for path in ["//evil.example/", "/\\evil.example/", "//evil.example"] {
        let (ticket, _) = rig.api.services.open_workload(&caller, &rig.id.parse().unwrap(), None).await.unwrap();
        let answer = rig.get_bare(&format!("{path}?gradientd-ticket={}", ticket.reveal()), "").await;
        assert!(answer.starts_with("HTTP/1.1 400") && header_of(&answer, "location").is_none(), "{path}: {answer}");
    }
}

#[tokio::test]
async fn names_that_are_not_ours_are_not_answered() {
    let rig = Rig::new(|_| ok("secret")).await;
    let key = &rig.api.key;
    let ask = |target: &str, host: &str| {
        format!("GET {target} HTTP/1.1\r\n{host}Authorization: Bearer {key}\r\nConnection: close\r\n\r\n")
    };
    let id = &rig.id;
    for host in ["evil.example", &format!("{id}.evil.example"), &format!("a.{id}.localhost"), "10.9.8.7"] {
        let answer = rig.say(&ask(&format!("/w/{id}/"), &format!("Host: {host}\r\n"))).await;
        assert!(answer.starts_with("HTTP/1.1 421"), "{host}: {answer}");
    }
    let own = format!("Host: {}\r\n", rig.host());
    for (target, host) in [
        ("/", String::new()),
        ("/", format!("{own}{own}")),
        ("http://evil.example/", own.clone()),
        ("/", format!("Host: x@{}\r\n", rig.host())),
    ] {
        let answer = rig.say(&ask(target, &host)).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{target} {host}: {answer}");
    }
    assert!(rig.say(&ask(&format!("http://{}/", rig.host()), &own)).await.starts_with("HTTP/1.1 200"));
    assert_eq!(rig.reached().len(), 1);
}

#[tokio::test]
async fn another_sites_page_opens_no_websocket_and_changes_nothing() {
    let rig = Rig::new(|_| ok("")).await;
    let cookie = rig.cookie().await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let host = rig.host();
    let ask = |method: &str, headers: &str| {
        format!("{method} / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n{headers}Content-Length: 0\r\n\r\n")
    };
    for origin in ["http://evil.example", "http://127.0.0.1:7070", "null"] {
        let answer = rig
            .say(&format!(
                "{}{}",
                ask("GET", &format!("{upgrade}Origin: {origin}\r\n")),
                ask("POST", &format!("Origin: {origin}\r\nConnection: close\r\n"))
            ))
            .await;
        assert_eq!(answer.matches("HTTP/1.1 403").count(), 2, "{origin}: {answer}");
    }
    assert!(rig.say(&ask("POST", "Connection: close\r\n")).await.starts_with("HTTP/1.1 403"));
    assert_eq!(rig.reached(), Vec::<String>::new());
    let own = format!("Origin: http://{host}\r\nConnection: close\r\n");
    assert!(rig.say(&ask("POST", &own)).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_browser_without_a_cookie_is_told_where_to_go() {
    let rig = Rig::new(|_| ok("")).await;
    let answer = rig.get_bare("/", "Accept: text/html\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("web UI"), "{answer}");
    let (id, port) = (&rig.id, rig.address.port());
    let by_path =
        format!("GET /w/{id}/a?b HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/html\r\nConnection: close\r\n\r\n");
    let answer = rig.say(&by_path).await;
    assert_eq!(header_of(&answer, "location"), Some(format!("http://{id}.localhost:{port}/a?b").as_str()), "{answer}");
}

#[tokio::test]
async fn cookies_by_path_are_for_those_who_ask_for_them() {
    let by_path = |rig: &Rig, ticket: &str| {
        format!(
            "GET /w/{}/x?gradientd-ticket={ticket} HTTP/1.1\r\nHost: 127.0.0.1:1\r\nConnection: close\r\n\r\n",
            rig.id
        )
    };
    for allowed in [false, true] {
        let names = Names { cookies_by_path: allowed, ..Names::default() };
        let rig = Rig::with(names, Arc::new(|_| ok("in")), 100).await;
        let caller = rig.caller().await;
        let (ticket, _) = rig.api.services.open_workload(&caller, &rig.id.parse().unwrap(), None).await.unwrap();
        let answer = rig.say(&by_path(&rig, ticket.reveal())).await;
        if !allowed {
            assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
            continue;
        }
        assert_eq!(header_of(&answer, "location"), Some(format!("/w/{}/x", rig.id).as_str()), "{answer}");
        let set = header_of(&answer, "set-cookie").unwrap();
        assert!(set.contains(&format!("Path=/w/{}/;", rig.id)), "{set}");
        let cookie = set.split(';').next().unwrap();
        let path = format!(
            "GET /w/{}/x HTTP/1.1\r\nHost: 127.0.0.1:1\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n",
            rig.id
        );
        assert!(rig.say(&path).await.ends_with("\r\n\r\nin"));
    }
}
