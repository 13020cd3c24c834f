//! Device nodes: `/dev/sdX`, `/dev/sgN`, and through [`paths`] the paths of a multipath device.
//!
//! The kernel may take longer to give a command up than the command's time limit, and a hung path takes for ever. The
//! system call is therefore made on a thread of the device's own: the caller waits until its deadline, no longer. A
//! device that still has a command which nobody waits for takes no other one.

mod sg_io;
mod sysfs;

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;

use deadline::Deadline;
use scsi::{Sense, Status};

use crate::{Completion, Data, DeviceError, LostBy, Request, ScsiDevice};
use sg_io::{Buffer, Done, MAX_CDB, sg_io};

pub use sysfs::{Paths, PathsError, paths};

/// A command for the device's thread.
struct Job {
    cdb: Vec<u8>,
    buffer: Buffer,
    deadline: Deadline,
}

/// What became of it, with the data.
type Report = (io::Result<Done>, Buffer);

/// A device node.
pub struct Node {
    name: String,
    jobs: SyncSender<Job>,
    reports: Receiver<Report>,
    /// A command was given up that the kernel has not.
    stuck: bool,
}

/// `driver_status` of older kernels: there are sense data.
const DRIVER_SENSE: u16 = 0x08;

impl Node {
    /// Opens a device node. Nothing is sent to it.
    ///
    /// # Errors
    /// If it cannot be opened, or is no device.
    pub fn open(path: &Path, read_only: bool) -> Result<Self, DeviceError> {
        let name = path.display().to_string();
        let failed = |source| DeviceError::Node {
            device: path.display().to_string(),
            source,
        };
        // Without O_NONBLOCK the open of a disk whose paths are gone waits for them.
        let file = OpenOptions::new()
            .read(true)
            .write(!read_only)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .map_err(failed)?;
        let kind = file.metadata().map_err(failed)?.file_type();
        if !kind.is_block_device() && !kind.is_char_device() {
            return Err(failed(io::Error::other("not a device")));
        }
        let (jobs, inbox) = sync_channel::<Job>(1);
        let (outbox, reports) = sync_channel(1);
        thread::Builder::new()
            .name("sg-io".to_owned())
            .spawn(move || {
                for mut job in inbox {
                    let limit = job.deadline.remaining();
                    let result = sg_io(file.as_fd(), &job.cdb, &mut job.buffer, limit);
                    if outbox.send((result, job.buffer)).is_err() {
                        break;
                    }
                }
            })
            .map_err(failed)?;
        Ok(Self {
            name,
            jobs,
            reports,
            stuck: false,
        })
    }

    fn lost(&self, source: LostBy) -> DeviceError {
        DeviceError::Lost {
            device: self.name.clone(),
            source,
        }
    }

    fn not_sent(&self, reason: &'static str) -> DeviceError {
        DeviceError::NotSent {
            device: self.name.clone(),
            reason,
        }
    }

    /// What the kernel's answer to a command with `length` bytes of data means.
    fn judge(&self, done: &Done, length: usize) -> Result<Completion, DeviceError> {
        let sense = Sense::parse(&done.sense).ok();
        let status = Status(done.status);
        let driver_ok = done.driver == 0 || done.driver & 0x0F == DRIVER_SENSE;
        if done.host != 0 || !driver_ok {
            let (host, driver) = (done.host, done.driver);
            return Err(self.lost(LostBy::Path { host, driver }));
        }
        Ok(Completion {
            status,
            sense: sense.filter(|_| status == Status::CHECK_CONDITION),
            transferred: length - done.residual,
        })
    }
}

impl ScsiDevice for Node {
    fn execute(
        &mut self,
        request: Request<'_>,
        deadline: Deadline,
    ) -> Result<Completion, DeviceError> {
        if !matches!(request.cdb.len(), 6 | 10 | 12 | MAX_CDB) {
            return Err(DeviceError::Unusable {
                device: self.name.clone(),
                reason: "its length",
            });
        }
        if self.stuck {
            // It may have come back meanwhile.
            self.stuck = self.reports.try_recv().is_err();
        }
        if self.stuck {
            return Err(self.not_sent("an earlier command has not come back"));
        }
        if deadline.has_passed() {
            return Err(self.not_sent("no time left"));
        }
        let (buffer, length) = match &request.data {
            Data::None => (Buffer::None, 0),
            Data::In(bytes) => (Buffer::In(vec![0; bytes.len()]), bytes.len()),
            Data::Out(bytes) => (Buffer::Out(bytes.to_vec()), bytes.len()),
        };
        let job = Job {
            cdb: request.cdb.to_vec(),
            buffer,
            deadline,
        };
        if self.jobs.try_send(job).is_err() {
            return Err(self.not_sent("its thread is gone"));
        }
        let (result, buffer) = match self.reports.recv_timeout(deadline.remaining()) {
            Ok(report) => report,
            Err(RecvTimeoutError::Timeout) => {
                self.stuck = true;
                return Err(self.lost(LostBy::Expired));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(self.lost(LostBy::Io(io::Error::other("its thread is gone"))));
            }
        };
        // The kernel refuses a command before it sends it, but for a signal or a device that goes away.
        let done = result.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Unsupported => DeviceError::Node {
                device: self.name.clone(),
                source,
            },
            _ if source.raw_os_error() == Some(libc::ENOTTY) => DeviceError::Node {
                device: self.name.clone(),
                source,
            },
            _ => self.lost(LostBy::Io(source)),
        })?;
        let completion = self.judge(&done, length)?;
        if let (Data::In(to), Buffer::In(from)) = (request.data, &buffer) {
            to.copy_from_slice(from);
        }
        Ok(completion)
    }

    fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Certainty;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    /// No SCSI disk is needed to see that what is none is refused, and that nothing counts as sent then.
    #[test]
    fn what_takes_no_commands_is_refused() {
        assert!(Node::open(Path::new("/dev/null/none"), true).is_err());
        assert!(Node::open(Path::new("/etc/passwd"), true).is_err());
        let mut null = Node::open(Path::new("/dev/null"), true).unwrap();
        let refused = null.execute(Request::plain(&[0; 6]), soon()).unwrap_err();
        assert_eq!(refused.certainty(), Certainty::Refused, "{refused:?}");
        let late = Deadline::after(Duration::ZERO);
        let late = null.execute(Request::plain(&[0; 6]), late).unwrap_err();
        assert_eq!(late.certainty(), Certainty::NotSent);
        let odd = null.execute(Request::plain(&[0; 7]), soon()).unwrap_err();
        assert!(matches!(odd, DeviceError::Unusable { .. }));
    }

    fn done(status: u8, host: u16, driver: u16, sense: &[u8]) -> Done {
        Done {
            status,
            host,
            driver,
            sense: sense.to_vec(),
            residual: 10,
        }
    }

    #[test]
    fn a_path_that_fails_leaves_the_outcome_unknown() {
        let null = Node::open(Path::new("/dev/null"), true).unwrap();
        for host in [0x01, 0x02, 0x03, 0x07, 0x0E, 0x0F] {
            let failed = null.judge(&done(0, host, 0, &[]), 24).unwrap_err();
            assert_eq!(failed.certainty(), Certainty::Unknown, "{host}");
        }
        assert!(null.judge(&done(0, 0, 0x06, &[]), 24).is_err());
        let good = null.judge(&done(0, 0, 0, &[]), 24).unwrap();
        assert_eq!((good.status, good.transferred), (Status::GOOD, 14));
        let conflict = null.judge(&done(0x18, 0, 0, &[]), 24).unwrap();
        assert_eq!(conflict.status, Status::RESERVATION_CONFLICT);
    }

    #[test]
    fn sense_data_come_with_either_driver_status() {
        let null = Node::open(Path::new("/dev/null"), true).unwrap();
        let sense = Sense::attention(scsi::AdditionalSense::REGISTRATIONS_PREEMPTED);
        for driver in [0, DRIVER_SENSE] {
            let told = null.judge(&done(0x02, 0, driver, &sense.fixed()), 24);
            assert_eq!(told.unwrap().unit_attention(), Some(sense));
        }
    }
}
