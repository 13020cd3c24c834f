//! How options reach an agent: the command line, or standard input when there is none.

use picket_tests::{
    Subject,
    agent::{Call, Program},
    cases,
    daemon::{Config, Daemon, Route},
    guests,
    net::HOST_V4,
    rig::Rig,
    skip::{PEERS, skipped},
    subject::pairs_over,
};

/// The lines Pacemaker would send.
fn lines(rig: &Rig, route: Route, more: &str) -> String {
    let address = if route.is_multicast() {
        "ip_family=ipv4".to_owned()
    } else {
        format!("ipaddr={HOST_V4}")
    };
    format!(
        "{address}\nkey_file={}\ntimeout=20\n{more}",
        rig.key().display()
    )
}

fn program(route: Route) -> Program {
    if route.is_multicast() {
        Program::Xvm
    } else {
        Program::Virt
    }
}

#[test]
fn options_on_standard_input() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(
        &pairs_over(&[Route::MulticastV4, Route::TcpV4]),
        4,
        |&(agent, daemon, route)| {
            let rig = Rig::new();
            let uri = rig.hypervisor("node.xml", &guests::pair());
            let _daemon = Daemon::start(&rig, daemon, &Config::new(&rig, route, &uri));
            let wanted = [
                ("action=status\nport=vm1\n", 0, "Status: ON\n"),
                (
                    "action=status\nplug=vm1\nnodename=node1\n",
                    0,
                    "Status: ON\n",
                ),
                (
                    "# a comment\n\n  action=status\n domain=vm1",
                    0,
                    "Status: ON\n",
                ),
                ("option=status\nport=vm1\n", 0, "Status: ON\n"),
                ("action=monitor\n", 0, ""),
                ("action=off\nport=vm2\n", 0, ""),
                ("action=status\nport=vm2\n", 2, "Status: OFF\n"),
            ];
            for (more, code, said) in wanted {
                let call = Call::new(agent, program(route), &[]).input(&lines(&rig, route, more));
                let ran = call.run(&rig);
                assert_eq!(ran.code, Some(code), "{more:?}: {ran:?}");
                let results = ran.results();
                assert_eq!(results, said.lines().collect::<Vec<_>>(), "{more:?}");
            }
        },
    );
}

/// Questions to the program itself, which need no daemon.
#[test]
fn questions_that_need_no_daemon() {
    if skipped(&PEERS) {
        return;
    }
    let all: Vec<_> = Subject::all()
        .into_iter()
        .flat_map(|agent| Program::BOTH.map(|program| (agent, program)))
        .collect();
    cases::all(&all, 4, |&(agent, program)| {
        let rig = Rig::new();
        let key = rig.key().display().to_string();
        // Over a network, so that the key matters to both programs.
        let network: &[&str] = if program == Program::Virt {
            &["-T", "10.77.0.1"]
        } else {
            &[]
        };
        let cases: [(&[&str], i32); 9] = [
            (&["-h"], 0),
            (&["-V"], 0),
            (&["-o", "metadata"], 0),
            (&["-k", &key, "-o", "validate-all", "-n", "vm1"], 0),
            (&["-k", &key, "-o", "validate-all"], 1),
            (&["-k", &key, "-o", "status"], 1),
            (&["-k", &key, "-o", "conquer", "-n", "vm1"], 1),
            (&["-k", "/nonexistent/key", "-o", "status", "-n", "vm1"], 1),
            (&["-k", &key, "-c", "md5", "-o", "status", "-n", "vm1"], 1),
        ];
        for (args, code) in cases {
            let ran = Call::new(agent, program, network).with(args).run(&rig);
            assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
        }
        for (input, code) in [("action=metadata\n", 0), ("action=conquer\nport=vm1\n", 1)] {
            let ran = Call::new(agent, program, &[]).input(input).run(&rig);
            assert_eq!(ran.code, Some(code), "{input:?}: {ran:?}");
        }
    });
}

/// `-w` delays what switches, and nothing else.
#[test]
fn a_delay_holds_back_only_what_switches() {
    if skipped(&PEERS) {
        return;
    }
    cases::all(
        &pairs_over(&[Route::TcpV4]),
        4,
        |&(agent, daemon, route)| {
            let rig = Rig::new();
            let uri = rig.hypervisor("node.xml", &guests::pair());
            let _daemon = Daemon::start(&rig, daemon, &Config::new(&rig, route, &uri));
            let call = Call::over(&rig, agent, route).with(&["-w", "2"]);
            let status = call.act(&rig, "status", Some("vm1"));
            let off = call.act(&rig, "off", Some("vm1"));
            assert_eq!((status.code, off.code), (Some(0), Some(0)));
            assert!(off.took.as_secs() >= 2, "off took {:?}", off.took);
            assert!(off.took - status.took >= std::time::Duration::from_millis(1500));
        },
    );
}
