//! The agent's end: `fence_xvm` and `fence_virt`, ours or the C ones.

use std::{os::unix::fs::symlink, path::PathBuf, process::Command, time::Duration};

use crate::{
    Subject,
    daemon::Route,
    net::{HOST_V4, HOST_V6},
    process::{PATIENCE, Process, Ran, run},
    rig::Rig,
    subject::ours,
};

/// Which of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `fence_xvm`: multicast.
    Xvm,
    /// `fence_virt`: TCP, serial, VMChannel, vsock.
    Virt,
}

impl Program {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Xvm, Self::Virt];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xvm => "fence_xvm",
            Self::Virt => "fence_virt",
        }
    }

    /// Where the program of `subject` is. Ours is one binary that looks at the name it is called
    /// by, so it gets a link in the rig's directory.
    ///
    /// # Panics
    /// When the link cannot be made.
    #[must_use]
    pub fn path(self, rig: &Rig, subject: Subject) -> PathBuf {
        match subject {
            Subject::C => PathBuf::from("/usr/sbin").join(self.name()),
            Subject::Ours => {
                let link = rig.path(self.name());
                if !link.exists()
                    && let Err(error) = symlink(ours("picket-agents"), &link)
                {
                    // Another thread of the same test may have been quicker.
                    assert!(link.exists(), "no link {}: {error}", link.display());
                }
                link
            }
        }
    }
}

/// One call of an agent.
#[derive(Debug, Clone)]
pub struct Call {
    /// Whose agent.
    pub subject: Subject,
    /// Which program.
    pub program: Program,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its standard input.
    pub input: Option<String>,
    /// When the test gives up on it.
    pub limit: Duration,
}

impl Call {
    /// A call with just these arguments.
    #[must_use]
    pub fn new(subject: Subject, program: Program, args: &[&str]) -> Self {
        Self {
            subject,
            program,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            input: None,
            limit: PATIENCE,
        }
    }

    /// A call that reaches the rig's daemon by a network `route`, with the rig's key.
    ///
    /// # Panics
    /// For a route without a network: see [`Self::serial`] and [`Self::channel`].
    #[must_use]
    pub fn over(rig: &Rig, subject: Subject, route: Route) -> Self {
        let key = rig.key().display().to_string();
        let call = match route {
            Route::MulticastV4 => Self::new(subject, Program::Xvm, &["-i", "ipv4"]),
            Route::MulticastV6 => Self::new(subject, Program::Xvm, &["-i", "ipv6"]),
            Route::TcpV4 => Self::new(subject, Program::Virt, &["-T", &HOST_V4.to_string()]),
            Route::TcpV6 => Self::new(subject, Program::Virt, &["-T", &HOST_V6.to_string()]),
            Route::Serial | Route::VmChannel => panic!("{route:?} is no network"),
        };
        call.with(&["-k", &key, "-t", "20"])
    }

    /// A call over the serial line `device`.
    #[must_use]
    pub fn serial(subject: Subject, device: &str) -> Self {
        Self::new(subject, Program::Virt, &["-D", device, "-t", "20"])
    }

    /// A call over a channel that is TCP port `port` of the guest itself.
    #[must_use]
    pub fn channel(subject: Subject, port: u16) -> Self {
        let port = port.to_string();
        Self::new(
            subject,
            Program::Virt,
            &["-A", "127.0.0.1", "-p", &port, "-t", "20"],
        )
    }

    /// With further arguments.
    #[must_use]
    pub fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// With little time, and retransmissions in quick succession where there are any: for requests
    /// that must not be served.
    #[must_use]
    pub fn impatient(self) -> Self {
        match self.program {
            Program::Xvm => self.with(&["-t", "2", "-r", "10"]),
            Program::Virt => self.with(&["-t", "2"]),
        }
    }

    /// With these hashes.
    #[must_use]
    pub fn hashes(self, hash: &str, auth: &str) -> Self {
        self.with(&["-c", hash, "-C", auth])
    }

    /// With this on standard input. Agents read it only when they have no arguments.
    #[must_use]
    pub fn input(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    /// To be given up after `limit`.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn command(&self, rig: &Rig) -> Command {
        let mut command = Command::new(self.program.path(rig, self.subject));
        command.args(&self.args);
        command
    }

    /// Does `action` on `plug` in the guest.
    #[must_use]
    pub fn act(&self, rig: &Rig, action: &str, plug: Option<&str>) -> Ran {
        let mut call = self.clone().with(&["-o", action]);
        if let Some(plug) = plug {
            call = call.with(&["-H", plug]);
        }
        call.run(rig)
    }

    /// Runs it in the guest, to its end.
    #[must_use]
    pub fn run(&self, rig: &Rig) -> Ran {
        let guest = Some(&rig.cable.guest);
        run(
            &mut self.command(rig),
            guest,
            rig.dir(),
            self.input.as_deref(),
            self.limit,
        )
    }

    /// Starts it in the guest and does not wait.
    #[must_use]
    pub fn start(&self, rig: &Rig) -> Process {
        Process::start(&mut self.command(rig), Some(&rig.cable.guest), rig.dir())
    }
}
