//! What a configuration means, and what is said about a wrong one.

use virtd::config::{self, ConfigError};

/// Every remark on a file, as an administrator sees it.
fn remarks(source: &str) -> String {
    match config::parse(source, "fence_virt.conf") {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(error) => error.to_string(),
    }
}

/// A whole file around the sections that matter to a test.
fn with(listener: &str, sections: &str) -> String {
    format!(
        "fence_virtd {{\n  listener = \"{listener}\";\n  backend = \"libvirt\";\n}}\n{sections}\nbackends {{ libvirt {{ uri = \"test:///default\"; }} }}\n"
    )
}

#[test]
fn files_of_the_c_daemon_are_read_without_a_word() {
    // As shipped by Debian, and as the C manual page shows it with another back end.
    let debian = "fence_virtd {\n\tlistener = \"multicast\";\n\tbackend = \"libvirt\";\n}\n\nlisteners {\n\tmulticast {\n\t\tkey_file = \"/etc/fence_virt.key\";\n\t\taddress = \"225.0.0.12\";\n\t\t# Needed on Fedora systems\n\t\tinterface = \"virbr0\";\n\t}\n}\n\nbackends {\n\tlibvirt { \n\t\turi = \"qemu:///system\";\n\t}\n}\n";
    let everything = "FENCE_VIRTD { Listener = \"TCP\"; backend = \"LibVirt\"; module_path = \"/usr/lib\";\
        foreground = \"1\"; wait_for_backend = \"1\"; debug = \"99\"; name_mode = \"uuid\"; }\
        listeners { serial { mode = \"vmchannel\"; path = \"/x\"; } vsock { port = \"1230\"; } \
        tcp { key_file = \"/k\"; hash = \"SHA512\"; auth = \"sha256\"; family = \"ipv6\"; address = \"::1\"; port = \"4000\"; } }\
        backends { cpg { uri = \"qemu:///system\"; } libvirt { uri = \"a:///\"; uri1 = \"b:///\"; uri2 = \"c:///\"; } }\
        groups { group { name = \"g\"; ip = \"10.0.0.1\"; ip = \"10.0.0.2\"; uuid = \"vm1\"; uuid = \"vm2\"; } group = \"label\" { uuid = \"vm3\"; ip = \"10.0.0.3\"; } }";
    for source in [debian, everything] {
        assert_eq!(remarks(source), "");
    }
    let config = config::parse(everything, "f").unwrap().config;
    assert!(config.foreground && config.wait_for_init && !config.policy.is_open());
    assert_eq!(config.debug, 99);
    assert_eq!(config.listeners[0].endpoint(), "tcp [::1]:4000");
    assert_eq!(config.fleet.describe(), "standalone: a:///, b:///, c:///");
}

/// The example is also the manual page: as it stands, and with every key that it shows commented out.
#[cfg(feature = "vmware")]
#[test]
fn the_packaged_example_is_read_without_a_word() {
    let example = include_str!("../../../packaging/fence_virt.conf");
    let is_code = |line: &str| line.trim_end().ends_with([';', '{', '}']);
    let uncommented: String = example
        .lines()
        .map(|line| match line.trim_start().strip_prefix("# ") {
            Some(code) if is_code(code) => format!("{code}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    for key in ["audit_log", "request_timeout", "max_connections", "group {"] {
        assert!(
            uncommented
                .lines()
                .any(|line| line.trim_start().starts_with(key)),
            "{key}"
        );
    }
    for source in [example, &uncommented] {
        assert_eq!(remarks(source), "");
    }
}

#[test]
fn the_last_assignment_and_the_last_section_win() {
    let source = with(
        "tcp",
        "listeners { tcp { port = \"1\"; } }\nlisteners { tcp { port = \"2\"; PORT = \"3\"; } }",
    );
    let loaded = config::parse(&source, "f").unwrap();
    assert_eq!(loaded.config.listeners[0].endpoint(), "tcp 127.0.0.1:3");
    insta::assert_snapshot!(remarks(&source));
}

#[test]
fn several_listeners_run_side_by_side() {
    let config = config::parse(&with("multicast, tcp", ""), "f")
        .unwrap()
        .config;
    let endpoints: Vec<String> = config.listeners.iter().map(|one| one.endpoint()).collect();
    assert_eq!(
        endpoints,
        [
            "multicast 225.0.0.12:1229 on all interfaces",
            "tcp 127.0.0.1:1229"
        ]
    );
}

#[test]
fn a_group_without_members_is_an_error() {
    // The C daemon stops reading here and lets everyone fence everyone (W17).
    let source = with(
        "tcp",
        "groups {\n  group { ip = \"10.0.0.1\"; uuid = \"vm1\"; }\n  group { name = \"later\"; }\n}",
    );
    assert!(matches!(
        config::parse(&source, "f"),
        Err(ConfigError::Wrong(_))
    ));
    insta::assert_snapshot!(remarks(&source));
}

#[test]
fn no_group_at_all_is_as_open_as_with_c_and_said() {
    let source = with("tcp", "groups { }");
    let config = config::parse(&source, "f").unwrap().config;
    assert!(config.policy.is_open());
    insta::assert_snapshot!(remarks(&source));
}

#[test]
fn auth_of_tcp_means_auth_and_files_that_rely_on_the_c_bug_are_told() {
    insta::assert_snapshot!(remarks(&with(
        "tcp",
        "listeners {\n  tcp { auth = \"sha512\"; }\n}"
    )));
    assert_eq!(
        remarks(&with("tcp", "listeners { tcp { auth = \"sha256\"; } }")),
        ""
    );
}

#[test]
fn back_ends_that_are_not_here_are_named() {
    insta::assert_snapshot!(remarks(
        "fence_virtd {\n  listener = \"serial\";\n  backend = \"cpg\";\n}\n"
    ));
}

#[test]
fn slips_get_a_suggestion() {
    insta::assert_snapshot!(remarks(
        "fence_virtd {\n  listener = \"multcast\";\n  backend = \"libvrit\";\n  wait_for_int = \"1\";\n}\nlistners { }\n"
    ));
    insta::assert_snapshot!(remarks(&with(
        "tcp",
        "listeners {\n  tcp {\n    keyfile = \"/k\";\n    hash = \"sha265\";\n    family = \"ipv6\";\n    address = \"127.0.0.1\";\n    port = \"99999\";\n  }\n}"
    )));
}

#[test]
fn numbers_count_as_c_counts_them_and_are_remarked_on() {
    let source = with("tcp", "listeners { tcp { port = \"1300x\"; } }");
    let config = config::parse(&source, "f").unwrap().config;
    assert_eq!(config.listeners[0].endpoint(), "tcp 127.0.0.1:1300");
    insta::assert_snapshot!(remarks(&source));
}

#[test]
fn syntax_errors_show_their_place_and_their_remedy() {
    for (name, source) in [
        (
            "no_semicolon",
            "fence_virtd {\n  listener = \"tcp\"\n  backend = \"libvirt\";\n}",
        ),
        ("unquoted", "fence_virtd {\n  listener = tcp;\n}"),
        ("empty_text", "fence_virtd {\n  listener = \"\";\n}"),
        ("not_closed", "fence_virtd {\n  listener = \"tcp\";\n"),
        ("open_quote", "fence_virtd {\n  listener = \"tcp;\n}\n"),
        ("windows", "fence_virtd {\r\n  listener = \"tcp\";\r\n}\r\n"),
        ("semicolon_after_brace", "fence_virtd { };"),
        ("empty_file", "# nothing\n"),
        ("binary", "fence_virtd \u{1}\u{0} { \u{1b}[31m"),
    ] {
        insta::assert_snapshot!(name, remarks(source));
    }
}

#[test]
fn hypervisors_are_numbered_without_a_gap() {
    let source = "fence_virtd { listener = \"tcp\"; backend = \"libvirt\"; }\nbackends { libvirt {\n  uri = \"a:///\";\n  uri1 = \"a:///\";\n  uri3 = \"d:///\";\n} }";
    let config = config::parse(source, "f").unwrap().config;
    assert_eq!(config.fleet.describe(), "standalone: a:///");
    insta::assert_snapshot!(remarks(source));
    insta::assert_snapshot!(remarks(
        "fence_virtd {\n  listener = \"tcp\";\n  backend = \"libvirt\";\n}"
    ));
}

#[test]
fn a_missing_file_says_what_to_do() {
    let error = config::load("/nonexistent/fence_virt.conf".as_ref()).unwrap_err();
    insta::assert_snapshot!(error);
}

#[cfg(not(feature = "vmware"))]
#[test]
fn a_platform_that_was_left_out_is_said_to_be_missing() {
    let said = remarks(&front(
        "hypervisor = \"vmware://fence@vc/?password_file=/p\";",
        GROUPS,
    ));
    assert!(said.contains("vmware:// is not in this build"), "{said}");
}

/// A file whose back end reaches guests through `lines`, with groups unless told otherwise.
fn front(lines: &str, groups: &str) -> String {
    format!(
        "fence_virtd {{ listener = \"tcp\"; backend = \"libvirt\"; }}\nbackends {{\n  libvirt {{\n{lines}\n  }}\n}}\n{groups}\n"
    )
}

const GROUPS: &str = "groups { group { ip = \"10.0.0.1\"; uuid = \"vm1\"; } }";

#[cfg(all(feature = "rhevm", feature = "vmware", feature = "hyperv"))]
#[test]
fn a_management_interface_stands_beside_or_instead_of_libvirt() {
    let vmware =
        "hypervisor = \"vmware://fence@VC.example:444/?password_file=/p&datacenter=dc%201\";";
    let alone = front(vmware, GROUPS);
    let both = front(
        &format!(
            "uri = \"qemu:///system\"; {vmware} hypervisor1 = \"rhevm://f@internal@e?password_file=/q\"; hypervisor2 = \"xen:///\";"
        ),
        GROUPS,
    );
    for source in [&alone, &both] {
        assert_eq!(remarks(source), "");
    }
    let plan = |source| config::parse(source, "f").unwrap().config.fleet.describe();
    assert_eq!(
        plan(&alone),
        "standalone: vmware://fence@vc.example:444/?password_file=/p&datacenter=dc%201"
    );
    assert_eq!(
        plan(&both),
        "standalone: qemu:///system, vmware://fence@vc.example:444/?password_file=/p&datacenter=dc%201, rhevm://f@internal@e/?password_file=/q, xen:///"
    );
}

#[cfg(all(feature = "rhevm", feature = "vmware", feature = "hyperv"))]
#[test]
fn mistakes_in_an_address_are_shown_where_they_are() {
    let lines = "    hypervisor = \"vmware://fence@vc.example/?pasword_file=/p\";\n\
                 \x20   hypervisor1 = \"vmwrae://fence@vc.example/?password_file=/p\";\n\
                 \x20   hypervisor2 = \"hyperv://fence@hv1/\";\n\
                 \x20   hypervisor3 = \"rhevm://fence@engine:443x/?password_file=/p\";\n\
                 \x20   hypervisor5 = \"rhevm://fence@engine/?password_file=/p\";\n\
                 \x20   uri = \"vmware://fence@vc.example/?password_file=/p\";";
    insta::assert_snapshot!(remarks(&front(lines, GROUPS)));
}

#[cfg(all(feature = "rhevm", feature = "vmware", feature = "hyperv"))]
#[test]
fn what_works_and_should_not_be_is_remarked_on() {
    let lines = "    hypervisor = \"vmware://fence@vc/?password_file=/p&verify=no\";\n\
                 \x20   hypervisor1 = \"rhevm://fence@e/?password_file=/p&transport=http\";\n\
                 \x20   hypervisor2 = \"hyperv://fence@hv1/?password_file=/p&transport=http\";\n\
                 \x20   hypervisor3 = \"rhevm://fence@E:80/?password_file=/p&transport=http\";";
    insta::assert_snapshot!(remarks(&front(lines, "")));
}

/// Pictures and log lines of a file with a password in it show the place, not the password.
#[cfg(all(feature = "rhevm", feature = "vmware", feature = "hyperv"))]
#[test]
fn a_password_in_the_file_is_refused_and_not_shown() {
    let secret = "hun\u{fc}ter2";
    for lines in [
        format!("    hypervisor = \"vmware://root:{secret}@vc/\";"),
        format!("    hypervisor = \"vmware://root@vc/?password={secret}\";"),
        format!("    uri = \"esx://root:{secret}@esx1/\";\n    uri2 = \"a:///\";"),
        format!(
            "    hypervisor = \"vmware://root:{secret}@vc/?x\"; uri = vmware://root:{secret}@vc"
        ),
    ] {
        let source = front(&lines, "");
        let loaded = config::parse(&source, "f");
        let (pictures, logged) = match &loaded {
            Ok(loaded) => (
                loaded.warnings.to_string(),
                loaded
                    .warnings
                    .lines()
                    .map(|(_, line)| line)
                    .collect::<String>(),
            ),
            Err(ConfigError::Wrong(report)) => (
                report.to_string(),
                report.lines().map(|(_, line)| line).collect(),
            ),
            Err(other) => panic!("{other}"),
        };
        assert!(
            !pictures.is_empty() && !pictures.contains(secret),
            "{pictures}"
        );
        assert!(!logged.is_empty() && !logged.contains(secret), "{logged}");
        if let Ok(loaded) = loaded {
            assert!(!loaded.config.fleet.describe().contains(secret));
        }
    }
    insta::assert_snapshot!(remarks(&front(
        &format!("    hypervisor = \"vmware://root:{secret}@vc/\";"),
        GROUPS
    )));
}
