//! Whose a process on a GPU is: NVML knows its number and its memory, /proc knows the rest.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use crate::domain::gpu::GpuProcess;

/// Longest command line that is kept, in characters.
const COMMAND_CHARS: usize = 256;

/// Longest file of /proc that is read. A command line can be megabytes, and none of it is trusted.
const READ_BYTES: u64 = 16 * 1024;

/// Digits in a container's id.
const CONTAINER_DIGITS: usize = 64;

/// Fills in what /proc tells. A process that has ended meanwhile, or is another user's and hidden,
/// stays as NVML told it.
pub(super) fn describe(proc_root: &Path, process: &mut GpuProcess) {
    let directory = proc_root.join(process.pid.to_string());
    process.user = read(&directory.join("status")).as_deref().and_then(owner).map(name_of);
    process.command = read(&directory.join("cmdline")).as_deref().and_then(command);
    process.container = read(&directory.join("cgroup")).as_deref().and_then(container);
}

fn read(path: &PathBuf) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(READ_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The real user id, from /proc/PID/status.
fn owner(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_ascii_whitespace().next()?.parse().ok()
}

/// The user's name by every source that the machine knows (a lab's directory too), else the number.
fn name_of(uid: u32) -> String {
    match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}

/// The command line as one line of text, from /proc/PID/cmdline. A kernel thread has none.
fn command(cmdline: &str) -> Option<String> {
    // It is shown to people: a control character in it must not reach their terminal.
    let shown: String = cmdline
        .trim_end_matches('\0')
        .chars()
        .take(COMMAND_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    (!shown.is_empty()).then_some(shown)
}

/// The container that the process runs in, from /proc/PID/cgroup: the outermost name of 64 hexadecimal
/// digits, whatever stands around it (`/docker/ID`, `docker-ID.scope`, `cri-containerd-ID.scope`).
fn container(cgroup: &str) -> Option<String> {
    cgroup
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .flat_map(|path| path.split(|c: char| !c.is_ascii_alphanumeric()))
        .find(|word| word.len() == CONTAINER_DIGITS && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4e0c7a9d2b1c6e8f5a7b9d0c1e2f3a4b5c6d7e8f90a1b2c3d4e5f60718293a";

    #[test]
    fn a_container_is_found_under_either_version_of_cgroups() {
        let v1 = format!("12:memory:/docker/{ID}\n11:cpuset:/docker/{ID}\n0::/docker/{ID}\n");
        let systemd = format!("0::/system.slice/docker-{ID}.scope\n");
        let pod = format!("0::/kubepods.slice/kubepods-pod12.slice/cri-containerd-{ID}.scope/sub\n");
        for text in [v1, systemd, pod] {
            assert_eq!(container(&text).as_deref(), Some(ID), "{text}");
        }
    }

    #[test]
    fn a_process_outside_containers_has_none() {
        assert_eq!(container("0::/user.slice/user-1000.slice/session-3.scope\n"), None);
        assert_eq!(container(&format!("0::/{ID}0\n")), None, "a longer name is not an id");
        assert_eq!(container(""), None);
    }

    #[test]
    fn a_container_in_a_container_belongs_to_the_outer_one() {
        let inner = "0".repeat(64);
        assert_eq!(container(&format!("0::/docker/{ID}/docker/{inner}\n")).as_deref(), Some(ID));
    }

    #[test]
    fn the_owner_is_the_real_user() {
        assert_eq!(owner("Name:\tpython\nUmask:\t0022\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n"), Some(1000));
        assert_eq!(owner("Name:\tpython\n"), None);
    }

    #[test]
    fn a_user_without_a_name_is_a_number() {
        assert_eq!(name_of(4_000_000_123), "4000000123");
        assert_eq!(name_of(0), "root");
    }

    #[test]
    fn a_command_is_one_short_printable_line() {
        assert_eq!(command("python\0train.py\0--lr\x003\0").as_deref(), Some("python train.py --lr 3"));
        assert_eq!(command("sh\0-c\0\x1b[2Jevil\nline\0").as_deref(), Some("sh -c  [2Jevil line"));
        assert_eq!(command(&"é".repeat(400)).map(|text| text.chars().count()), Some(256));
        assert_eq!(command(""), None);
    }

    #[test]
    fn a_process_that_has_ended_stays_as_it_was_told() {
        let mut process = GpuProcess { pid: 77, memory_bytes: Some(1), user: None, command: None, container: None };
        let told = process.clone();
        describe(Path::new("/nonexistent"), &mut process);
        assert_eq!(process, told);
    }
}
