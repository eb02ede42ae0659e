//! A notebook as somebody asked for it: what a draft of a job says, as far as a notebook has it, and when
//! its sessions end by themselves.

use std::time::Duration;

use super::{Invalid, job_draft::JobDraft};
use crate::domain::{
    experiment::Plan,
    notebook::{Limits, Notebook},
    time::in_words,
    workload::{Command, Retries, Spec},
};

/// The shortest time after which a session ends by itself: shorter is a mistake in the unit.
const SHORTEST: Duration = Duration::from_secs(60);
/// The longest, where the box has no limit of its own: more is a mistake, too.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// What a user may say of a notebook. Everything is optional, so that a fork or a start can say only what
/// differs.
#[derive(Debug, Clone, Default)]
pub struct NotebookDraft {
    /// Name, project, image, command, machine type, environment, workspace, datasets, tags and the like.
    pub run: JobDraft,
    pub is_public: Option<bool>,
    pub keep_packages: Option<bool>,
    pub shutdown: Option<Limit>,
    pub idle: Option<Limit>,
}

/// When something happens by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Never,
    After(Duration),
}

/// What the box allows and takes where nothing is said.
#[derive(Debug, Clone, Copy)]
pub struct NotebookRules {
    pub limits: Limits,
    pub longest_shutdown: Duration,
}

/// No limits at all.
impl Default for NotebookRules {
    fn default() -> Self {
        Self { limits: Limits { shutdown: None, idle: None }, longest_shutdown: Duration::MAX }
    }
}

impl NotebookDraft {
    /// Makes a draft of a notebook as it stands.
    pub fn of(notebook: &Notebook) -> Self {
        let plan = Plan { spec: notebook.spec.clone(), priority: 0, time_limit: None, retries: Retries::default() };
        let said = |limit: Option<Duration>| Some(limit.map_or(Limit::Never, Limit::After));
        Self {
            run: JobDraft {
                tags: Some(notebook.tags.clone()),
                ..JobDraft::of_plan(&notebook.name, &notebook.project, &plan)
            },
            is_public: Some(notebook.is_public),
            keep_packages: Some(notebook.spec.keep_packages),
            shutdown: said(notebook.limits.shutdown),
            idle: said(notebook.limits.idle),
        }
    }

    /// Lays `over` on top of this draft: what it says counts, the rest stays.
    #[must_use]
    pub fn with(self, over: Self) -> Self {
        Self {
            run: self.run.with(over.run),
            is_public: over.is_public.or(self.is_public),
            keep_packages: over.keep_packages.or(self.keep_packages),
            shutdown: over.shutdown.or(self.shutdown),
            idle: over.idle.or(self.idle),
        }
    }

    /// Returns when sessions end by themselves.
    ///
    /// # Errors
    /// [`Invalid`] for a time that is too short or too long.
    pub fn limits(&self, rules: &NotebookRules) -> Result<Limits, Invalid> {
        let shutdown = chosen(self.shutdown, rules.limits.shutdown);
        let idle = chosen(self.idle, rules.limits.idle);
        for (field, limit) in [("shutdownSeconds", shutdown), ("idleSeconds", idle)] {
            if limit.is_some_and(|limit| limit < SHORTEST) {
                let message = format!("{field} is at least {} seconds, or null for never", SHORTEST.as_secs());
                return Err(Invalid::new(field, "too_short", message));
            }
        }
        if idle.is_some_and(|limit| limit > LONGEST) {
            let message = format!("idleSeconds is at most {}, or null for never", LONGEST.as_secs());
            return Err(Invalid::new("idleSeconds", "too_long", message));
        }
        if shutdown.is_none_or(|limit| limit > rules.longest_shutdown) && rules.longest_shutdown < Duration::MAX {
            let message = format!(
                "a session lasts {} at most on this box: choose a shorter time, which can be extended while it runs",
                in_words(rules.longest_shutdown)
            );
            return Err(Invalid::new("shutdownSeconds", "too_long", message));
        }
        Ok(Limits { shutdown, idle })
    }

    /// Refuses what a job has and a notebook has not, and one without an image.
    ///
    /// # Errors
    /// [`Invalid`] for the first such field.
    pub fn check_fields(&self) -> Result<(), Invalid> {
        let refused = |field: &str, message: &str| Err(Invalid::new(field, "not_of_notebooks", message));
        if self.run.build.is_some() {
            return refused("build", "a notebook starts from an image: build it with a job first");
        }
        if self.run.outputs.as_ref().is_some_and(|outputs| !outputs.is_empty()) {
            return refused("outputs", "a notebook has no outputs: make a dataset version from its files instead");
        }
        if self.run.image.is_none() {
            let message =
                "name the image that it starts from: one with JupyterLab in it, unless command starts something else";
            return Err(Invalid::new("image", "missing", message));
        }
        if matches!(&self.run.command, Some(Command::Exec(words)) if words.is_empty()) {
            return refused("command", "command is empty: leave it out to start JupyterLab");
        }
        Ok(())
    }
}

/// What a change says nothing of, so that it stays as it is and is not held to any rule again.
#[derive(Debug, Clone, Copy)]
pub struct Unsaid {
    datasets: bool,
    env: bool,
    registry: bool,
    machine: bool,
}

impl Unsaid {
    /// Looks at a change.
    pub fn of(over: &NotebookDraft) -> Self {
        let run = &over.run;
        Self {
            datasets: run.datasets.is_none(),
            env: run.env.is_none(),
            // A password belongs to the registry of the image.
            registry: run.image.is_none() && run.registry_username.is_none() && run.registry_password.is_none(),
            // Shared memory is part of what a machine type has.
            machine: run.machine_type.is_none() && run.shared_memory_bytes.is_none(),
        }
    }

    /// Takes it out of what is to be checked.
    pub fn leave_out(self, draft: &mut NotebookDraft) {
        let run = &mut draft.run;
        if self.datasets {
            run.datasets = None;
        }
        if self.env {
            run.env = None;
        }
        if self.registry {
            (run.registry_username, run.registry_password) = (None, None);
        }
        if self.machine {
            (run.machine_type, run.shared_memory_bytes) = (None, None);
        }
    }

    /// Puts it back into what came out, as it was `before`.
    #[must_use]
    pub fn put_back(self, before: &Spec, mut checked: Spec) -> Spec {
        if self.datasets {
            checked.inputs.clone_from(&before.inputs);
        }
        if self.env {
            checked.env.clone_from(&before.env);
        }
        if self.registry {
            checked.registry.clone_from(&before.registry);
        }
        if self.machine {
            checked.machine_type.clone_from(&before.machine_type);
            checked.shared_memory_bytes = before.shared_memory_bytes;
        }
        checked
    }
}

fn chosen(said: Option<Limit>, usual: Option<Duration>) -> Option<Duration> {
    match said {
        None => usual,
        Some(Limit::Never) => None,
        Some(Limit::After(span)) => Some(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: NotebookRules = NotebookRules {
        limits: Limits { shutdown: Some(Duration::from_secs(43_200)), idle: None },
        longest_shutdown: Duration::from_secs(604_800),
    };

    #[test]
    fn what_is_not_said_is_the_box_s_choice() {
        assert_eq!(NotebookDraft::default().limits(&RULES).unwrap(), RULES.limits);
        let said = NotebookDraft { idle: Some(Limit::After(Duration::from_secs(600))), ..NotebookDraft::default() };
        assert_eq!(said.limits(&RULES).unwrap().idle, Some(Duration::from_secs(600)));
    }

    #[test]
    fn a_session_cannot_outlast_what_the_box_allows() {
        let asks = |shutdown| NotebookDraft { shutdown: Some(shutdown), ..NotebookDraft::default() }.limits(&RULES);
        assert!(asks(Limit::After(RULES.longest_shutdown)).is_ok());
        assert_eq!(asks(Limit::After(RULES.longest_shutdown + SHORTEST)).unwrap_err().code, "too_long");
        assert_eq!(asks(Limit::Never).unwrap_err().code, "too_long");
        assert_eq!(asks(Limit::After(Duration::from_secs(12))).unwrap_err().code, "too_short");
    }

    #[test]
    fn an_idle_limit_is_one_that_can_be_kept() {
        let idle = |seconds| {
            let idle = Some(Limit::After(Duration::from_secs(seconds)));
            NotebookDraft { idle, ..NotebookDraft::default() }.limits(&RULES)
        };
        assert!(idle(LONGEST.as_secs()).is_ok());
        assert_eq!(idle(u64::MAX).unwrap_err().code, "too_long");
    }
}
