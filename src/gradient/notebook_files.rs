//! `notebooks artifacts list`: the files of a notebook's home.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::job_artifacts::names;
use crate::{
    api::{Problem, Query},
    domain::caller::Caller,
    service::{ServiceError, Services},
};

/// Files of one answer: the client has no way to ask for more.
const MOST: usize = 10_000;

/// Which files of a notebook are wanted. Their sizes come unasked, and links are not here: the client shows
/// none.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Wanted {
    notebook_id: String,
    files: String,
}

/// One file.
#[derive(Debug, Serialize)]
pub struct FileView {
    file: String,
    size: u64,
}

/// Lists files of a notebook.
pub async fn list(
    State(services): State<Services>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Vec<FileView>>, Problem> {
    let id = services.notebook_named(&caller, &wanted.notebook_id).await?;
    let found = match services.notebook_listing(&caller, &id, names(&wanted.files)?, MOST).await {
        Err(ServiceError::TooLarge(words)) => {
            return Err(Problem::invalid("too_many", "files", format!("{words} by --files, such as data/*")));
        }
        found => found?,
    };
    let views = found.into_iter().map(|file| FileView { file: file.path.to_text(), size: file.facts.size_bytes });
    Ok(Json(views.collect()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use crate::gradient::router::tests::{Cloud, printed};

    #[tokio::test]
    async fn all_files_or_some_are_listed_with_their_sizes_whether_it_runs_or_not() {
        let cloud = Cloud::new().await;
        let made = cloud.ask("POST", "/notebooks/v2/createNotebook", Some(json!({ "container": "x" }))).await;
        let id = made.body["handle"].as_str().unwrap_or_else(|| panic!("{}", made.text)).to_owned();
        let list = |rest: &str| format!("/notebooks/artifactsList?notebookId={id}{rest}");
        assert_eq!(cloud.get(&list("")).await, json!([]));
        let services = &cloud.0.services;
        let team = services.local_admin("admin").await.unwrap().team;
        let home = services.data.notebook(&team, &id.parse().unwrap()).home();
        for file in ["a.ipynb", "data/x", "data/deep/y"] {
            fs::create_dir_all(home.join(file).parent().unwrap()).unwrap();
            fs::write(home.join(file), file).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", home.join("link")).unwrap();
        let named = |found: Value| -> Vec<(String, u64)> {
            let row = |row: &Value| (row["file"].as_str().unwrap().to_owned(), row["size"].as_u64().unwrap());
            found.as_array().unwrap().iter().map(row).collect()
        };
        let all = [("a.ipynb".to_owned(), 7), ("data/deep/y".to_owned(), 11), ("data/x".to_owned(), 6)];
        assert_eq!(named(cloud.get(&list("&size=True&links=True")).await), all);
        assert_eq!(named(cloud.get(&list("&files=data/d*,a.ipynb")).await), all[..2]);
        assert_eq!(cloud.get(&list("&files=none")).await, json!([]));
        let climbing = cloud.ask("GET", &list("&files=../keys"), None).await;
        assert_eq!(printed(&climbing).0, 422, "{}", climbing.text);

        let caller = services.local_admin("admin").await.unwrap();
        let few = services.notebook_listing(&caller, &id.parse().unwrap(), Vec::new(), 2).await.unwrap_err();
        assert!(few.to_string().contains("more files than one list shows (2)"), "{few}");
        assert_eq!(services.notebook_listing(&caller, &id.parse().unwrap(), Vec::new(), 3).await.unwrap().len(), 3);
    }
}
