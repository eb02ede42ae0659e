//! Whether programs in containers can serve files to other containers here.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::Mounts;

/// What is needed so that a program in one container serves files to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fuse {
    /// The device through which a program serves a file system.
    pub device: PathBuf,
    /// The kernel's table of mounts.
    pub mounts: PathBuf,
}

impl Default for Fuse {
    fn default() -> Self {
        Self { device: "/dev/fuse".into(), mounts: "/proc/self/mountinfo".into() }
    }
}

impl Fuse {
    /// Says what keeps file systems that are served in one container from appearing in others beneath
    /// `dir`, and what to do about it; `None` when nothing is seen that does. What a process in a namespace
    /// of its own cannot see, the engine says at the start.
    pub fn obstacle(&self, dir: &Path) -> Option<String> {
        if !self.device.exists() {
            return Some(NO_DEVICE.to_owned());
        }
        match self.mounts() {
            Ok(mounts) => unshared(&mounts, dir),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Reads what is mounted. The table is made by the kernel and asks no file system, so a dead one holds
    /// up nobody.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn mounts(&self) -> io::Result<Mounts> {
        let path = &self.mounts;
        let table = fs::read(path)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display())))?;
        Ok(Mounts::parse(&table))
    }
}

/// What to do where the device is missing.
pub const NO_DEVICE: &str =
    "this machine offers no /dev/fuse: run `modprobe fuse` on it, and write fuse into /etc/modules-load.d/fuse.conf";

/// Says so when what is mounted beneath `dir` reaches nobody else.
fn unshared(mounts: &Mounts, dir: &Path) -> Option<String> {
    let mount = mounts.holding(dir)?;
    (!mount.shared && !mount.follows).then(|| not_shared(&mount.path))
}

/// What to do where a file system is not shared.
pub fn not_shared(mount: &Path) -> String {
    let mount = mount.display();
    format!(
        "what is mounted in one container does not appear in others, because the file system at {mount} is private: \
         run `mount --make-rshared {mount}` on this machine, at each of its starts before the engine's"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_system_is_an_obstacle_and_a_shared_one_or_a_copy_of_one_is_none() {
        let table = |tags: &str| {
            let table = format!("1 0 0:1 / / rw shared:1 - ext4 a rw\n2 1 0:2 / /data rw {tags}- ext4 b rw\n");
            Mounts::parse(table.as_bytes())
        };
        let on = |tags, dir: &str| unshared(&table(tags), Path::new(dir));
        assert!(on("", "/data/x").unwrap().contains("mount --make-rshared /data`"));
        assert_eq!(on("", "/elsewhere"), None);
        assert_eq!(on("shared:2 ", "/data/x"), None);
        assert_eq!(on("master:2 ", "/data/x"), None);
    }

    #[test]
    fn a_machine_without_the_device_says_how_to_get_it() {
        let fuse = Fuse { device: "/nonexistent/fuse".into(), ..Fuse::default() };
        assert!(fuse.obstacle(Path::new("/")).unwrap().contains("modprobe fuse"));
    }

    #[test]
    fn this_machine_s_table_can_be_read() {
        assert!(Fuse::default().mounts().unwrap().holding(Path::new("/")).is_some());
    }
}
