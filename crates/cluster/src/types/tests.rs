use super::*;

fn text<T: TryFrom<String>>(value: &str) -> Option<T> {
    T::try_from(value.to_owned()).ok()
}

#[test]
fn node_names_are_host_names() {
    for good in ["n1", "web-1.example.org", "4u", &"a".repeat(63)] {
        assert!(text::<NodeName>(good).is_some(), "{good}");
    }
    for bad in [
        "",
        "N1",
        "n_1",
        "-n",
        "n-",
        "a..b",
        "n 1",
        "n1\n",
        "ñ",
        &"a".repeat(64),
    ] {
        assert!(text::<NodeName>(bad).is_none(), "{bad:?}");
    }
}

#[test]
fn names_split_only_where_counting_on_is_unambiguous() {
    let split = |name: &str| {
        let name: NodeName = text(name).unwrap();
        name.split_number().map(|(stem, n)| (stem.to_owned(), n))
    };
    assert_eq!(split("n1"), Some(("n".into(), 1)));
    assert_eq!(split("web-12"), Some(("web-".into(), 12)));
    assert_eq!(split("web"), None);
    assert_eq!(split("n01"), None);
    assert_eq!(split("12"), None);
    assert_eq!(split("n99999999999"), None);
}

#[test]
fn spans_have_a_unit_and_a_bound() {
    let millis = |value: &str| text::<Span>(value).map(Span::millis);
    assert_eq!(millis("500ms"), Some(500));
    assert_eq!(millis("5s"), Some(5_000));
    assert_eq!(millis("2min"), Some(120_000));
    for bad in [
        "5",
        "s",
        "0s",
        "-1s",
        "1.5s",
        "5 s",
        "+5s",
        "25000000000000000000s",
        "1441min",
    ] {
        assert_eq!(millis(bad), None, "{bad}");
    }
    assert_eq!(
        text::<Span>("1500ms").map(|s| s.to_string()),
        Some("1500ms".into())
    );
    assert_eq!(
        text::<Span>("2min").map(|s| s.to_string()),
        Some("120s".into())
    );
}

#[test]
fn interfaces_know_their_network() {
    let interface: Interface = "10.9.0.100/24".parse().unwrap();
    let has_room = |ip: &str| interface.has_room_for(ip.parse().unwrap());
    assert!(has_room("10.9.0.1") && has_room("10.9.0.254"));
    assert!(!has_room("10.9.0.0") && !has_room("10.9.0.255") && !has_room("10.9.1.1"));
    assert!(!has_room("fd00::1"));
    let v6: Interface = "fd00::10/64".parse().unwrap();
    assert!(v6.reaches("fd00::1".parse().unwrap()));
    assert!(!v6.reaches("fd00:0:0:1::1".parse().unwrap()));
    let all: Interface = "10.0.0.1/0".parse().unwrap();
    assert!(all.reaches("192.0.2.1".parse().unwrap()));
    for bad in [
        "10.9.0.100",
        "10.9.0.100/33",
        "10.9.0.0/24",
        "10.9.0.255/24",
        "x/24",
    ] {
        assert!(bad.parse::<Interface>().is_err(), "{bad}");
    }
}

#[test]
fn paths_need_no_quoting() {
    assert!(text::<PlainPath>("/etc/cluster/fence_xvm.key").is_some());
    for bad in ["key", "/a b", "/a\"", "/a/../b", "/", "/a;b"] {
        assert!(text::<PlainPath>(bad).is_none(), "{bad}");
    }
}

fn read<T: std::str::FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

#[test]
fn versions_are_compared_by_their_numbers() {
    let version = |value: &str| read::<Version>(value).unwrap_or_else(|| panic!("{value}"));
    for ordered in [
        ["4.0", "4.1", "5"],
        ["6.7", "7.0", "7.0u3"],
        ["2008", "2008 R2", "2012"],
        ["11 SP3", "11 SP4", "12"],
        ["9.9", "9.10", "10.0"],
    ] {
        assert!(
            ordered.map(version).is_sorted_by(|a, b| a < b),
            "{ordered:?}"
        );
    }
    assert_eq!(version("4"), version("4.0"));
    assert_eq!(version("7.0u3").parts(), [7, 0, 3]);
    assert_eq!(version("7.0u3").to_string(), "7.0u3");
    assert_eq!((version("6.1").major(), version("6").minor()), (6, 0));
    for bad in [
        "",
        "x",
        "6.",
        ".6",
        "6..1",
        "six",
        "6.1 ",
        "99999999999",
        "1.2.3.4.5.6.7",
        "7u",
        "٣",
    ] {
        assert!(read::<Version>(bad).is_none(), "{bad:?}");
    }
}

#[test]
fn systems_have_a_known_name_and_a_version() {
    let os = |value: &str| read::<Os>(value).map(|os| os.to_string());
    assert_eq!(os("rhel 6.1").as_deref(), Some("rhel 6.1"));
    assert_eq!(os("RHEL 6.1").as_deref(), Some("rhel 6.1"));
    assert_eq!(os("windows 2012 R2").as_deref(), Some("windows 2012 R2"));
    assert_eq!(os("sles 15 SP6").as_deref(), Some("sles 15 SP6"));
    for bad in [
        "rhel",
        "rhel6.1",
        "rehl 6.1",
        "debian sid",
        "",
        " ",
        "rhel  ",
    ] {
        assert!(os(bad).is_none(), "{bad:?}");
    }
}

#[test]
fn sizes_are_exact() {
    let size = |value: &str| text::<Size>(value).map(|size| (size.bytes(), size.to_string()));
    assert_eq!(size("512MiB"), Some((512 << 20, "512MiB".into())));
    assert_eq!(size("1024MiB"), Some((1 << 30, "1GiB".into())));
    assert_eq!(size("2TiB"), Some((2 << 40, "2TiB".into())));
    for bad in [
        "0GiB",
        "1GB",
        "1",
        "1.5GiB",
        "-1GiB",
        "99999999999999TiB",
        "+1GiB",
        "GiB",
    ] {
        assert_eq!(size(bad), None, "{bad}");
    }
}

#[test]
fn portals_have_an_address_and_a_port() {
    let portal = |value: &str| text::<Portal>(value).map(|portal| portal.to_string());
    for (written, means) in [
        ("10.9.0.30", "10.9.0.30:3260"),
        ("10.9.0.30:860", "10.9.0.30:860"),
        ("fd00::30", "[fd00::30]:3260"),
        ("[fd00::30]", "[fd00::30]:3260"),
        ("[fd00::30]:3261", "[fd00::30]:3261"),
    ] {
        assert_eq!(portal(written).as_deref(), Some(means));
    }
    for bad in [
        "",
        "host:3260",
        "10.9.0.30:0",
        "10.9.0.30:65536",
        "[10.9.0.30",
        ":3260",
    ] {
        assert_eq!(portal(bad), None, "{bad}");
    }
}

#[test]
fn names_for_others_are_what_others_take() {
    assert!(read::<Iqn>("iqn.2026-11.org.example:shared").is_some());
    assert!(read::<Iqn>("eui.0123456789abcdef").is_some());
    for bad in [
        "iqn.2026.org",
        "iqn.2026-11",
        "disk",
        "iqn.2026-11.org example",
        "IQN.2026-11.org",
    ] {
        assert!(read::<Iqn>(bad).is_none(), "{bad}");
    }
    assert!(read::<AgentName>("fence_vmware_rest").is_some());
    for bad in ["fence_", "xvm", "fence_x/y", "fence_ä", "Fence_xvm"] {
        assert!(read::<AgentName>(bad).is_none(), "{bad}");
    }
    let agent: ResourceAgent = "ocf:heartbeat:pgsql".parse().unwrap();
    assert_eq!(
        (agent.class(), agent.provider(), agent.kind()),
        ("ocf", Some("heartbeat"), "pgsql")
    );
    let unit: ResourceAgent = "systemd:getty@tty1.service".parse().unwrap();
    assert_eq!(
        (unit.class(), unit.provider(), unit.kind()),
        ("systemd", None, "getty@tty1.service")
    );
    for bad in [
        "pgsql",
        "ocf:pgsql",
        "ocf:a:b:c",
        "ocf::b",
        "stonith:fence_xvm",
        "systemd:a b",
    ] {
        assert!(read::<ResourceAgent>(bad).is_none(), "{bad}");
    }
    assert!(read::<SshDestination>("admin@h3.example.org").is_some());
    assert!(read::<SshDestination>("my_alias").is_some());
    for bad in [
        "-oProxyCommand=x",
        "root@-x",
        "a b",
        "root@",
        "@h",
        "ro;ot@h",
        "h:22",
    ] {
        assert!(read::<SshDestination>(bad).is_none(), "{bad}");
    }
    assert!(read::<Uri>("qemu+ssh://root@h1/system?no_verify=1").is_some());
    for bad in [
        "qemu:///a\"",
        "qemu:/system",
        "qemu:///a b",
        "QEMU:///system",
    ] {
        assert!(read::<Uri>(bad).is_none(), "{bad}");
    }
    assert!(read::<GuestName>("Datacenter/vm/n 1").is_some());
    for bad in ["", " n1", "n1\n", "a\"b", &"x".repeat(256)] {
        assert!(read::<GuestName>(bad).is_none(), "{bad:?}");
    }
}

#[test]
fn secrets_are_smelt() {
    let smells = |name: &str| read::<OptionName>(name).unwrap().smells_of_a_secret();
    for name in [
        "password",
        "passwd",
        "Password",
        "rep_passwd",
        "snmp_priv_passwd",
        "secret",
        "secret_key",
        "token",
        "api-token",
        "pwd",
        "user_pass",
        "api_key",
        "private_key",
        "passphrase",
        "access_key",
    ] {
        assert!(smells(name), "{name}");
    }
    for name in [
        "ip",
        "username",
        "login",
        "password_script",
        "passwd_script",
        "key_file",
        "identity_file",
        "pass_through_file",
        "passive",
        "compass",
        "bypass",
        "keytab",
        "ssl",
        "kubeconfig",
    ] {
        assert!(!smells(name), "{name}");
    }
}

#[test]
fn delays_may_be_nothing() {
    let delay = |value: &str| text::<Delay>(value).map(Delay::millis);
    assert_eq!(
        (delay("0s"), delay("2s"), delay("0")),
        (Some(0), Some(2000), None)
    );
    assert_eq!(text::<Delay>("0ms").unwrap().to_string(), "0s");
    assert_eq!(text::<Delay>("0ms").unwrap().span(), None);
}
