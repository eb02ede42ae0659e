//! What is mounted, as this process sees it, and whether the mounts of a file system reach others.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// The kernel's table of mounts, in its order: what is mounted later comes later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts(Vec<MountPoint>);

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    pub path: PathBuf,
    /// What is mounted beneath it in one place appears in others. So it is for a process in a namespace of
    /// its own, such as a systemd unit, also where the others are its copies alone.
    pub shared: bool,
    /// What is mounted beneath it elsewhere appears here.
    pub follows: bool,
}

impl Mounts {
    /// Reads the text of a table; lines that are none are passed over.
    pub fn parse(table: &[u8]) -> Self {
        Self(table.split(|byte| *byte == b'\n').filter_map(MountPoint::parse).collect())
    }

    /// Returns the mount that `path` is on. The path must have no links in it.
    pub fn holding(&self, path: &Path) -> Option<&MountPoint> {
        // The longest, and of those over one another the topmost.
        self.0.iter().filter(|mount| path.starts_with(&mount.path)).max_by_key(|mount| mount.path.components().count())
    }

    /// Returns every place below `dir` at which something is mounted.
    pub fn beneath(&self, dir: &Path) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|mount| mount.path.as_path()).filter(move |path| *path != dir && path.starts_with(dir))
    }
}

impl MountPoint {
    /// Reads `36 35 98:0 /root /point rw,noatime shared:1 master:2 - ext4 /dev/sda rw`.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let path = unescaped(fields.nth(4)?);
        let options: Vec<&[u8]> = fields.skip(1).take_while(|field| *field != b"-").collect();
        let has = |tag: &[u8]| options.iter().any(|option| option.starts_with(tag));
        Some(Self { path, shared: has(b"shared:"), follows: has(b"master:") })
    }
}

/// Takes `\040` and its like, which stand for spaces, tabs, line ends and backslashes, back.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let octal = (first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &[u8] = b"\
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
40 27 8:1 / /data rw,relatime - ext4 /dev/sda1 rw\n\
41 27 0:9 / /srv/two\\040words rw shared:7 master:1 - ext4 /dev/sdb rw\n\
42 40 0:50 / /data/sources/js1/lab/files rw,nosuid,nodev - fuse.rclone source:lab rw,user_id=0\n\
nonsense\n";

    #[test]
    fn a_path_is_on_the_innermost_mount() {
        let mounts = Mounts::parse(HOST);
        let on = |path: &str| mounts.holding(Path::new(path)).unwrap().clone();
        assert_eq!(on("/etc").path, Path::new("/"));
        assert!(on("/etc").shared && !on("/etc").follows);
        assert!(!on("/data/x").shared && !on("/data/x").follows);
        assert_eq!(on("/database").path, Path::new("/"), "a name that begins alike is another");
        assert!(on("/srv/two words/x").shared && on("/srv/two words/x").follows);
    }

    #[test]
    fn what_is_mounted_below_a_directory_is_found() {
        let mounts = Mounts::parse(HOST);
        let below: Vec<_> = mounts.beneath(Path::new("/data")).collect();
        assert_eq!(below, [Path::new("/data/sources/js1/lab/files")]);
    }

    #[test]
    fn what_lies_over_another_counts() {
        let table = b"1 0 0:1 / / rw shared:1 - ext4 a rw\n2 1 0:2 / / rw - ext4 b rw\n";
        assert!(!Mounts::parse(table).holding(Path::new("/x")).unwrap().shared);
    }
}
