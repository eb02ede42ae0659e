//! Where the files of a run come from, as the client names it.

use crate::{
    api::Problem,
    service::job_draft::{DraftPassword, DraftWorkspace},
};

/// Endings of what is no repository.
const ARCHIVES: &[&str] = &[".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst"];

/// Reads the address of a workspace that is somewhere else. A name and a password in it are taken out of
/// it, for this client has no other place for them.
pub fn remote(text: &str) -> Result<DraftWorkspace, Problem> {
    let lower = text.to_ascii_lowercase();
    let refused = |detail: String| Err(Problem::invalid("bad_workspace", "workspace", detail));
    if text.is_empty() || lower == "none" {
        return Ok(DraftWorkspace::Empty);
    }
    if lower.starts_with("s3:") {
        let words = "a workspace does not come from S3 on this box: give a directory, a .zip or a git repository as the workspace, and bring data as a dataset";
        return refused(words.to_owned());
    }
    let is_address = lower.contains("://") || lower.ends_with(".git") || lower.starts_with("git:");
    if !is_address {
        return refused("the workspace names a file, and no file came with it: send it with the job".to_owned());
    }
    if ARCHIVES.iter().any(|ending| lower.ends_with(ending)) {
        return refused(
            "an archive is not fetched from an address: download it first, and give the file as the workspace"
                .to_owned(),
        );
    }
    let (url, who) = without_credentials(text);
    let (username, password) = who.unzip();
    Ok(DraftWorkspace::Git {
        url,
        reference: None,
        username: username.filter(|name| !name.is_empty()),
        password: password.map(DraftPassword::Given),
    })
}

/// Lays what is said beside the address of a repository over what is in it. What is no repository stays
/// as it is.
pub fn over(
    workspace: DraftWorkspace,
    reference: Option<String>,
    name: Option<String>,
    password: Option<String>,
) -> DraftWorkspace {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    match workspace {
        DraftWorkspace::Git { url, reference: of_url, username, password: own } => DraftWorkspace::Git {
            url,
            reference: given(reference).or(of_url),
            username: given(name).or(username),
            password: given(password).map(DraftPassword::Given).or(own),
        },
        other => other,
    }
}

/// Takes `name:password@`, or a token alone, out of a web address.
fn without_credentials(text: &str) -> (String, Option<(String, String)>) {
    let apart = || {
        let (scheme, rest) = text.split_once("://")?;
        if !scheme.to_ascii_lowercase().contains("http") {
            return None;
        }
        let (authority, path) = rest.split_once('/')?;
        let (who, host) = authority.rsplit_once('@')?;
        let (name, password) = who.split_once(':').unwrap_or(("", who));
        Some((format!("{scheme}://{host}/{path}"), (unescaped(name), unescaped(password))))
    };
    match apart() {
        Some((url, who)) => (url, Some(who)),
        None => (text.to_owned(), None),
    }
}

/// Undoes the escapes of an address.
fn unescaped(text: &str) -> String {
    // What divides fields, and what stands for a space, means itself here.
    let text = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(text.as_bytes()).next().map_or_else(String::new, |(text, _)| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(text: &str) -> (String, Option<String>, Option<String>) {
        match remote(text).unwrap() {
            DraftWorkspace::Git { url, username, password: Some(DraftPassword::Given(password)), .. } => {
                (url, username, Some(password))
            }
            DraftWorkspace::Git { url, username, password: None, .. } => (url, username, None),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn an_address_is_a_repository_with_its_credentials_apart() {
        assert_eq!(git("https://h/o/r.git"), ("https://h/o/r.git".to_owned(), None, None));
        assert_eq!(git("git@h:o/r.git").0, "git@h:o/r.git");
        let named = ("https://h:1/o/r".to_owned(), Some("ada".to_owned()), Some("p:w@".to_owned()));
        assert_eq!(git("https://ada:p:w%40@h:1/o/r"), named);
        assert_eq!(git("HTTPS://ada:x@h/o/r").1.as_deref(), Some("ada"));
        assert_eq!(git("https://to+ken@h/o/r.git"), ("https://h/o/r.git".to_owned(), None, Some("to+ken".to_owned())));
        assert_eq!(git("https://u:secret:GIT@h/r").2.as_deref(), Some("secret:GIT"));
        assert!(matches!(remote("none"), Ok(DraftWorkspace::Empty)));
    }

    #[test]
    fn what_is_no_repository_is_refused_with_what_to_do() {
        for (text, words) in [
            ("s3://bucket/w.zip", "as a dataset"),
            ("workspace.zip", "no file came"),
            ("https://h/w.tar.gz", "download it first"),
        ] {
            let problem = format!("{:?}", remote(text).unwrap_err());
            assert!(problem.contains(words), "{text}: {problem}");
        }
    }
}
