//! Who asks, and what they may do. One table says which scope each action needs; services ask it in
//! the transaction that acts.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::id::{KeyId, TeamId, UserId};

/// Who asks: a person, through one of their keys. A browser's session is the key that it was opened
/// with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub user: UserId,
    pub team: TeamId,
    pub key: KeyId,
    pub scope: Scope,
}

impl Caller {
    /// Says whether the caller's key is enough for `action`.
    ///
    /// # Errors
    /// [`Denied`] when the key's scope is too small.
    pub fn may(&self, action: Action) -> Result<(), Denied> {
        let needed = action.scope();
        if self.scope >= needed { Ok(()) } else { Err(Denied { action, needed, held: self.scope }) }
    }
}

/// What a key is good for. Each scope includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// Looks at everything of the team; changes nothing.
    Read,
    /// Submits, stops and deletes work, and keeps secrets.
    Write,
    /// Also manages people and all keys.
    Admin,
}

impl Scope {
    /// All scopes, smallest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// Returns the scope's word, as the API and the store write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a scope: say read, write or admin")]
pub struct InvalidScope;

impl FromStr for Scope {
    type Err = InvalidScope;
    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(InvalidScope)
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident: $scope:ident, $words:literal;)*) => {
        /// Everything that can be asked of the box.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Action { $($(#[$doc])* $name,)* }

        impl Action {
            /// All actions, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the least scope that may do this.
            pub fn scope(self) -> Scope {
                match self { $(Self::$name => Scope::$scope,)* }
            }

            /// Returns what is done, as the end of “this key may not …”.
            pub fn words(self) -> &'static str {
                match self { $(Self::$name => $words,)* }
            }
        }
    };
}

actions! {
    /// The box itself: GPUs, machine types, load, the queue, events and the daemon's metrics.
    ViewBox: Read, "look at the box";
    ViewProjects: Read, "look at projects";
    CreateProject: Write, "create projects";
    ChangeProject: Write, "change projects";
    DeleteProject: Write, "delete projects";
    /// A job with its logs, charts, metrics and artifacts.
    ViewJobs: Read, "look at jobs";
    /// Also cloning one, and the uploads that workspaces are made of.
    SubmitJob: Write, "submit jobs";
    /// What people write on jobs: what ran stays as it ran.
    ChangeJob: Write, "change jobs";
    StopJob: Write, "stop jobs";
    DeleteJob: Write, "delete jobs";
    /// A notebook with its sessions and files.
    ViewNotebooks: Read, "look at notebooks";
    CreateNotebook: Write, "make notebooks";
    /// Also giving a session more time.
    StartNotebook: Write, "start notebooks";
    /// Name, project, tags, whether it is public, and what its next session runs.
    ChangeNotebook: Write, "change notebooks";
    StopNotebook: Write, "stop notebooks";
    DeleteNotebook: Write, "delete notebooks";
    /// A TensorBoard with what it shows.
    ViewTensorBoards: Read, "look at TensorBoards";
    CreateTensorBoard: Write, "make TensorBoards";
    /// Also opening one that does not run.
    StartTensorBoard: Write, "start TensorBoards";
    /// What it shows, its name and project, and what its next session runs on.
    ChangeTensorBoard: Write, "change TensorBoards";
    StopTensorBoard: Write, "stop TensorBoards";
    DeleteTensorBoard: Write, "delete TensorBoards";
    /// Their runs are jobs, which [`Action::ViewJobs`] is for.
    ViewExperiments: Read, "look at experiments";
    CreateExperiment: Write, "create experiments";
    /// Name and tags.
    ChangeExperiment: Write, "change experiments";
    StartExperiment: Write, "start experiments";
    StopExperiment: Write, "stop experiments";
    DeleteExperiment: Write, "delete experiments";
    /// What a container serves. It may be a shell, so looking is not enough.
    OpenWorkload: Write, "open what containers serve";
    /// Commands inside what runs already: as much as submitting a job, and with its secrets at hand.
    OpenTerminal: Write, "open terminals";
    /// Datasets with their versions, files and lineage.
    ViewDatasets: Read, "look at datasets";
    CreateDataset: Write, "create datasets";
    /// Name, description, versions and tags.
    ChangeDataset: Write, "change datasets";
    DeleteDataset: Write, "delete datasets or versions";
    UploadData: Write, "change files of datasets";
    CommitVersion: Write, "commit versions";
    /// Whatever changes what every team gets to read.
    PublishDataset: Admin, "make datasets public, or change public ones";
    /// Needs what the admin allows besides (`storage.import_dirs`).
    ImportDirectory: Admin, "import from directories of this machine";
    /// What uses the disk, and what looking after it found.
    ViewStorage: Read, "look at the disk";
    CareForStorage: Admin, "collect unused files or check stored ones";
    /// What the team keeps in `/storage`.
    ViewFiles: Read, "look at files in /storage";
    ChangeFiles: Write, "change files in /storage";
    /// Names only: values are never shown to anybody.
    ViewSecrets: Read, "list secrets";
    ChangeSecrets: Write, "set or delete secrets";
    /// What the jobs of every team can use.
    ChangeBoxSecrets: Admin, "set or delete secrets of the whole box";
    /// Never their secret keys.
    ViewProviders: Read, "look at storage providers";
    ChangeProviders: Admin, "add, change, check or delete storage providers";
    /// One's own keys; everybody's needs [`Action::ManageKeys`].
    ViewOwnKeys: Read, "list keys";
    RevokeOwnKeys: Write, "revoke keys";
    ManageKeys: Admin, "create keys, or see and revoke those of others";
    ManageUsers: Admin, "manage people";
}

/// A key's scope is too small for what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this key may not {}: that needs the scope “{needed}” and this key has “{held}”", action.words())]
pub struct Denied {
    pub action: Action,
    pub needed: Scope,
    pub held: Scope,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(scope: Scope) -> Caller {
        Caller {
            user: "u00000000".parse().unwrap(),
            team: "t000000".parse().unwrap(),
            key: "k0000000000".parse().unwrap(),
            scope,
        }
    }

    #[test]
    fn every_action_is_allowed_from_its_scope_upwards_and_denied_below() {
        for action in Action::ALL {
            for scope in Scope::ALL {
                let answer = caller(scope).may(*action);
                assert_eq!(answer.is_ok(), scope >= action.scope(), "{action:?} with {scope}");
                if let Err(denied) = answer {
                    let words = denied.to_string();
                    assert!(words.contains(action.words()) && words.contains(action.scope().as_str()), "{words}");
                }
            }
        }
    }

    #[test]
    fn a_read_key_only_looks() {
        let allowed: Vec<_> = Action::ALL.iter().filter(|action| caller(Scope::Read).may(**action).is_ok()).collect();
        assert!(
            allowed.iter().all(|action| format!("{action:?}").starts_with("View")),
            "a read key may do more than look: {allowed:?}"
        );
    }

    #[test]
    fn managing_people_and_keys_is_for_admins() {
        for action in [Action::ManageKeys, Action::ManageUsers] {
            assert!(caller(Scope::Write).may(action).is_err());
        }
    }

    #[test]
    fn a_scope_reads_back_as_itself() {
        for scope in Scope::ALL {
            assert_eq!(scope.to_string().parse(), Ok(scope));
        }
        assert_eq!("root".parse::<Scope>(), Err(InvalidScope));
    }
}
