//! The rules for each field of a job. Pure: what needs the store (projects, secrets, uploads) is checked
//! by [`super::jobs`].

use std::{collections::BTreeMap, time::Duration};

use super::{
    Invalid,
    job_draft::{CheckedMount, DraftMount, DraftPassword, DraftWorkspace},
    text::check_text,
};
use crate::domain::{
    dataset::{DatasetRef, check_mount_name},
    id::{JobId, UploadId},
    image_ref::ImageRef,
    machine_type::{Catalogue, MachineType},
    user_path::{UserPath, shown},
    workload::{Build, Command, Credentials, Password, Port, Retries, Workspace, secret_name},
    workspace::{GitRef, GitUrl},
};

/// Decides which GPUs a container sees where NVIDIA's runtime is in use, so it is ours alone.
const RESERVED: &str = "NVIDIA_VISIBLE_DEVICES";
const MAX_ENV: usize = 1000;
const MAX_ENV_BYTES: usize = 128 * 1024;
const MAX_COMMAND_BYTES: usize = 64 * 1024;
const MAX_ARGUMENTS: usize = 4096;
const MAX_PORTS: usize = 32;
const MAX_TAGS: usize = 50;
const MAX_MOUNTS: usize = 32;
const MAX_RETRIES: u32 = 100;
const LONGEST_BACKOFF: Duration = Duration::from_secs(24 * 3600);

pub(super) fn check_image(image: Option<String>, built: bool, id: &JobId) -> Result<String, Invalid> {
    match (image, built) {
        (Some(_), true) => Err(Invalid::new(
            "image",
            "image_and_build",
            "a job has an image or builds one: leave out image, or leave out build",
        )),
        (None, true) => Ok(format!("gradientd/build:{id}")),
        (None, false) => {
            Err(Invalid::new("image", "missing", "name the image to run, such as python:3.12, or build one with build"))
        }
        (Some(image), false) => {
            let image: ImageRef =
                image.parse().map_err(|error| Invalid::new("image", "bad_image", format!("{error}")))?;
            Ok(image.to_string())
        }
    }
}

pub(super) fn default_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let name: String = last.split(['@', ':']).next().unwrap_or(last).chars().take(64).collect();
    if name.is_empty() || name == "sha256" { "job".to_owned() } else { name }
}

pub(super) fn check_build(dockerfile: String, workspace: &Workspace) -> Result<Build, Invalid> {
    if matches!(workspace, Workspace::Empty) {
        return Err(Invalid::new(
            "build",
            "build_without_workspace",
            "a build needs a workspace with the Dockerfile in it: give workspace.upload or workspace.git",
        ));
    }
    UserPath::from_bytes(dockerfile.as_bytes())
        .map_err(|error| Invalid::new("build.dockerfile", "bad_path", error.to_string()))?;
    Ok(Build { dockerfile })
}

pub(super) fn check_machine_type(name: Option<&str>, catalogue: &Catalogue) -> Result<MachineType, Invalid> {
    match name {
        None => Ok(catalogue.default_type().clone()),
        Some(name) => catalogue
            .get(name)
            .cloned()
            .map_err(|error| Invalid::new("machineType", "unknown_machine_type", error.to_string())),
    }
}

pub(super) fn check_env(env: &BTreeMap<String, String>, secrets: &mut Vec<(String, String)>) -> Result<(), Invalid> {
    if env.len() > MAX_ENV {
        return Err(Invalid::new(
            "env",
            "too_many",
            format!("env has more than {MAX_ENV} variables: put them in a file"),
        ));
    }
    if env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MAX_ENV_BYTES {
        let message = format!("env is larger than {} KiB: put it in a file", MAX_ENV_BYTES / 1024);
        return Err(Invalid::new("env", "too_large", message));
    }
    for (name, value) in env {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        let field = format!("env.{shown}");
        let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.len() <= 256
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if !good {
            let message = format!(
                "“{shown}” cannot name a variable: it begins with a letter or “_” and goes on with letters, digits, “_”, “.” and “-”"
            );
            return Err(Invalid::new(field, "bad_env_name", message));
        }
        if name == RESERVED {
            let message =
                format!("{name} says which GPUs a container sees, so it is set by the box: choose a machineType");
            return Err(Invalid::new(field, "reserved_env", message));
        }
        if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) {
            let message =
                format!("the value of {name} has control characters in it: leave them out, or put it in a file");
            return Err(Invalid::new(field, "control_characters", message));
        }
        if let Some(secret) = secret_name(value) {
            secrets.push((field, secret.to_owned()));
        }
    }
    Ok(())
}

pub(super) fn check_command(command: &Command) -> Result<(), Invalid> {
    let (bytes, words, nul) = match command {
        Command::Image => return Ok(()),
        Command::Shell(text) => (text.len(), 1, text.contains('\0')),
        Command::Exec(words) => {
            (words.iter().map(String::len).sum(), words.len(), words.iter().any(|word| word.contains('\0')))
        }
    };
    if words == 0 || bytes == 0 {
        return Err(Invalid::new("command", "empty", "command is empty: leave it out to run the image's own"));
    }
    if bytes > MAX_COMMAND_BYTES || words > MAX_ARGUMENTS {
        let message = format!(
            "command is longer than {} KiB or {MAX_ARGUMENTS} words: put it in a script in the workspace",
            MAX_COMMAND_BYTES / 1024
        );
        return Err(Invalid::new("command", "too_long", message));
    }
    if nul {
        return Err(Invalid::new("command", "control_characters", "command has a NUL character in it: leave it out"));
    }
    Ok(())
}

pub(super) fn check_directory(path: String) -> Result<String, Invalid> {
    let field = "workingDirectory";
    let path = check_text(field, path, 4096)?;
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        let message =
            "workingDirectory is a path inside the container, from “/” and without “..”, such as /home/paperspace";
        return Err(Invalid::new(field, "bad_path", message));
    }
    Ok(path)
}

pub(super) fn check_workspace<E: From<Invalid>>(
    workspace: Option<DraftWorkspace>,
    secrets: &mut Vec<(String, String)>,
    seal: &impl Fn(&str) -> Result<String, E>,
) -> Result<Workspace, E> {
    Ok(match workspace.unwrap_or(DraftWorkspace::Empty) {
        DraftWorkspace::Empty => Workspace::Empty,
        DraftWorkspace::Upload(id) => {
            let id: UploadId = id.parse().map_err(|error: crate::domain::id::InvalidId| {
                Invalid::new("workspace.upload", "bad_id", error.to_string())
            })?;
            Workspace::Upload(id)
        }
        DraftWorkspace::Git { url, reference, username, password } => {
            let url: GitUrl =
                url.parse().map_err(|error| Invalid::new("workspace.git", "bad_git_url", format!("{error}")))?;
            let reference = reference
                .map(|text| text.parse::<GitRef>())
                .transpose()
                .map_err(|error| Invalid::new("workspace.ref", "bad_git_ref", error.to_string()))?;
            let fields = ("workspace.username", "workspace.password");
            Workspace::Git {
                url: url.as_str().to_owned(),
                reference: reference.map(|reference| reference.as_str().to_owned()),
                credentials: check_credentials(username, password, fields, secrets, seal)?,
            }
        }
    })
}

pub(super) fn check_credentials<E: From<Invalid>>(
    username: Option<String>,
    password: Option<DraftPassword>,
    (name_field, password_field): (&'static str, &'static str),
    secrets: &mut Vec<(String, String)>,
    seal: &impl Fn(&str) -> Result<String, E>,
) -> Result<Option<Credentials>, E> {
    let Some(password) = password else {
        return match username {
            None => Ok(None),
            Some(_) => {
                let message = format!("{name_field} needs {password_field}: give it, best as secret:NAME");
                Err(Invalid::new(password_field, "missing", message).into())
            }
        };
    };
    // A token alone is enough for most git hosts; they take any name with it.
    let username = match username {
        Some(username) => check_text(name_field, username, 256)?,
        None if name_field.starts_with("workspace") => "git".to_owned(),
        None => {
            let message = format!("{password_field} needs {name_field}: give both");
            return Err(Invalid::new(name_field, "missing", message).into());
        }
    };
    let password = match password {
        DraftPassword::Kept(password) => {
            if let Password::Secret(name) = &password {
                secrets.push((password_field.to_owned(), name.clone()));
            }
            password
        }
        DraftPassword::Given(text) => match secret_name(&text) {
            Some(name) => {
                secrets.push((password_field.to_owned(), name.to_owned()));
                Password::Secret(name.to_owned())
            }
            None => Password::Sealed(seal(&check_text(password_field, text, 8192)?)?),
        },
    };
    Ok(Some(Credentials { username, password }))
}

pub(super) fn check_ports(ports: &[Port]) -> Result<(), Invalid> {
    if ports.len() > MAX_PORTS {
        return Err(Invalid::new("ports", "too_many", format!("a job publishes {MAX_PORTS} ports at most")));
    }
    for (at, port) in ports.iter().enumerate() {
        let field = format!("ports.{at}");
        if port.container == 0 || port.host == Some(0) {
            return Err(Invalid::new(field, "bad_port", "a port is a number from 1 to 65535"));
        }
        if port.host.is_some_and(|host| host < 1024) {
            let message =
                "ports of the host below 1024 are the system's: choose a higher one, or none to have one chosen";
            return Err(Invalid::new(field, "bad_port", message));
        }
        let twice = ports[..at]
            .iter()
            .any(|other| other.container == port.container || (port.host.is_some() && other.host == port.host));
        if twice {
            return Err(Invalid::new(field, "duplicate_port", format!("port {} is there twice", port.container)));
        }
    }
    Ok(())
}

pub(super) fn check_shared_memory(bytes: u64, machine_type: &MachineType) -> Result<(), Invalid> {
    let field = "sharedMemoryBytes";
    if bytes < 64 * 1024 {
        return Err(Invalid::new(
            field,
            "too_small",
            "sharedMemoryBytes is less than 64 KiB: leave it out for the default",
        ));
    }
    if bytes > machine_type.memory_bytes {
        let message = format!(
            "sharedMemoryBytes is more than the {} bytes of memory that {} has: it counts as memory",
            machine_type.memory_bytes, machine_type.name
        );
        return Err(Invalid::new(field, "too_large", message));
    }
    Ok(())
}

pub(super) fn check_user(user: &str) -> Result<(), Invalid> {
    let part = |text: &str| {
        !text.is_empty()
            && text.len() <= 32
            && !text.starts_with('-')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    let good = match user.split_once(':') {
        Some((user, group)) => part(user) && part(group),
        None => part(user),
    };
    if good {
        return Ok(());
    }
    Err(Invalid::new(
        "user",
        "bad_user",
        "user is a name or a number known in the image, perhaps with :group, such as 1000:1000",
    ))
}

/// Checks what a job reads or writes.
pub(super) fn check_mounts<R>(
    list: &str,
    mounts: Vec<DraftMount>,
    parse: impl Fn(&str) -> Result<R, String>,
) -> Result<Vec<CheckedMount<R>>, Invalid> {
    if mounts.len() > MAX_MOUNTS {
        return Err(Invalid::new(list, "too_many", format!("a job has {MAX_MOUNTS} {list} at most")));
    }
    let check = |(at, mount): (usize, DraftMount)| {
        let field = format!("{list}[{at}]");
        let reference = parse(&mount.reference)
            .map_err(|message| Invalid::new(format!("{field}.ref"), "bad_reference", message))?;
        if let Some(name) = &mount.name {
            check_mount_name(name).map_err(|error| {
                let message =
                    format!("the name “{}” {error}: it becomes the name of a directory", shown(name.as_bytes()));
                Invalid::new(format!("{field}.name"), "bad_name", message)
            })?;
        }
        Ok(CheckedMount { field, text: mount.reference, reference, name: mount.name })
    };
    mounts.into_iter().enumerate().map(check).collect()
}

/// An output makes a new version, so it names a dataset of the team and no version.
pub(super) fn output_dataset(text: &str) -> Result<DatasetRef, String> {
    if text.contains(':') {
        return Err(format!(
            "an output becomes a new version: name the dataset alone, as “{}”",
            shown(text.split(':').next().unwrap_or("").as_bytes())
        ));
    }
    match text.parse() {
        Ok(DatasetRef::Public(_)) => {
            Err("an output goes into a dataset of your own team: name one by its name or id".to_owned())
        }
        Ok(dataset) => Ok(dataset),
        Err(_) => Err(format!("“{}” names no dataset: give the name or the id of one", shown(text.as_bytes()))),
    }
}

pub(super) fn check_time_limit(seconds: u64, longest: Duration) -> Result<Duration, Invalid> {
    let field = "timeLimitSeconds";
    if seconds == 0 {
        return Err(Invalid::new(field, "too_small", "timeLimitSeconds is 0: leave it out for no limit"));
    }
    if seconds > longest.as_secs() {
        let message = format!("timeLimitSeconds is more than {}, the longest this box allows", longest.as_secs());
        return Err(Invalid::new(field, "too_large", message));
    }
    Ok(Duration::from_secs(seconds))
}

pub(super) fn check_retries(retries: Retries) -> Result<Retries, Invalid> {
    if retries.limit > MAX_RETRIES {
        return Err(Invalid::new(
            "retries.limit",
            "too_large",
            format!("a job is tried again {MAX_RETRIES} times at most"),
        ));
    }
    if retries.backoff > LONGEST_BACKOFF {
        let message = format!("retries.backoffSeconds is {} at most", LONGEST_BACKOFF.as_secs());
        return Err(Invalid::new("retries.backoffSeconds", "too_large", message));
    }
    Ok(retries)
}

/// Checks what people write on a thing.
pub(super) fn check_tags(tags: Vec<String>) -> Result<Vec<String>, Invalid> {
    if tags.len() > MAX_TAGS {
        return Err(Invalid::new("tags", "too_many", format!("{MAX_TAGS} tags at most")));
    }
    let mut checked = Vec::with_capacity(tags.len());
    for tag in tags {
        let tag = check_text("tags", tag.trim().to_owned(), 64)?;
        if tag.contains(',') {
            return Err(Invalid::new("tags", "bad_tag", "a tag has no comma in it: give several tags as a list"));
        }
        if !checked.contains(&tag) {
            checked.push(tag);
        }
    }
    Ok(checked)
}

pub(super) fn check_priority(priority: i32) -> Result<i32, Invalid> {
    if (-100..=100).contains(&priority) {
        return Ok(priority);
    }
    Err(Invalid::new(
        "priority",
        "out_of_range",
        "priority is a number from -100 to 100; 0 is usual, higher goes first",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::job_draft::{CheckedJob, JobDraft};

    fn mount(reference: &str, name: Option<&str>) -> DraftMount {
        DraftMount { reference: reference.to_owned(), name: name.map(str::to_owned) }
    }

    fn checked(datasets: Vec<DraftMount>, outputs: Vec<DraftMount>) -> Result<CheckedJob, Invalid> {
        let catalogue = Catalogue::generate(4, 8 << 30, &crate::domain::gpu::Inventory::default());
        let draft = JobDraft {
            image: Some("a".to_owned()),
            datasets: Some(datasets),
            outputs: Some(outputs),
            ..JobDraft::default()
        };
        draft.check(&"js0123456789ab".parse().unwrap(), &catalogue, Duration::from_secs(60), |_| {
            Ok::<_, Invalid>(String::new())
        })
    }

    #[test]
    fn a_job_names_versions_to_read_and_datasets_to_write() {
        let job = checked(
            vec![mount("mnist:prod", None), mount("gradient/words", Some("w"))],
            vec![mount("models", Some("model"))],
        )
        .unwrap();
        assert_eq!(job.datasets[0].reference, "mnist:prod".parse().unwrap());
        assert_eq!((job.datasets[1].text.as_str(), job.datasets[1].name.as_deref()), ("gradient/words", Some("w")));
        assert_eq!(job.outputs[0].reference, DatasetRef::Name("models".to_owned()));
    }

    #[test]
    fn what_cannot_be_mounted_is_refused_by_its_field() {
        let refused = |datasets, outputs| {
            let invalid = checked(datasets, outputs).unwrap_err();
            (invalid.field, invalid.code)
        };
        let many = vec![mount("a", None); MAX_MOUNTS + 1];
        for (datasets, outputs, field, code) in [
            (vec![mount("a", None), mount("a:b:c", None)], vec![], "datasets[1].ref", "bad_reference"),
            (vec![mount("a", Some("../b"))], vec![], "datasets[0].name", "bad_name"),
            (vec![], vec![mount("a", Some(""))], "outputs[0].name", "bad_name"),
            (vec![], vec![mount("a:latest", None)], "outputs[0].ref", "bad_reference"),
            (vec![], vec![mount("gradient/a", None)], "outputs[0].ref", "bad_reference"),
            (many.clone(), vec![], "datasets", "too_many"),
            (vec![], many, "outputs", "too_many"),
        ] {
            assert_eq!(refused(datasets, outputs), (field.to_owned(), code));
        }
    }
}
