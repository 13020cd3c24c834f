//! Reading the key file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;

use fence_wire::{Key, MAX_KEY_LEN};
use rustix::fs::OFlags;

/// Reads the key.
///
/// # Errors
/// A message that names the file and the remedy: missing, empty, not a file, not readable.
pub(crate) fn read(path: &str) -> Result<Key, String> {
    let remedy =
        "copy the host's key there, or set both hash and auth to none if the host uses none";
    let bytes = bytes(path).map_err(|error| format!("key file `{path}`: {error}; {remedy}"))?;
    if bytes.is_empty() {
        return Err(format!("key file `{path}` is empty; {remedy}"));
    }
    Ok(Key::new(&bytes))
}

/// At most [`MAX_KEY_LEN`] bytes of a regular file; opening a pipe or a device must not block.
fn bytes(path: &str) -> io::Result<Vec<u8>> {
    let no_wait = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = File::options()
        .read(true)
        .custom_flags(no_wait)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(u64::try_from(MAX_KEY_LEN).unwrap_or(u64::MAX))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
