//! The initial root file system: busybox, a few modules and the script that mounts the real root.
//! Written in the kernel's own archive format (Linux: Documentation/driver-api/early-userspace/
//! buffer-format.rst), uncompressed: a guest under emulation would be slow to unpack it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;

/// A `newc` archive.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, contents: &[u8]) {
        let size = u32::try_from(contents.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        self.entries += 1;
        let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
        // Magic, inode, mode, uid, gid, links, mtime, size, device, special device, name size, check.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

/// Writes the archive `to`. `modules` are loaded in the given order.
pub(crate) fn write(
    to: &Path,
    init: &str,
    busybox: &Path,
    modules: &[PathBuf],
) -> Result<(), Error> {
    let mut archive = Archive::default();
    for directory in ["bin", "lib", "dev", "proc", "sys", "mnt", "newroot"] {
        archive.add(directory, DIRECTORY, &[]);
    }
    let read = |path: &Path| fs::read(path).map_err(Error::io("read", path));
    archive.add("bin/busybox", PROGRAM, &read(busybox)?);
    let mut list = String::new();
    for module in modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.add(&format!("lib/{name}"), FILE, &read(module)?);
        list.push_str(&name);
        list.push('\n');
    }
    archive.add("modules", FILE, list.as_bytes());
    archive.add("init", PROGRAM, init.as_bytes());
    fs::write(to, archive.finish()).map_err(Error::io("write", to))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Read back by an independent program.
    #[test]
    fn cpio_reads_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (busybox, module, to) = (
            dir.path().join("bb"),
            dir.path().join("m.ko"),
            dir.path().join("initrd"),
        );
        fs::write(&busybox, b"odd").unwrap();
        fs::write(&module, b"module").unwrap();
        write(&to, "#!init\n", &busybox, &[module]).unwrap();
        let out = dir.path().join("out");
        fs::create_dir(&out).unwrap();
        let status = Command::new("cpio")
            .args(["--extract", "--quiet", "--make-directories"])
            .current_dir(&out)
            .stdin(fs::File::open(&to).unwrap())
            .stdout(Stdio::null())
            .status();
        let Ok(status) = status else {
            eprintln!("skipped: cpio is not installed");
            assert!(
                std::env::var_os("PICKET_NO_SKIP").is_none(),
                "cpio is not installed"
            );
            return;
        };
        assert!(status.success());
        assert_eq!(fs::read(out.join("bin/busybox")).unwrap(), b"odd");
        assert_eq!(fs::read(out.join("lib/m.ko")).unwrap(), b"module");
        assert_eq!(fs::read_to_string(out.join("modules")).unwrap(), "m.ko\n");
        assert_eq!(fs::read_to_string(out.join("init")).unwrap(), "#!init\n");
    }
}
