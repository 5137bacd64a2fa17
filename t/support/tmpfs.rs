//! A small file system of its own, which can be full without hurting anybody else.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, unmounted with the value.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one at a folder, which is created. `None` when we may not: that takes root.
    pub fn mount(at: &Path, mebibytes: u32) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={mebibytes}m,mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        for block in [1 << 16, 1 << 12, 1] {
            let block = vec![b'x'; block];
            while file.write_all(&block).is_ok() {}
        }
    }

    /// Gives the room back.
    pub fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: the gateway may still have files open.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}
