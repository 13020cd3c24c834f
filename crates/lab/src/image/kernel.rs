//! From Debian's kernel package to what QEMU starts fastest: the bare `vmlinux`, entered by PVH. It
//! saves the guest the firmware and its own decompression: 7 s instead of 12 to 15 under emulation.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use deadline::Deadline;

use crate::command::{Call, Cancel};
use crate::error::Error;

/// Offsets in the setup header of a bzImage (Linux: Documentation/arch/x86/boot.rst).
mod header {
    /// `setup_sects`: 512-byte sectors of real-mode code after the first; 0 means 4.
    pub(super) const SETUP_SECTS: usize = 0x1f1;
    /// The magic number `HdrS`.
    pub(super) const MAGIC: usize = 0x202;
    /// `version`: 0x0208 or later has the payload fields.
    pub(super) const VERSION: usize = 0x206;
    /// `payload_offset`, from the start of the protected-mode code.
    pub(super) const PAYLOAD_OFFSET: usize = 0x248;
    /// `payload_length`, the trailing size word included.
    pub(super) const PAYLOAD_LENGTH: usize = 0x24c;
}

/// The compressed kernel inside a bzImage, without the four bytes of its unpacked size that follow it.
fn payload(image: &[u8]) -> Result<&[u8], &'static str> {
    let byte = |at: usize| image.get(at).copied().ok_or("it is too short");
    let word = |at: usize| {
        image
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_le_bytes)
            .and_then(|value| usize::try_from(value).ok())
            .ok_or("it is too short")
    };
    if image.get(header::MAGIC..header::MAGIC + 4) != Some(b"HdrS") {
        return Err("it is no bzImage");
    }
    if u16::from_le_bytes([byte(header::VERSION)?, byte(header::VERSION + 1)?]) < 0x0208 {
        return Err("its boot protocol is older than 2.08");
    }
    let sectors = match byte(header::SETUP_SECTS)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + word(header::PAYLOAD_OFFSET)?;
    let length = word(header::PAYLOAD_LENGTH)?
        .checked_sub(4)
        .ok_or("its payload is empty")?;
    let compressed = start
        .checked_add(length)
        .and_then(|end| image.get(start..end))
        .ok_or("its payload lies outside")?;
    if compressed.starts_with(b"\xfd7zXZ\0") {
        Ok(compressed)
    } else {
        Err("its payload is not compressed by xz")
    }
}

/// Unpacks the kernel in bzImage `from` to `to`.
pub(crate) fn extract(from: &Path, to: &Path, cancel: &Cancel) -> Result<(), Error> {
    let image = fs::read(from).map_err(Error::io("read", from))?;
    let unusable = |why: &str| Error::Program {
        program: "linux-image-amd64".to_owned(),
        doing: format!("as a guest's kernel ({})", from.display()),
        detail: why.to_owned(),
    };
    let compressed = payload(&image).map_err(unusable)?;
    let packed = to.with_extension("xz");
    let mut file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(&packed)
        .map_err(Error::io("create", &packed))?;
    file.write_all(compressed)
        .and_then(|()| file.seek(SeekFrom::Start(0)))
        .map_err(Error::io("write", &packed))?;
    // xz keeps what it reads from a file name, names the result itself, and writes it sparsely.
    Call::new(
        "xz",
        [
            "--decompress",
            "--single-stream",
            "--no-warn",
            "--suffix=.xz",
        ],
    )
    .arg(&packed)
    .run(
        "unpacking the kernel",
        Deadline::after(Duration::from_secs(300)),
        cancel,
    )?;
    let unpacked = packed.with_extension("");
    fs::rename(&unpacked, to).map_err(Error::io("rename", &unpacked))?;
    let mut magic = [0; 4];
    File::open(to)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic))
        .map_err(Error::io("read", to))?;
    if &magic == b"\x7fELF" {
        Ok(())
    } else {
        Err(unusable("unpacked, it is no ELF file"))
    }
}

/// The kernel version in an unpacked kernel package: the name of its one directory of modules.
pub(crate) fn version(unpacked: &Path) -> Result<String, Error> {
    let modules = unpacked.join("lib/modules");
    fs::read_dir(&modules)
        .map_err(Error::io("read", &modules))?
        .flatten()
        .find_map(|entry| entry.file_name().into_string().ok())
        .ok_or_else(|| Error::Program {
            program: "linux-image-amd64".to_owned(),
            doing: "as a guest's kernel".to_owned(),
            detail: "the package holds no modules".to_owned(),
        })
}

/// The files of `modules` and of all they need, in the order in which they can be loaded.
pub(crate) fn module_files(
    unpacked: &Path,
    version: &str,
    modules: &[&str],
    cancel: &Cancel,
) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for module in modules {
        let called = Call::new(
            "modprobe",
            ["--show-depends", "--set-version", version, "--dirname"],
        )
        .arg(unpacked)
        .arg(module)
        .run(
            "finding kernel modules",
            Deadline::after(Duration::from_secs(60)),
            cancel,
        )?;
        for line in called.text().lines() {
            // `insmod PATH` or, for what is part of the kernel itself, `builtin NAME`.
            if let Some(path) = line.trim().strip_prefix("insmod ") {
                let path = PathBuf::from(path.trim());
                if !files.contains(&path) {
                    files.push(path);
                }
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made bzImage: setup of 1 + 1 sectors, payload at 16 bytes into the rest.
    fn image(payload: &[u8], length: u32) -> Vec<u8> {
        let mut image = vec![0; 1024 + 16];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
        image.extend_from_slice(payload);
        image
    }

    #[test]
    fn the_payload_is_found_without_its_size_word() {
        let bytes = b"\xfd7zXZ\0data____";
        let image = image(bytes, u32::try_from(bytes.len()).unwrap());
        assert_eq!(payload(&image), Ok(&bytes[..bytes.len() - 4]));
    }

    #[test]
    fn nothing_malformed_is_let_through() {
        let bytes = b"\xfd7zXZ\0data____";
        let good = image(bytes, 14);
        // The size word at the end is not looked at.
        for cut in 0..good.len() - 4 {
            assert!(payload(&good[..cut]).is_err(), "{cut}");
        }
        assert!(payload(&image(bytes, 3)).is_err());
        assert!(payload(&image(bytes, u32::MAX)).is_err());
        assert!(payload(&image(b"\x1f\x8b__________", 12)).is_err());
    }
}
