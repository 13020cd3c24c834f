//! What is asked and answered, and the answer.

use std::path::PathBuf;

use scsi::lu::BlockLength;
use serde::{Deserialize, Serialize};

use crate::config::{
    DiskOptions, InitiatorName, InitiatorOptions, LunOptions, Name, TargetOptions, account,
};
use crate::server::{Admin, Reloaded, SessionInfo, TargetInfo};

/// What an administrator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Request {
    /// All targets with their disks and reservations.
    Targets {},
    /// All sessions.
    Sessions {},
    /// Counters in the text format of Prometheus.
    Metrics {},
    /// Ends a session.
    DropSession {
        /// Its number.
        id: u64,
    },
    /// Serves another target, without disks and initiators at first.
    AddTarget {
        /// Its name.
        name: Name,
    },
    /// Serves a target no more.
    RemoveTarget {
        /// Its name.
        name: Name,
    },
    /// Serves another disk.
    AddLun {
        /// Of which target.
        target: Name,
        /// Its number.
        lun: u16,
        /// The file or block device: an absolute path.
        path: PathBuf,
        /// Create a file of so many bytes if there is none.
        size: Option<u64>,
        /// 512 or 4096.
        #[serde(default)]
        block_length: Option<u32>,
        /// For reading only.
        #[serde(default)]
        read_only: bool,
        /// Without thin provisioning.
        #[serde(default)]
        thick: bool,
        /// Past the page cache.
        #[serde(default)]
        direct: bool,
        /// Writes are answered when they are durable.
        #[serde(default)]
        no_write_cache: bool,
    },
    /// Serves a disk no more.
    RemoveLun {
        /// Of which target.
        target: Name,
        /// Its number.
        lun: u16,
    },
    /// Lets an initiator log in.
    Allow {
        /// To which target.
        target: Name,
        /// Who; `*` for anybody.
        initiator: InitiatorName,
        /// The name it must prove itself with.
        #[serde(default)]
        user: Option<String>,
        /// The file of its secret: an absolute path.
        #[serde(default)]
        secret_file: Option<PathBuf>,
    },
    /// Lets an initiator log in no more.
    Deny {
        /// To which target.
        target: Name,
        /// Who.
        initiator: InitiatorName,
    },
    /// Reads the configuration file again.
    Reload {},
    /// Moves a damaged journal aside: whoever asks has made sure that no fenced node runs.
    DiscardJournal {
        /// Of which target.
        target: Name,
        /// Of which disk.
        lun: u16,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reply {
    /// To [`Request::Targets`].
    Targets {
        /// All of them.
        targets: Vec<TargetInfo>,
    },
    /// To [`Request::Sessions`].
    Sessions {
        /// All of them.
        sessions: Vec<SessionInfo>,
    },
    /// To [`Request::Metrics`].
    Metrics {
        /// The text.
        text: String,
    },
    /// To [`Request::Reload`].
    Reloaded {
        /// What has changed, and what does not end.
        #[serde(flatten)]
        changes: Reloaded,
    },
    /// It has been done.
    Done {
        /// What else there is to say.
        note: Option<String>,
    },
    /// It has not been done, or not all of it.
    Refused {
        /// Why.
        reason: String,
    },
}

impl Request {
    /// Does what is asked for.
    pub(super) fn carry_out(self, admin: &Admin) -> Reply {
        self.attempt(admin)
            .unwrap_or_else(|reason| Reply::Refused { reason })
    }

    fn attempt(self, admin: &Admin) -> Result<Reply, String> {
        let text = |error: crate::server::AdminError| error.to_string();
        let mut note = None;
        match self {
            Self::Targets {} => {
                return Ok(Reply::Targets {
                    targets: admin.targets(),
                });
            }
            Self::Sessions {} => {
                return Ok(Reply::Sessions {
                    sessions: admin.sessions(),
                });
            }
            Self::Metrics {} => {
                return Ok(Reply::Metrics {
                    text: admin.metrics(),
                });
            }
            Self::Reload {} => {
                let changes = admin.reload().map_err(|error| error.to_string())?;
                return Ok(Reply::Reloaded { changes });
            }
            Self::DropSession { id } => admin.drop_session(id).map_err(text)?,
            Self::AddTarget { name } => {
                let options = TargetOptions {
                    name,
                    own: None,
                    initiators: Vec::new(),
                    luns: Vec::new(),
                };
                admin.add_target(&options).map_err(text)?;
            }
            Self::RemoveTarget { name } => admin.remove_target(&name).map_err(text)?,
            Self::AddLun { .. } => {
                let (target, lun) = self.lun()?;
                admin.add_unit(&target, &lun).map_err(text)?;
            }
            Self::RemoveLun { target, lun } => admin.remove_unit(&target, lun).map_err(text)?,
            Self::Allow {
                target,
                initiator,
                user,
                secret_file,
            } => {
                let account = match (user, secret_file) {
                    (None, None) => None,
                    (Some(user), Some(file)) => Some(account(&user, &file)?),
                    _ => return Err("a user and a secret file go together".to_owned()),
                };
                let options = InitiatorOptions {
                    name: initiator,
                    account,
                };
                admin.allow(&target, options).map_err(text)?;
            }
            Self::Deny { target, initiator } => admin.deny(&target, &initiator).map_err(text)?,
            Self::DiscardJournal { target, lun } => {
                let moved = admin.discard_journal(&target, lun).map_err(text)?;
                note = moved.map(|path| format!("the old journal is {}", path.display()));
            }
        }
        Ok(Reply::Done { note })
    }

    /// The disk of [`Self::AddLun`].
    fn lun(self) -> Result<(Name, LunOptions), String> {
        let Self::AddLun {
            target,
            lun,
            path,
            size,
            block_length,
            read_only,
            thick,
            direct,
            no_write_cache,
        } = self
        else {
            return Err("not about a disk".to_owned());
        };
        if !path.is_absolute() {
            return Err(format!("{} is not an absolute path", path.display()));
        }
        if lun >= 1 << 14 {
            return Err("the number of a disk is at most 16383".to_owned());
        }
        let block_length = BlockLength::from_bytes(block_length.unwrap_or(512))
            .ok_or("blocks have 512 or 4096 bytes")?;
        let mut disk = DiskOptions::new(path);
        disk.store.size = size;
        disk.store.block_length = block_length;
        disk.store.read_only = read_only;
        disk.store.thin = !thick;
        disk.store.direct = direct;
        disk.write_cache = !no_write_cache;
        let options = LunOptions { number: lun, disk };
        Ok((target, options))
    }
}
