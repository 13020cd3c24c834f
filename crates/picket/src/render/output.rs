//! Writing what is rendered into a directory of its own.
//!
//! The directory holds a list of what was written. By it a later rendering knows the directory for its
//! own, and takes away what it no longer renders. A directory without the list is somebody else's.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Error, Rendering};

/// The name of the list.
const LIST: &str = ".picket-render.json";

/// The version of the list's form.
const VERSION: u32 = 1;

/// What a directory says about itself.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    version: u32,
    cluster: String,
    files: BTreeSet<PathBuf>,
}

/// A file as it goes into the directory.
struct Out<'a> {
    path: PathBuf,
    mode: u32,
    bytes: &'a [u8],
}

/// Writes the rendering, or those parts that `only` names, into `directory`.
pub(super) fn write(directory: &Path, rendering: &Rendering, only: &[String]) -> Result<(), Error> {
    let before = list_of(directory, rendering)?;
    let files = files(rendering, only);
    make_directory(directory)?;
    let mut list = List {
        version: VERSION,
        cluster: rendering.cluster.clone(),
        files: before,
    };
    let written: BTreeSet<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
    let stale: Vec<PathBuf> = list.files.difference(&written).cloned().collect();
    // Listed before they are written: what an interrupted run leaves is known to the next one.
    list.files.extend(written);
    save(directory, &list)?;
    let mut made = BTreeSet::new();
    for file in &files {
        let path = directory.join(&file.path);
        if let Some(parent) = path.parent()
            && made.insert(parent.to_owned())
        {
            make_directory(parent)?;
        }
        put(&path, file)?;
    }
    if only.is_empty() {
        for path in stale {
            remove(directory, &path)?;
            list.files.remove(&path);
        }
        save(directory, &list)?;
    }
    Ok(())
}

fn files<'a>(rendering: &'a Rendering, only: &'a [String]) -> Vec<Out<'a>> {
    let mut all: Vec<Out<'a>> = Vec::new();
    for (machine, files) in rendering.wanted(only) {
        let base = Path::new(machine.role.directory()).join(&machine.name);
        all.extend(files.into_iter().map(|file| Out {
            path: base.join(file.path.strip_prefix("/").unwrap_or(&file.path)),
            mode: file.mode,
            bytes: &file.bytes,
        }));
    }
    if only.is_empty() {
        all.extend(rendering.guests.iter().map(|(name, bytes)| Out {
            path: Path::new("guests").join(format!("{name}.xml")),
            mode: 0o644,
            bytes,
        }));
        all.push(Out {
            path: "instructions.md".into(),
            mode: 0o644,
            bytes: &rendering.instructions,
        });
    }
    all
}

/// What an earlier rendering left in the directory.
fn list_of(directory: &Path, rendering: &Rendering) -> Result<BTreeSet<PathBuf>, Error> {
    let foreign = |reason: &str| Error::Foreign {
        path: directory.to_owned(),
        reason: reason.to_owned(),
    };
    let mut entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(foreign("it is not a directory"));
        }
        Err(error) => return Err(Error::io("read", directory)(error)),
    };
    // Whoever may put links into it chooses where our files go.
    let owned = fs::metadata(directory).map_err(Error::io("look at", directory))?;
    let is_ours = owned.uid() == rustix::process::geteuid().as_raw();
    if !is_ours || owned.permissions().mode() & 0o002 != 0 {
        return Err(foreign(
            "it is another user's, or everybody may write to it",
        ));
    }
    let path = directory.join(LIST);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match entries.next() {
                None => Ok(BTreeSet::new()),
                Some(_) => Err(foreign("it holds files that were not rendered")),
            };
        }
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    let list: List = serde_json::from_slice(&text)
        .ok()
        .filter(|list: &List| list.version == VERSION)
        .ok_or_else(|| foreign("its list of rendered files cannot be understood"))?;
    if list.cluster != rendering.cluster {
        return Err(foreign(&format!("it holds the cluster {}", list.cluster)));
    }
    let stays_inside = |path: &PathBuf| {
        path.components()
            .all(|part| matches!(part, Component::Normal(_)))
    };
    if !list.files.iter().all(stays_inside) {
        return Err(foreign("its list of rendered files names files elsewhere"));
    }
    Ok(list.files)
}

/// Only the owner may look inside: there are keys in it.
fn make_directory(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io("make the directory", path))
}

fn save(directory: &Path, list: &List) -> Result<(), Error> {
    let path = directory.join(LIST);
    let text = serde_json::to_vec_pretty(list)
        .map_err(|error| Error::io("write", &path)(std::io::Error::other(error)))?;
    let list = Out {
        path: LIST.into(),
        mode: 0o600,
        bytes: &text,
    };
    put(&path, &list)
}

/// Whether the file is there as it should be. Replacing it all the same would cost many times as much as
/// looking: file systems write the new content to the disk before they let it replace the old.
fn is_there(path: &Path, file: &Out<'_>) -> bool {
    let alike = fs::symlink_metadata(path).is_ok_and(|metadata| {
        metadata.is_file()
            && metadata.len() == file.bytes.len() as u64
            && metadata.permissions().mode() & 0o7777 == file.mode
    });
    alike && fs::read(path).is_ok_and(|bytes| bytes == file.bytes)
}

/// Puts a file in place. What it replaces keeps its content until the new one is whole.
fn put(path: &Path, file: &Out<'_>) -> Result<(), Error> {
    match create(path, file.mode) {
        Ok(new) => fill(new, path, file),
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(Error::io("make", path)(error))
        }
        Err(_) if is_there(path, file) => Ok(()),
        Err(_) => replace(path, file),
    }
}

fn replace(path: &Path, file: &Out<'_>) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Error::io("remove", &new)(error));
        }
        _ => {}
    }
    fill(
        create(&new, file.mode).map_err(Error::io("make", &new))?,
        &new,
        file,
    )?;
    fs::rename(&new, path).map_err(Error::io("rename to", path))
}

fn create(path: &Path, mode: u32) -> std::io::Result<fs::File> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

fn fill(mut new: fs::File, path: &Path, file: &Out<'_>) -> Result<(), Error> {
    // Whatever the umask took away.
    new.set_permissions(fs::Permissions::from_mode(file.mode))
        .map_err(Error::io("change the mode of", path))?;
    new.write_all(file.bytes).map_err(Error::io("write", path))
}

/// Takes a file away, and the directories above it that are then empty.
fn remove(directory: &Path, path: &Path) -> Result<(), Error> {
    let whole = directory.join(path);
    match fs::remove_file(&whole) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Error::io("remove", &whole)(error));
        }
        _ => {}
    }
    for parent in path
        .ancestors()
        .skip(1)
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        if fs::remove_dir(directory.join(parent)).is_err() {
            break;
        }
    }
    Ok(())
}
