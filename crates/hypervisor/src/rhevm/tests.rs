//! Readers of the engine's answers: what they make of answers as they are documented, and of any bytes.

use proptest::prelude::*;
use uuid::Uuid;

use super::reply::{self, Affinity, Fault, Unusable};
use crate::GuestState;

const ID: &str = "123e4567-e89b-12d3-a456-426614174000";

/// As version 4 answers an administrator (facts, section 3.4).
const VM4: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<vm href="/ovirt-engine/api/vms/123e4567-e89b-12d3-a456-426614174000" id="123e4567-e89b-12d3-a456-426614174000">
    <actions>
        <link href="/ovirt-engine/api/vms/123e4567-e89b-12d3-a456-426614174000/stop" rel="stop"/>
    </actions>
    <name>a &amp; b</name>
    <cluster href="/ovirt-engine/api/clusters/C" id="C"/>
    <high_availability><enabled>true</enabled><priority>1</priority></high_availability>
    <host href="/ovirt-engine/api/hosts/H" id="H"/>
    <placement_policy>
        <affinity>pinned</affinity>
        <hosts>
            <host href="/ovirt-engine/api/hosts/H2" id="H2"/>
            <host href="/ovirt-engine/api/hosts/H" id="H"/>
        </hosts>
    </placement_policy>
    <status>up</status>
    <next_run_configuration_exists>true</next_run_configuration_exists>
    <stop_reason></stop_reason>
</vm>"#;

/// As version 3 does (facts, section 3.1).
const VM3: &str = r#"<vm id="123e4567-e89b-12d3-a456-426614174000"><name>n</name>
    <status><state>paused</state><detail>eio</detail></status>
    <placement_policy><host id="H"/><affinity>user_migratable</affinity></placement_policy></vm>"#;

#[test]
fn a_guest_in_both_versions() {
    let vm = reply::vm(VM4.as_bytes()).unwrap();
    assert_eq!(
        (vm.id, vm.name.as_str()),
        (Uuid::try_parse(ID).unwrap(), "a & b")
    );
    assert_eq!(vm.status.unwrap().state(), GuestState::Running);
    assert_eq!(
        (vm.host.as_deref(), vm.cluster.as_deref()),
        (Some("H"), Some("C"))
    );
    let policy = vm.placement.unwrap();
    assert_eq!(
        (policy.affinity, policy.hosts),
        (Affinity::Pinned, vec!["H".to_owned(), "H2".to_owned()])
    );
    assert!(vm.highly_available && vm.next_run);

    let vm = reply::vm(VM3.as_bytes()).unwrap();
    assert_eq!(vm.status.unwrap().state(), GuestState::Paused);
    let policy = vm.placement.unwrap();
    assert_eq!(
        (policy.affinity, policy.hosts.len()),
        (Affinity::UserMigratable, 1)
    );
    assert!(!vm.highly_available && !vm.next_run && vm.host.is_none());
}

/// I09, I34: what is missing is missing, and nothing further down is taken for it.
#[test]
fn parts_are_taken_from_their_place_only() {
    let inner = |inside: &str| format!("<vm id=\"{ID}\"><name>n</name>{inside}</vm>");
    let status = |inside: &str| reply::vm(inner(inside).as_bytes()).unwrap().status;
    assert_eq!(status(""), None);
    assert_eq!(status("<status/>"), None);
    assert_eq!(status("<status> \n </status>"), None);
    assert_eq!(status("<status><state/></status>"), None);
    assert_eq!(status("<snapshot><status>down</status></snapshot>"), None);
    assert_eq!(status("<!-- <status>down</status> -->"), None);
    assert_eq!(status("<status_detail>down</status_detail>"), None);
    assert_eq!(
        status("<status>down</status><status>up</status>")
            .unwrap()
            .word,
        "down"
    );
    assert_eq!(status("<status><detail>down</detail></status>"), None);
    for (xml, what) in [
        ("<vm><name>n</name></vm>".to_owned(), "id"),
        ("<vm id=\"7\"><name>n</name></vm>".to_owned(), "id"),
        (format!("<vm id=\"{ID}\"/>"), "name"),
        (
            format!("<vm id=\"{ID}\"><x><name>n</name></x></vm>"),
            "name",
        ),
    ] {
        assert_eq!(
            reply::vm(xml.as_bytes()),
            Err(Unusable::Missing { what, within: "vm" }),
            "{xml}"
        );
    }
    // One that cannot be told apart spoils the list: it might be the one that is looked for.
    assert!(reply::vms(format!("<vms>{VM3}<vm/></vms>").as_bytes()).is_err());
    assert_eq!(reply::vms(b"<vms/>").unwrap(), []);
}

#[test]
fn what_is_not_the_interfaces_is_told_apart() {
    let page =
        "<!DOCTYPE html>\n<html><head><TITLE>Proxy\nlogin</TITLE></head><body><br></body></html>";
    assert_eq!(
        reply::vms(page.as_bytes()),
        Err(Unusable::Page("proxy login".to_owned()))
    );
    let xhtml = "<html><head><title>Error</title></head></html>";
    assert_eq!(
        reply::vm(xhtml.as_bytes()),
        Err(Unusable::Page("error".to_owned()))
    );
    assert!(matches!(
        reply::vms(b"<api/>"),
        Err(Unusable::Other { wanted: "vms", .. })
    ));
    for broken in [
        &b""[..],
        b"<vms>",
        b"{}",
        b"\xff<vms/>",
        b"<vms/><vms/>",
        b"<vms><vm",
        b"<vms></vm>",
        b"<vms><vm id='123e4567-e89b-12d3-a456-426614174000'></vms>",
        b"x<vms/>",
        b"<vms/>x",
        b"<vms><!DOCTYPE x></vms>",
    ] {
        assert!(
            matches!(reply::vms(broken), Err(Unusable::NotXml(_))),
            "{broken:?}"
        );
    }
    assert_eq!(reply::vms("\u{feff}<vms/>".as_bytes()).unwrap(), []);
}

/// A small answer must not become a large one, nor a deep one end the process.
#[test]
fn answers_that_are_made_to_hurt() {
    let entities =
        "<!DOCTYPE vms [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><vms>&b;</vms>";
    assert!(matches!(
        reply::vms(entities.as_bytes()),
        Err(Unusable::NotXml(_))
    ));
    let deep = format!(
        "<vms>{}{}</vms>",
        "<a>".repeat(50_000),
        "</a>".repeat(50_000)
    );
    // Taken or not, it ends.
    let _ = reply::vms(deep.as_bytes());
    let wide = format!("<vms>{}</vms>", "<a/>".repeat(200_000));
    assert_eq!(reply::vms(wide.as_bytes()).unwrap(), []);
}

#[test]
fn refusals_alone_and_within_an_action() {
    let wanted = Fault {
        reason: "Operation Failed".to_owned(),
        detail: "[Cannot stop VM.]".to_owned(),
    };
    let fault =
        "<fault><detail>[Cannot stop VM.]</detail><reason>Operation Failed</reason></fault>";
    assert_eq!(reply::fault(fault.as_bytes()), Some(wanted.clone()));
    let action = format!("<action>{fault}<status>failed</status></action>");
    assert_eq!(reply::fault(action.as_bytes()), Some(wanted.clone()));
    assert_eq!(wanted.to_string(), "Operation Failed: [Cannot stop VM.]");
    for other in ["", "<action/>", "<vm><fault/></vm>", "<html/>"] {
        assert_eq!(reply::fault(other.as_bytes()), None, "{other}");
    }
    let long = format!("<fault><detail>{}</detail></fault>", "x".repeat(100_000));
    assert!(
        reply::fault(long.as_bytes())
            .unwrap()
            .detail
            .chars()
            .count()
            < 500
    );
}

#[test]
fn the_root_in_both_versions() {
    let four = "<api><product_info><version><major>4</major><minor>5</minor></version></product_info>\
                <authenticated_user href=\"/ovirt-engine/api/users/U\" id=\"U\"/></api>";
    let root = reply::root(four.as_bytes()).unwrap();
    assert_eq!(
        (root.version, root.user.as_deref()),
        (Some((4, 5)), Some("U"))
    );
    let three =
        "<api><product_info><version major=\"3\" minor=\"6\" build=\"0\"/></product_info></api>";
    assert_eq!(reply::root(three.as_bytes()).unwrap().version, Some((3, 6)));
    assert_eq!(reply::root(b"<api/>").unwrap(), reply::Root::default());
}

#[test]
fn permissions_and_what_they_cover() {
    let list = "<permissions>\
        <permission id=\"1\"><role id=\"R\"/><user id=\"U\"/></permission>\
        <permission id=\"2\"><role id=\"R\"/><group id=\"G\"/><cluster id=\"C\"/></permission>\
        <permission id=\"3\"><role id=\"R\"/><user id=\"U\"/><template id=\"T\"/></permission>\
        </permissions>";
    let list = reply::permissions(list.as_bytes()).unwrap();
    let told: Vec<(Option<&str>, bool)> = list
        .iter()
        .map(|permission| (permission.user.as_deref(), permission.covers_guests))
        .collect();
    assert_eq!(told, [(Some("U"), true), (None, true), (Some("U"), false)]);
    let permits = "<permits><permit id=\"18\"><name>stop_vm</name></permit><permit/></permits>";
    assert_eq!(reply::permits(permits.as_bytes()).unwrap(), ["stop_vm"]);
}

/// Facts, section 4: rules since 4.1, the group itself before; `positive` is missing when the rule is disabled.
#[test]
fn groups_of_all_ages() {
    let group = |inside: &str| {
        reply::affinity_group(
            format!("<affinity_group id=\"1\"><name>g</name>{inside}</affinity_group>").as_bytes(),
        )
        .unwrap()
    };
    let old = group("<positive>false</positive><enforcing>true</enforcing>");
    assert_eq!(
        (old.positive, old.enforcing, old.members),
        (Some(false), true, None)
    );
    let new = group(
        "<enforcing>false</enforcing><broken>true</broken>\
         <vms_rule><enabled>true</enabled><positive>false</positive><enforcing>true</enforcing></vms_rule><vms/>",
    );
    assert_eq!(
        (new.positive, new.enforcing, new.broken),
        (Some(false), true, true)
    );
    assert_eq!(new.members, Some(Vec::new()));
    let disabled = group("<vms_rule><enabled>false</enabled><positive>false</positive></vms_rule>");
    assert_eq!(disabled.positive, None);
}

/// What reading by tree makes of a list.
fn by_tree(text: &str) -> Option<Vec<(Uuid, String, Option<String>)>> {
    let document = roxmltree::Document::parse(text).ok()?;
    let root = document.root_element();
    let vms = root.children().filter(|node| node.has_tag_name("vm"));
    let mut all = Vec::new();
    for vm in vms {
        let range = vm.range();
        let vm = reply::vm(text.get(range)?.as_bytes()).ok()?;
        all.push((vm.id, vm.name, vm.status.map(|status| status.word)));
    }
    root.has_tag_name("vms").then_some(all)
}

fn by_pass(text: &str) -> Option<Vec<(Uuid, String, Option<String>)>> {
    let all = reply::vms(text.as_bytes()).ok()?;
    Some(
        all.into_iter()
            .map(|vm| (vm.id, vm.name, vm.status.map(|status| status.word)))
            .collect(),
    )
}

#[test]
fn lists_are_read_as_trees_are() {
    let one = VM4.split_once("?>").unwrap().1;
    let list = format!(
        "<?xml version=\"1.0\"?>\n<!-- x -->\n<vms>\n{one}\n{VM3}\n<other><vm/></other></vms>\n"
    );
    let seen = by_pass(&list).unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(Some(seen), by_tree(&list));
    let found = reply::vms_named(list.as_bytes(), "a & b").unwrap();
    assert_eq!((found.len(), found[0].host.as_deref()), (1, Some("H")));
    assert!(reply::vms_named(list.as_bytes(), "a").unwrap().is_empty());
    for cut in 0..list.trim_end().len() {
        assert!(reply::vms(&list.as_bytes()[..cut]).is_err(), "{cut}");
    }
}

/// Pieces that a list of guests may be made of, or made to look like.
fn piece() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("<name>n</name>".to_owned()),
        Just("<name>a&amp;b&#x20;&lt;</name>".to_owned()),
        Just("<name/>".to_owned()),
        Just("<status>down</status>".to_owned()),
        Just("<status> up\n</status>".to_owned()),
        Just("<status><state>paused</state><detail>down</detail></status>".to_owned()),
        Just("<status><detail>x</detail></status>".to_owned()),
        Just("<status/>".to_owned()),
        Just("<!-- <status>down</status> -->".to_owned()),
        Just("<![CDATA[<status>down</status>]]>".to_owned()),
        Just("<host id=\"H\"><name>h</name><status>up</status></host>".to_owned()),
        Just("text".to_owned()),
        Just("\n    ".to_owned()),
    ];
    prop::collection::vec(leaf, 0..6).prop_map(|leaves| leaves.concat())
}

fn element() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => piece().prop_map(|inside| format!("<vm id=\"{ID}\">{inside}</vm>")),
        1 => piece().prop_map(|inside| format!("<vms>{inside}<vm id=\"{ID}\"><name>x</name></vm></vms>")),
        1 => piece().prop_map(|inside| format!("<x>{inside}</x>")),
        1 => Just("<vm/>".to_owned()),
        1 => Just("\n".to_owned()),
    ]
}

/// Everything that is read from outside.
fn read_all(bytes: &[u8]) {
    let _ = (
        reply::vms(bytes),
        reply::vm(bytes),
        reply::hosts(bytes),
        reply::host(bytes),
        reply::root(bytes),
    );
    let _ = (
        reply::fault(bytes),
        reply::permissions(bytes),
        reply::permits(bytes),
        reply::user_name(bytes),
    );
    let _ = (
        reply::affinity_groups(bytes),
        reply::affinity_group(bytes),
        reply::members(bytes),
    );
}

proptest! {
    /// One pass and a tree see the same guests, names and states.
    #[test]
    fn both_ways_of_reading_agree(elements in prop::collection::vec(element(), 0..5)) {
        let list = format!("<vms>{}</vms>", elements.concat());
        prop_assert_eq!(by_pass(&list), by_tree(&list), "{}", list);
    }

    /// What one pass accepts, is XML; and no state comes from elsewhere.
    #[test]
    fn damage_does_not_change_what_is_seen(at in 0..VM4.len(), byte in prop::sample::select(&b"<>/&;\"= dx"[..])) {
        let mut damaged = VM4.split_once("?>").unwrap().1.as_bytes().to_vec();
        let at = at % damaged.len();
        damaged[at] = byte;
        let list = [b"<vms>", damaged.as_slice(), b"</vms>"].concat();
        if let (Ok(all), Ok(text)) = (reply::vms(&list), std::str::from_utf8(&list)) {
            prop_assert!(all.iter().all(|vm| vm.status.as_ref().is_none_or(|status| status.word != "down")));
            if let Some(tree) = by_tree(text) {
                prop_assert_eq!(by_pass(text), Some(tree));
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        read_all(&bytes);
    }

    /// A whole answer, cut off, or with some bytes changed: never a guest that is off.
    #[test]
    fn a_damaged_answer_is_never_off(cut in 0..VM4.len(), at in 0..VM4.len(), byte: u8) {
        let mut damaged = VM4.as_bytes().to_vec();
        damaged[at] = byte;
        read_all(&damaged);
        if let Ok(vm) = reply::vm(&damaged) {
            prop_assert!(vm.status.is_none_or(|status| status.word != "down"));
        }
        read_all(&VM4.as_bytes()[..cut]);
        prop_assert!(reply::vm(&VM4.as_bytes()[..cut]).is_err());
    }

    #[test]
    fn xml_of_any_shape(name in "[a-z_]{1,9}", text in "\\PC{0,20}", depth in 0..40_usize) {
        let inner = text.replace(['<', '&'], "");
        let xml = format!("{}{inner}{}", format!("<{name}>").repeat(depth + 1), format!("</{name}>").repeat(depth + 1));
        read_all(xml.as_bytes());
        read_all(format!("<vms><vm id=\"{ID}\">{xml}</vm></vms>").as_bytes());
    }
}
