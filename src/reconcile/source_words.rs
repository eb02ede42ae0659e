//! Why a place on S3 could not be mounted, in words for a person: rclone's own, the engine's, or ours where
//! they say too little of what to do.

use std::path::Path;

use super::source_plan::Keys;
use crate::host;

/// What a session says that began where nothing could be mounted.
pub(super) const CLOSED: &str =
    "this session began when nothing could be mounted into it: stop the notebook and start it again";

/// Longest reason, in characters.
const LONGEST: usize = 400;

/// Returns the last thing that the program complained of, without its keys.
pub(super) fn of_program(log: &str, keys: &Keys) -> String {
    let Some(complaint) = last_complaint(log) else { return "its program ended without a word".to_owned() };
    let mut words = keys.masked(&complaint.chars().filter(|c| !c.is_control()).collect::<String>());
    if words.chars().count() > LONGEST {
        words = words.chars().take(LONGEST).chain(['…']).collect();
    }
    match hint(&words) {
        Some(hint) => format!("{hint} ({words})"),
        None => words,
    }
}

/// Returns the last complaint with the lines that belong to it: only its first has a time.
fn last_complaint(log: &str) -> Option<String> {
    let mut complaints: Vec<String> = Vec::new();
    for line in log.lines() {
        match timed(line) {
            Some(said) => complaints.push(bare(said).to_owned()),
            None => match complaints.last_mut() {
                Some(last) if !last.is_empty() => *last = format!("{last} {}", line.trim()),
                Some(_) => {}
                None => complaints.push(bare(line).to_owned()),
            },
        }
    }
    let last = complaints.into_iter().rev().find(|complaint| !complaint.is_empty())?;
    // Numbers that only the service's maker knows.
    Some(last.split_once(", request id:").map_or(last.as_str(), |(said, _)| said).trim().to_owned())
}

/// Returns what a line `2026/11/21 15:04:05 what` says; `None` for one without a time.
fn timed(line: &str) -> Option<&str> {
    let (date, rest) = line.split_once(' ')?;
    let is_date = date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'/');
    is_date.then(|| rest.split_once(' ').map_or("", |(_, said)| said))
}

/// Takes off what is not the complaint itself; a line that is none is empty.
fn bare(said: &str) -> &str {
    let mut rest = said.trim();
    if ["NOTICE", "INFO", "DEBUG"].iter().any(|level| rest.starts_with(level)) {
        return "";
    }
    for level in ["CRITICAL", "ERROR"] {
        if let Some(after) = rest.strip_prefix(level) {
            rest = after.trim_start_matches([' ', ':']);
        }
    }
    if let Some(after) = rest.strip_prefix("Failed to lsf") {
        rest = after.split_once("last error was: ").map_or(after, |(_, after)| after).trim_start_matches([':', ' ']);
    }
    rest.trim_start_matches("error in ListJSON: ").trim_start_matches("error listing: ").trim()
}

/// Says what to do about what services and networks say.
fn hint(words: &str) -> Option<&'static str> {
    let has = |one: &[&str]| one.iter().any(|piece| words.contains(piece));
    if has(&["InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "NotSignedUp"]) {
        Some("the service does not take these keys: set the secret again")
    } else if has(&["AccessDenied", "Forbidden", "status code: 403"]) {
        Some("these keys may not list this place")
    } else if has(&["NoSuchBucket", "directory not found"]) {
        Some("there is no such bucket")
    } else if has(&["no such host", "server misbehaving"]) {
        Some("the endpoint's name leads nowhere")
    } else if has(&[
        "connection refused",
        "i/o timeout",
        "no route to host",
        "network is unreachable",
        "deadline exceeded",
    ]) {
        Some("the service does not answer at this endpoint from where containers are")
    } else if has(&["mount failed: Operation not permitted", "mount failed: Permission denied"]) {
        Some("the engine lets no container mount files on this machine")
    } else {
        None
    }
}

/// Returns what the engine's refusal to start the program means; `data` is where the mounts were to be.
pub(super) fn of_engine(refusal: &str, data: &Path) -> String {
    if refusal.contains("/dev/fuse") {
        return host::NO_DEVICE.to_owned();
    }
    match of_unshared(refusal) {
        Some(mount) => host::not_shared(mount.as_deref().unwrap_or(data)),
        None => format!("its program could not be started: {refusal}"),
    }
}

/// Says whether the engine refused because a file system is not shared, and which, where it says so.
pub(super) fn of_unshared(refusal: &str) -> Option<Option<std::path::PathBuf>> {
    let said = ["is not a shared mount", "is not a shared or slave mount"].iter().any(|words| refusal.contains(words));
    said.then(|| {
        // path /data/x is mounted on /data but it is not a shared mount
        let mount = refusal.split_once("is mounted on ")?.1.split_once(" but")?.0;
        Some(mount.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new("LABKEY", "s3cr3t").unwrap()
    }

    #[test]
    fn the_last_complaint_is_told_with_what_to_do_and_without_keys() {
        let log = "2026/11/21 15:04:05 NOTICE: Config file not found\n\
                   2026/11/21 15:04:06 ERROR : : error listing: InvalidAccessKeyId: the key LABKEY s3cr3t is unknown\n\
                   \tstatus code: 403, request id: , host id: \n";
        let words = of_program(log, &keys());
        assert!(words.starts_with("the service does not take these keys"), "{words}");
        assert!(words.contains("InvalidAccessKeyId: the key *** *** is unknown status code: 403)"), "{words}");
        assert!(!words.contains("request id") && !words.contains("2026"), "{words}");
        let log = "2026/11/21 15:55:07 Failed to lsf with 2 errors: last error was: error in ListJSON: RequestError: \
                   send request failed\ncaused by: Get \"http://10.0.0.5:1/lab\": dial tcp 10.0.0.5:1: connect: connection \
                   refused\n";
        let words = of_program(log, &keys());
        assert!(words.starts_with("the service does not answer") && words.contains("10.0.0.5:1"), "{words}");
    }

    #[test]
    fn what_nobody_knows_is_told_as_it_is_and_bounded() {
        assert_eq!(of_program("2026/11/21 15:04:05 Failed to lsf: odd\n", &keys()), "odd");
        assert_eq!(of_program("", &keys()), "its program ended without a word");
        assert_eq!(of_program("2026/11/21 15:04:05 NOTICE: fine\n", &keys()), "its program ended without a word");
        assert!(of_program(&"x".repeat(9000), &keys()).chars().count() <= LONGEST + 1);
        assert!(!of_program("a\u{1b}[31mb", &keys()).contains('\u{1b}'));
    }

    #[test]
    fn the_engine_s_refusals_say_what_to_run() {
        let data = Path::new("/var/lib/gradientd");
        let shared = "linux mounts: path /data/sources is mounted on /data but it is not a shared mount";
        assert!(of_engine(shared, data).contains("mount --make-rshared /data`"));
        let slave = "path /data/x is mounted on / but it is not a shared or slave mount";
        assert_eq!(of_unshared(slave), Some(Some("/".into())));
        assert_eq!(of_unshared("no such device"), None);
        let device = "error gathering device information while adding custom device \"/dev/fuse\": no such file";
        assert!(of_engine(device, data).contains("modprobe fuse"));
        assert!(of_engine("odd", data).ends_with(": odd"));
    }
}
