//! The files of a notebook in one list, whether it runs or not.

use super::{ServiceError, Services, artifacts::ArtifactName, blocking};
use crate::{
    domain::{caller::Caller, id::NotebookId, user_path::UserPath},
    storage::artifact::{Artifact, Artifacts},
};

/// Pages of a tree that are looked through for one list: some 2,000,000 entries.
const MOST_PAGES: usize = 20;

impl Services {
    /// Lists the files beneath a notebook's home that one of `names` means, or all without any, sorted by
    /// path. One that was never started has none.
    ///
    /// # Errors
    /// [`ServiceError::TooLarge`] where there are more than `most`, or too many to look through.
    pub async fn notebook_listing(
        &self,
        caller: &Caller,
        id: &NotebookId,
        names: Vec<ArtifactName>,
        most: usize,
    ) -> Result<Vec<Artifact>, ServiceError> {
        let notebook = self.find_notebook(caller, id).await?;
        let home = self.data.notebook(&notebook.team, id).home();
        blocking(move || {
            let tree = match Artifacts::open(&home) {
                Ok(tree) => tree,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let wanted = |path: &UserPath| names.is_empty() || names.iter().any(|name| name.means(path));
            let (mut found, mut after) = (Vec::new(), UserPath::root());
            for _ in 0..MOST_PAGES {
                let page = tree.files(&after, wanted, most + 1 - found.len())?;
                found.extend(page.items);
                match page.next {
                    _ if found.len() > most => break,
                    Some(next) => after = next,
                    None => return Ok(found),
                }
            }
            Err(ServiceError::TooLarge(format!(
                "notebook {} has more files than one list shows ({most}): name a directory or some files",
                notebook.id
            )))
        })
        .await
    }
}
