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
