//! Many guests.

use std::{
    fs,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use picket_tests::{
    rig::Rig,
    skip::{PEERS, skipped},
};

use crate::{
    Conf, ask,
    platform::{Kind, Platform},
};

const GUESTS: usize = 200;

/// CPU time of a process so far.
fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .expect("a name in parentheses")
        .1
        .split(' ')
        .collect();
    let ticks: u64 =
        fields[11].parse::<u64>().unwrap_or(0) + fields[12].parse::<u64>().unwrap_or(0);
    Duration::from_millis(ticks * 10)
}

fn peak(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .expect("it has a peak");
    line.split_whitespace()
        .skip(1)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Two hundred guests ask within a minute, each for the daemon's health and for its neighbour's status, and one session does.
#[test]
fn two_hundred_guests_share_one_session() {
    if skipped(&PEERS) {
        return;
    }
    for kind in Kind::available() {
        let rig = Rig::new();
        let platform = Platform::start(&rig, kind, GUESTS);
        let plugs: Vec<String> = (0..GUESTS).map(|number| platform.guest(number)).collect();
        let daemon = Conf::of(&rig, &platform, &plugs).start(&rig);
        let before = cpu(daemon.process.id());
        platform.tap.forget();
        let begun = Instant::now();
        let waiting = Mutex::new(plugs.iter());
        let failed = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        let Some(plug) = waiting.lock().expect("nobody panicked").next() else {
                            return;
                        };
                        for ran in [ask(&rig, "monitor", None), ask(&rig, "status", Some(plug))] {
                            if ran.code != Some(0) {
                                failed
                                    .lock()
                                    .expect("nobody panicked")
                                    .push(format!("{plug}: {ran:?}"));
                            }
                        }
                    }
                });
            }
        });
        let took = begun.elapsed();
        let failed = failed.into_inner().expect("nobody panicked");
        assert!(
            failed.is_empty(),
            "{kind}: {} failed, first {}\n{}",
            failed.len(),
            failed[0],
            daemon.process.printed()
        );
        assert!(took < Duration::from_secs(60), "{kind}: {took:?}");
        let seen = platform.tap.seen();
        let used = cpu(daemon.process.id()) - before;
        println!(
            "{kind}: {GUESTS} monitors and {GUESTS} status in {:.1} s, {} logins, {} connections, {} HTTP requests, {} kB sent, {} kB received, \
             daemon {:.2} s CPU, peak {}",
            took.as_secs_f64(),
            platform.logins(),
            seen.connections,
            seen.requests(),
            seen.sent.len() / 1024,
            seen.received / 1024,
            used.as_secs_f64(),
            peak(daemon.process.id()),
        );
        // The start has logged in already.
        assert!(
            platform.logins() < platform.most_sessions(),
            "{kind}: {} more logins",
            platform.logins()
        );
        assert!(
            platform.open() <= platform.most_sessions(),
            "{kind}: {} sessions",
            platform.open()
        );
        assert_eq!(daemon.stop(), Some(0));
        platform.expect_closed();
    }
}
