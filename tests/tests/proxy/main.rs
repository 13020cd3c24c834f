//! `fence_virtd` in front of a management platform: guests ask it with `fence_virt` and `fence_xvm` and hold no password.
//!
//! Each case runs with each platform: the oVirt engine and the Hyper-V host of `tests/servers`, and govmomi's vCenter simulator.
//! What passes between the daemon and the platform is read on the way.

mod audit;
mod cases;
mod faults;
mod load;
mod migration;
mod platform;
mod secrets;

use std::path::PathBuf;

use picket_tests::{
    Subject,
    agent::Call,
    daemon::{Daemon, Route},
    net::{GUEST_V4, HOST_V4},
    process::Ran,
    rig::Rig,
};

use platform::{PASSWORD, Platform};

/// A `fence_virt.conf`.
struct Conf {
    text: String,
}

impl Conf {
    /// A daemon that reaches guests through `lines` of its back end; the guest machine may fence `plugs`.
    fn new(rig: &Rig, route: Route, lines: &str, plugs: &[String], more: &str) -> Self {
        let listener = match route {
            Route::MulticastV4 => "\t\tinterface = \"h0\";\n".to_owned(),
            _ => format!("\t\taddress = \"{HOST_V4}\";\n"),
        };
        let kind = route.listener();
        let plugs: String = plugs
            .iter()
            .map(|plug| format!("\t\tuuid = \"{plug}\";\n"))
            .collect();
        let text = format!(
            "fence_virtd {{\n\tlistener = \"{kind}\";\n\tbackend = \"libvirt\";\n\taudit_log = \"{}\";\n{more}}}\n\
             listeners {{\n\t{kind} {{\n\t\tkey_file = \"{}\";\n{listener}\t}}\n}}\n\
             backends {{\n\tlibvirt {{\n{lines}\t}}\n}}\n\
             groups {{\n\tgroup {{\n\t\tip = \"{GUEST_V4}\";\n{plugs}\t}}\n}}\n",
            rig.path("audit.jsonl").display(),
            rig.key().display()
        );
        Self { text }
    }

    /// Over TCP, with this platform behind it.
    fn of(rig: &Rig, platform: &Platform<'_>, plugs: &[String]) -> Self {
        let line = format!(
            "\t\thypervisor = \"{}\";\n",
            platform.address(&password(rig, PASSWORD), "")
        );
        Self::new(rig, Route::TcpV4, &line, plugs, "")
    }

    fn start(&self, rig: &Rig) -> Daemon {
        let mut daemon = Daemon::launch(rig, Subject::Ours, &self.text);
        let route = if self.text.contains("multicast {") {
            Route::MulticastV4
        } else {
            Route::TcpV4
        };
        daemon.wait_until_listening(route);
        daemon
    }
}

/// The password file.
fn password(rig: &Rig, password: &str) -> PathBuf {
    rig.write_private("password", format!("{password}\n").as_bytes())
}

/// What the guest asks over TCP.
fn ask(rig: &Rig, action: &str, plug: Option<&str>) -> Ran {
    Call::over(rig, Subject::Ours, Route::TcpV4).act(rig, action, plug)
}

#[track_caller]
fn expect(ran: &Ran, code: i32, what: &str, daemon: &Daemon) {
    assert_eq!(
        ran.code,
        Some(code),
        "{what}: {ran:?}\n{}",
        daemon.process.printed()
    );
}
