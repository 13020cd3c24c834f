//! The subcommands that administer a running server, shared by `picket-target` and `picket storage`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use deadline::Deadline;

use crate::config::{Bytes, DEFAULT_CONTROL, InitiatorName, Name};
use crate::control::client::{ClientError, ask};
use crate::control::wire::{Reply, Request};
use crate::exit::{self, Failure};
use crate::server::{Reloaded, SessionInfo, TargetInfo, chain};

/// Asks a running server or changes it. Changes hold until the server ends or reads its configuration again.
#[derive(Debug, Clone, Args)]
pub struct ControlCommand {
    /// The server's control socket
    #[arg(long, global = true, value_name = "SOCKET", default_value = DEFAULT_CONTROL)]
    control: PathBuf,
    /// Print the answer as JSON
    #[arg(long, global = true)]
    json: bool,
    /// How many seconds to wait for the answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    /// Show targets, their disks and reservations
    Targets,
    /// Show sessions
    Sessions,
    /// Print metrics in the text format of Prometheus
    Metrics,
    /// End a session; the initiator may log in again
    DropSession {
        /// Its number
        id: u64,
    },
    /// Serve another target
    AddTarget {
        /// Its name
        name: Name,
    },
    /// Serve a target no more
    RemoveTarget {
        /// Its name
        name: Name,
    },
    /// Serve another disk
    AddLun {
        /// Of which target
        target: Name,
        /// Its number
        lun: u16,
        /// The file or block device
        path: PathBuf,
        /// Create it with this size if it does not exist
        #[arg(long)]
        size: Option<Bytes>,
        /// Bytes of a block: 512 or 4096
        #[arg(long)]
        block_length: Option<u32>,
        /// For reading only
        #[arg(long)]
        read_only: bool,
        /// Without thin provisioning
        #[arg(long)]
        thick: bool,
        /// Past the page cache
        #[arg(long)]
        direct: bool,
        /// Answer writes only when they are durable
        #[arg(long)]
        no_write_cache: bool,
    },
    /// Serve a disk no more
    RemoveLun {
        /// Of which target
        target: Name,
        /// Its number
        lun: u16,
    },
    /// Let an initiator log in
    Allow {
        /// To which target
        target: Name,
        /// Its name, or `*`
        initiator: InitiatorName,
        /// The name it must prove itself with
        #[arg(long, requires = "secret_file")]
        user: Option<String>,
        /// The file of its secret
        #[arg(long, requires = "user")]
        secret_file: Option<PathBuf>,
    },
    /// Let an initiator log in no more, and end its sessions
    Deny {
        /// To which target
        target: Name,
        /// Its name, or `*`
        initiator: InitiatorName,
    },
    /// Read the configuration file again, and serve what it says: all of it, or nothing has changed. Sessions that are not
    /// concerned go on. What was changed by the other subcommands and is not in the file is undone
    Reload,
    /// Move the damaged journal of a disk aside, or give up those that may be its own or not, and serve it without registrations:
    /// only if no fenced node runs
    DiscardJournal {
        /// Of which target
        target: Name,
        /// The disk's number
        lun: u16,
    },
}

impl What {
    fn request(self) -> std::io::Result<Request> {
        Ok(match self {
            Self::Targets => Request::Targets {},
            Self::Sessions => Request::Sessions {},
            Self::Metrics => Request::Metrics {},
            Self::DropSession { id } => Request::DropSession { id },
            Self::AddTarget { name } => Request::AddTarget { name },
            Self::RemoveTarget { name } => Request::RemoveTarget { name },
            Self::AddLun {
                target,
                lun,
                path,
                size,
                block_length,
                read_only,
                thick,
                direct,
                no_write_cache,
            } => Request::AddLun {
                target,
                lun,
                path: std::path::absolute(path)?,
                size: size.map(|size| size.0),
                block_length,
                read_only,
                thick,
                direct,
                no_write_cache,
            },
            Self::RemoveLun { target, lun } => Request::RemoveLun { target, lun },
            Self::Allow {
                target,
                initiator,
                user,
                secret_file,
            } => Request::Allow {
                target,
                initiator,
                user,
                secret_file: secret_file.map(std::path::absolute).transpose()?,
            },
            Self::Deny { target, initiator } => Request::Deny { target, initiator },
            Self::Reload => Request::Reload {},
            Self::DiscardJournal { target, lun } => Request::DiscardJournal { target, lun },
        })
    }
}

impl ControlCommand {
    /// Asks the server. What is to be printed.
    ///
    /// # Errors
    /// [`Failure`]: the server cannot be reached, has not answered, or says no.
    pub fn run(self) -> Result<String, Failure> {
        let request = self
            .what
            .request()
            .map_err(|error| Failure::new(exit::USAGE, error.to_string()))?;
        let deadline = Deadline::after(Duration::from_secs(self.wait));
        let reply = ask(&self.control, &request, deadline).map_err(|error| {
            let code = match error {
                ClientError::Unreachable { .. } => exit::UNREACHABLE,
                ClientError::NoAnswer(_) => exit::UNKNOWN,
            };
            Failure::new(code, chain(&error))
        })?;
        if let Reply::Refused { reason } = reply {
            return Err(Failure::new(exit::REFUSED, reason));
        }
        if let Reply::Reloaded { changes } = &reply
            && !changes.trouble.is_empty()
            && !self.json
        {
            let text = format!("{}{}", show_changes(changes), changes.trouble.join("\n"));
            return Err(Failure::new(exit::UNCLEAN, text));
        }
        if self.json {
            let text = serde_json::to_string_pretty(&reply).unwrap_or_default();
            return Ok(format!("{text}\n"));
        }
        Ok(match reply {
            Reply::Targets { targets } => targets.iter().map(show_target).collect(),
            Reply::Sessions { sessions } => sessions.iter().map(show_session).collect(),
            Reply::Metrics { text } => text,
            Reply::Reloaded { changes } => show_changes(&changes),
            Reply::Done { note } => note.map(|note| note + "\n").unwrap_or_default(),
            Reply::Refused { reason } => reason,
        })
    }
}

fn show_changes(changes: &Reloaded) -> String {
    if changes.done.is_empty() {
        return "nothing has changed\n".to_owned();
    }
    changes
        .done
        .iter()
        .map(|line| format!("{line}\n"))
        .collect()
}

fn show_session(session: &SessionInfo) -> String {
    let user = session.user.as_deref();
    let user = user.map(|user| format!(" as {user}")).unwrap_or_default();
    format!(
        "{}: {} (isid {}){user} from {} at {} group {}, {} s\n",
        session.id,
        session.initiator,
        session.isid,
        session.peer,
        session.target,
        session.group,
        session.seconds
    )
}

fn show_target(target: &TargetInfo) -> String {
    let mut text = format!("{}\n", target.name);
    for (initiator, user) in &target.initiators {
        let user = user.as_ref().map(|user| format!(" as {user}"));
        let _ = writeln!(text, "  initiator {initiator}{}", user.unwrap_or_default());
    }
    for unit in &target.units {
        let path = unit.path.display();
        let _ = writeln!(
            text,
            "  LUN {} {path}, {} bytes, serial {}, {} commands",
            unit.lun, unit.bytes, unit.serial, unit.tasks
        );
        if let Some(trouble) = &unit.trouble {
            let _ = writeln!(text, "    TROUBLE: {trouble}");
        }
        let Some(reservations) = &unit.reservations else {
            continue;
        };
        let lasting = if reservations.persistent {
            "kept over loss of power"
        } else {
            "not kept over loss of power"
        };
        let held = reservations.held.as_deref().unwrap_or("no reservation");
        let _ = writeln!(
            text,
            "    {held}; generation {}, {lasting}",
            reservations.generation
        );
        for one in &reservations.registrations {
            let holds = if one.holds { ", holder" } else { "" };
            let _ = writeln!(
                text,
                "    key {} of {} (isid {}) group {}{holds}",
                one.key, one.initiator, one.isid, one.group
            );
        }
    }
    text
}
