//! A TensorBoard: a view of what runs wrote, which outlives the sessions that show it. A session is a
//! workload; what it shows is settled when it is accepted, so another choice is another session.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    id::{DatasetId, ExperimentId, JobId, NotebookId, ProjectId, TeamId, TensorBoardId, UserId, VersionId},
    notebook::{EndedFor, NotebookState, Session},
    time::{Timestamp, in_words},
    user_path::UserPath,
    workload::{Credentials, KILLED, Reason, Wanted, words},
};

/// The port on which TensorBoard listens in its container.
pub const PORT: u16 = 6006;
/// What it looks through in its container: a directory with one name for each member.
pub const LOGS: &str = "/logs";
/// Members of one TensorBoard, at most.
pub const MOST_MEMBERS: usize = 64;
/// Directories that one session shows, at most: an experiment has one for each of its runs.
pub const MOST_DIRECTORIES: usize = 256;
/// Longest name of a member, in characters.
pub const LONGEST_NAME: usize = 128;

/// A TensorBoard with its latest session.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorBoard {
    pub seq: i64,
    pub id: TensorBoardId,
    pub team: TeamId,
    pub user: UserId,
    pub project: ProjectId,
    pub name: String,
    pub choice: Choice,
    pub created_at: Timestamp,
    pub project_name: String,
    pub user_name: String,
    /// How many members it has.
    pub members: u32,
    pub session: Option<Showing>,
}

/// What its next session runs on. `None` is the box's choice when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    pub image: Option<String>,
    /// Who to be at the registry of `image`; never without one of its own, as the box's may move elsewhere.
    pub registry: Option<Credentials>,
    pub machine_type: Option<String>,
    pub idle: Option<IdleLimit>,
}

/// When a session ends because nobody looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleLimit {
    Never,
    After(Duration),
}

impl IdleLimit {
    /// Returns the limit; `None` is never.
    pub fn span(self) -> Option<Duration> {
        match self {
            Self::Never => None,
            Self::After(span) => Some(span),
        }
    }
}

/// A session and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Showing {
    pub session: Session,
    pub logs: Logs,
}

/// What a session shows, settled when it was accepted. Kept as JSON in the store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Logs {
    pub directories: Vec<LogDirectory>,
    pub left_out: Vec<LeftOut>,
}

/// A directory that a session shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogDirectory {
    /// The member's name, beneath [`LOGS`].
    pub name: String,
    /// Beneath that, where the member has many: the run.
    pub run: Option<JobId>,
    pub source: LogSource,
}

/// Where the files of a directory are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogSource {
    /// The artifacts of a run.
    Run(JobId),
    #[serde(rename_all = "camelCase")]
    Notebook { id: NotebookId, path: String },
    #[serde(rename_all = "camelCase")]
    Version { team: TeamId, dataset: DatasetId, version: VersionId },
}

/// A member, or a part of one, that a session does not show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// The member's name.
    pub name: String,
    /// Why, in words.
    pub message: String,
}

/// Something that a TensorBoard shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Unique in its TensorBoard; what it is called in there.
    pub name: String,
    pub subject: Subject,
    pub added_at: Timestamp,
}

words! {
    /// What kind of thing a member is.
    SubjectKind {
        Job = "job",
        Experiment = "experiment",
        Notebook = "notebook",
        Dataset = "dataset",
    }
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The artifacts of a job.
    Job(JobId),
    /// The artifacts of all runs of an experiment, later ones too.
    Experiment(ExperimentId),
    /// A directory of a notebook's files; the root is all of them.
    Notebook { id: NotebookId, path: UserPath },
    /// A version of a dataset, chosen when it was added.
    Dataset { id: DatasetId, version: VersionId, reference: String },
}

impl Subject {
    /// Returns what kind of thing it is.
    pub fn kind(&self) -> SubjectKind {
        match self {
            Self::Job(_) => SubjectKind::Job,
            Self::Experiment(_) => SubjectKind::Experiment,
            Self::Notebook { .. } => SubjectKind::Notebook,
            Self::Dataset { .. } => SubjectKind::Dataset,
        }
    }

    /// Returns the id of what is meant.
    pub fn id(&self) -> &str {
        match self {
            Self::Job(id) => id.as_str(),
            Self::Experiment(id) => id.as_str(),
            Self::Notebook { id, .. } => id.as_str(),
            Self::Dataset { id, .. } => id.as_str(),
        }
    }

    /// Says whether both show the same files.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dataset { id, version, .. }, Self::Dataset { id: other, version: others, .. }) => {
                (id, version) == (other, others)
            }
            (one, other) => one == other,
        }
    }
}

/// Why a text cannot be the name of a member: it is one name of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("is empty")]
    Empty,
    #[error("is longer than {LONGEST_NAME} characters, or 255 bytes")]
    TooLong,
    #[error("has a “/” or a control character in it, or is “.” or “..”: it is the name of one directory")]
    NotOne,
}

/// Checks the name of a member.
///
/// # Errors
/// [`InvalidName`].
pub fn check_member_name(name: &str) -> Result<(), InvalidName> {
    if name.trim().is_empty() {
        return Err(InvalidName::Empty);
    }
    if name.chars().count() > LONGEST_NAME || name.len() > 255 {
        return Err(InvalidName::TooLong);
    }
    if name.chars().any(|c| c == '/' || c.is_control()) || name == "." || name == ".." {
        return Err(InvalidName::NotOne);
    }
    Ok(())
}

/// Makes the name of a member of what people call it: as much of `title` as can be one, or `id`, with `id`
/// behind it where another has that name.
pub fn member_name(title: &str, id: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let plain: String = title.chars().map(|c| if c == '/' || c.is_control() { '-' } else { c }).take(80).collect();
    // Cut to what a name of a directory holds with an id behind it.
    let end = plain.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= 200).last().unwrap_or(0);
    let name = plain[..end].trim();
    let name = if check_member_name(name).is_ok() { name } else { id };
    if !is_taken(name) {
        return name.to_owned();
    }
    let longer = format!("{name}-{id}");
    let mut further = (2..).map(|number| format!("{longer}-{number}"));
    if is_taken(&longer) { further.find(|name| !is_taken(name)).unwrap_or(longer) } else { longer }
}

impl TensorBoard {
    /// Returns where it is, as its people see it.
    pub fn state(&self) -> NotebookState {
        NotebookState::of(self.session.as_ref().map(|showing| &showing.session))
    }

    /// Returns its session, if that goes on: one that was asked to end does, be it a little later.
    pub fn live(&self) -> Option<&Showing> {
        let goes_on = |session: &Session| session.is_live() && session.workload.wanted == Wanted::Run;
        self.session.as_ref().filter(|showing| goes_on(&showing.session))
    }

    /// Returns what became of its session, in words that say what to do; `None` while it runs, or when
    /// somebody stopped it.
    pub fn message(&self) -> Option<String> {
        let session = &self.session.as_ref()?.session;
        let workload = &session.workload;
        match (session.ended_for, workload.reason) {
            (Some(EndedFor::Idle), _) => {
                let limit = in_words(session.idle.unwrap_or_default());
                Some(format!("stopped because nobody looked at it for {limit}: open it, and it starts again"))
            }
            (Some(EndedFor::NotReady), _) => Some(format!(
                "nothing answered on port {PORT} of it in time: its log has what it said. Take a larger machine type if it has much to read"
            )),
            (None, Some(Reason::Cancelled)) => None,
            (None, Some(Reason::ExitCode)) => Some(match workload.exit_code {
                Some(127) => "its image has no TensorBoard in it (exit code 127): take one that has, or have an admin set tensorboards.image".to_owned(),
                Some(137) => format!("it was {KILLED} (exit code 137)"),
                Some(code) => format!("TensorBoard ended with exit code {code}; its log says why"),
                None => "TensorBoard ended, and nobody knows how".to_owned(),
            }),
            (None, _) => workload.message.clone(),
        }
    }
}

/// Which TensorBoards a list shows. Everything that is set must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TensorBoardFilter {
    pub project: Option<ProjectId>,
    /// Any of these; all when there are none.
    pub states: Vec<NotebookState>,
    /// Only those that show this job, experiment, notebook or dataset.
    pub member: Option<String>,
    /// Part of the name or of the id, in any case.
    pub text: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_member_is_one_name_of_a_directory() {
        for good in ["a", "lr 0.1", "größe", ".hidden", "..."] {
            assert_eq!(check_member_name(good), Ok(()), "{good}");
        }
        for bad in ["", " ", ".", "..", "a/b", "/", "../x", "a\nb", "a\0b", &"x".repeat(129), &"ü".repeat(128)] {
            assert!(check_member_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_member_is_called_as_what_it_shows_and_no_two_are_called_alike() {
        let free = |_: &str| false;
        assert_eq!(member_name("train", "js1", free), "train");
        assert_eq!(member_name("a/b\n", "js1", free), "a-b-");
        for nameless in ["", "..", "  "] {
            assert_eq!(member_name(nameless, "js1", free), "js1");
        }
        assert_eq!(member_name("train", "js1", |name| name == "train"), "train-js1");
        assert_eq!(member_name("train", "js1", |name| !name.ends_with('2')), "train-js1-2");
        for long in ["🦀".repeat(500), "x".repeat(500)] {
            let name = member_name(&long, "js0123456789ab", |name| !name.contains("js"));
            assert_eq!(check_member_name(&name), Ok(()), "{name}");
        }
    }
}
