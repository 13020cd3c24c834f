//! Where journals are: a directory, as far as they need one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;

/// A directory in which a file is replaced in steps, each of which a crash can cut short.
pub trait Directory: Send {
    /// The file's bytes, `most` of them at most; `None` if there is none.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>>;

    /// Makes a new file with these bytes, in place of one that has the name, and makes the bytes durable; not the name.
    ///
    /// # Errors
    /// Any: the file may be there with a part of the bytes.
    fn write_durable(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Gives a file another name, in place of one that has it.
    ///
    /// # Errors
    /// Any.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes all names durable.
    ///
    /// # Errors
    /// Any: the names may be durable or not.
    fn sync_names(&self) -> io::Result<()>;

    /// How a file is called in messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// A directory of the host.
#[derive(Debug)]
pub struct HostDirectory {
    path: PathBuf,
    directory: File,
}

impl HostDirectory {
    /// Opens a directory. It is not made: a state directory that is missing is a mistake to be noticed.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self {
            path: path.to_owned(),
            directory: directory.into(),
        })
    }

    /// A file to lock; made if it is missing.
    pub(super) fn lock_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(openat(&self.directory, name, flags, PRIVATE)?.into())
    }
}

/// Who is registered is nobody else's business.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

impl Directory for HostDirectory {
    fn read(&self, name: &str, most: usize) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file: File = match openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => file.into(),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        let limit = u64::try_from(most).unwrap_or(u64::MAX);
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn write_durable(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file: File = openat(&self.directory, name, flags, PRIVATE)?.into();
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.directory, from, &self.directory, to)?)
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(fsync(&self.directory)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}
