//! The links that the client prints after it made something, such as `…/acme/projects/p1`. They lead to
//! the page that shows it.

use axum::{extract::Path, response::Redirect};

/// What has a page of its own.
const KINDS: &[&str] = &["projects", "jobs", "experiments"];

/// Leads to the page of whatever the cloud's path names; to the first page where there is none.
pub async fn lead(Path((_namespace, rest)): Path<(String, String)>) -> Redirect {
    let (kind, id) = match rest.split('/').collect::<Vec<_>>()[..] {
        // The client names the project of the notebook, and not the notebook.
        ["notebook", id] => ("projects", id),
        ["projects", _, kind, id] | [kind, id] => (kind, id),
        _ => ("", ""),
    };
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match KINDS.contains(&kind) && is_id {
        true => Redirect::to(&page(kind, id)),
        false => Redirect::to("/"),
    }
}

/// Returns where the page of a thing is.
pub fn page(kind: &str, id: &str) -> String {
    format!("/{kind}/{id}")
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[tokio::test]
    async fn a_link_of_the_cloud_leads_to_our_page_and_never_elsewhere() {
        for (rest, page) in [
            ("projects/p1", "/projects/p1"),
            ("projects/p1/jobs/js1", "/jobs/js1"),
            ("jobs/js1", "/jobs/js1"),
            ("projects/p1/experiments/e1", "/experiments/e1"),
            ("notebook/p1", "/projects/p1"),
            ("projects", "/"),
            ("/evil.example", "/"),
            ("jobs/..%2f", "/"),
            ("jobs//evil.example", "/"),
        ] {
            let response = lead(Path(("acme".to_owned(), rest.to_owned()))).await.into_response();
            assert_eq!(response.headers()[http::header::LOCATION], page, "{rest}");
        }
    }
}
