//! The daemon as a service: in the background, with a pid file.

use std::{fs, path::Path, process::Command};

use picket_tests::{
    Subject,
    agent::Call,
    cases,
    daemon::{Config, Route},
    guests,
    process::{PATIENCE, run, wait_for},
    rig::Rig,
    skip::{PEERS, skipped},
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// A process that is nobody's child. Dropping it kills it.
struct Stray(Pid);

impl Stray {
    fn of(pid_file: &Path) -> Option<Self> {
        let text = fs::read_to_string(pid_file).ok()?;
        text.trim().parse().ok().and_then(Pid::from_raw).map(Self)
    }

    fn runs(&self) -> bool {
        test_kill_process(self.0).is_ok()
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        // Gone already, if all went well.
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// Without `-F` the program puts itself into the background: systemd's `Type=forking` unit of the
/// packages relies on that and on the pid file.
#[test]
fn the_daemon_puts_itself_into_the_background() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(&Subject::all(), 2, |&daemon| {
        let rig = Rig::new();
        let uri = rig.hypervisor("node.xml", &guests::pair());
        let text = Config::new(&rig, Route::TcpV4, &uri).text();
        let config = rig.write_private("virt.conf", text.as_bytes());
        let pid_file = rig.path("virtd.pid");
        let mut command = Command::new(daemon.daemon());
        command.arg("-f").arg(&config).arg("-p").arg(&pid_file);
        let ran = run(
            &mut command,
            Some(&rig.cable.host),
            rig.dir(),
            None,
            PATIENCE,
        );
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let stray = wait_for("the pid file", PATIENCE, || Stray::of(&pid_file));
        assert!(stray.runs());
        let call = Call::over(&rig, Subject::C, Route::TcpV4);
        wait_for("the daemon to answer", PATIENCE, || {
            (call.act(&rig, "status", Some("vm1")).code == Some(0)).then_some(())
        });
        kill_process(stray.0, Signal::TERM).expect("it runs");
        wait_for("the daemon to end", PATIENCE, || {
            (!stray.runs()).then_some(())
        });
        assert!(!pid_file.exists(), "it takes its pid file with it");
    });
}
