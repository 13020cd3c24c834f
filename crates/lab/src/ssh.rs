//! Reaching the guests over OpenSSH, as an administrator reaches his machines.
//!
//! The keys are of this machine's labs: made once and kept in the cache, for a saved guest has them in its
//! memory. They open nothing but guests on networks that only root can enter.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use deadline::Deadline;

use crate::cache::{Cache, create_private};
use crate::command::{Call, Cancel};
use crate::error::Error;
use crate::spec::{LabName, Node};

const MAKE_LIMIT: Duration = Duration::from_secs(30);
/// Names of the files, in the cache and in the lab's state directory.
const OURS: &str = "ssh_key";
const GUESTS: &str = "ssh_host_key";

/// How OpenSSH's programs reach the guests of a lab: by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// What comes before `ssh` on the command line: it enters the lab's network.
    pub prefix: Vec<OsString>,
    /// The configuration file: user, key, known hosts, and an address for each name.
    pub config: PathBuf,
}

impl Ssh {
    pub(crate) fn of(name: &LabName, directory: &Path) -> Self {
        Self {
            prefix: ["ip", "netns", "exec", name.as_str()]
                .map(OsString::from)
                .to_vec(),
            config: directory.join("ssh_config"),
        }
    }
}

/// The pairs of keys.
pub(crate) struct Keys {
    ours: Vec<u8>,
    ours_public: Vec<u8>,
    guests: Vec<u8>,
    guests_public: Vec<u8>,
}

impl Keys {
    /// Those of this machine's labs, made if there are none.
    pub(crate) fn of_this_machine(cache: &Cache, cancel: &Cancel) -> Result<Self, Error> {
        let directory = cache.keys();
        if !directory.exists() {
            make(&directory, cancel)?;
        }
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read(&path).map_err(Error::io("read", &path))
        };
        Ok(Self {
            ours: read(OURS)?,
            ours_public: read(&format!("{OURS}.pub"))?,
            guests: read(GUESTS)?,
            guests_public: read(&format!("{GUESTS}.pub"))?,
        })
    }

    /// Who may log in to a guest.
    pub(crate) fn authorized(&self) -> &[u8] {
        &self.ours_public
    }

    /// The guests' own key.
    pub(crate) fn of_guests(&self) -> &[u8] {
        &self.guests
    }

    /// Writes what ssh needs into the lab's state directory.
    pub(crate) fn write(&self, directory: &Path, machines: &[Node]) -> Result<(), Error> {
        let key = directory.join(OURS);
        write_private(&key, &self.ours)?;
        let known = directory.join("known_hosts");
        let public = String::from_utf8_lossy(&self.guests_public);
        let mut text = String::new();
        let mut config = format!(
            "Host *\n\tUser root\n\tIdentityFile {}\n\tIdentitiesOnly yes\n\tUserKnownHostsFile {}\n\
             \tGlobalKnownHostsFile /dev/null\n\tStrictHostKeyChecking yes\n",
            key.display(),
            known.display()
        );
        for Node { name, address } in machines {
            let _ = write!(text, "{name},{address} {public}");
            let _ = write!(config, "Host {name}\n\tHostName {address}\n");
        }
        write_private(&known, text.as_bytes())?;
        write_private(&directory.join("ssh_config"), config.as_bytes())
    }
}

/// Makes both pairs, all or nothing.
fn make(directory: &Path, cancel: &Cancel) -> Result<(), Error> {
    let new = directory.with_extension(format!("new-{}", std::process::id()));
    create_private(&new)?;
    for name in [OURS, GUESTS] {
        Call::new(
            "ssh-keygen",
            ["-q", "-t", "ed25519", "-N", "", "-C", "picket-lab"],
        )
        .arg("-f")
        .arg(new.join(name))
        .run(
            "making keys for the lab",
            Deadline::after(MAKE_LIMIT),
            cancel,
        )?;
    }
    match fs::rename(&new, directory) {
        // Another lab was faster.
        Err(_) if directory.exists() => fs::remove_dir_all(&new).map_err(Error::io("remove", &new)),
        result => result.map_err(Error::io("rename to", directory)),
    }
}

/// ssh refuses a key that others may read.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt;
    fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_and_ssh_understands_its_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path().join("cache"));
        cache.prepare().unwrap();
        let keys = Keys::of_this_machine(&cache, &Cancel::never()).unwrap();
        let again = Keys::of_this_machine(&cache, &Cancel::never()).unwrap();
        assert_eq!(keys.guests, again.guests);
        let nodes = [Node {
            name: "n1".to_owned(),
            address: [10, 9, 0, 1].into(),
        }];
        keys.write(dir.path(), &nodes).unwrap();
        let ssh = Ssh::of(&LabName::default(), dir.path());
        let output = std::process::Command::new("ssh")
            .arg("-F")
            .arg(&ssh.config)
            .args(["-G", "n1"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        for line in [
            "hostname 10.9.0.1",
            "user root",
            "stricthostkeychecking true",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let known = std::process::Command::new("ssh-keygen")
            .arg("-f")
            .arg(dir.path().join("known_hosts"))
            .args(["-F", "10.9.0.1"])
            .output()
            .unwrap();
        assert!(known.status.success(), "{known:?}");
    }
}
